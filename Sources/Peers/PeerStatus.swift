package import NIOCore
package import Primitives

/// What is known of one other member: for metrics and `martletctl top`. Counts are since the member became known.
package struct PeerStatus: Sendable {
    /// Upper bounds of the buckets of `roundTripCounts`, in seconds; one more bucket holds the rest. Those of
    /// `etcd_network_peer_round_trip_time_seconds`.
    package static let roundTripBounds: [Double] = (0..<16).map { 0.0001 * Double(1 << $0) }

    package var member: MemberID
    package var urls: [String]
    /// Whether our connection to it is open and its last probe was answered.
    package var isConnected = false
    /// When `isConnected` last changed.
    package var changedAt = NIODeadline.uptimeNanoseconds(0)
    /// The URL of the connection, or the one tried last.
    package var url = ""
    /// Why the last connection or attempt ended; nil while connected and before the first failure.
    package var lastError: String?
    /// Attempts to connect that failed, and connections that broke.
    package var failures: UInt64 = 0
    /// Whether it has a stream of messages open to us.
    package var isHeard = false

    /// Exponential average of the round trip in nanoseconds, weight 1/8 for the newest; 0 before the first.
    package var roundTripNanoseconds: Int64 = 0
    package var roundTripCounts = [UInt64](repeating: 0, count: roundTripBounds.count + 1)
    package var roundTripNanosecondsSum: UInt64 = 0

    package var messagesSent: UInt64 = 0
    package var messagesReceived: UInt64 = 0
    /// Bytes of encoded messages and of snapshots.
    package var bytesSent: UInt64 = 0
    package var bytesReceived: UInt64 = 0
    /// Messages dropped because too many waited, or nobody was there to take them.
    package var messagesDropped: UInt64 = 0
    /// Bytes of messages that wait now; those just handed to the socket are not among them.
    package var queuedBytes = 0

    package var snapshotsSent: UInt64 = 0
    package var snapshotsSendFailed: UInt64 = 0
    /// Bytes of the snapshot being sent that were consumed, nil when none is.
    package var snapshotBytesConsumed: UInt64?
    /// Chunks of snapshots to it that were made to be compressed, and those that were not, because the link was waiting.
    package var snapshotChunksCompressed: UInt64 = 0
    package var snapshotChunksStored: UInt64 = 0
    package var snapshotsReceived: UInt64 = 0
    package var snapshotsReceiveFailed: UInt64 = 0

    init(member: MemberID, urls: [String]) {
        self.member = member
        self.urls = urls
    }

    /// Notes one measured round trip.
    mutating func note(roundTrip: TimeAmount) {
        let nanoseconds = max(0, roundTrip.nanoseconds)
        let seconds = Double(nanoseconds) / 1e9
        roundTripCounts[Self.roundTripBounds.firstIndex { seconds <= $0 } ?? Self.roundTripBounds.count] += 1
        roundTripNanosecondsSum += UInt64(nanoseconds)
        roundTripNanoseconds =
            roundTripNanoseconds == 0 ? nanoseconds : (roundTripNanoseconds * 7 + nanoseconds) / 8
    }
}
