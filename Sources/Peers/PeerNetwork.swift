package import Logging
package import NIOCore
package import Primitives
package import RaftCore
package import Transport

/// One member's side of everything between members. See the top of `Peers.swift`.
package final class PeerNetwork: Sendable {
    package let configuration: PeerConfiguration

    /// `group` serves incoming connections and links; it must outlive `stop()`. The delegate is held until then.
    /// Throws `configuration` for bad TLS files or URLs.
    package init(
        configuration: PeerConfiguration, group: any EventLoopGroup, delegate: any PeerDelegate, logger: Logger
    ) throws(PeerError) {
        self.configuration = configuration
    }

    /// Listens on the peer URLs; returns the addresses bound, in the URLs' order. Throws `listen`.
    @discardableResult
    package func start() async throws(PeerError) -> [SocketAddress] { [] }

    /// Closes everything. Snapshots under way fail, and the delegate is told; it is not called after this returns.
    package func stop() async {}

    /// The other members and their peer URLs; this member may be among them and is left out. Opens, changes and closes
    /// links. Any thread.
    package func setMembers(_ members: [(id: MemberID, peerURLs: [String])]) {}

    /// Sends messages, each to the member it names; never blocks. `.snapshot` messages open and stream an image. Any
    /// thread; the order of messages to one member is that of the calls of one thread.
    package func send(_ messages: [Message]) {}

    /// Asks another member. `completion` is called exactly once, on an event loop; with UNAVAILABLE when the member
    /// cannot be reached now. Any thread.
    package func call(
        to member: MemberID, method: UInt32, body: Bytes, timeout: TimeAmount,
        completion: @escaping @Sendable (Result<Bytes, RPCStatus>) -> Void
    ) {}

    /// As above, for tasks.
    package func call(
        to member: MemberID, method: UInt32, body: Bytes, timeout: TimeAmount
    ) async throws(RPCStatus) -> Bytes { Bytes() }

    /// What is known of each other member, by identity. Any thread.
    package func statuses() -> [PeerStatus] { [] }

    /// Cluster and members as told by the first of `urls` that answers. Throws `unreachable` with each URL's reason.
    package static func fetchMembers(
        from urls: [PeerURL], tls: PeerTLS?, timeout: TimeAmount, group: any EventLoopGroup
    ) async throws(PeerError) -> FetchedMembers {
        throw PeerError(.unreachable, "")
    }
}

/// What a member says of its cluster.
package struct FetchedMembers: Sendable, Equatable {
    package var clusterID: UInt64
    /// Who answered.
    package var memberID: MemberID
    /// `PeerDelegate.membersBytes()` of who answered.
    package var members: Bytes

    package init(clusterID: UInt64, memberID: MemberID, members: Bytes) {
        self.clusterID = clusterID
        self.memberID = memberID
        self.members = members
    }
}
