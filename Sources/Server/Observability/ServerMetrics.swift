/// Every number that the server's own threads count; what the store, the lessor, the watch hubs and the transport count
/// is read from them when the page is made (`MetricsCollector`).
package final class ServerMetrics: Sendable {
    package let walFsync = Histogram(first: 0.001, count: 14)
    package let backendCommit = Histogram(first: 0.001, count: 14)
    package let applyDuration = Histogram(first: 0.0001, count: 20)
    package let leaderChanges = Counter()
    package let proposalsFailed = Counter()
    package let rangeTotal = Counter()
    package let putTotal = Counter()
    package let deleteTotal = Counter()
    package let txnTotal = Counter()
    package let scrubbedRecords = Counter()
    package let healthSuccess = Counter()
    package let healthFailures = Counter()
}
