import MVCC
import Primitives
import Watch
import Wire

/// A change asked for: a put with a value, or a delete.
struct Change {
    var key: Bytes
    var value: Bytes?
}

/// A change made: what a watcher must be told.
struct ExpectedEvent: Equatable {
    var key: Bytes
    var isDelete = false
    var value = Bytes()
    var createRevision: Int64 = 0
    var modRevision: Int64
    var version: Int64 = 0
    /// The mod revision of the version before, 0 for none.
    var previousModRevision: Int64 = 0
    var previousValue = Bytes()
}

/// A store as a hub's tests need it. `write` makes one revision of changes of different, suitable keys.
protocol TestStore: AnyObject {
    var source: any WatchSource { get }
    var currentRevision: Int64 { get }
    var compactRevision: Int64 { get }
    func write(_ changes: [Change]) throws
    func compact(to revision: Int64) throws
    /// Makes the tail as short as it may be.
    func shortenTail() throws
}

/// Applies changes to a plain map, and knows what each revision changed.
struct EventModel {
    private struct Version {
        var value: Bytes
        var createRevision: Int64
        var modRevision: Int64
        var version: Int64
    }

    private var live: [Bytes: Version] = [:]
    /// From revision 2 on; each revision at index revision - 2.
    private(set) var revisions: [[ExpectedEvent]] = []

    var currentRevision: Int64 { Int64(revisions.count) + 1 }
    func isLive(_ key: Bytes) -> Bool { live[key] != nil }

    mutating func write(_ changes: [Change]) -> [ExpectedEvent] {
        let revision = currentRevision + 1
        var events: [ExpectedEvent] = []
        for change in changes {
            let before = live[change.key]
            var event = ExpectedEvent(key: change.key, modRevision: revision)
            event.previousModRevision = before?.modRevision ?? 0
            event.previousValue = before?.value ?? Bytes()
            if let value = change.value {
                event.value = value
                event.createRevision = before?.createRevision ?? revision
                event.version = (before?.version ?? 0) + 1
                live[change.key] = Version(
                    value: value, createRevision: event.createRevision, modRevision: revision, version: event.version)
            } else {
                event.isDelete = true
                live[change.key] = nil
            }
            events.append(event)
        }
        revisions.append(events)
        return events
    }
}

/// A store and a source in one: everything in arrays, with a tail that the test shortens.
final class FakeStore: TestStore, WatchSource {
    private var model = EventModel()
    private var revisions: [RevisionEvents] = []
    private var records: [Bytes: Bytes] = [:]
    private(set) var compactRevision: Int64 = -1
    private var tailStart: Int64 = 2
    var identity = WatchIdentity(clusterID: 0xcafe, memberID: 0xbeef, raftTerm: 7)
    var historyError: StoreError?
    private(set) var historyReads = 0
    /// Whether writes keep the previous record in their events.
    var keepsPrevious = true
    private(set) var isPreviousWanted = false

    var source: any WatchSource { self }
    var currentRevision: Int64 { model.currentRevision }

    func write(_ changes: [Change]) {
        let events = model.write(changes).map { event in
            let record = KeyValueCodec.encode(
                key: event.key, createRevision: event.createRevision, modRevision: event.modRevision,
                version: event.version, value: event.value, lease: 0)
            let previous = records[event.key]
            records[event.key] = event.isDelete ? nil : record
            return Event(
                isDelete: event.isDelete, record: record, previous: keepsPrevious ? previous : nil,
                keyRange: 2..<2 + event.key.count, checksum: 0)
        }
        revisions.append(RevisionEvents(main: model.currentRevision, events: events))
    }

    func put(_ key: Bytes, _ value: Bytes = "v") { write([Change(key: key, value: value)]) }
    func delete(_ key: Bytes) { write([Change(key: key, value: nil)]) }

    func compact(to revision: Int64) { compactRevision = max(compactRevision, revision) }
    func shortenTail() { tailStart = currentRevision + 1 }

    func wantPrevious() { isPreviousWanted = true }

    func record(of key: UnsafeRawBufferPointer, at revision: Int64) throws(StoreError) -> Bytes? {
        if let historyError { throw historyError }
        guard revision >= compactRevision else { return nil }
        let key = Bytes(copying: key)
        for entry in revisions[..<Int(revision - 1)].reversed() {
            for event in entry.events where Bytes(Array(event.record.array[event.keyRange])) == key {
                return event.isDelete ? nil : event.record
            }
        }
        return nil
    }

    func tailEvents(after: Int64, through: Int64, maxBytes: Int) -> [RevisionEvents]? {
        guard after + 1 >= tailStart else { return nil }
        return take(after: after, through: through, maxRevisions: Int.max, maxBytes: maxBytes)
    }

    func historyEvents(
        after: Int64, maxRevisions: Int, maxBytes: Int, wantPrevious: Bool
    ) throws(StoreError) -> (events: [RevisionEvents], through: Int64) {
        historyReads += 1
        if let historyError { throw historyError }
        guard after + 1 >= compactRevision else { throw .compacted(compactRevision: compactRevision) }
        var taken = take(after: after, through: currentRevision, maxRevisions: maxRevisions, maxBytes: maxBytes)
        for revision in taken.indices {
            for index in taken[revision].events.indices
            where !wantPrevious || taken[revision].main - 1 < compactRevision {
                taken[revision].events[index].previous = nil
            }
        }
        return (taken, taken.last?.main ?? after)
    }

    private func take(after: Int64, through: Int64, maxRevisions: Int, maxBytes: Int) -> [RevisionEvents] {
        var taken: [RevisionEvents] = []
        var bytes = 0
        for revision in revisions[Int(min(after, currentRevision)) - 1..<Int(max(after, through)) - 1] {
            if !taken.isEmpty, bytes >= maxBytes || taken.count >= maxRevisions { break }
            bytes += revision.events.reduce(0) { $0 + $1.record.count + ($1.previous?.count ?? 0) }
            taken.append(revision)
        }
        return taken
    }
}
