import IOInterfaces
import Leasing
import MVCC
import Membership
import Primitives
import RaftCore
import Replica
import ServerCore
import Simulator
import Snapshots
import StateMachine
import Synchronization
import WriteAheadLog

/// Several members with their disks, and a network in memory between them. What production's shell does around a core
/// happens here in the plainest way, snapshots included.
final class ClusterWorld {
    /// Where an installation is cut short.
    enum InstallCrash: CaseIterable {
        case none, beforeRename, afterRename
    }

    final class Node {
        let id: MemberID
        let fileSystem: MemoryFileSystem
        var options: ServerCoreOptions
        /// The `store` directory: the store, and the image that is being received.
        var backend = MemoryBackend()
        var incoming: MemoryBackend?
        var driver: MemberDriver?
        var installs = 0
        var applied: [MemberDriver.AppliedEntry] = []
        var readable: [UInt64] = []
        var refused: [UInt64] = []
        var dropped: [(id: UInt64, error: ProposalError)] = []
        var logReads = 0

        init(id: MemberID, seed: UInt64, options: ServerCoreOptions) {
            self.id = id
            fileSystem = MemoryFileSystem(seed: seed)
            self.options = options
        }

        var core: ServerCore? { driver?.core }
        var store: Store? { driver?.core.store }
    }

    static let clusterID: UInt64 = 0xc1

    private(set) var nodes: [Node] = []
    var random: PRNG
    private(set) var now: UInt64 = 1_000_000_000
    /// Messages on their way, encoded.
    private var network: [(from: MemberID, to: MemberID, bytes: Bytes)] = []
    /// Links that lose everything.
    var cutLinks: Set<[MemberID]> = []
    /// Messages are lost, doubled and overtake each other.
    var isNetworkBad = false
    /// Changes messages on their way. What members agree on is then not checked: a liar can break it, but stop nobody.
    var tamper: ((inout Message, inout PRNG) -> Void)?
    /// The next installation of an image ends like this.
    var installCrash = InstallCrash.none
    /// What was applied by anybody, by index.
    private var history: [UInt64: (term: Term, payload: Bytes)] = [:]
    private var hashes: [UInt64: UInt32] = [:]
    private var nextID: UInt64 = 0
    private let configure: (inout ServerCoreOptions) -> Void

    /// Founds a cluster of members 1...count, and opens them.
    init(seed: UInt64, count: Int, configure: @escaping (inout ServerCoreOptions) -> Void = { _ in }) throws {
        random = PRNG(seed: seed)
        self.configure = configure
        let members = (1...count).map { Self.member(UInt64($0)) }
        for member in members { try add(member.id, .new(clusterID: Self.clusterID, members: members)) }
    }

    static func member(_ id: UInt64, isLearner: Bool = false) -> Membership.Member {
        Membership.Member(id: MemberID(id), name: "m\(id)", peerURLs: ["http://p:\(id)"], isLearner: isLearner)
    }

    /// A member that was removed is gone for good.
    func forget(_ node: Node) {
        crash(node)
        nodes.removeAll { $0 === node }
    }

    @discardableResult
    func add(_ id: MemberID, _ founding: Founding) throws -> Node {
        var options = ServerCoreOptions(dataDirectory: "data", memberID: id, founding: founding)
        options.log.segmentBytes = 16 << 10
        options.log.retainedBytes = 64 << 10
        configure(&options)
        let node = Node(id: id, seed: random.next(), options: options)
        nodes.append(node)
        try open(node)
        return node
    }

    func node(_ id: UInt64) -> Node { nodes.first { $0.id == MemberID(id) }! }

    var leader: Node? {
        nodes.filter { $0.driver?.isLeader == true }.max { $0.core!.replica.term < $1.core!.replica.term }
    }

    // MARK: Lives

    func open(_ node: Node) throws {
        try node.fileSystem.createDirectory("data")
        node.incoming = nil
        node.options.replica.firstContext = random.next() >> 1
        let core = try ServerCore.open(
            node.options, fileSystem: node.fileSystem, backend: node.backend, random: &random)
        let driver = MemberDriver(core: core, now: now, begins: true)
        try driver.take(.replica, itemsMax: 0)
        node.driver = driver
    }

