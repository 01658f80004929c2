import Foundation
import NIOConcurrencyHelpers

/// One key's change within a revision; no value: deleted.
struct Change: Hashable, Sendable {
    var key: Data
    var value: Data?
}

/// What the writers did and what the server said about it. Any task.
final class Journal: Sendable {
    private struct State {
        /// Acknowledged writes by revision.
        var acknowledged: [Int64: Set<Change>] = [:]
        /// Every value ever sent: what the store holds without an acknowledgement must be among them.
        var sent: Set<Data> = []
        var highestRevision: Int64 = 1
        var compactRevision: Int64 = 0
        /// Leases acknowledged as granted, and those whose revocation was at least sent.
        var granted: Set<Int64> = []
        var revoking: Set<Int64> = []
        var revoked: Set<Int64> = []
        var violations: [String] = []
        var nextValue = 0
    }

    private let state = NIOLockedValueBox(State())

    /// A value that no other write carries.
    func newValue(writer: Int, filler: Int) -> Data {
        state.withLockedValue { state in
            state.nextValue += 1
            let value = Data("w\(writer)-\(state.nextValue)-".utf8) + Data(repeating: 0x2e, count: filler)
            state.sent.insert(value)
            return value
        }
    }

    func acknowledge(revision: Int64, _ changes: [Change]) {
        state.withLockedValue { state in
            if state.acknowledged.updateValue(Set(changes), forKey: revision) != nil {
                state.violations.append("two writes were acknowledged with revision \(revision)")
            }
            state.highestRevision = max(state.highestRevision, revision)
        }
    }

    func acknowledgeCompaction(_ revision: Int64) {
        state.withLockedValue { $0.compactRevision = max($0.compactRevision, revision) }
    }

    func acknowledgeGrant(_ id: Int64) { state.withLockedValue { _ = $0.granted.insert(id) } }
    func beginRevocation(_ id: Int64) { state.withLockedValue { _ = $0.revoking.insert(id) } }
    func acknowledgeRevocation(_ id: Int64) { state.withLockedValue { _ = $0.revoked.insert(id) } }
    func violation(_ text: String) { state.withLockedValue { $0.violations.append(text) } }

    var highestRevision: Int64 { state.withLockedValue { $0.highestRevision } }
    var compactRevision: Int64 { state.withLockedValue { $0.compactRevision } }
    var violations: [String] { state.withLockedValue { $0.violations } }
    var acknowledgedCount: Int { state.withLockedValue { $0.acknowledged.count } }
    /// Leases that must be there, and those that must not.
    var leases: (present: Set<Int64>, absent: Set<Int64>) {
        state.withLockedValue { ($0.granted.subtracting($0.revoking), $0.revoked) }
    }

    /// A lease to attach to or to revoke, if any was granted and is not being revoked.
    func anyLease() -> Int64? { state.withLockedValue { $0.granted.subtracting($0.revoking).randomElement() } }

    func acknowledgedChanges(after revision: Int64) -> [Int64: Set<Change>] {
        state.withLockedValue { $0.acknowledged.filter { $0.key > revision } }
    }

    func wasSent(_ value: Data) -> Bool { state.withLockedValue { $0.sent.contains(value) } }
}
