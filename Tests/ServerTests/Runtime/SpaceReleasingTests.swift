import MVCC
import Testing

@testable import Server

@Suite struct SpaceReleasingTests {
    private static let second: UInt64 = 1_000_000_000
    private let caller = DefragmentRequest { _ in }

    private func isPersist(_ step: SpaceReleasing.Step) -> Bool { if case .persist = step { true } else { false } }
    private func isBegin(_ step: SpaceReleasing.Step) -> Bool { if case .begin = step { true } else { false } }
    private func isSlice(_ step: SpaceReleasing.Step) -> Bool { if case .slice = step { true } else { false } }

    @Test("Removals are waited for, but not for ever")
    func waiting() {
        var releasing = SpaceReleasing()
        releasing.start([], isFull: false, now: 0)
        #expect(releasing.isIdle && releasing.patienceMilliseconds(now: 0) == .max)
        releasing.start([caller], isFull: false, now: 0)
        #expect(!releasing.isIdle)
        #expect(isPersist(releasing.next(hasRemovals: true, now: 2 * Self.second)))
        #expect(isBegin(releasing.next(hasRemovals: false, now: 1)))
        #expect(isBegin(releasing.next(hasRemovals: true, now: SpaceReleasing.patience)))
    }

    @Test("Between two slices the disk is others' for as long as a slice took, and the callers hear of the end")
    func slices() throws {
        var releasing = SpaceReleasing()
        releasing.start([caller, caller], isFull: false, now: 0)
        releasing.begin(hasRoom: true)
        guard case .slice(var pass) = releasing.next(hasRemovals: true, now: 10) else {
            Issue.record("no slice")
            return
        }
        let during = releasing.didSlice(pass, from: 10, to: 40)
        #expect(during.isEmpty && !isSlice(releasing.next(hasRemovals: false, now: 69)))
        #expect(releasing.patienceMilliseconds(now: 40) == 1)
        #expect(isSlice(releasing.next(hasRemovals: false, now: 70)))
        // A slice that took long does not stop the pass for long.
        _ = releasing.didSlice(pass, from: 0, to: 5 * Self.second)
        #expect(isSlice(releasing.next(hasRemovals: false, now: 5 * Self.second + SpaceReleasing.restMax)))
        releasing.start([caller], isFull: false, now: 0)
        try MemoryBackend().releaseSpace(&pass)
        #expect(pass.isFinished)
        let answered = releasing.didSlice(pass, from: 0, to: 1)
        #expect(answered.count == 2 && releasing.isIdle)
    }

    @Test("On a full disk a pass begins by itself, now and then")
    func byItself() {
        var releasing = SpaceReleasing()
        releasing.start([], isFull: true, now: 5)
        #expect(!releasing.isIdle)
        #expect(releasing.finish().isEmpty && releasing.isIdle)
        releasing.start([], isFull: true, now: 6)
        #expect(releasing.isIdle)
        releasing.start([], isFull: true, now: 5 + SpaceReleasing.ownPeriod)
        #expect(!releasing.isIdle)
    }
}
