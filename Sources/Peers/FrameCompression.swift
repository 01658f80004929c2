/// Decides, frame by frame, whether a snapshot is compressed on its way.
///
/// A frame is compressed while enough waits to keep the link busy in the meantime: then compressing costs nothing and
/// saves the link's time. While the link has run out of bytes it is the compressor that everybody waits for, and frames
/// go as they are. So a slow link gets nearly all frames compressed, one faster than the compressor none, and between
/// the two the mixture that keeps both at work. Two marks instead of one, so that it does not change its mind with every
/// frame. Pure; owner: whoever has the sender.
struct FrameCompression {
    /// Compressing begins when so many bytes wait for the link ...
    let highWaterBytes: Int
    /// ... and ends when fewer than these do.
    let lowWaterBytes: Int
    private(set) var isOn = false

    /// - Parameter windowBytes: the most that is sent and not yet consumed (`PeerLimits.snapshotWindowBytes`).
    init(windowBytes: Int) {
        highWaterBytes = max(1, windowBytes / 4)
        lowWaterBytes = max(1, windowBytes / 16)
    }

    /// Whether the next frame is compressed.
    ///
    /// - Parameter waitingBytes: made, and not yet taken by the socket. What the receiver has and is still at work on does
    ///   not count: smaller frames are no less work to it.
    mutating func decide(waitingBytes: Int) -> Bool {
        if waitingBytes >= highWaterBytes {
            isOn = true
        } else if waitingBytes < lowWaterBytes {
            isOn = false
        }
        return isOn
    }
}
