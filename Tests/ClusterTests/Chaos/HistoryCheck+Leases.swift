/// Leases in the history: no lease ends early, every one ends, and its keys go with it, all in one revision.
extension HistoryCheck {
    mutating func checkLeases() {
        var ends: [Int64: Int64] = [:]
        var attached: [Int64: Set<String>] = [:]
        for revision in 2..<max(2, last + 1) {
            let changes = events[revision] ?? []
            if let lease = endedLease(changes, at: revision) {
                let whole = attached[lease, default: []].sorted().map { Change(key: $0, value: nil) }
                if changes != whole {
                    violations.append("revision \(revision): the end of lease \(lease) is \(changes), not \(whole)")
                }
                leaseEnds[revision] = lease
                ends[lease] = ends[lease] ?? revision
            }
            for change in changes {
                if let old = row(change.key, at: revision - 1), old.lease != 0 {
                    attached[old.lease]?.remove(change.key)
                }
                guard change.lease != 0 else { continue }
                attached[change.lease, default: []].insert(change.key)
                if let end = ends[change.lease] {
                    violations.append("revision \(revision) hangs \(change.key) on a lease that ended at \(end)")
                }
            }
        }
        for (lease, keys) in attached where !keys.isEmpty {
            violations.append("\(keys.sorted()) are there, though lease \(lease) was not kept alive")
        }
        checkLeaseTimes(ends)
    }

    /// The lease that a key hung on which was deleted.
    private func endedLease(_ changes: [Change], at revision: Int64) -> Int64? {
        for change in changes where change.value == nil {
            if let lease = row(change.key, at: revision - 1)?.lease, lease != 0 { return lease }
        }
        return nil
    }

    /// - Parameter ends: the revision in which the keys of a lease were deleted.
    private mutating func checkLeaseTimes(_ ends: [Int64: Int64]) {
        let evidence = evidence()
        let asked = Set(history.leases.map(\.id))
        for (lease, revision) in ends where !asked.contains(lease) {
            violations.append("revision \(revision) ends lease \(lease), which nobody asked for")
        }
        for (lease, steps) in Dictionary(grouping: history.leases, by: \.id) {
            var signs: [(time: UInt64, what: String)] = []
            if let revision = ends[lease], let time = firstSight(of: revision, evidence) {
                signs.append((time, "its keys were gone at revision \(revision)"))
            }
            var revoked = UInt64.max
            for step in steps {
                switch step.kind {
                case .missing(let what): signs.append((step.end, what))
                case .revoking: revoked = min(revoked, step.begin)
                case .asked, .alive: break
                }
            }
            for sign in signs where sign.time < revoked {
                for case .alive(let seconds) in steps.filter({ isAlive($0, at: sign.time) }).map(\.kind).prefix(1) {
                    violations.append("lease \(lease) of \(seconds) s ended before its time: \(sign.what)")
                }
            }
        }
    }

    /// The step is an acknowledged renewal that reaches beyond `time`.
    private func isAlive(_ step: LeaseStep, at time: UInt64) -> Bool {
        guard case .alive(let seconds) = step.kind else { return false }
        return step.begin + UInt64(seconds) * 1_000_000_000 > time
    }

    /// Who knew of which revision when: ascending in both.
    private func evidence() -> [(time: UInt64, revision: Int64)] {
        let answers = operations.compactMap { operation in operation.revision.map { (operation.end, $0) } }
        let watches = history.seen.filter { $0.value != .max }.map { ($0.value, $0.key) }
        var result: [(time: UInt64, revision: Int64)] = []
        for (time, revision) in (answers + watches).sorted(by: { $0.0 < $1.0 })
        where revision > result.last?.revision ?? 0 {
            result.append((time, revision))
        }
        return result
    }

    private func firstSight(of revision: Int64, _ evidence: [(time: UInt64, revision: Int64)]) -> UInt64? {
        var (low, high) = (0, evidence.count)
        while low < high {
            let middle = (low + high) / 2
            if evidence[middle].revision < revision { low = middle + 1 } else { high = middle }
        }
        return low == evidence.count ? nil : evidence[low].time
    }
}
