package import Wire

/// How much a member may hold. Live bytes count, what compaction will give back does not. Source: etcd-behaviour, section
/// 3, which counts a put the same way.
package struct SpaceQuota: Sendable {
    /// What a put costs beside key and value, in bytes.
    private static let putOverheadBytes = 256
    package static let leaseCostBytes = 64
    /// The share of the quota, in percent, below which the alarm NOSPACE clears itself.
    private static let clearPercent: Int64 = 95

    /// Negative: no limit.
    package let bytes: Int64

    package init(bytes: Int64) { self.bytes = bytes }

    /// Whether `growth` more bytes are too many: the alarm is to be raised.
    package func isExceeded(liveBytes: Int, growth: Int) -> Bool {
        bytes >= 0 && Int64(liveBytes) + Int64(growth) > bytes
    }

    /// Whether there is room enough again to clear the alarm.
    package func hasRoom(liveBytes: Int) -> Bool { bytes < 0 || Int64(liveBytes) < bytes / 100 * Self.clearPercent }

    package static func cost(_ request: PutRequestView) -> Int {
        putOverheadBytes + request.key.count + request.value.count
    }

    /// The costlier branch counts.
    package static func cost(_ request: TxnRequestView) -> Int { max(cost(request.success), cost(request.failure)) }

    private static func cost(_ operations: [RequestOpView]) -> Int {
        operations.reduce(0) { sum, operation in
            switch operation {
            case .put(let request): sum + cost(request)
            case .txn(let request): sum + cost(request)
            case .range, .deleteRange, .empty: sum
            }
        }
    }
}
