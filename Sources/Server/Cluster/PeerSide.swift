import IOInterfaces
import Logging
import MVCC
import Membership
import NIOCore
import Peers
import Primitives
import RaftCore
import Replica
import ServerCore
import Snapshots
import StateMachine
import Synchronization
import Transport
import TransportSecurity
import Wire

/// What the network between members asks of this one. Methods run where `PeerDelegate` says.
final class PeerSide: PeerDelegate {
    private let context: ServerContext
    private let founders: [Membership.Member]
    private let consistency: ConsistencyCheck
    /// Any loop, for what is to be told later.
    private let timers: any EventLoop
    /// The loop on which requests that others forward are answered; none before clients are served.
    private let loop = Mutex<NIOLoopBound<LoopState>?>(nil)
    /// A snapshot waits to be installed by the restart that it caused: another one would be written over it, and what this
    /// life of the member has to say is out of date.
    private let hasSnapshot = Atomic<Bool>(false)

    /// Makes the network, which does not listen yet, and hands it to the context.
    ///
    /// - Parameter founders: whom a member that joins knows, until it has its snapshot.
    /// - Throws: `StartError`.
    init(
        context: ServerContext, founders: [Membership.Member], tls: PeerTLS?, group: any EventLoopGroup, seed: UInt64
    ) throws(StartError) {
        self.context = context
        self.founders = founders
        timers = group.next()
        consistency = ConsistencyCheck(context: context)
        do {
            let configuration = context.configuration
            let network = try PeerNetwork(
                configuration: PeerConfiguration(
                    clusterID: context.identity.clusterID, memberID: context.identity.memberID,
                    listenURLs: try configuration.listenPeerURLs.map { try PeerURL($0.text) }, tls: tls, seed: seed,
                    encode: { MessageCodec.encode($0) }, decode: { try MessageCodec.decode($0) }),
                group: group, delegate: self, logger: context.logger)
            if context.stateMachine.published.withLock({ $0.members.isEmpty }) {
                network.setMembers(founders.map { ($0.id, $0.peerURLs) })
            }
            context.adopt(peers: network)
        } catch { throw StartError("\(error)") }
    }

    /// TLS between members as the flags want it; nil without.
    ///
    /// - Throws: `StartError`.
    static func security(_ configuration: ServerConfiguration) throws(StartError) -> PeerTLS? {
        let flags = configuration.peerTLS
        var tls: PeerTLS
        do {
            if flags.certificateFile.isEmpty, flags.isAutomatic {
                tls = try .automatic(
                    dataDirectory: configuration.effectiveDataDirectory,
                    listenURLs: configuration.listenPeerURLs.map { try PeerURL($0.text) },
                    validityYears: configuration.selfSignedValidityYears)
            } else {
                tls = PeerTLS()
                tls.certificateFile = flags.certificateFile.nonEmpty
                tls.keyFile = flags.keyFile.nonEmpty
            }
        } catch { throw StartError("\(error)") }
        // An https peer can be dialled without a certificate of one's own, if it asks for none.
        tls.clientCertificateFile = flags.clientCertificateFile.nonEmpty
        tls.clientKeyFile = flags.clientKeyFile.nonEmpty
        tls.trustedCAFile = flags.trustedCAFile.nonEmpty
        tls.requiresClientCertificate = flags.clientCertificateAuth
        tls.allowedCommonNames = flags.allowedCommonNames
        tls.allowedHostnames = flags.allowedHostnames
        tls.revocationListFile = flags.revocationListFile.nonEmpty
        tls.skipsClientSANVerification = flags.skipsClientSANVerification
        tls.cipherSuites = configuration.cipherSuites
        tls.minimumVersion = TLSVersion(rawValue: configuration.tlsMinimumVersion) ?? .tls12
        tls.maximumVersion = TLSVersion(rawValue: configuration.tlsMaximumVersion)
        return tls
    }

    /// Listens to peers.
    ///
    /// - Throws: `StartError`.
    func start() async throws(StartError) -> [SocketAddress] {
        do throws(PeerError) { return try await context.peers?.start() ?? [] } catch { throw StartError("\(error)") }
    }

    /// Names the loop that answers what others forward; once, when clients are served.
    func adopt(loop state: NIOLoopBound<LoopState>) { loop.withLock { $0 = state } }

    // MARK: Messages

    func received(_ messages: [Message], from member: MemberID) {
        // This life of the member is over: what it answered would send the leader back to where the log ends now, and
        // make it offer the whole store once more. The next life answers.
        guard !hasSnapshot.load(ordering: .acquiring) else { return }
        for message in messages {
            // Nobody speaks for another; only a wish for leadership bears the name of the member that is to lead.
            guard message.from == member || message.type == .transferLeader else { continue }
            // What a full inbox does not take is lost, as on the wire.
            context.replicaInbox.push(.message(message))
        }
    }

    func unreachable(_ member: MemberID) { context.replicaInbox.push(.unreachable(member)) }

    func disconnected(_ member: MemberID) { context.replicaInbox.push(.disconnected(member)) }

