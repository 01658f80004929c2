import Foundation
import NIOConcurrencyHelpers
import Wire

/// One key's change; no value: deleted.
struct Change: Hashable, Sendable {
    var key: String
    var value: String?
}

/// A key as an answer showed it.
struct Row: Hashable, Sendable {
    var key: String
    var value: String
    var modRevision: Int64
    var createRevision: Int64
    var version: Int64

    init(key: String, value: String, modRevision: Int64, createRevision: Int64, version: Int64) {
        self.key = key
        self.value = value
        self.modRevision = modRevision
        self.createRevision = createRevision
        self.version = version
    }

    init(_ row: Mvccpb_KeyValue) {
        key = String(decoding: row.key, as: UTF8.self)
        value = String(decoding: row.value, as: UTF8.self)
        modRevision = row.modRevision
        createRevision = row.createRevision
        version = row.version
    }
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
    }

    enum Outcome: Sendable {
        case written(Int64)
        /// Nothing was changed: the comparison failed, or there was nothing to delete. What was found instead.
        case unchanged(Int64, [Row])
        case read(Int64, [Row])
        /// It may have been carried out, or may still be.
        case unknown(String)
    }

    var member: String
    var begin: UInt64
    var end: UInt64
    var request: Request
    var outcome: Outcome
}

/// All calls of all clients, and what the watches told. Any task.
final class History: Sendable {
    private struct State {
        var operations: [Operation] = []
        /// What watches showed, by revision, in the order within it.
        var events: [Int64: [Change]] = [:]
        var violations: [String] = []
        var nextValue = 0
    }

    private let state = NIOLockedValueBox(State())

    func newValue(client: Int) -> String {
        state.withLockedValue { state in
            state.nextValue += 1
            return "c\(client)-\(state.nextValue)"
        }
    }

    func note(_ operation: Operation) { state.withLockedValue { $0.operations.append(operation) } }

    func violation(_ text: String) { state.withLockedValue { $0.violations.append(text) } }

    /// Notes what a watch showed for a revision; all watches have to show the same.
    func watched(_ revision: Int64, _ changes: [Change], by watcher: String) {
        state.withLockedValue { state in
            if let known = state.events[revision] {
                if known != changes {
                    state.violations.append("revision \(revision): \(watcher) shows \(changes), others \(known)")
                }
            } else {
                state.events[revision] = changes
            }
        }
    }

    var operations: [Operation] { state.withLockedValue { $0.operations } }
    var events: [Int64: [Change]] { state.withLockedValue { $0.events } }
    var violations: [String] { state.withLockedValue { $0.violations } }
}