    func crash(_ node: Node, losesPower: Bool = true) {
        node.driver = nil
        node.backend.crash()
        node.fileSystem.clearFaults()
        if losesPower { node.fileSystem.crash() }
    }

    func restart(_ node: Node) throws {
        crash(node)
        try open(node)
    }

    /// Cuts a member off, or lets it back.
    func isolate(_ node: Node, _ isCut: Bool = true) {
        for other in nodes where other.id != node.id {
            for link in [[node.id, other.id], [other.id, node.id]] {
                if isCut { cutLinks.insert(link) } else { cutLinks.remove(link) }
            }
        }
    }

    // MARK: Time

    /// Lets everything happen that happens without time passing.
    func run() throws {
        var rounds = 0
        while true {
            var isQuiet = network.isEmpty
            for node in nodes {
                guard let driver = node.driver else { continue }
                try driver.drain()
                if try take(from: node) { isQuiet = false }
            }
            if isQuiet { break }
            rounds += 1
            try demand(rounds < 10_000, "the members never stop talking")
            try deliver()
        }
        for node in nodes { try check(node) }
    }

    /// Lets `count` heartbeat intervals pass.
    func tick(_ count: Int = 1) throws {
        for _ in 0..<count {
            now += MemberDriver.tickNanoseconds
            for node in nodes {
                node.driver?.now = now
                try node.driver?.take(.replica, itemsMax: .max)
            }
            try run()
        }
    }

    /// Lets time pass until `condition` holds.
    func wait(ticksMax: Int = 100, _ what: String, until condition: () throws -> Bool) throws {
        try run()
        for _ in 0..<ticksMax {
            if try condition() { return }
            try tick()
        }
        try demand(try condition(), "\(what): not within \(ticksMax) ticks\n\(description)")
    }

    @discardableResult
    func elect() throws -> Node {
        try wait("a ready leader") { leader?.core?.replica.isReadyLeader == true }
        return leader!
    }

    /// Waits until all members that run have applied the same.
    func settle(ticksMax: Int = 200) throws {
        try elect()
        try wait(ticksMax: ticksMax, "everybody has applied the leader's log") {
            guard let last = leader?.core?.replica.lastIndex else { return false }
            return nodes.allSatisfy { $0.store.map { $0.appliedIndex == last } ?? true }
        }
    }

    func persist(_ node: Node) throws {
        while node.driver?.hasWork(.backend) == true { try node.driver?.take(.backend, itemsMax: 1) }
        try run()
    }

    var description: String {
        nodes.map { node in
            guard let core = node.core else { return "\(node.id.rawValue): down" }
            let replica = core.replica
            return
                "\(node.id.rawValue): \(replica.role) term \(replica.term.rawValue) leader \(replica.leader.rawValue)"
                + " last \(replica.lastIndex.rawValue) commit \(replica.commit.rawValue)"
                + " applied \(core.store.appliedIndex.rawValue) voters \(replica.configuration.voters.map(\.rawValue))"
                + " learners \(replica.configuration.learners.map(\.rawValue))"
        }.joined(separator: "\n")
    }

    // MARK: Clients

    @discardableResult
    func put(_ node: Node, _ key: Bytes = "k", _ value: Bytes = "v") -> UInt64 {
        nextID += 1
        let payload = Operation.put(PutOperation(key: key, value: value)).payload(id: nextID)
        node.driver?.propose(Proposal(id: nextID, payload: payload))
        return nextID
    }

    @discardableResult
    func propose(_ node: Node, _ operation: Operation) -> UInt64 {
        nextID += 1
        node.driver?.propose(Proposal(id: nextID, payload: operation.payload(id: nextID)))
        return nextID
    }

    func change(_ node: Node, _ change: MemberTable.Change) -> UInt64 {
        nextID += 1
        node.driver?.change(id: nextID, change)
        return nextID
    }

    /// The outcome of a request at a member, once it is applied there.
    func outcome(_ id: UInt64, at node: Node) -> ApplyOutcome? {
        node.applied.first { $0.result.requestID == id }?.result.outcome
    }

    func read(_ node: Node) -> UInt64 {
        nextID += 1
        node.driver?.read(context: nextID)
        return nextID
    }

    // MARK: The network

