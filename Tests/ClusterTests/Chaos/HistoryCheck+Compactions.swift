/// Compactions in the history: what is refused as compacted was, what is known to be compacted is refused, and nothing else
/// is touched (which the other checks find).
extension HistoryCheck {
    /// One call that asked for a compaction and may have brought it about.
    private struct Compaction {
        var revision: Int64
        var begin: UInt64
        /// When it was acknowledged; nil: in doubt.
        var done: UInt64?
    }

    mutating func checkCompactions() {
        let compactions = operations.compactMap { operation -> Compaction? in
            guard case .compact(let revision) = operation.request else { return nil }
            switch operation.outcome {
            case .compacted: return Compaction(revision: revision, begin: operation.begin, done: operation.end)
            case .unknown: return Compaction(revision: revision, begin: operation.begin, done: nil)
            case .written, .unchanged, .read, .tooOld, .refused: return nil
            }
        }
        for operation in operations {
            switch (operation.request, operation.outcome) {
            case (.readPast(_, _, let revision, _), .tooOld):
                if !compactions.contains(where: { $0.revision > revision && $0.begin < operation.end }) {
                    violations.append(
                        "\(operation.request) by \(operation.member) was refused, nobody compacted so far")
                }
            case (.readPast(_, _, let revision, false), .read):
                if let floor = floor(compactions, before: operation.begin), revision < floor {
                    violations.append(
                        "\(operation.request) by \(operation.member) was answered, though \(floor) was compacted")
                }
            case (.compact(let revision), .tooOld):
                if !compactions.contains(where: { $0.revision >= revision && $0.begin < operation.end }) {
                    violations.append("the compaction of \(revision) was refused, nobody had compacted so far")
                }
            case (.compact(let revision), .compacted):
                if let floor = floor(compactions, before: operation.begin), revision <= floor {
                    violations.append("the compaction of \(revision) was accepted after that of \(floor)")
                }
            default: break
            }
        }
        for start in history.watchStarts { check(start, compactions) }
    }

    /// The newest compaction that was acknowledged before `time`.
    private func floor(_ compactions: [Compaction], before time: UInt64) -> Int64? {
        compactions.filter { $0.done.map { $0 < time } ?? false }.map(\.revision).max()
    }

    private mutating func check(_ start: WatchStart, _ compactions: [Compaction]) {
        let what = "\(start.watcher), from \(start.revision)"
        switch start.outcome {
        case .events(let first):
            if first != start.revision { violations.append("\(what): begins with \(first)") }
            if start.revision < start.floor {
                violations.append("\(what): begins, though \(start.floor) was compacted")
            }
        case .compacted(let revision):
            if revision <= start.revision {
                violations.append("\(what): refused for the compaction of \(revision), which does not touch it")
            }
            if revision < start.floor {
                violations.append("\(what): refused for the compaction of \(revision), not of \(start.floor)")
            }
            if !compactions.contains(where: { $0.revision == revision && $0.begin < start.end }) {
                violations.append("\(what): refused for the compaction of \(revision), which nobody asked for")
            }
        }
    }
}
