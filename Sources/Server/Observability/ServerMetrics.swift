package import Synchronization

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
    /// Reads that waited for their index for longer than `slowReadIndexMilliseconds`.
    package let slowReadIndexes = Counter()
    /// Heartbeats to other members that left after twice their interval or later.
    package let heartbeatSendFailures = Counter()
    package let walWriteBytes = Counter()
    /// When the removals of a compaction were last done, in seconds since 1970; 0 before the first.
    package let lastCompactionSeconds = Atomic<Int>(0)
    package let snapshotDuration = Histogram(first: 0.01, count: 17)
    package let hashDuration = Histogram(first: 0.01, count: 15)
    package let hashRevisionDuration = Histogram(first: 0.01, count: 15)
    package let learnerPromotions = Counter()
    /// Promotions that were refused or failed, by the reason's text.
    package let learnerPromotionFailures = LabelledCounter()
    package let healthChecks = HealthCheckCounts()
    /// Ranges outside transactions; the state machine counts the others.
    package let rangeTotal = Counter()
    package let scrubbedRecords = Counter()
    package let healthSuccess = Counter()
    package let healthFailures = Counter()

    /// etcd calls an apply slow from here on.
    package static let slowApplyNanoseconds: UInt64 = 100_000_000
    /// etcd asks for a read's index again after this time.
    package static let slowReadIndexMilliseconds: Int64 = 500
}

/// A counter for each of a few labels, for what is rare. Any thread.
package final class LabelledCounter: Sendable {
    private let counts = Mutex<[String: Int]>([:])

    package init() {}

    package func add(_ label: String) { counts.withLock { $0[label, default: 0] += 1 } }
    /// In the labels' order.
    package var current: [(label: String, count: Int)] {
        counts.withLock { counts in counts.sorted { $0.key < $1.key }.map { ($0.key, $0.value) } }
    }
}

/// How the checks behind `/livez` and `/readyz` came out. Any thread.
package final class HealthCheckCounts: Sendable {
    package struct Check: Sendable {
        /// `livez` or `readyz`.
        package let kind: String
        package let name: String
        package var succeeded = 0
        package var failed = 0
        /// How the last one came out.
        package var isGood = true
    }

    private let checks = Mutex<[Check]>([])

    package init() {}

    package func note(kind: String, name: String, isGood: Bool) {
        checks.withLock { checks in
            let known = checks.firstIndex { $0.kind == kind && $0.name == name }
            if known == nil { checks.append(Check(kind: kind, name: name)) }
            let index = known ?? checks.count - 1
            checks[index].isGood = isGood
            if isGood { checks[index].succeeded += 1 } else { checks[index].failed += 1 }
        }
    }

    /// In the order of their first time.
    package var current: [Check] { checks.withLock { $0 } }
}
