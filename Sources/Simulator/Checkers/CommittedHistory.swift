package import Primitives
package import RaftCore

/// What a checker proved wrong: the run has failed.
package struct Violation: Error, CustomStringConvertible, Sendable {
    /// The checker's name.
    package let checker: String
    package let message: String

    package init(_ checker: String, _ message: String) {
        self.checker = checker
        self.message = message
    }

    package var description: String { "\(checker): \(message)" }
}

/// State machine safety: all members apply the same entries in the same order, each proposal at most once, none that
/// was refused, and every entry is answered as the model answers it. The sequence that comes out is what the other
/// checkers compare with. Source: the Raft paper, figure 3.
package final class CommittedHistory {
    package struct Item {
        package let term: Term
        package let payload: Bytes
        package let kind: EntryKind
        /// What it must be answered.
        package let answer: Answer
        /// The store's revision after it.
        package let revision: Int64
        /// The term of whoever first applied it, at least the one it was committed in.
        package let seenTerm: Term
        package let compactRevision: Int64
    }

    private struct Proposed {
        var payload: Bytes
        var request: Request
        var index: LogIndex?
        var isRefused = false
    }

    /// What the founding members start from: no entry stands at or before it.
    package let foundation: LogIndex
    package private(set) var model: KeyValueModel
    private var items: [Item] = []
    private var proposed: [UInt64: Proposed] = [:]

    package init(foundation: LogIndex = LogIndex(1), ttlSecondsMin: Int64 = 2) {
        self.foundation = foundation
        model = KeyValueModel(ttlSecondsMin: ttlSecondsMin)
    }

    /// The last entry that anybody has applied.
    package var lastIndex: LogIndex { foundation.advanced(by: items.count) }

    package subscript(index: LogIndex) -> Item? {
        guard index > foundation, index <= lastIndex else { return nil }
        return items[Int(index.rawValue - foundation.rawValue) - 1]
    }

    /// The revision of a store that has applied through `index`.
    package func revision(at index: LogIndex) -> Int64 { self[index]?.revision ?? 1 }

    package func compactRevision(at index: LogIndex) -> Int64 { self[index]?.compactRevision ?? -1 }

    /// Where a request took effect; nil when it has not, so far.
    package func index(ofRequest id: UInt64) -> LogIndex? { proposed[id]?.index }

    package func request(_ id: UInt64) -> Request? { proposed[id]?.request }

    /// Notes a request before it is handed to a member.
    package func propose(_ id: UInt64, _ request: Request, payload: Bytes) {
        proposed[id] = Proposed(payload: payload, request: request)
    }

    /// Notes that a member said of a request: it is not in the log and never will be.
    package func refuse(_ id: UInt64) throws(Violation) {
        guard proposed[id] != nil else { return }
        proposed[id]?.isRefused = true
        if let index = proposed[id]?.index { throw complaint("request \(id) was applied at \(index) and then refused") }
    }

    /// Notes that a member has applied an entry. True when it is the first to do so.
    ///
    /// - Parameters:
    ///   - id: the request's identity as the state machine found it; 0 when there is none.
    ///   - checksAnswer: false for a member whose state is known to be wrong, or that keeps what it would answer.
    ///   - answer: gives what the member answered, when told the request.
    package func apply(
        _ entry: Entry, id: UInt64, seenTerm: Term, checksAnswer: Bool = true, answer: (Request) -> Answer?
    ) throws(Violation) -> Bool {
        let isNew = entry.index == lastIndex.advanced(by: 1)
        if isNew { try append(entry, id: id, seenTerm: seenTerm) }
        guard let item = self[entry.index] else {
            throw complaint("entry \(entry.index.rawValue) is applied after \(lastIndex.rawValue)")
        }
        guard item.term == entry.term, item.payload == entry.payload, item.kind == entry.kind else {
            throw complaint(
                "entry \(entry.index.rawValue) of term \(entry.term.rawValue) is applied where another member has "
                    + "applied one of term \(item.term.rawValue)")
        }
        guard checksAnswer, let request = proposed[id]?.request, entry.kind == .normal, !entry.payload.isEmpty else {
            return isNew
        }
        guard let given = answer(request) else {
            throw complaint("the answer to request \(id) is not one to \(request)")
        }
        if given != item.answer {
            throw complaint(
                "entry \(entry.index.rawValue), \(request), was answered \(given), and must be \(item.answer)")
        }
        return isNew
    }

    /// A member was removed by the newest entry.
    package func removed(_ member: MemberID) { model.forget(member) }

    private func append(_ entry: Entry, id: UInt64, seenTerm: Term) throws(Violation) {
        var answer = Answer(.done, revision: 0)
        if entry.kind == .normal, !entry.payload.isEmpty {
            guard let known = proposed[id], known.payload == entry.payload else {
                throw complaint("entry \(entry.index.rawValue) was never proposed: request \(id), \(entry.payload)")
            }
            if let first = known.index {
                throw complaint("request \(id) is applied twice, at \(first.rawValue) and \(entry.index.rawValue)")
            }
            if known.isRefused {
                throw complaint("request \(id) was refused, and is applied at \(entry.index.rawValue)")
            }
            proposed[id]?.index = entry.index
            answer = model.apply(known.request)
        }
        items.append(
            Item(
                term: entry.term, payload: entry.payload, kind: entry.kind, answer: answer, revision: model.revision,
                seenTerm: seenTerm, compactRevision: model.compactRevision))
    }

    private func complaint(_ message: String) -> Violation { Violation("state machine", message) }
}
