import Logging
import NIOConcurrencyHelpers
import NIOCore
import NIOPosix
import Primitives
import RaftCore
import Testing
import Transport
import Wire

@testable import Peers

let group = MultiThreadedEventLoopGroup.singleton

/// Waits until `condition` holds; false after a minute.
func eventually(_ condition: () -> Bool) async throws -> Bool {
    let end = NIODeadline.now() + .seconds(60)
    while NIODeadline.now() < end {
        if condition() { return true }
        try await Task.sleep(nanoseconds: 5_000_000)
    }
    return condition()
}

/// Returns when every event loop has finished what it was at, or had been given, when this was called.
func eventLoopsCameRound() async throws {
    for eventLoop in group.makeIterator() { try await eventLoop.submit {}.get() }
}

/// The server's codec is given to the network from outside; this is the tests' own.
enum TestCodec {
    static let encode: @Sendable (Message) -> Bytes = { message in
        var fields = RaftMessageFields(
            type: Int32(message.type.rawValue), to: message.to.rawValue, from: message.from.rawValue,
            term: message.term.rawValue)
        fields.logTerm = message.logTerm.rawValue
        fields.index = message.index.rawValue
        fields.commit = message.commit.rawValue
        fields.reject = message.reject
        fields.rejectHint = message.rejectHint.rawValue
        var record = RaftMessageRecord(
            fields: fields,
            entries: message.entries.map {
                RaftEntryRecord(
                    type: Int32($0.kind.rawValue), term: $0.term.rawValue, index: $0.index.rawValue, data: $0.payload)
            }, context: message.context)
        if let snapshot = message.snapshot {
            // The index and term will do for these tests.
            record.context = Bytes(utf8: "\(snapshot.index.rawValue) \(snapshot.term.rawValue)")
        }
        return record.encoded()
    }

    static let decode: @Sendable (UnsafeRawBufferPointer) throws -> Message = { bytes in
        let view = try RaftMessageView(decoding: bytes)
        guard let type = MessageType(rawValue: UInt8(truncatingIfNeeded: view.fields.type)) else { throw Unknown() }
        var message = Message(
            type: type, to: MemberID(view.fields.to), from: MemberID(view.fields.from), term: Term(view.fields.term),
            logTerm: Term(view.fields.logTerm), index: LogIndex(view.fields.index),
            commit: LogIndex(view.fields.commit), reject: view.fields.reject,
            rejectHint: LogIndex(view.fields.rejectHint), context: Bytes(copying: view.context))
        message.entries = try view.entries.map { entry in
            guard let kind = EntryKind(rawValue: UInt8(truncatingIfNeeded: entry.type)) else { throw Unknown() }
            return Entry(
                term: Term(entry.term), index: LogIndex(entry.index), kind: kind, payload: Bytes(copying: entry.data))
        }
        if type == .snapshot {
            let numbers = String(decoding: view.context, as: UTF8.self).split(separator: " ").compactMap { UInt64($0) }
            guard numbers.count == 2 else { throw Unknown() }
            message.context = Bytes()
            message.snapshot = SnapshotMetadata(
                configurationState: ConfigurationState(), index: LogIndex(numbers[0]), term: Term(numbers[1]))
        }
        return message
    }

    struct Unknown: Error {}
}

/// Keeps the lines that a network logs.
struct LogLines: LogHandler, Sendable {
    let box = NIOLockedValueBox<[String]>([])
    var metadata: Logger.Metadata = [:]
    var logLevel = Logger.Level.info

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        let fields = (event.metadata ?? [:]).sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }
        box.withLockedValue { $0.append("\(event.level) \(event.message) \(fields.joined(separator: " "))") }
    }

    /// Lines that contain all of `parts`.
    func lines(_ parts: String...) -> [String] {
        box.withLockedValue { lines in lines.filter { line in parts.allSatisfy { line.contains($0) } } }
    }
}

/// A server that only notes what it is told.
final class Recorder: PeerDelegate {
    struct State {
        var received: [MemberID: [Message]] = [:]
        var unreachable: [MemberID: Int] = [:]
        var disconnected: [MemberID: Int] = [:]
        var snapshotResults: [Bool] = []
        var removals = 0
        var removed: Set<MemberID> = []
        var probes: [MemberID: [Bytes]] = [:]
        var openSnapshot: (@Sendable (Message) throws -> OutgoingSnapshot)?
        var beginSnapshot: (@Sendable (Message, MemberID) throws -> any SnapshotSink)?
        var needsSnapshots = true
        /// Offers that were not needed.
        var needless: [Message] = []
        /// Forwarded calls that were asked, by method.
        var asked: [UInt32: Int] = [:]
        var keepsMessages = true
        var receivedCount = 0
    }

    let state = NIOLockedValueBox(State())
    let name: String

    init(name: String) { self.name = name }

    subscript<T>(_ path: WritableKeyPath<State, T>) -> T {
        get { state.withLockedValue { $0[keyPath: path] } }
        set { state.withLockedValue { $0[keyPath: path] = newValue } }
    }

