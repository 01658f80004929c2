// Peers: everything between members over the network.
//
// `PeerNetwork` is the one object a server has of it: it listens on the peer URLs, keeps one connection to each other
// member for what it sends, and a second one while it sends a snapshot. The other member dials us for what it sends.
//
// Services, all of gRPC on `Transport` (plain for http://, mutual TLS for https://), all defined in `PeerProtocol`:
//   /martlet.Peer/Messages   client stream: batches of raft messages, in order; answered only at its end
//   /martlet.Peer/Snapshot   both ways: the stream of a snapshot one way, the count of bytes consumed the other
//   /martlet.Peer/Probe      unary: measures the round trip, carries opaque bytes both ways
//   /martlet.Peer/Members    unary: cluster and members, for one who wants to join and knows neither
//   /martlet.Peer/Call       unary: a numbered request to another member, for calls that a follower forwards
//
// Owner threads: the state of a link (`PeerLink`, `SnapshotSending`) belongs to its event loop, an incoming stream to
// its connection's. What is received of a snapshot belongs to one thread of its own, because commits block; chunks of a
// snapshot to be sent are made on another. `PeerNetwork`'s methods may be called on any thread; they hop once.
//
// Invariants:
// - Messages of one `send` after the other reach a member in that order, or are lost; none is repeated by this layer.
// - A member that is slow, dead or hostile costs at most what `PeerLimits` says, each in bytes or counts.
// - A snapshot never delays a heartbeat: it has a connection of its own.
// - For every snapshot message handed to `send` the delegate hears exactly once how it ended.
// - Nothing of a call is taken before cluster, receiver, sender and protocol version were found right.

package import NIOCore
package import Primitives
package import RaftCore

/// Every bound of this module, with its unit and what happens at it.
package struct PeerLimits: Sendable {
    /// Bytes of encoded messages that wait for one member; appends beyond it are dropped, and the delegate is told that
    /// the member is unreachable. A single message is taken whatever its size when nothing waits.
    package var queuedBytesMax = 48 << 20
    /// More bytes for messages that are no appends (votes, heartbeats, answers), so that appends cannot keep them out;
    /// beyond it they are dropped too.
    package var controlBytesMax = 1 << 20
    /// Messages other than appends that are kept for a member that cannot be reached; the oldest is dropped.
    package var controlMessagesKeptMax = 32
    /// Bytes of messages sent as one; a larger one goes alone.
    package var batchBytesMax = 1 << 20
    /// Bytes of one received batch; beyond it the stream is refused. All members must agree.
    package var receivedBatchBytesMax = (64 << 20) + (1 << 20)
    /// Bytes of a forwarded call's request or answer.
    package var callBytesMax = 8 << 20
    /// Forwarded calls under way to one member; further ones fail with RESOURCE_EXHAUSTED.
    package var callsMax = 4096
    /// Connections that others have open to us; further ones are closed at once.
    package var connectionsMax = 1024
    /// Time for the connection and the handshake together.
    package var connectTimeout = TimeAmount.seconds(5)
    /// Wait before dialling again: doubles from the first to the second, less up to a half by chance.
    package var backoffMin = TimeAmount.milliseconds(100)
    package var backoffMax = TimeAmount.seconds(2)
    /// Time between two probes, and how long one may take before the connection is given up.
    package var probeInterval = TimeAmount.seconds(1)
    package var probeTimeout = TimeAmount.seconds(3)
    /// Bytes of a snapshot that are sent and not yet consumed, and kept so that they can be sent again. A receiver stops
    /// reading when twice as many wait to be consumed.
    package var snapshotWindowBytes = 8 << 20
    /// How long a sender tries to go on with a snapshot after its connection broke; then it has failed.
    package var snapshotResumeTime = TimeAmount.seconds(30)
    /// How long a receiver keeps a half-done snapshot whose sender has gone.
    package var snapshotKeepTime = TimeAmount.seconds(60)
    /// How long nothing of a snapshot may be consumed before its sender gives up.
    package var snapshotStallTime = TimeAmount.seconds(60)
    /// How long the receiver may take to verify and sync a whole snapshot.
    package var snapshotFinishTime = TimeAmount.seconds(600)

    package init() {}
}

/// What a member's peer network needs to know.
package struct PeerConfiguration: Sendable {
    package var clusterID: UInt64
    /// This member.
    package var memberID: MemberID
    /// `--listen-peer-urls`: http or https.
    package var listenURLs: [PeerURL]
    /// Certificates, for https URLs of ours and of others; nil without any.
    package var tls: PeerTLS?
    /// `raftpb.Message` from and to bytes. Called on the threads that send, and on event loops.
    package var encode: @Sendable (Message) -> Bytes
    package var decode: @Sendable (UnsafeRawBufferPointer) throws -> Message
    package var limits = PeerLimits()
    /// Bytes per second that one snapshot may take of the network; 0 is no limit.
    package var snapshotBytesPerSecondMax = 0
    /// Of the jitter of backoff, and of the identities of snapshots.
    package var seed: UInt64

    package init(
        clusterID: UInt64, memberID: MemberID, listenURLs: [PeerURL], tls: PeerTLS? = nil, seed: UInt64,
        encode: @escaping @Sendable (Message) -> Bytes,
        decode: @escaping @Sendable (UnsafeRawBufferPointer) throws -> Message
    ) {
        self.clusterID = clusterID
        self.memberID = memberID
        self.listenURLs = listenURLs
        self.tls = tls
        self.seed = seed
        self.encode = encode
        self.decode = decode
    }
}

/// Why the peer network cannot be made or started.
package struct PeerError: Error, Sendable, Equatable, CustomStringConvertible {
    package enum Code: Sendable, Equatable {
        /// A flag, URL or file is bad.
        case configuration
        /// An address cannot be listened on.
        case listen
        /// No URL of those to be asked has answered.
        case unreachable
        /// A member answered with bytes that are not of the protocol.
        case malformed
    }

    package var code: Code
    package var message: String

    package init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }

    package var description: String { message }
}
