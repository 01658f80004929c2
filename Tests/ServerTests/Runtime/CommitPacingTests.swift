import Testing

@testable import Server

/// A store that is written to, and a disk that commits, in computed time.
private struct DiskModel {
    var pacing = CommitPacing()
    /// Bytes that come per second, and bytes that a commit writes per second.
    var comingRate: Double
    var diskRate: Double
    /// What every commit costs whatever its size, in seconds.
    var syncSeconds = 0.004
    private(set) var now = 0.0
    private(set) var waiting = 0.0
    private(set) var mostWaiting = 0.0
    private(set) var busySeconds = 0.0
    private(set) var commits = 0
    private(set) var largestCommit = 0.0
    /// When the oldest of what waits came.
    private var oldest: Double?
    private(set) var longestWait = 0.0

    init(comingRate: Double, diskRate: Double, waiting: Double = 0) {
        self.comingRate = comingRate
        self.diskRate = diskRate
        self.waiting = waiting
    }

    private var nanoseconds: UInt64 { UInt64(now * 1e9) }

    private mutating func pass(_ seconds: Double) {
        if waiting == 0, comingRate > 0 { oldest = now }
        now += seconds
        waiting += seconds * comingRate
        mostWaiting = max(mostWaiting, waiting)
    }

    mutating func run(seconds: Double) {
        let end = now + seconds
        while now < end {
            pass(Double(pacing.patienceMilliseconds(now: nanoseconds)) / 1000)
            guard waiting > 0 else {
                pacing.nothingWaits()
                continue
            }
            let start = nanoseconds
            guard pacing.mustCommit(bytes: Int(waiting), isUrgent: false, now: start) else { continue }
            commit()
            pacing.committed(from: start, to: nanoseconds, bytes: Int(waiting))
        }
    }

    private mutating func commit() {
        let bytes = min(waiting, Double(CommitPacing.commitBytes))
        let duration = syncSeconds + bytes / diskRate
        if let oldest, bytes == waiting { longestWait = max(longestWait, now - oldest) }
        waiting -= bytes
        let came = now
        pass(duration)
        oldest = waiting > 0 ? came : nil
        busySeconds += duration
        commits += 1
        largestCommit = max(largestCommit, bytes)
    }
}

@Suite struct CommitPacingTests {
    /// While the disk can well keep up, the log has it for most of the time.
    @Test(arguments: [1e5, 1e6, 1e7, 3e7]) func theLogHasTheDiskMostOfTheTime(comingRate: Double) {
        var model = DiskModel(comingRate: comingRate, diskRate: 300e6)
        model.run(seconds: 30)
        #expect(model.busySeconds < 0.27 * model.now)
        #expect(model.mostWaiting < Double(CommitPacing.urgentBytes))
        #expect(model.largestCommit <= Double(CommitPacing.commitBytes))
    }

    /// Little is committed within the delay, and not more often.
    @Test func littleWaitsForTheDelay() {
        var model = DiskModel(comingRate: 10_000, diskRate: 300e6)
        model.run(seconds: 30)
        #expect(model.commits >= 20 && model.commits <= 31)
        #expect(model.longestWait < 1.2)
    }

    /// What the disk can take at all, it takes: writes are not refused, which begins at twice as much as is urgent.
    @Test(arguments: [50e6, 80e6, 120e6]) func aDiskThatKeepsUpIsUsed(comingRate: Double) {
        var model = DiskModel(comingRate: comingRate, diskRate: 300e6)
        let most = Double(CommitPacing.commitBytes) / (model.syncSeconds + Double(CommitPacing.commitBytes) / 300e6)
        model.run(seconds: 30)
        #expect(comingRate < most)
        #expect(model.mostWaiting < 1.2 * Double(CommitPacing.urgentBytes))
    }

    /// After a burst the disk is left to the log more and more.
    @Test func aBacklogIsWorkedOff() {
        var model = DiskModel(comingRate: 1e6, diskRate: 300e6, waiting: 60e6)
        model.run(seconds: 2)
        #expect(model.waiting < 2 * Double(CommitPacing.commitBytes))
    }

    @Test func somebodyWhoWaitsIsServedAtOnce() {
        var pacing = CommitPacing()
        func decide(_ bytes: Int, isUrgent: Bool = false, now: UInt64) -> Bool {
            pacing.mustCommit(bytes: bytes, isUrgent: isUrgent, now: now)
        }
        let early = [decide(100, now: 10), decide(100, isUrgent: true, now: 10)]
        #expect(early == [false, true])
        pacing.committed(from: 10, to: 400_000_010, bytes: 0)
        pacing.nothingWaits()
        // It rests, but for who waits, and when much does.
        let resting = [
            decide(CommitPacing.commitBytes, now: 400_000_020),
            decide(CommitPacing.commitBytes, isUrgent: true, now: 400_000_020),
            decide(CommitPacing.urgentBytes, now: 400_000_020),
        ]
        #expect(resting == [false, true, true])
        let rested = decide(CommitPacing.commitBytes, now: 900_000_010)
        #expect(rested)
    }

    @Test func aFullDiskIsNotAskedAllTheTime() {
        var pacing = CommitPacing()
        let isDue = pacing.mustCommit(bytes: 2 * CommitPacing.urgentBytes, isUrgent: false, now: 10)
        #expect(isDue)
        pacing.postponed(now: 10)
        #expect(pacing.patienceMilliseconds(now: 10) == Int(CommitPacing.restMax / 1_000_000))
    }
}
