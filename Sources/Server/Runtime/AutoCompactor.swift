/// Decides when the leader compacts by itself, and to which revision. Pure; owner: the replica thread.
///
/// Periodic: the revision is noted ten times a period, and once a period (at most an hour) everything older than one
/// period goes. Revisions: every five minutes all but the last so many go. Source: etcd's auto-compaction.
struct AutoCompactor {
    private static let second: UInt64 = 1_000_000_000

    private let policy: AutoCompaction.Policy
    private var samples: [(time: UInt64, revision: Int64)] = []
    private var nextSample: UInt64 = 0
    private var lastCompaction: UInt64?
    private var compacted: Int64 = 0

    init(_ configuration: AutoCompaction) { policy = configuration.policy }

    /// The revision to compact to now, if any.
    mutating func due(now: UInt64, currentRevision: Int64) -> Int64? {
        switch policy {
        case .off: nil
        case .revisions(let kept): dueByRevisions(kept, now, currentRevision)
        case .periodic(let seconds): duePeriodically(UInt64(seconds * Double(Self.second)), now, currentRevision)
        }
    }

    private mutating func dueByRevisions(_ kept: Int64, _ now: UInt64, _ current: Int64) -> Int64? {
        if nextSample == 0 { nextSample = now + 300 * Self.second }
        guard now >= nextSample else { return nil }
        nextSample = now + 300 * Self.second
        return compact(to: current - kept)
    }

    private mutating func duePeriodically(_ period: UInt64, _ now: UInt64, _ current: Int64) -> Int64? {
        guard now >= nextSample else { return nil }
        let interval = min(period, 3600 * Self.second)
        nextSample = now + max(interval / 10, 1)
        if lastCompaction == nil { lastCompaction = now }
        samples.append((now, current))
        guard let last = lastCompaction, now >= last + interval,
            let old = samples.lastIndex(where: { now - $0.time >= period })
        else { return nil }
        lastCompaction = now
        let revision = samples[old].revision
        samples.removeFirst(old)
        return compact(to: revision)
    }

    private mutating func compact(to revision: Int64) -> Int64? {
        guard revision > compacted, revision > 0 else { return nil }
        compacted = revision
        return revision
    }
}
