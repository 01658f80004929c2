import Primitives
import RaftCore

/// A command that the script language does not have, or has in another form.
struct ScriptError: Error, CustomStringConvertible {
    var description: String
}

/// Runs the commands of one script; `Data/scripts/README.md` describes them.
struct Script {
    private typealias Arguments = [(name: String, value: String)]

    private var cluster: ScriptCluster?
    let name: String

    init(name: String) { self.name = name }

    /// Runs the commands of one case and gives what they tell. All invariants are checked after each command.
    mutating func run(_ item: DataCase) throws -> String {
        var output = ""
        let lines = [item.text[...]] + item.input.split(separator: "\n")
        for (offset, line) in lines.enumerated() {
            do {
                output += try run(line, label: "\(name) line \(item.line + offset)")
            } catch let error as ScriptError {
                throw ScriptError(description: "\(name) line \(item.line + offset): \(error)")
            }
        }
        return output
    }

    private mutating func run(_ line: Substring, label: String) throws -> String {
        let (command, arguments) = DataFile.parse(line)
        if command == "cluster" {
            cluster = try Script.makeCluster(arguments)
            return ""
        }
        guard let cluster else { throw ScriptError(description: "the first command is not `cluster`") }
        cluster.label = label
        cluster.showsMessages = ["deliver", "lose"].contains(command)
        let isKnown =
            try Script.runMember(cluster, command, arguments) || Script.runNetwork(cluster, command, arguments)
            || Script.show(cluster, command)
        if !isKnown { throw ScriptError(description: "no command `\(command)`") }
        cluster.checkAll()
        defer { cluster.trace = "" }
        return cluster.trace
    }

    // MARK: Arguments

    private static func number(_ text: String) throws -> UInt64 {
        guard let number = UInt64(text) else { throw ScriptError(description: "`\(text)` is no number") }
        return number
    }

    private static func node(_ cluster: ScriptCluster, _ arguments: Arguments, _ position: Int = 0) throws -> TestNode {
        let id = try member(arguments, position)
        guard let node = cluster.nodes.first(where: { $0.id == id }) else {
            throw ScriptError(description: "no member \(id.rawValue)")
        }
        return node
    }

    private static func member(_ arguments: Arguments, _ position: Int) throws -> MemberID {
        guard position < arguments.count else { throw ScriptError(description: "a member is missing") }
        return MemberID(try number(arguments[position].name))
    }

    /// The number that an option or a bare word at `position` gives.
    private static func count(_ arguments: Arguments, _ position: Int, default other: Int) throws -> Int {
        position < arguments.count ? Int(try number(arguments[position].name)) : other
    }

    private static func makeCluster(_ arguments: Arguments) throws -> ScriptCluster {
        let voters = try count(arguments, 0, default: 0)
        var options = RaftConfiguration(id: MemberID(1))
        var learners = 0
        var spares = 0
        for (name, value) in arguments.dropFirst() {
            switch name {
            case "learners": learners = Int(try number(value))
            case "spares": spares = Int(try number(value))
            case "pre-vote": options.preVote = value != "no"
            case "check-quorum": options.checkQuorum = value != "no"
            case "election-ticks": options.electionTicks = Int(try number(value))
            case "heartbeat-ticks": options.heartbeatTicks = Int(try number(value))
            case "message-bytes": options.messageBytesMax = Int(try number(value))
            case "inflight-messages": options.inflightMessagesMax = Int(try number(value))
            case "inflight-bytes": options.inflightBytesMax = Int(try number(value))
            case "uncommitted-bytes": options.uncommittedBytesMax = Int(try number(value))
            case "pending-reads": options.pendingReadsMax = Int(try number(value))
            default: throw ScriptError(description: "no option `\(name)`")
            }
        }
        guard voters > 0 else { throw ScriptError(description: "a cluster has voters") }
        return ScriptCluster(voters: voters, learners: learners, spares: spares, options: options)
    }

    // MARK: Members

