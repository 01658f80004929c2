/// How large the log makes its files, and how much it keeps for others, by the room on the volume. With plenty of room
/// everything has its usual size; a log on a small or nearly full disk is small. Sizes in bytes.
struct SegmentSizing {
    /// What a segment has where there is room; a multiple of 4096.
    let usual: Int
    /// What a segment has where there is hardly any, unless a single batch needs more, or not even that is there.
    let least: Int
    /// Room that is left to others, the store first of all, when something is taken ahead of need.
    let reserve: Int
    private let retained: Int

    init(_ options: WALOptions) {
        usual = Self.rounded(min(options.segmentBytes, WriteAheadLog.segmentBytesMax - 4095))
        least = min(usual, Self.rounded(usual / 16))
        reserve = usual / 8
        retained = options.retainedBytes
    }

    /// The next multiple of 4096, at least one.
    static func rounded(_ bytes: Int) -> Int { (max(bytes, 1) + 4095) & ~4095 }

    /// What the next segment gets where `free` bytes are left: at most an eighth of them.
    func segment(free: Int) -> Int {
        var bytes = usual
        while bytes > least, bytes > free / 8 { bytes = Self.rounded(bytes / 2) }
        return max(bytes, least)
    }

    /// What is kept for members that lag: at most half as much as is left.
    func retained(free: Int) -> Int { min(retained, free / 2) }

    /// Whether so little is left that the log gives up what it can do without.
    func isScarce(free: Int) -> Bool { free < reserve + 2 * least }
}