    private func take(from node: Node) throws -> Bool {
        guard let driver = node.driver else { return false }
        let output = driver.takeOutput()
        node.applied += output.applied
        node.readable += output.readable
        node.refused += output.refused
        node.dropped += output.dropped
        node.logReads += output.logReads
        for entry in output.applied.map(\.entry) {
            let index = entry.index.rawValue
            if let known = history[index], tamper == nil {
                try demand(known.term == entry.term && known.payload == entry.payload, "entry \(index) differs")
            }
            history[index] = (entry.term, entry.payload)
        }
        for message in output.messages { network.append((node.id, message.to, MessageCodec.encode(message))) }
        return !output.messages.isEmpty
    }

    private func deliver() throws {
        var batch = network
        network = []
        if isNetworkBad {
            batch.shuffle(using: &random)
            let doubled = batch.filter { _ in random.chance(oneIn: 20) }
            let lost = batch.indices.filter { _ in random.chance(oneIn: 20) }
            for position in lost.reversed() {
                let message = try batch[position].bytes.withUnsafeBytes { try MessageCodec.decode($0) }
                // Every snapshot message is answered, whatever the network does.
                if message.type != .snapshot { batch.remove(at: position) }
            }
            network += doubled
        }
        for (from, to, bytes) in batch {
            var message = try bytes.withUnsafeBytes { try MessageCodec.decode($0) }
            tamper?(&message, &random)
            let isLost = cutLinks.contains([from, to])
            if message.type == .snapshot {
                try stream(message, isLost: isLost)
                continue
            }
            let node = nodes.first { $0.id == to }
            if isLost || node?.driver == nil {
                nodes.first { $0.id == from }?.driver?.deliver(.unreachable(to))
                continue
            }
            node?.driver?.deliver(message)
        }
    }

    // MARK: Snapshots

    private func stream(_ message: Message, isLost: Bool) throws {
        guard let sender = nodes.first(where: { $0.id == message.from }), let core = sender.core else { return }
        var succeeded = false
        if !isLost, let receiver = nodes.first(where: { $0.id == message.to }), receiver.driver != nil {
            receiver.driver?.deliver(message)
            try receiver.driver?.drain()
            succeeded = try install(from: core, at: receiver, offered: message)
        }
        sender.driver?.deliver(.snapshotSent(to: message.to, succeeded: succeeded))
    }

    private func install(from sender: ServerCore, at node: Node, offered: Message) throws -> Bool {
        let writer = try SnapshotWriter(
            reader: try sender.store.makeImageReader(), clusterID: sender.identity.clusterID,
            memberID: sender.identity.memberID)
        let header = writer.header
        try demand(header.appliedIndex >= offered.snapshot!.index, "an image older than its message")
        guard let core = node.core else { return false }
        let verdict = SnapshotInstall.judge(
            clusterID: header.clusterID, index: header.appliedIndex, ownClusterID: core.identity.clusterID,
            applied: core.store.appliedIndex)
        guard verdict == .install else { return verdict == .notNews }
        let incoming = MemoryBackend()
        let restore = try SnapshotRestore(into: incoming)
        while let chunk = try writer.nextChunk() { try chunk.withUnsafeBytes { try restore.append($0) } }
        _ = try restore.finish { SnapshotInstall.mark(&$0, index: header.appliedIndex) }
        node.incoming = incoming
        _ = try take(from: node)
        crash(node, losesPower: installCrash != .none)
        let crash = installCrash
        installCrash = .none
        if crash != .beforeRename {
            node.backend.close()
            node.backend = incoming
        }
        if crash == .none {
            try open(node)
            node.installs += 1
            try demand(node.core!.store.appliedIndex == header.appliedIndex, "another image than was sent")
        }
        return crash == .none
    }

    // MARK: Checks

    private func check(_ node: Node) throws {
        guard let core = node.core, tamper == nil else { return }
        let index = core.store.appliedIndex.rawValue
        if let known = hashes[index] {
            try demand(known == core.store.stateHash, "member \(node.id.rawValue): the state at entry \(index)")
        }
        hashes[index] = core.store.stateHash
        let published = core.stateMachine.published.withLock { $0 }
        let table = MemberTable(members: published.members, removed: published.removed)
        let configuration = core.replica.configuration
        try demand(
            configuration.voters == table.voters && configuration.learners == table.learners
                && !configuration.isJoint, "member \(node.id.rawValue): \(configuration) but \(table)")
        core.lessor.checkInvariants()
    }
}