    private static func runMember(
        _ cluster: ScriptCluster, _ command: String, _ arguments: Arguments
    ) throws -> Bool {
        if try runDisk(cluster, command, arguments) || ask(cluster, command, arguments) { return true }
        switch command {
        case "tick":
            let times = try count(arguments, 1, default: 1)
            let nodes = arguments.first?.name == "all" ? cluster.nodes : [try node(cluster, arguments)]
            for _ in 0..<times { for node in nodes where node.isUp { cluster.act(node) { $0.raft.tick() } } }
        case "timeout": cluster.tickUntilCampaign(try node(cluster, arguments))
        case "campaign": cluster.act(try node(cluster, arguments)) { $0.raft.campaign() }
        case "forget": cluster.act(try node(cluster, arguments)) { $0.raft.forgetLeader() }
        case "abdicate": cluster.act(try node(cluster, arguments)) { $0.raft.abdicate() }
        case "gone":
            let gone = try member(arguments, 1)
            cluster.act(try node(cluster, arguments)) { $0.raft.leaderIsGone(gone) }
        case "unreachable":
            let lost = try member(arguments, 1)
            cluster.act(try node(cluster, arguments)) { $0.raft.reportUnreachable(lost) }
        case "transfer":
            let target = try member(arguments, 1)
            cluster.act(try node(cluster, arguments)) { $0.raft.transferLeadership(to: target) }
        case "crash":
            let survivors = arguments.first { $0.name == "survivors" }?.value ?? "0"
            cluster.crash(try node(cluster, arguments), survivors: Int(try number(survivors)))
        case "restart": cluster.restart(try node(cluster, arguments))
        case "member":
            let terms = try (arguments.first { $0.name == "log" }?.value ?? "").split(separator: ",")
                .map { try number(String($0)) }
            let term = try number(arguments.first { $0.name == "term" }?.value ?? "0")
            cluster.prepare(try node(cluster, arguments), terms: terms, term: term)
        default: return false
        }
        return true
    }

    /// Disk, state machine, and what the core may forget.
    private static func runDisk(_ cluster: ScriptCluster, _ command: String, _ arguments: Arguments) throws -> Bool {
        let kinds = ["slow", "fast", "persist", "hold", "release", "apply", "compact", "evict", "busy", "free"]
        guard kinds.contains(command) else { return false }
        let node = try Script.node(cluster, arguments)
        let count = try Script.count(arguments, 1, default: Int.max)
        switch command {
        case "slow", "fast": cluster.setDisk(node, slow: command == "slow")
        case "hold", "release": cluster.setApplier(node, held: command == "hold")
        case "persist": cluster.act(node) { cluster.finishWrites($0, min(count, $0.writing.count)) }
        case "apply": cluster.act(node) { cluster.apply($0, min(count, $0.applying.count)) }
        case "busy", "free":
            node.disk.isBusy = command == "busy"
            if command == "free" { cluster.act(node) { $0.raft.retryReplication() } }
        default:
            let index = LogIndex(UInt64(min(count, Int(node.raft.applied.rawValue))))
            node.persist()
            if command == "evict" {
                node.raft.evict(through: index)
            } else if node.raft.compactLog(through: index) {
                node.disk.compact(through: index)
            }
        }
        return true
    }

    /// What clients ask.
    private static func ask(_ cluster: ScriptCluster, _ command: String, _ arguments: Arguments) throws -> Bool {
        guard ["propose", "change", "read"].contains(command) else { return false }
        let node = try Script.node(cluster, arguments)
        guard node.isUp else { throw ScriptError(description: "member \(node.id.rawValue) is down") }
        var answer = ""
        switch command {
        case "propose":
            let payloads = try arguments.dropFirst().map { word in
                if word.name != "bytes" { return Bytes(utf8: word.name) }
                return Bytes([UInt8](repeating: 120, count: Int(try number(word.value))))
            }
            do throws(ProposalError) {
                answer = describe(try node.raft.propose(payloads))
            } catch {
                answer = "refused: \(Describe.refusal(error))"
            }
        case "change":
            let change = try makeChange(arguments.dropFirst())
            do throws(ProposalError) {
                let outcome = try node.raft.proposeConfigurationChange(
                    change, kind: .configurationChangeV2, payload: ChangeCodec.encode(change))
                answer = describe(outcome)
            } catch {
                answer = "refused: \(Describe.refusal(error))"
            }
        default:
            let context = UInt64(try count(arguments, 1, default: 0))
            do throws(ReadIndexError) { try node.raft.readIndex(context: context) } catch {
                answer = "refused: \(error)"
            }
        }
        if !answer.isEmpty { cluster.trace += answer + "\n" }
        cluster.work(node)
        return true
    }

