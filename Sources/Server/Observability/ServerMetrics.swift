/// Every number that the server's own threads count; what the store, the lessor, the watch hubs and the transport count
/// is read from them when the page is made (`MetricsCollector`).
package final class ServerMetrics: Sendable {
    package let walFsync = Histogram(first: 0.001, count: 14)
    package let backendCommit = Histogram(first: 0.001, count: 14)
    package let applyDuration = Histogram(first: 0.0001, count: 20)
    package let leaderChanges = Counter()
    package let proposalsFailed = Counter()
    /// Batches of entries that took longer to apply than `slowApplyNanoseconds`.
    package let slowApplies = Counter()
    package let readIndexesFailed = Counter()
    /// Ranges outside transactions; the state machine counts the others.
    package let rangeTotal = Counter()
    package let scrubbedRecords = Counter()
    package let healthSuccess = Counter()
    package let healthFailures = Counter()

    /// etcd calls an apply slow from here on.
    package static let slowApplyNanoseconds: UInt64 = 100_000_000
}
