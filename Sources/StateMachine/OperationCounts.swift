package import Synchronization

/// Operations on keys that were carried out, as etcd counts them: every transaction of the store adds its ranges, puts
/// and deletes, and counts as a transaction itself only when it had more than one of them. Any thread reads; the apply
/// thread adds. Since the start of the process.
package final class OperationCounts: Sendable {
    package let ranges = Atomic<Int>(0)
    package let puts = Atomic<Int>(0)
    package let deletes = Atomic<Int>(0)
    package let transactions = Atomic<Int>(0)
    /// Bytes of keys and values that were put.
    package let putBytes = Atomic<Int>(0)

    func add(_ tally: OperationTally) {
        if tally.ranges > 0 { ranges.add(tally.ranges, ordering: .relaxed) }
        if tally.puts > 0 { puts.add(tally.puts, ordering: .relaxed) }
        if tally.deletes > 0 { deletes.add(tally.deletes, ordering: .relaxed) }
        if tally.putBytes > 0 { putBytes.add(tally.putBytes, ordering: .relaxed) }
        if tally.ranges + tally.puts + tally.deletes > 1 { transactions.add(1, ordering: .relaxed) }
    }
}

/// The operations of one transaction of the store.
struct OperationTally {
    var ranges = 0
    var puts = 0
    var deletes = 0
    var putBytes = 0
}

extension StateMachine {
    /// Ends the count of one transaction of the store.
    func closeTally() {
        operations.add(tally)
        tally = OperationTally()
    }
}