    func snapshotSent(to member: MemberID, succeeded: Bool) {
        guard !succeeded else { return context.tellReplica(.snapshotSent(to: member, succeeded: true)) }
        // The next offer may cost a whole store again: one in an election timeout is enough.
        timers.scheduleTask(in: .milliseconds(Int64(context.configuration.electionMilliseconds))) { [self] in
            context.tellReplica(.snapshotSent(to: member, succeeded: false))
        }
    }

    // MARK: Membership

    func wasRemoved() { context.endLife(.removed) }

    func isRemoved(_ member: MemberID) -> Bool {
        context.stateMachine.published.withLock { $0.removed.contains(member) }
    }

    func membersBytes() -> Bytes {
        let members = context.stateMachine.published.withLock { $0.members }
        return MemberList.encode(members.isEmpty ? founders : members)
    }

    // MARK: Snapshots

    func openSnapshot(for request: Message) throws -> OutgoingSnapshot {
        let source = try ImageSnapshotSource(
            reader: try context.backend.makeReader(), clusterID: context.identity.clusterID,
            memberID: context.identity.memberID)
        var message = request
        message.snapshot?.index = source.header.appliedIndex
        message.snapshot?.term = source.header.appliedTerm
        return OutgoingSnapshot(message: message, source: source)
    }

    func needsSnapshot(_ message: Message, from member: MemberID) -> Bool {
        // With the one that it restarts with, this member will answer for itself.
        if hasSnapshot.load(ordering: .acquiring) { return false }
        let applied = LogIndex(context.appliedIndex.load(ordering: .relaxed))
        guard let index = message.snapshot?.index, index <= applied else { return true }
        // The answer to it tells the leader where this member's log is equal to its own.
        context.replicaInbox.push(.message(message))
        return false
    }

    func beginSnapshot(_ message: Message, from member: MemberID) throws -> any SnapshotSink {
        guard let index = message.snapshot?.index else { throw SnapshotRefusal.notNews }
        return try ReceivedImage(index: index, context: context) { [self] in
            hasSnapshot.store(true, ordering: .releasing)
            context.endLife(.snapshotReceived(index: index))
        }
    }

    // MARK: Probes

    func probeBytes(for member: MemberID) -> Bytes { consistency.ownMarks() }

    func probed(by member: MemberID, bytes: Bytes) { consistency.compare(with: member, bytes) }

    // MARK: Forwarded requests

    func answer(
        method: UInt32, body: Bytes, from member: MemberID,
        reply: @escaping @Sendable (Result<Bytes, RPCStatus>) -> Void
    ) {
        guard let request = LeaderRequest(rawValue: method) else {
            return reply(.failure(RPCStatus(.unimplemented, "peer call \(method) is not known")))
        }
        guard let state = loop.withLock({ $0 }) else { return reply(.failure(RPCStatus(.notLeader))) }
        state.eventLoop.execute { LeaderCalls(state: state.value).run(request, body) { reply($0) } }
    }
}

extension String {
    fileprivate var nonEmpty: String? { isEmpty ? nil : self }
}

/// Why an offered snapshot is not taken.
enum SnapshotRefusal: Error, CustomStringConvertible {
    case notNews
    case otherCluster

    var description: String {
        switch self {
        case .notNews: "this member has applied as much"
        case .otherCluster: "the snapshot is of another cluster"
        }
    }
}

/// Another member's image on its way into a file beside the store. Used by the thread that receives snapshots.
private final class ReceivedImage: SnapshotSink {
    private let context: ServerContext
    private let incoming: IncomingSnapshot
    private let index: LogIndex
    private let onReceived: () -> Void
    private var isJudged = false

    /// - Parameter onReceived: called when the image is complete and durable.
    init(index: LogIndex, context: ServerContext, onReceived: @escaping () -> Void) throws {
        self.context = context
        self.index = index
        self.onReceived = onReceived
        try Self.judge(clusterID: context.identity.clusterID, index, context)
        incoming = try IncomingSnapshot(
            path: StoreDirectory.storePath(context.configuration) + "/" + SnapshotInstall.incomingFileName)
    }

    private static func judge(clusterID: UInt64, _ index: LogIndex, _ context: ServerContext) throws(SnapshotRefusal) {
        switch SnapshotInstall.judge(
            clusterID: clusterID, index: index, ownClusterID: context.identity.clusterID,
            applied: LogIndex(context.appliedIndex.load(ordering: .relaxed)))
        {
        case .install: break
        case .notNews: throw .notNews
        case .otherCluster: throw .otherCluster
        }
    }

    func append(_ bytes: Bytes) throws {
        try incoming.append(bytes)
        if !isJudged, let header = incoming.header {
            isJudged = true
            try Self.judge(clusterID: header.clusterID, header.appliedIndex, context)
        }
    }

    func finish() throws {
        let index = index
        let status = try incoming.finish { SnapshotInstall.mark(&$0, index: index) }
        guard status.header.appliedIndex == index else { throw SnapshotRefusal.notNews }
        context.logger.info(
            "received a snapshot",
            metadata: [
                "index": "\(index.rawValue)", "bytes": "\(status.streamBytes)", "revision": "\(status.revision)",
            ])
        onReceived()
    }

    func abort() { incoming.abort() }
}
