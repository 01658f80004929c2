import Primitives

/// Where the log's entries are, and their terms: the newest version of each index. In memory, a few bytes for each
/// stride of the file and for each change of term.
///
/// Invariants: samples ascend in index, segment and offset; between one sample and the next the entries on disk are
/// contiguous and none of them was replaced; `samples` is empty if and only if the log holds no entry.
struct LogMap {
    struct Sample {
        var index: LogIndex
        var sequence: UInt64
        var offset: Int
    }

    /// The index before the first entry.
    private(set) var base: LogIndex
    private(set) var last: LogIndex
    private var baseTerm: Term?
    private var samples: [Sample] = []
    /// The first index of each run of equal terms.
    private var terms: [WALPosition] = []

    init(base: WALPosition, knowsTerm: Bool) {
        self.base = base.index
        last = base.index
        baseTerm = knowsTerm ? base.term : nil
    }

    /// Adds the entry at `index`, at most one past the last, after the base; drops a former one and all behind it.
    mutating func append(_ index: LogIndex, _ term: Term, sequence: UInt64, offset: Int, stride: Int) {
        let replaces = index <= last
        if replaces { truncate(from: index) }
        last = index
        if terms.last?.term != term { terms.append(WALPosition(index: index, term: term)) }
        if let sample = samples.last, !replaces, sample.sequence == sequence, offset - sample.offset < stride { return }
        samples.append(Sample(index: index, sequence: sequence, offset: offset))
    }

    /// Forgets every sample in segments up to `sequence`; the base moves to before the first that is left.
    mutating func drop(through sequence: UInt64) {
        let count = samples.partitionPoint { $0.sequence > sequence }
        if count == 0 { return }
        let newBase = count < samples.count ? LogIndex(samples[count].index.rawValue - 1) : last
        baseTerm = term(at: newBase)
        base = newBase
        samples.removeFirst(count)
        terms.removeFirst(max(0, terms.partitionPoint { $0.index > base } - 1))
        if samples.isEmpty { terms = [] }
    }

    /// The last entry whose newest version is in a segment up to `sequence`; the base when there is none.
    func lastIndex(through sequence: UInt64) -> LogIndex {
        let next = samples.partitionPoint { $0.sequence > sequence }
        if next == 0 { return base }
        return next < samples.count ? LogIndex(samples[next].index.rawValue - 1) : last
    }

    /// The first position of each run of equal terms, the base among them where its term is known.
    var termRuns: [WALPosition] {
        var runs = baseTerm.map { [WALPosition(index: base, term: $0)] } ?? []
        for run in terms where run.term != runs.last?.term {
            // The first run may have begun before entries that are gone.
            runs.append(WALPosition(index: max(run.index, base.advanced(by: 1)), term: run.term))
        }
        return runs
    }

    func term(at index: LogIndex) -> Term? {
        if index == base { return baseTerm }
        guard index > base, index <= last else { return nil }
        return terms[terms.partitionPoint { $0.index > index } - 1].term
    }

    /// Where to start reading to find `index`, which the log must hold, and the index at which to look again.
    func place(of index: LogIndex) -> (sample: Sample, end: LogIndex) {
        let next = samples.partitionPoint { $0.index > index }
        return (samples[next - 1], next < samples.count ? samples[next].index : last.advanced(by: 1))
    }

    private mutating func truncate(from index: LogIndex) {
        invariant(index > base, "an entry at or before the log's start was replaced")
        samples.removeLast(samples.count - samples.partitionPoint { $0.index >= index })
        terms.removeLast(terms.count - terms.partitionPoint { $0.index >= index })
    }
}

extension Array {
    /// The first position whose element is `isBehind`, in an array where all such stand at the end.
    fileprivate func partitionPoint(_ isBehind: (Element) -> Bool) -> Int {
        var low = 0
        var high = count
        while low < high {
            let middle = (low + high) / 2
            if isBehind(self[middle]) { high = middle } else { low = middle + 1 }
        }
        return low
    }
}
