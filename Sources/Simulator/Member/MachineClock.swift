/// A machine's monotonic clock: it may run too fast or too slow, and jump ahead, as one does over a suspension.
struct MachineClock {
    /// 1000 is right.
    let ratePermille: UInt64
    private var anchor: UInt64 = 0
    private var shown: UInt64

    init(ratePermille: UInt64, start: UInt64) {
        self.ratePermille = ratePermille
        shown = start
    }

    /// What it shows at a moment of the simulation.
    func now(at time: UInt64) -> UInt64 { shown + (time - anchor) * ratePermille / 1000 }

    /// When it will show `reading`; the next moment when it does already.
    func time(showing reading: UInt64, from time: UInt64) -> UInt64 {
        let current = now(at: time)
        return reading <= current ? time : time + (reading - current) * 1000 / ratePermille + 1
    }

    mutating func jump(nanoseconds: UInt64, at time: UInt64) {
        shown = now(at: time) + nanoseconds
        anchor = time
    }
}