    private static func describe(_ outcome: ProposalOutcome) -> String {
        switch outcome {
        case .appended(let first, let term): "appended \(Describe.entry(EntryID(term: term, index: first)))"
        case .forwarded(let leader): "forwarded to \(leader.rawValue)"
        }
    }

    private static func makeChange(_ arguments: ArraySlice<(name: String, value: String)>) throws -> ConfigurationChange
    {
        let steps: [String: ConfigurationChange.Step] = [
            "voter": .addVoter, "learner": .addLearner, "remove": .removeMember, "update": .updateMember,
        ]
        var change = ConfigurationChange([])
        for (name, value) in arguments {
            if let step = steps[name] {
                change.changes.append(.init(step, MemberID(try number(value))))
            } else if name == "joint" {
                change.transition = value == "explicit" ? .jointExplicit : .jointImplicit
            } else if name != "leave" {
                throw ScriptError(description: "no change `\(name)`")
            }
        }
        return change
    }

    // MARK: The network, and what there is to see

    private static func runNetwork(
        _ cluster: ScriptCluster, _ command: String, _ arguments: Arguments
    ) throws -> Bool {
        switch command {
        case "deliver" where arguments.isEmpty, "settle": cluster.deliverAll()
        case "deliver": cluster.deliver(where: try matcher(arguments))
        case "lose": cluster.lose(where: try matcher(arguments))
        case "delay": cluster.delay(try count(arguments, 0, default: 1))
        case "double": cluster.double(where: try matcher(arguments))
        case "drop": cluster.cuts.append(try matcher(arguments))
        case "partition":
            let groups = try arguments.map { try $0.name.split(separator: ",").map { try number(String($0)) } }
            cluster.cuts = [
                { message in
                    !groups.contains {
                        $0.contains(message.from.rawValue) && $0.contains(message.to.rawValue)
                    }
                }
            ]
        case "heal": cluster.cuts = []
        case "run":
            let times = try count(arguments, 0, default: 1)
            for _ in 0..<times {
                for node in cluster.nodes where node.isUp { cluster.act(node) { $0.raft.tick() } }
                cluster.deliverAll()
            }
        default: return false
        }
        return true
    }

    /// Which messages are meant: of any of the types named, on any of the links named; of all types or links when
    /// none is named. A link is `1->2`, `1->*`, `*->2`, or `3` for all that concerns 3.
    private static func matcher(_ arguments: Arguments) throws -> (Message) -> Bool {
        var types: [MessageType] = []
        var links: [(from: UInt64?, to: UInt64?)] = []
        for (word, _) in arguments {
            if let type = MessageType.allCases.first(where: { "\($0)" == word }) {
                types.append(type)
            } else if let middle = word.firstRange(of: "->") {
                let ends = [word[..<middle.lowerBound], word[middle.upperBound...]]
                let ids = try ends.map { end -> UInt64? in
                    if end == "*" { return nil }
                    return try number(String(end))
                }
                links.append((ids[0], ids[1]))
            } else {
                let id = try number(word)
                links += [(id, nil), (nil, id)]
            }
        }
        return { message in
            (types.isEmpty || types.contains(message.type))
                && (links.isEmpty
                    || links.contains { link in
                        (link.from ?? message.from.rawValue) == message.from.rawValue
                            && (link.to ?? message.to.rawValue) == message.to.rawValue
                    })
        }
    }

    private static func show(_ cluster: ScriptCluster, _ command: String) throws -> Bool {
        let up = cluster.nodes.filter(\.isUp)
        switch command {
        case "status": for node in cluster.nodes { cluster.trace += Describe.status(node) }
        case "logs": for node in up { cluster.trace += Describe.log(node) }
        case "states": for node in up { cluster.trace += Describe.state(node) }
        case "members":
            for node in up {
                let members = Describe.configuration(node.raft.configurationState)
                cluster.trace += "\(node.id.rawValue): \(members)\n"
            }
        case "network": for envelope in cluster.network { cluster.trace += Describe.message(envelope.message) + "\n" }
        default: return false
        }
        return true
    }
}
