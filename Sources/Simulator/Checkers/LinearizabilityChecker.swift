package import Primitives

/// Linearizability of what clients are told, transactions over many keys included. The log gives the order in which
/// requests took effect; what is left to prove is that the order agrees with real time, and that every answer is the
/// one its place in the order gives. A request whose outcome is unknown may have taken effect or not, and at any later
/// time.
package struct LinearizabilityChecker {
    private struct Pending {
        var floorIndex: LogIndex
        var floorRevision: Int64
    }

    private var pending: [UInt64: Pending] = [:]
    /// Where the last of the requests that have been answered took effect; whatever is asked from now on comes later.
    package private(set) var floorIndex = LogIndex.zero
    /// The newest revision any client has been told by a linearizable answer.
    package private(set) var floorRevision: Int64 = 1

    package init() {}

    /// A client begins to wait for an answer.
    package mutating func invoke(_ id: UInt64) {
        pending[id] = Pending(floorIndex: floorIndex, floorRevision: floorRevision)
    }

    /// The client will never know: it stopped waiting, or was refused.
    package mutating func abandon(_ id: UInt64) { pending[id] = nil }

    /// A request that goes through the log was answered.
    package mutating func complete(_ id: UInt64, _ answer: Answer, in history: CommittedHistory) throws(Violation) {
        guard let asked = pending.removeValue(forKey: id) else { throw complaint("request \(id) is answered twice") }
        guard let index = history.index(ofRequest: id), let item = history[index] else {
            throw complaint("request \(id) is answered, and has not taken effect")
        }
        guard index > asked.floorIndex else {
            throw complaint(
                "request \(id) took effect at \(index.rawValue), before \(asked.floorIndex.rawValue), whose answer "
                    + "came before it was asked")
        }
        guard item.answer == answer else {
            throw complaint("request \(id) is answered \(answer), and must be \(item.answer)")
        }
        guard answer.revision == 0 || answer.revision >= asked.floorRevision else {
            throw complaint("request \(id) tells revision \(answer.revision) after \(asked.floorRevision)")
        }
        floorIndex = max(floorIndex, index)
        // The header's, not what others have written since.
        floorRevision = max(floorRevision, answer.revision)
    }

    /// A read was answered.
    ///
    /// - Parameters:
    ///   - at: the revision asked for; 0: the newest.
    ///   - revision: what the header tells.
    package mutating func completeRead(
        _ id: UInt64, _ range: KeyRange, at: Int64, rows: [Record], revision: Int64, in history: CommittedHistory
    ) throws(Violation) {
        guard let asked = pending.removeValue(forKey: id) else { throw complaint("read \(id) is answered twice") }
        guard revision >= asked.floorRevision else {
            throw complaint("read \(id) sees revision \(revision) after somebody was told \(asked.floorRevision)")
        }
        try Self.check(range, at: at, rows: rows, revision: revision, in: history)
        floorRevision = max(floorRevision, revision)
    }

    /// A serializable read was answered: it may see the past, but a past that was.
    package static func check(
        _ range: KeyRange, at: Int64, rows: [Record], revision: Int64, in history: CommittedHistory
    ) throws(Violation) {
        guard revision <= history.model.revision else {
            throw complaint(
                "a read sees revision \(revision), and nobody has applied more than \(history.model.revision)")
        }
        let expected = history.model.records(range, at: at > 0 ? at : revision)
        guard rows == expected else {
            throw complaint("a read of \(range) at \(at > 0 ? at : revision) gives \(rows), and must give \(expected)")
        }
    }

    /// A read at a revision that a client has seen was refused as compacted, or as of the future.
    package mutating func refuseRead(
        _ id: UInt64, at: Int64, isCompacted: Bool, in history: CommittedHistory
    ) throws(Violation) {
        guard let asked = pending.removeValue(forKey: id) else { throw complaint("read \(id) is answered twice") }
        if isCompacted {
            guard at < history.model.compactRevision else {
                throw complaint("a read at \(at) is refused as compacted; nobody compacted it")
            }
        } else {
            guard at > asked.floorRevision else {
                throw complaint("a linearizable read at \(at) is refused as of the future after \(asked.floorRevision)")
            }
        }
    }

    private func complaint(_ message: String) -> Violation { Self.complaint(message) }

    private static func complaint(_ message: String) -> Violation { Violation("linearizability", message) }
}
