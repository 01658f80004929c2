import Foundation
import NIOConcurrencyHelpers
import Wire

/// One key's change; no value: deleted.
struct Change: Hashable, Sendable {
    var key: String
    var value: String?
    var lease: Int64 = 0
}

/// A key as an answer showed it.
struct Row: Hashable, Sendable {
    var key: String
    var value: String
    var modRevision: Int64
    var createRevision: Int64
    var version: Int64
    var lease: Int64

    init(
        key: String, value: String, modRevision: Int64, createRevision: Int64, version: Int64, lease: Int64 = 0
    ) {
        self.key = key
        self.value = value
        self.modRevision = modRevision
        self.createRevision = createRevision
        self.version = version
        self.lease = lease
    }

    init(_ row: Mvccpb_KeyValue) {
        key = String(decoding: row.key, as: UTF8.self)
        value = String(decoding: row.value, as: UTF8.self)
        modRevision = row.modRevision
        createRevision = row.createRevision
        version = row.version
        lease = row.lease
    }
}

/// What a watch shows of a change besides: the row that came about, none when the key was deleted, and the one before it.
struct ChangedRows: Hashable, Sendable {
    var row: Row?
    var previous: Row?
}

/// One call as its client saw it. Times are nanoseconds of one clock.
struct Operation: Sendable {
    enum Request: Sendable {
        /// Puts every one, in one revision.
        case put([Change])
        /// Puts if the key was last modified at `expected`; 0: if there is no such key.
        case swap(Change, expected: Int64)
        case delete(String)
        /// Reads a range of keys; nil as `upTo` reads one key.
        case read(from: String, upTo: String?, isSerializable: Bool)
        /// The same, as it was at a revision.
        case readPast(from: String, upTo: String?, revision: Int64, isSerializable: Bool)
        case compact(Int64)
    }

    enum Outcome: Sendable {
        case written(Int64)
        /// Nothing was changed: the comparison failed, or there was nothing to delete. What was found instead.
        case unchanged(Int64, [Row])
        case read(Int64, [Row])
        case compacted(Int64)
        /// What was asked for was compacted before.
        case tooOld
        /// It was not carried out, and never will be.
        case refused(String)
        /// It may have been carried out, or may still be.
        case unknown(String)
    }

    var member: String
    var begin: UInt64
    var end: UInt64
    var request: Request
    var outcome: Outcome
}

/// One step in a lease's life as its client saw it.
struct LeaseStep: Sendable {
    enum Kind: Sendable {
        /// It was asked for; whether it was granted is another step.
        case asked
        /// Granted or renewed for so many seconds, acknowledged.
        case alive(seconds: Int64)
        /// Its end was asked for.
        case revoking
        /// Somebody said that there is no such lease.
        case missing(String)
    }

    var id: Int64
    /// Of the call.
    var begin: UInt64
    var end: UInt64
    var kind: Kind
}

/// How a watch began that started at an old revision.
struct WatchStart: Sendable {
    enum Outcome: Sendable {
        case events(first: Int64)
        case compacted(Int64)
    }

    var watcher: String
    /// Where it was to start.
    var revision: Int64
    /// The newest compaction that the member was known to have carried out before the watch began; 0: none.
    var floor: Int64
    var end: UInt64
    var outcome: Outcome
}

/// All calls of all clients, and what the watches told. Any task.
final class History: Sendable {
    private struct State {
        var operations: [Operation] = []
        /// What watches showed, by revision, in the order within it.
        var events: [Int64: [Change]] = [:]
        var rows: [Int64: [ChangedRows]] = [:]
        /// When a revision was first shown.
        var seen: [Int64: UInt64] = [:]
        var leases: [LeaseStep] = []
        var watchStarts: [WatchStart] = []
        var violations: [String] = []
        var nextValue = 0
        var newest: Int64 = 1
    }

    private let state = NIOLockedValueBox(State())

    func newValue(client: Int) -> String {
        state.withLockedValue { state in
            state.nextValue += 1
            return "c\(client)-\(state.nextValue)"
        }
    }

    /// A number that no other lease of this history has.
    func newLease() -> Int64 {
        state.withLockedValue { state in
            state.nextValue += 1
            return Int64(1_000_000 + state.nextValue)
        }
    }

    func note(_ operation: Operation) {
        state.withLockedValue { state in
            state.operations.append(operation)
            if let revision = operation.revision { state.newest = max(state.newest, revision) }
        }
    }

    func note(_ step: LeaseStep) { state.withLockedValue { $0.leases.append(step) } }

    func note(_ start: WatchStart) { state.withLockedValue { $0.watchStarts.append(start) } }

    func violation(_ text: String) { state.withLockedValue { $0.violations.append(text) } }

    /// Notes what a watch showed for a revision; all watches have to show the same.
    ///
    /// - Parameter rows: for each change; none: not looked at.
    func watched(
        _ revision: Int64, _ changes: [Change], _ rows: [ChangedRows] = [], by watcher: String, at time: UInt64 = .max
    ) {
        state.withLockedValue { state in
            state.seen[revision] = min(time, state.seen[revision] ?? .max)
            state.newest = max(state.newest, revision)
            if !rows.isEmpty { state.rows[revision] = state.rows[revision] ?? rows }
            if let known = state.events[revision] {
                if known != changes || !rows.isEmpty && state.rows[revision] != rows {
                    state.violations.append(
                        "revision \(revision): \(watcher) shows \(changes) \(rows), others \(known) "
                            + "\(state.rows[revision] ?? [])")
                }
            } else {
                state.events[revision] = changes
            }
        }
    }

    var operations: [Operation] { state.withLockedValue { $0.operations } }
    var events: [Int64: [Change]] { state.withLockedValue { $0.events } }
    var rows: [Int64: [ChangedRows]] { state.withLockedValue { $0.rows } }
    var seen: [Int64: UInt64] { state.withLockedValue { $0.seen } }
    var leases: [LeaseStep] { state.withLockedValue { $0.leases } }
    var watchStarts: [WatchStart] { state.withLockedValue { $0.watchStarts } }
    var violations: [String] { state.withLockedValue { $0.violations } }
    /// The newest revision that anybody has been shown.
    var newest: Int64 { state.withLockedValue { $0.newest } }
}

extension Operation {
    /// The revision that the member had reached when it answered.
    var revision: Int64? {
        switch outcome {
        case .written(let revision), .unchanged(let revision, _), .read(let revision, _), .compacted(let revision):
            revision
        case .tooOld, .refused, .unknown: nil
        }
    }

    /// It may look at a state of the past.
    var isSerializable: Bool {
        switch request {
        case .read(_, _, let isSerializable), .readPast(_, _, _, let isSerializable): isSerializable
        case .put, .swap, .delete, .compact: false
        }
    }
}
