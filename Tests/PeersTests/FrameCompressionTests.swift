import Primitives
import Testing

@testable import Peers

/// A maker of frames and a link, in computed time.
private struct LinkModel {
    static let frameBytes = 256.0 * 1024
    static let windowBytes = 8.0 * 1024 * 1024
    /// Bytes of content per second that reading alone, and reading and compressing, come to.
    static let storedRate = 1.0e9
    static let compressedRate = 190.0e6
    static let ratio = 4.0

    var compression = FrameCompression(windowBytes: Int(Self.windowBytes))
    var linkRate: Double
    private(set) var time = 0.0
    private(set) var waiting = 0.0
    private(set) var frames = 0
    private(set) var compressedFrames = 0
    private(set) var changes = 0

    init(linkRate: Double) { self.linkRate = linkRate }

    mutating func makeFrame() {
        let was = compression.isOn
        let isCompressed = compression.decide(waitingBytes: Int(waiting))
        if isCompressed != was { changes += 1 }
        frames += 1
        if isCompressed { compressedFrames += 1 }
        pass(Self.frameBytes / (isCompressed ? Self.compressedRate : Self.storedRate))
        waiting += isCompressed ? Self.frameBytes / Self.ratio : Self.frameBytes
        // The window is full: nothing is made until there is room.
        if waiting > Self.windowBytes { pass((waiting - Self.windowBytes) / linkRate) }
    }

    private mutating func pass(_ seconds: Double) {
        time += seconds
        waiting = max(0, waiting - seconds * linkRate)
    }

    mutating func makeFrames(_ count: Int) { for _ in 0..<count { makeFrame() } }

    /// Content per second, all of it taken by the link.
    var contentRate: Double { Double(frames) * Self.frameBytes / (time + waiting / linkRate) }

    /// What one would come to that always, or never, compresses.
    var bestFixedRate: Double {
        max(min(Self.storedRate, linkRate), min(Self.compressedRate, linkRate * Self.ratio))
    }
}

@Suite struct FrameCompressionTests {
    @Test(arguments: [1e5, 1e6, 1e7, 4e7]) func aSlowLinkGetsCompressedFrames(linkRate: Double) {
        var model = LinkModel(linkRate: linkRate)
        model.makeFrames(20)
        let before = (frames: model.frames, compressed: model.compressedFrames)
        #expect(before.frames - before.compressed <= 9, "no more than fill the link's window up to the mark")
        model.makeFrames(4000)
        #expect(model.compressedFrames - before.compressed == model.frames - before.frames)
        #expect(model.contentRate > 0.99 * linkRate * LinkModel.ratio)
    }

    @Test(arguments: [1.1e9, 5e9]) func aFastLinkGetsStoredFrames(linkRate: Double) {
        var model = LinkModel(linkRate: linkRate)
        model.makeFrames(4000)
        #expect(model.compressedFrames == 0)
    }

    /// Between the two a mixture is better than either.
    @Test(arguments: [4e7, 5e7, 6e7, 1e8, 1.5e8, 2e8, 3e8, 5e8, 8e8, 1e9])
    func nobodyWaitsForTheCompressor(linkRate: Double) {
        var model = LinkModel(linkRate: linkRate)
        model.makeFrames(4000)
        #expect(model.contentRate > 0.97 * model.bestFixedRate)
        #expect(model.changes < model.frames / 4, "it changes its mind with every frame")
    }

    @Test(arguments: 1..<20 as Range<UInt64>) func aLinkThatChangesIsFollowed(seed: UInt64) {
        var random = PRNG(seed: seed)
        var model = LinkModel(linkRate: 5e9)
        for _ in 0..<20 {
            let isSlow = random.chance(oneIn: 2)
            model.linkRate = isSlow ? 1e6 * Double(random.next(in: 1..<30)) : 1e9 * Double(random.next(in: 2..<10))
            // As long as it takes to fill, or to empty, what may wait.
            model.makeFrames(40)
            let before = model.compressedFrames
            model.makeFrames(100)
            #expect(model.compressedFrames - before == (isSlow ? 100 : 0))
        }
    }

    @Test func betweenTheMarksNothingChanges() {
        var compression = FrameCompression(windowBytes: 1600)
        let decisions = [399, 400, 100, 99, 399].map { compression.decide(waitingBytes: $0) }
        #expect(decisions == [false, true, true, false, false])
    }
}
