import Foundation
import Wire

/// Checks what a watch with `prev_kv` delivers against the documented guarantees, answer by answer.
/// Source: https://etcd.io/docs/v3.6/learning/api_guarantees/ (ordered, unique, reliable, atomic, bookmarkable).
struct WatchLog {
    private struct State {
        var value: Data?
        var revision: Int64
    }

    /// The number of events of each revision, in which order they came.
    private(set) var counts: [Int64: Int] = [:]
    private(set) var changes: [Int64: [RevisionHistory.Change]] = [:]
    private(set) var lastRevision: Int64 = 0
    private(set) var eventCount = 0
    private var keysOfLast: Set<Data> = []
    private var states: [Data: State] = [:]
    private var isFragmentOpen = false

    /// Takes one answer that is not `created`. Throws `CaseFailure` with what is wrong.
    mutating func take(_ response: Etcdserverpb_WatchResponse) throws {
        if response.canceled { throw CaseFailure("the watch was cancelled: \(response.cancelReason)") }
        guard let first = response.events.first else {
            // A progress answer: everything up to its revision must have come; the caller knows what that is.
            return
        }
        if first.kv.modRevision == lastRevision, !isFragmentOpen {
            throw CaseFailure("revision \(lastRevision) is split over two answers, or repeated")
        }
        isFragmentOpen = response.fragment
        for event in response.events { try take(event) }
        if response.header.revision < lastRevision {
            throw CaseFailure(
                "an answer's revision \(response.header.revision) is older than its event \(lastRevision)")
        }
    }

    private mutating func take(_ event: Mvccpb_Event) throws {
        let revision = event.kv.modRevision
        if revision < lastRevision { throw CaseFailure("revision \(revision) came after \(lastRevision)") }
        if revision > lastRevision { keysOfLast = [] }
        guard keysOfLast.insert(event.kv.key).inserted else {
            throw CaseFailure("revision \(revision) has an event of one key twice")
        }
        lastRevision = revision
        eventCount += 1
        counts[revision, default: 0] += 1
        let isPut = event.type == .put
        let key = String(decoding: event.kv.key, as: UTF8.self)
        changes[revision, default: []].append(
            .init(key, isPut ? String(decoding: event.kv.value, as: UTF8.self) : nil))
        try checkPrevious(event, key)
        states[event.kv.key] = State(value: isPut ? event.kv.value : nil, revision: revision)
    }

    private func checkPrevious(_ event: Mvccpb_Event, _ key: String) throws {
        let revision = event.kv.modRevision
        let isCreation = event.type == .put && event.kv.createRevision == revision
        if isCreation, event.hasPrevKv { throw CaseFailure("the creation at \(revision) has a previous pair") }
        if !isCreation, !event.hasPrevKv {
            throw CaseFailure("the event of \(key) at \(revision) has no previous pair")
        }
        guard event.hasPrevKv, let known = states[event.kv.key] else { return }
        guard event.prevKv.value == known.value, event.prevKv.modRevision == known.revision else {
            throw CaseFailure(
                "the event of \(key) at \(revision) has the pair of \(event.prevKv.modRevision) as its previous one, "
                    + "that of \(known.revision) was")
        }
    }

    /// Every acknowledged write must have come whole.
    func checkComplete(_ acknowledged: [Int64: Int], from start: Int64 = 0) throws {
        for (revision, count) in acknowledged.sorted(by: { $0.key < $1.key }) where revision >= start {
            guard counts[revision] == count else {
                throw CaseFailure("revision \(revision) changed \(count) keys, the watch had \(counts[revision] ?? 0)")
            }
        }
    }
}