    func received(_ messages: [Message], from member: MemberID) {
        state.withLockedValue { state in
            state.receivedCount += messages.count
            if state.keepsMessages { state.received[member, default: []] += messages }
        }
    }

    func unreachable(_ member: MemberID) { state.withLockedValue { $0.unreachable[member, default: 0] += 1 } }
    func disconnected(_ member: MemberID) { state.withLockedValue { $0.disconnected[member, default: 0] += 1 } }

    func snapshotSent(to member: MemberID, succeeded: Bool) {
        state.withLockedValue { $0.snapshotResults.append(succeeded) }
    }

    func wasRemoved() { state.withLockedValue { $0.removals += 1 } }
    func isRemoved(_ member: MemberID) -> Bool { state.withLockedValue { $0.removed.contains(member) } }

    func openSnapshot(for request: Message) throws -> OutgoingSnapshot {
        guard let open = self[\.openSnapshot] else { throw RPCStatus(.internal, "no image") }
        return try open(request)
    }

    func needsSnapshot(_ message: Message, from member: MemberID) -> Bool {
        state.withLockedValue { state in
            if !state.needsSnapshots { state.needless.append(message) }
            return state.needsSnapshots
        }
    }

    func beginSnapshot(_ message: Message, from member: MemberID) throws -> any SnapshotSink {
        guard let begin = self[\.beginSnapshot] else { throw RPCStatus(.internal, "no room") }
        return try begin(message, member)
    }

    func probeBytes(for member: MemberID) -> Bytes { Bytes(utf8: "\(name) to \(member.rawValue)") }

    func probed(by member: MemberID, bytes: Bytes) {
        state.withLockedValue { $0.probes[member, default: []].append(bytes) }
    }

    func membersBytes() -> Bytes { Bytes(utf8: "members of \(name)") }

    func answer(
        method: UInt32, body: Bytes, from member: MemberID,
        reply: @escaping @Sendable (Result<Bytes, RPCStatus>) -> Void
    ) {
        state.withLockedValue { $0.asked[method, default: 0] += 1 }
        switch method {
        case 1: reply(.success(Bytes(body.array.reversed())))
        case 2: reply(.failure(RPCStatus(.notFound, "etcdserver: requested lease not found")))
        // Never answers.
        default: break
        }
    }
}

/// One member: a network and what it tells.
final class TestMember: Sendable {
    let id: MemberID
    let recorder: Recorder
    let network: PeerNetwork
    let log = LogLines()
    let port: Int

    /// Listens on 127.0.0.1, on `port` or a free one.
    init(
        _ id: UInt64, cluster: UInt64 = 0xc1, port: Int = 0, tls: PeerTLS? = nil,
        configure: (inout PeerConfiguration) -> Void = { _ in }
    ) async throws {
        self.id = MemberID(id)
        recorder = Recorder(name: "m\(id)")
        let scheme = tls?.certificateFile == nil ? "http" : "https"
        var configuration = PeerConfiguration(
            clusterID: cluster, memberID: MemberID(id), listenURLs: [try PeerURL("\(scheme)://127.0.0.1:\(port)")],
            tls: tls, seed: id, encode: TestCodec.encode, decode: TestCodec.decode)
        configuration.limits.probeInterval = .milliseconds(100)
        configuration.limits.backoffMin = .milliseconds(20)
        configuration.limits.backoffMax = .milliseconds(200)
        // A machine that stands still for a while breaks no connection.
        configuration.limits.probeTimeout = .seconds(60)
        configuration.limits.connectTimeout = .seconds(30)
        configure(&configuration)
        let log = log
        network = try PeerNetwork(
            configuration: configuration, group: group, delegate: recorder, logger: Logger(label: "test") { _ in log })
        self.port = try await network.start().first?.port ?? 0
    }

    var url: String { "\(network.configuration.listenURLs[0].isSecure ? "https" : "http")://127.0.0.1:\(port)" }

    func knows(_ others: (id: TestMember, url: String)...) {
        network.setMembers(others.map { ($0.id.id, [$0.url]) })
    }

    /// Makes each of `members` know all of them.
    static func introduce(_ members: TestMember...) {
        for member in members { member.network.setMembers(members.map { ($0.id, [$0.url]) }) }
    }

    func status(_ other: TestMember) -> PeerStatus? { network.statuses().first { $0.member == other.id } }
    func isConnected(to other: TestMember) -> Bool { status(other)?.isConnected == true }
    func received(from other: TestMember) -> [Message] {
        recorder.state.withLockedValue { $0.received[other.id] ?? [] }
    }

    /// An append with one entry of `index`.
    func append(to other: TestMember, _ index: Int, bytes: Int = 100) -> Message {
        Message(
            type: .append, to: other.id, from: id, term: Term(3), index: LogIndex(UInt64(index - 1)),
            entries: [
                Entry(
                    term: Term(3), index: LogIndex(UInt64(index)),
                    payload: Bytes([UInt8](repeating: UInt8(truncatingIfNeeded: index), count: bytes)))
            ])
    }

    func heartbeat(to other: TestMember, _ number: Int) -> Message {
        Message(type: .heartbeat, to: other.id, from: id, term: Term(3), commit: LogIndex(UInt64(number)))
    }
}
