import NIOCore
import Primitives
import RaftCore
import Transport

/// What other members call on one event loop. Owner: that loop.
final class PeerDispatcher: RPCDispatcher {
    private let core: PeerCore
    private let receiving: SnapshotReceiving
    private let methods: RPCMethodTable

    init(core: PeerCore, receiving: SnapshotReceiving, methods: RPCMethodTable) {
        self.core = core
        self.receiving = receiving
        self.methods = methods
    }

    var methodCount: Int { methods.count }
    func resolve(path: UnsafeRawBufferPointer) -> RPCMethod? { methods.find(path) }
    func hasService(_ service: String) -> Bool { methods.hasService(service) }

    func callStarted(_ call: RPCCall) -> (any RPCStreamHandler)? {
        guard let method = PeerProtocol.Method(rawValue: call.method.index) else { return nil }
        let member: MemberID
        do throws(RPCStatus) { member = try check(call) } catch {
            call.fail(error)
            return nil
        }
        switch method {
        case .messages: return MessageStream.begin(call, from: member, core: core)
        case .snapshot: return SnapshotStream(call: call, member: member, core: core, receiving: receiving)
        case .probe: return ProbeAnswer(call: call, member: member, core: core)
        case .call: return CallAnswer(call: call, member: member, core: core)
        case .members: return nil
        }
    }

    /// `Members` is the only method that asks nothing of its caller.
    func unary(_ call: RPCCall, message: UnsafeRawBufferPointer) {
        guard let delegate = core.delegate else { return call.fail(PeerProtocol.stopping) }
        let answer = FetchedMembers(
            clusterID: core.configuration.clusterID, memberID: core.configuration.memberID,
            members: delegate.membersBytes())
        call.reply(size: answer.encodedSize) { PeerProtocol.write(answer, to: $0) }
    }

    // MARK: Checks

    /// Who calls, if it is a member of our cluster that means us. Throws, and logs, why not.
    private func check(_ call: RPCCall) throws(RPCStatus) -> MemberID {
        let address = call.connection?.remoteAddress
        let from = PeerProtocol.number(call.metadata(PeerProtocol.Header.from))
        do throws(RPCStatus) {
            guard let delegate = core.delegate else { throw PeerProtocol.stopping }
            let member = try checkHeaders(call, from: from)
            if delegate.isRemoved(member) { throw RPCStatus(.failedPrecondition, PeerProtocol.removedText) }
            core.noteAccepted(PeerProtocol.hex(member), address: address)
            return member
        } catch {
            if error != PeerProtocol.stopping {
                core.logRefusal(from.map(PeerProtocol.hex) ?? "unknown", address: address, error.message)
            }
            throw error
        }
    }

    private func checkHeaders(_ call: RPCCall, from: UInt64?) throws(RPCStatus) -> MemberID {
        let ours = core.configuration
        let version = call.metadata(PeerProtocol.Header.version)
        guard let version, version.utf8.count <= 16 else {
            throw RPCStatus(.invalidArgument, "not a call of a member")
        }
        guard version == PeerProtocol.version else {
            throw RPCStatus(
                .failedPrecondition,
                "peer protocol version \(version) is not known; this member speaks \(PeerProtocol.version)")
        }
        guard let cluster = PeerProtocol.number(call.metadata(PeerProtocol.Header.cluster)), let from, from != 0,
            let to = PeerProtocol.number(call.metadata(PeerProtocol.Header.to))
        else { throw RPCStatus(.invalidArgument, "not a call of a member") }
        guard cluster == ours.clusterID else {
            throw RPCStatus(
                .failedPrecondition,
                "cluster ID mismatch: the caller's is \(PeerProtocol.hex(cluster)), "
                    + "this member's is \(PeerProtocol.hex(ours.clusterID))")
        }
        guard to == ours.memberID.rawValue else {
            throw RPCStatus(
                .failedPrecondition,
                "the call is for member \(PeerProtocol.hex(to)), but this is \(PeerProtocol.hex(ours.memberID))")
        }
        guard from != to else {
            throw RPCStatus(.failedPrecondition, "the caller says that it is this member, \(PeerProtocol.hex(to))")
        }
        return MemberID(from)
    }
}

/// The stream of messages that one member has open to us. Owner: the connection's loop.
final class MessageStream: RPCStreamHandler, @unchecked Sendable {
    // `@unchecked`: `member` does not change; everything else is used on the loop, to which `end` hops.

