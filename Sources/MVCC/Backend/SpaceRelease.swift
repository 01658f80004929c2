/// One pass over a store's file that gives the disk space of free pages back to the file system, in slices
/// (`Backend.releaseSpace`) between which the store is written to as ever. The file keeps its length and what it holds;
/// it gets holes. A page that is used again takes space again.
///
/// Owner: the backend thread.
package struct SpaceRelease: Sendable {
    /// What the file system said.
    package struct Failure: Sendable {
        package var words: String
        /// It cannot make holes in files at all.
        package var isUnsupported: Bool
    }

    /// Runs of pages that one slice looks at, at most.
    package static let sliceRunsMax = 256
    /// Bytes that one slice gives back, at most.
    package static let sliceBytesMax = 32 << 20
    /// Commits that make all of what was free before them old enough to be given back (`LMDBBackend.releaseSpace`).
    package static let agingCommits = marginCommits + 1

    /// How many commits longer a page must have been free than LMDB itself demands for using it again.
    static let marginCommits = 2
    /// Pages that are looked at from one reading of the list of free pages, about: 16 GiB. Reading it takes 10 ms.
    static let collectedPagesMax = 4 << 20

    /// Nothing is left to do.
    package internal(set) var isFinished = false
    /// Bytes given back so far.
    package internal(set) var releasedBytes = 0
    /// Why the pass ended early. What was given back before stays so.
    package internal(set) var failure: Failure?

    /// Commits without content that are made first, one in a slice.
    var commitsLeft: Int
    /// The commit whose list of free pages `pages` comes from; nil when it is to be read.
    var snapshot: Int?
    var pages = PageSet(limit: 0)
    /// The first record of the list that `pages` comes from, and the first that it does not hold any more.
    var firstRecord = 0
    var nextRecord: Int?
    var nextPage = 0

    /// - Parameter agingCommits: commits without content to be made first; without them the space of what was freed
    ///   last is not given back. Each needs a little room on the disk.
    package init(agingCommits: Int) { commitsLeft = agingCommits }
}

/// A set of page numbers below a limit.
struct PageSet: Sendable {
    let limit: Int
    private(set) var count = 0
    private var words: [UInt64]

    init(limit: Int) {
        self.limit = limit
        words = Array(repeating: 0, count: (limit + 63) / 64)
    }

    /// False when it is there already. `page` is below the limit.
    mutating func insert(_ page: Int) -> Bool {
        let bit: UInt64 = 1 << UInt64(page & 63)
        guard words[page >> 6] & bit == 0 else { return false }
        words[page >> 6] |= bit
        count += 1
        return true
    }

    /// The first pages in a row from `page` on; nil when there are none.
    func run(from page: Int) -> Range<Int>? {
        guard let start = first(from: page, isMember: true) else { return nil }
        return start..<(first(from: start, isMember: false) ?? limit)
    }

    private func first(from page: Int, isMember: Bool) -> Int? {
        var index = page >> 6
        // Bits below `page` do not count.
        var mask = UInt64.max << UInt64(page & 63)
        while index < words.count {
            let found = (isMember ? words[index] : ~words[index]) & mask
            if found != 0 {
                let place = index << 6 + found.trailingZeroBitCount
                return place < limit ? place : nil
            }
            mask = .max
            index += 1
        }
        return nil
    }
}
