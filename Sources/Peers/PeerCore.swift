import Logging
import NIOConcurrencyHelpers
import NIOCore
import NIOPosix
import Primitives
import Transport

/// What links, incoming streams and snapshots of one network share. Any thread; `state` has a lock, which is never held
/// while others' code is called.
final class PeerCore: Sendable {
    private struct State {
        var delegate: (any PeerDelegate)?
        var links: [MemberID: PeerLink] = [:]
        /// Links to former members that have not stopped yet.
        var retired: [PeerLink] = []
        /// The stream of messages that each member has open to us.
        var streams: [MemberID: MessageStream] = [:]
        var hasSaidRemoved = false
        var isStopping = false
    }

    let configuration: PeerConfiguration
    let logger: Logger
    let dialer: PeerDialer
    /// Of peers by identity, and of strangers by address.
    let reasons = ReasonLog()
    /// Makes the chunks of snapshots to be sent.
    let chunkThread = NIOThreadPool(numberOfThreads: 1)
    private let state: NIOLockedValueBox<State>

    init(configuration: PeerConfiguration, security: PeerSecurity, delegate: any PeerDelegate, logger: Logger) {
        self.configuration = configuration
        self.logger = logger
        dialer = PeerDialer(security: security, limits: configuration.limits)
        state = NIOLockedValueBox(State(delegate: delegate))
    }

    var limits: PeerLimits { configuration.limits }

    /// Nil once the network has stopped.
    var delegate: (any PeerDelegate)? { state.withLockedValue { $0.delegate } }

    var isStopping: Bool { state.withLockedValue { $0.isStopping } }

    // MARK: Links

    var links: [MemberID: PeerLink] { state.withLockedValue { $0.links } }

    func link(_ member: MemberID) -> PeerLink? { state.withLockedValue { $0.links[member] } }

    /// Replaces the table of links by what `change` makes of it, unless the network is stopping; it returns the links
    /// it takes out.
    func changeLinks(_ change: (inout [MemberID: PeerLink]) -> [PeerLink]) {
        state.withLockedValue { state in
            if !state.isStopping { state.retired += change(&state.links) }
        }
    }

    /// A link that was taken out has stopped.
    func forget(_ link: PeerLink) { state.withLockedValue { $0.retired.removeAll { $0 === link } } }

    // MARK: Streams of messages to us

    /// Makes `stream` the one of its member, and returns the one it replaces. False: the network is stopping.
    func adopt(_ stream: MessageStream) -> (accepted: Bool, replaced: MessageStream?) {
        state.withLockedValue { state in
            if state.isStopping { return (false, nil) }
            return (true, state.streams.updateValue(stream, forKey: stream.member))
        }
    }

    /// True when `stream` was still the one of its member.
    @discardableResult
    func forget(_ stream: MessageStream) -> Bool {
        state.withLockedValue { state in
            guard state.streams[stream.member] === stream else { return false }
            state.streams[stream.member] = nil
            return true
        }
    }

    var streams: [MessageStream] { state.withLockedValue { Array($0.streams.values) } }

    func isHeard(_ member: MemberID) -> Bool { state.withLockedValue { $0.streams[member] != nil } }

    // MARK: Telling

    /// Another member says that we were removed: the delegate is told once.
    func wasRemoved(saidBy member: MemberID) {
        let delegate = state.withLockedValue { state -> (any PeerDelegate)? in
            if state.hasSaidRemoved { return nil }
            state.hasSaidRemoved = true
            return state.delegate
        }
        guard let delegate else { return }
        logger.error(
            "this member was removed from the cluster", metadata: ["said-by": "\(PeerProtocol.hex(member))"])
        delegate.wasRemoved()
    }

    /// One line for a stranger or member that was refused, unless it is the same as before.
    func logRefusal(_ who: String, address: SocketAddress?, _ reason: String) {
        let address = address.map { "\($0.ipAddress ?? "")" } ?? "unknown"
        guard reasons.shouldLog("from \(who) \(address)", reason) else { return }
        logger.warning(
            "refused a peer", metadata: ["peer": "\(who)", "address": "\(address)", "reason": "\(reason)"])
    }

    func noteAccepted(_ who: String, address: SocketAddress?) {
        reasons.recovered("from \(who) \(address?.ipAddress ?? "")")
    }

    // MARK: Stopping

    /// Takes no more links or streams from now on; returns those there are.
    func beginStopping() -> (links: [PeerLink], streams: [MessageStream]) {
        dialer.stop()
        return state.withLockedValue { state in
            state.isStopping = true
            defer {
                state.links = [:]
                state.retired = []
                state.streams = [:]
            }
            return (Array(state.links.values) + state.retired, Array(state.streams.values))
        }
    }

    /// From here on nobody is told anything.
    func endStopping() { state.withLockedValue { $0.delegate = nil } }
}