    let member: MemberID
    private let call: RPCCall
    private let core: PeerCore
    /// As long as it is in use, to spare a lookup for each batch.
    private let link: PeerLink?

    private init(call: RPCCall, member: MemberID, core: PeerCore) {
        self.call = call
        self.member = member
        self.core = core
        link = core.link(member)
    }

    /// Makes the stream its member's only one. Nil: the network is stopping.
    static func begin(_ call: RPCCall, from member: MemberID, core: PeerCore) -> MessageStream? {
        let stream = MessageStream(call: call, member: member, core: core)
        let (isAccepted, replaced) = core.adopt(stream)
        guard isAccepted else {
            call.fail(PeerProtocol.stopping)
            return nil
        }
        replaced?.end(PeerProtocol.replaced)
        stream.link?.kick()
        return stream
    }

    func received(message: UnsafeRawBufferPointer) {
        var messages: [Message] = []
        do {
            try PeerProtocol.forEachMessage(of: message) { bytes in
                var message = try core.configuration.decode(bytes)
                message.to = core.configuration.memberID
                // Its image comes with it, on a stream of its own; without one it would be a lie.
                if message.type == .snapshot { throw PeerProtocol.Malformed() }
                messages.append(message)
            }
        } catch {
            core.logRefusal(
                PeerProtocol.hex(member), address: call.connection?.remoteAddress, "malformed messages: \(error)")
            core.forget(self)
            return call.fail(RPCStatus(.invalidArgument, "malformed messages"))
        }
        (link ?? core.link(member))?.note { status in
            status.messagesReceived += UInt64(messages.count)
            status.bytesReceived += UInt64(message.count)
        }
        core.delegate?.received(messages, from: member)
    }

    func halfClosed() {
        core.forget(self)
        call.reply(size: 0) { _ in }
    }

    func cancelled() { core.forget(self) }

    func shuttingDown() {
        core.forget(self)
        call.fail(PeerProtocol.stopping)
    }

    /// Ends the stream if its member was removed in the meantime. Any thread.
    func checkRemoved() {
        call.eventLoop.execute {
            guard self.call.isLive, self.core.delegate?.isRemoved(self.member) == true else { return }
            self.core.forget(self)
            self.call.fail(RPCStatus(.failedPrecondition, PeerProtocol.removedText))
        }
    }

    /// Ends the stream. Any thread.
    func end(_ status: RPCStatus) {
        call.eventLoop.execute { self.call.fail(status) }
    }
}

/// Answers one probe. Owner: the connection's loop.
private final class ProbeAnswer: RPCStreamHandler {
    private let call: RPCCall
    private let member: MemberID
    private let core: PeerCore

    init(call: RPCCall, member: MemberID, core: PeerCore) {
        self.call = call
        self.member = member
        self.core = core
    }

    func received(message: UnsafeRawBufferPointer) {
        guard let delegate = core.delegate else { return call.fail(PeerProtocol.stopping) }
        let answer = delegate.probeBytes(for: member)
        call.reply(size: answer.count) { target in answer.withUnsafeBytes { target.copyMemory(from: $0) } }
        delegate.probed(by: member, bytes: Bytes(copying: message))
    }

    func halfClosed() { call.fail(RPCStatus(.invalidArgument, "a probe without a message")) }
    func cancelled() {}
}

/// Answers one forwarded call. Owner: the connection's loop.
private final class CallAnswer: RPCStreamHandler {
    private let call: RPCCall
    private let member: MemberID
    private let core: PeerCore
    private var isAsked = false

    init(call: RPCCall, member: MemberID, core: PeerCore) {
        self.call = call
        self.member = member
        self.core = core
    }

    func received(message: UnsafeRawBufferPointer) {
        guard let delegate = core.delegate else { return call.fail(PeerProtocol.stopping) }
        guard !isAsked, let request = try? PeerCall(decoding: message) else {
            return call.fail(RPCStatus(.invalidArgument, "a malformed call"))
        }
        isAsked = true
        let call = call
        delegate.answer(method: request.method, body: request.body, from: member) { result in
            call.eventLoop.execute {
                switch result {
                case .success(let body):
                    call.reply(size: body.count) { target in body.withUnsafeBytes { target.copyMemory(from: $0) } }
                case .failure(let status):
                    call.fail(status.isOK ? RPCStatus(.internal, "a call failed with OK") : status)
                }
            }
        }
    }

    func halfClosed() {
        if !isAsked { call.fail(RPCStatus(.invalidArgument, "a call without a message")) }
    }

    func cancelled() {}
}
