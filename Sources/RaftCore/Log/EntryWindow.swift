import Primitives

/// Contiguous log entries in memory: grows and shrinks at the end, shrinks at the front. Amortised O(1) per entry.
struct EntryWindow {
    /// Entries before `head` are dead (without payload); they go when they outnumber the others.
    private var storage: [Entry]
    private var head = 0
    /// The index of the first entry, or of the next one when empty.
    private(set) var first: LogIndex
    /// `Entry.sizeBytes` in sum.
    private(set) var bytes = 0

    init(first: LogIndex, entries: [Entry] = []) {
        self.first = first
        storage = entries
        for entry in entries { bytes += entry.sizeBytes }
    }

    var count: Int { storage.count - head }
    var isEmpty: Bool { count == 0 }
    /// The index after the last entry.
    var end: LogIndex { first.advanced(by: count) }

    private func position(_ index: LogIndex) -> Int {
        invariant(index >= first && index <= end, "log index outside of memory")
        return head + Int(index.rawValue - first.rawValue)
    }

    subscript(index: LogIndex) -> Entry { storage[position(index)] }

    mutating func append(_ entry: Entry) {
        invariant(entry.index == end, "log entries are not contiguous")
        storage.append(entry)
        bytes += entry.sizeBytes
    }

    mutating func append(_ entries: ArraySlice<Entry>) {
        guard let last = entries.last else { return }
        invariant(entries.first?.index == end, "log entries are not contiguous")
        storage.append(contentsOf: entries)
        for entry in entries { bytes += entry.sizeBytes }
        invariant(last.index == end.advanced(by: -1), "log entries are not contiguous")
    }

    /// Removes `index` and everything after.
    mutating func truncate(from index: LogIndex) {
        let start = position(index)
        for position in start..<storage.count { bytes -= storage[position].sizeBytes }
        storage.removeSubrange(start...)
    }

    /// Removes everything through `index`, which may not be beyond the end.
    mutating func dropFirst(through index: LogIndex) {
        if index < first { return }
        let end = position(index.advanced(by: 1))
        for position in head..<end {
            bytes -= storage[position].sizeBytes
            storage[position].payload = Bytes()
        }
        head = end
        first = index.advanced(by: 1)
        if head > storage.count - head {
            storage.removeFirst(head)
            head = 0
        }
    }

    /// Entries `from ..< to` until `bytesMax` is reached; at least one unless the range is empty.
    func entries(from: LogIndex, to: LogIndex, bytesMax: Int = .max) -> [Entry] {
        let start = position(from)
        let end = position(to)
        if start >= end { return [] }
        if bytesMax == .max { return Array(storage[start..<end]) }
        var sum = 0
        var stop = start
        while stop < end {
            sum += storage[stop].sizeBytes
            if sum > bytesMax, stop > start { break }
            stop += 1
        }
        return Array(storage[start..<stop])
    }
}
