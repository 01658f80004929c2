import MVCC
import Primitives
import Wire

/// The events of one read, in order, without the division into revisions.
struct EventBatch {
    private(set) var events: [Event] = []
    /// The main revision of each event.
    private(set) var mains: [Int64] = []

    /// Takes the revisions up to `through`, in place of what it had.
    mutating func fill(_ revisions: [RevisionEvents], through: Int64) {
        clear()
        for revision in revisions where revision.main <= through {
            for event in revision.events {
                events.append(event)
                mains.append(revision.main)
            }
        }
    }

    /// Whether the event has a previous version that it does not carry: the store was not asked to keep it then.
    func lacksPrevious(_ index: Int) -> Bool {
        guard events[index].previous == nil else { return false }
        if events[index].isDelete { return true }
        return events[index].record.withUnsafeBytes { record in
            guard let view = try? KeyValueView(decoding: record) else { return false }
            return view.createRevision != view.modRevision
        }
    }

    mutating func setPrevious(_ index: Int, _ record: Bytes) { events[index].previous = record }

    /// Lets go of the events' memory.
    mutating func clear() {
        events.removeAll(keepingCapacity: events.count <= 4096)
        mains.removeAll(keepingCapacity: mains.count <= 4096)
    }
}

/// The events of one distribution that one variant's watchers are sent, as fields of a `WatchResponse`: encoded once,
/// when more than one watcher is to have them, and copied for each; written straight to where they go otherwise.
///
/// Watchers that are to have fewer of them, or in fragments, get a part: events lie one after another. Owner: the hub.
final class EventPayload {
    /// Which of the batch's events.
    private(set) var selected: [Int] = []
    /// Where each event's field begins, and where the last one ends.
    private var offsets: [Int] = [0]
    private var memory = UnsafeMutableRawBufferPointer(start: nil, count: 0)
    private var isEncoded = false
    private var wantsPrevious = false

    /// Memory beyond this is given back after use.
    private static let keptBytesMax = 1 << 20

    deinit { memory.deallocate() }

    var count: Int { selected.count }

    /// Chooses those of `pending` that `options` do not exclude.
    func select(_ pending: [Int], _ options: EventOptions, from batch: borrowing EventBatch) {
        selected.removeAll(keepingCapacity: true)
        offsets.removeAll(keepingCapacity: true)
        offsets.append(0)
        isEncoded = false
        wantsPrevious = options.contains(.previous)
        var end = 0
        for index in pending where !options.excludes(isDelete: batch.events[index].isDelete) {
            let event = batch.events[index]
            end += EventCodec.fieldSize(
                isDelete: event.isDelete, recordCount: event.record.count,
                previousCount: wantsPrevious ? event.previous?.count ?? 0 : 0)
            selected.append(index)
            offsets.append(end)
        }
    }

    /// The place of the first selected event at or after `revision`; `count` when there is none.
    func firstIndex(from revision: Int64, in batch: borrowing EventBatch) -> Int {
        var low = 0
        var high = selected.count
        while low < high {
            let middle = (low + high) / 2
            if batch.mains[selected[middle]] < revision { low = middle + 1 } else { high = middle }
        }
        return low
    }

    /// How many bytes so many selected events take.
    func size(_ range: Range<Int>) -> Int { offsets[range.upperBound] - offsets[range.lowerBound] }

    /// The fields of selected events, borrowed until the next `select`; nil when they have not been encoded.
    func encoded(_ range: Range<Int>) -> UnsafeRawBufferPointer? {
        guard isEncoded else { return nil }
        let bytes = UnsafeRawBufferPointer(memory)
        return UnsafeRawBufferPointer(rebasing: bytes[offsets[range.lowerBound]..<offsets[range.upperBound]])
    }

    /// Encodes all selected events, for `write` to copy from.
    func encode(from batch: borrowing EventBatch) {
        guard !isEncoded else { return }
        let size = offsets[selected.count]
        if memory.count < size {
            memory.deallocate()
            memory = .allocate(byteCount: max(size, 16 << 10), alignment: 8)
        }
        var writer = ProtoWriter(UnsafeMutableRawBufferPointer(rebasing: memory[..<size]))
        write(0..<selected.count, from: batch, to: &writer)
        writer.finish()
        isEncoded = true
    }

    /// Encodes the fields of selected events: `size(range)` bytes.
    func write(_ range: Range<Int>, from batch: borrowing EventBatch, to writer: inout ProtoWriter) {
        let none = UnsafeRawBufferPointer(start: nil, count: 0)
        for index in selected[range] {
            let event = batch.events[index]
            event.record.withUnsafeBytes { record in
                guard wantsPrevious, let previous = event.previous else {
                    EventCodec.writeField(to: &writer, isDelete: event.isDelete, record: record, previous: none)
                    return
                }
                previous.withUnsafeBytes { previous in
                    EventCodec.writeField(to: &writer, isDelete: event.isDelete, record: record, previous: previous)
                }
            }
        }
    }

    /// Gives memory back after an uncommonly large payload.
    func trim() {
        guard memory.count > Self.keptBytesMax else { return }
        memory.deallocate()
        memory = UnsafeMutableRawBufferPointer(start: nil, count: 0)
        isEncoded = false
    }
}
