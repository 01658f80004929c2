import Primitives
import Testing

@testable import Server

/// Automatic compaction in simulated time.
@Suite struct AutoCompactorTests {
    private static let second: UInt64 = 1_000_000_000

    /// Runs `hours` of a store whose revision grows in bursts, and gives every compaction and every tick's revision.
    private static func run(
        _ mode: ServerConfiguration.CompactionMode, _ retention: String, hours: UInt64, seed: UInt64
    ) throws -> (compactions: [(time: UInt64, revision: Int64)], revisions: [Int64]) {
        var random = PRNG(seed: seed)
        var compactor = AutoCompactor(try AutoCompaction(mode: mode, retention: retention))
        var compactions: [(time: UInt64, revision: Int64)] = []
        // One a second; a start that is not 0, as of a real clock.
        var revisions: [Int64] = []
        var revision: Int64 = 1
        var isBusy = true
        for time in 0..<hours * 3600 {
            if random.chance(oneIn: 2000) { isBusy.toggle() }
            if isBusy, random.chance(oneIn: 3) { revision += Int64(random.next(in: 1..<5)) }
            revisions.append(revision)
            if let target = compactor.due(now: (time + 77) * second, currentRevision: revision) {
                compactions.append((time, target))
            }
        }
        return (compactions, revisions)
    }

    @Test(
        "Periodic: nothing younger than the period goes, nothing much older stays",
        arguments: [("10m", UInt64(600)), ("1", 3600), ("90m", 5400), ("5", 18000)], 0..<4 as Range<UInt64>)
    func periodic(retention: (text: String, seconds: UInt64), seed: UInt64) throws {
        let (compactions, revisions) = try Self.run(.periodic, retention.text, hours: 20, seed: seed)
        let interval = min(retention.seconds, 3600)
        var last = -Int64(interval)
        var compacted: Int64 = 0
        var next = compactions[...]
        for time in 0..<UInt64(revisions.count) {
            if let due = next.first, due.time == time {
                next.removeFirst()
                #expect(time >= retention.seconds, "a first compaction before a period has passed")
                if time >= retention.seconds {
                    #expect(due.revision <= revisions[Int(time - retention.seconds)], "history younger than the period")
                }
                #expect(due.revision > compacted, "a compaction that does nothing")
                #expect(Int64(time) - last >= Int64(interval) * 9 / 10, "two compactions within an interval")
                (last, compacted) = (Int64(time), due.revision)
            }
            let oldest = retention.seconds + interval + interval / 10 + 2
            if time >= oldest {
                // What was superseded so long ago is gone: the target is at least the revision of that time.
                #expect(compacted >= revisions[Int(time - oldest)] || revisions[Int(time - oldest)] <= 1)
            }
        }
        #expect(compactions.count > 2)
    }

    @Test("Revision: every five minutes all but the last so many go", arguments: 0..<4 as Range<UInt64>)
    func byRevision(seed: UInt64) throws {
        let (compactions, revisions) = try Self.run(.revision, "1000", hours: 6, seed: seed)
        #expect(compactions.count > 10)
        var compacted: Int64 = 0
        var byTime: [UInt64: Int64] = [:]
        for (time, revision) in compactions { byTime[time] = revision }
        for time in stride(from: UInt64(300), to: UInt64(revisions.count), by: 300) {
            let target = revisions[Int(time)] - 1000
            #expect(byTime.removeValue(forKey: time) == (target > compacted ? target : nil), "\(time)")
            compacted = max(compacted, target)
        }
        #expect(byTime.isEmpty)
    }

    @Test("Off is off")
    func off() throws {
        #expect(try Self.run(.periodic, "0", hours: 3, seed: 1).compactions.isEmpty)
        #expect(try Self.run(.revision, "0", hours: 3, seed: 1).compactions.isEmpty)
        #expect(try AutoCompaction(mode: .periodic, retention: "0s").policy == .off)
        #expect(try AutoCompaction(mode: .periodic, retention: "2").policy == .periodic(seconds: 7200))
        #expect(try AutoCompaction(mode: .periodic, retention: "90m").policy == .periodic(seconds: 5400))
        #expect(try AutoCompaction(mode: .revision, retention: "90").policy == .revisions(90))
        // The longest period that is accepted can be run.
        #expect(try Self.run(.periodic, "2562047h", hours: 3, seed: 1).compactions.isEmpty)
    }
}
