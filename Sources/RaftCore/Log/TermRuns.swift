import Primitives

/// The term of every entry of a stretch of the log, as runs: a log has one run per election, so terms stay known long
/// after the entries have left memory. Lookups are O(log runs).
struct TermRuns {
    private struct Run {
        var start: LogIndex
        var term: Term
    }

    /// Sorted by `start`; terms ascend strictly.
    private var runs: [Run] = []
    /// The first index covered, or the next when empty.
    private(set) var first: LogIndex
    /// The index after the last covered.
    private(set) var end: LogIndex

    init(first: LogIndex) {
        self.first = first
        end = first
    }

    mutating func append(index: LogIndex, term: Term) {
        invariant(index == end, "terms are not contiguous")
        if let last = runs.last {
            invariant(term >= last.term, "terms go back within the log")
            if term > last.term { runs.append(Run(start: index, term: term)) }
        } else {
            runs.append(Run(start: index, term: term))
        }
        end = index.advanced(by: 1)
    }

    mutating func truncate(from index: LogIndex) {
        invariant(index >= first, "terms truncated before their start")
        if index >= end { return }
        while let last = runs.last, last.start >= index { runs.removeLast() }
        end = index
    }

    mutating func dropFirst(through index: LogIndex) {
        if index < first { return }
        if index.advanced(by: 1) >= end {
            runs.removeAll()
            first = index.advanced(by: 1)
            end = first
            return
        }
        first = index.advanced(by: 1)
        let position = runPosition(first)
        runs.removeFirst(position)
        runs[0].start = first
    }

    private func runPosition(_ index: LogIndex) -> Int {
        // Most lookups are at the end of the log.
        if let last = runs.last, last.start <= index { return runs.count - 1 }
        var low = 0
        var high = runs.count
        while high - low > 1 {
            let middle = (low + high) / 2
            if runs[middle].start <= index { low = middle } else { high = middle }
        }
        return low
    }

    /// The term at a covered index, else nil.
    func term(at index: LogIndex) -> Term? {
        index >= first && index < end ? runs[runPosition(index)].term : nil
    }

    /// The last covered index at or before `index` whose term is at most `term`, or nil when there is none.
    func lastIndex(notAfter index: LogIndex, termAtMost term: Term) -> LogIndex? {
        guard index >= first, !runs.isEmpty else { return nil }
        let start = min(index, end.advanced(by: -1))
        var position = runPosition(start)
        if runs[position].term <= term { return start }
        while position > 0 {
            position -= 1
            if runs[position].term <= term { return runs[position + 1].start.advanced(by: -1) }
        }
        return nil
    }

    /// The number of entries covered and the sum over runs, for invariants.
    var isConsistent: Bool {
        guard let firstRun = runs.first else { return first == end }
        guard firstRun.start == first, first < end else { return false }
        for (run, next) in zip(runs, runs.dropFirst()) where run.start >= next.start || run.term >= next.term {
            return false
        }
        return runs[runs.count - 1].start < end
    }
}
