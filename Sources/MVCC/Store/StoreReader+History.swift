package import Primitives
import Wire

extension StoreReader {
    /// The events after revision `after`, read from the backend: for a watcher that is behind the tail. In order; stops
    /// after `maxRevisions` revisions or `maxBytes` bytes, at least one revision. `through` is the revision up to which
    /// nothing is missing: it may be higher than the last event's, because compaction and sub-ranges leave gaps; when
    /// it equals the persisted revision, go on in the tail. With `wantPrevious` each event carries the record before
    /// it, unless that lies below the compact revision. Throws `.compacted` when `after + 1` is below the compact
    /// revision.
    package func historyEvents(
        after: Int64, maxRevisions: Int, maxBytes: Int, wantPrevious: Bool
    ) throws(StoreError) -> (events: [RevisionEvents], through: Int64) {
        threadOwner.check("a store reader")
        let persisted = store.withState { $0.persisted }
        try disk.begin()
        defer { disk.end() }
        // After the image was taken: what it lacks was removed for a compact revision that is known here.
        let compact = store.withState { $0.compact }
        if after + 1 < compact { throw .compacted(compactRevision: compact) }
        var found = try readHistory(after: after, through: persisted, maxRevisions, maxBytes)
        if wantPrevious { try addPrevious(&found.events, compact: compact) }
        return found
    }

    private func readHistory(
        after: Int64, through persisted: Int64, _ maxRevisions: Int, _ maxBytes: Int
    ) throws(StoreError) -> (events: [RevisionEvents], through: Int64) {
        var result: [RevisionEvents] = []
        var bytes = 0
        var stored = try disk.seek(Revision(main: after + 1, sub: 0))
        while let record = stored, record.revision.main <= persisted {
            let isNext = result.last?.main != record.revision.main
            if isNext, result.count >= maxRevisions || (bytes >= maxBytes && !result.isEmpty) {
                return (result, result[result.count - 1].main)
            }
            let event: Event
            do throws(StoreError) { event = try Event(record) } catch { throw error.located(store.backend.path) }
            bytes += event.footprintBytes
            if isNext {
                result.append(RevisionEvents(main: record.revision.main, events: [event]))
            } else {
                result[result.count - 1].events.append(event)
            }
            stored = try disk.next()
        }
        return (result, max(after, persisted))
    }

    /// Where the previous record of an event is.
    private enum Previous {
        case none
        case inMemory(Bytes)
        case stored(Revision)
    }

    private func addPrevious(_ history: inout [RevisionEvents], compact: Int64) throws(StoreError) {
        for outer in history.indices {
            let before = history[outer].main - 1
            if before < compact { continue }
            for inner in history[outer].events.indices {
                let event = history[outer].events[inner]
                let place = store.withState { state in event.withKey { findPrevious($0, at: before, state) } }
                switch place {
                case .none: continue
                case .inMemory(let record): history[outer].events[inner].previous = record
                case .stored(let revision):
                    // The image has it: it is older than the event, and was in the index after the image was taken.
                    history[outer].events[inner].previous = Bytes(copying: try self.stored(revision).bytes)
                }
            }
        }
    }

    private func findPrevious(
        _ key: UnsafeRawBufferPointer, at revision: Int64, _ state: borrowing StoreState
    ) -> Previous {
        guard let version = state.index.find(key)?.pointee.live(at: revision) else { return .none }
        if let record = state.tail.record(main: version.main, sub: version.sub) { return .inMemory(record) }
        return .stored(Revision(main: version.main, sub: version.sub))
    }

    // MARK: Scrubbing

    /// Reads records after `after` (nil: from the first), up to `maxRecords` or until they have `maxBytes` bytes, at least
    /// one, and checks their checksums, and that each of them can be decoded. Returns where to go on, or nil at the end.
    /// Throws `.corrupted` with the revision. Adds to `verified` how many records were looked at.
    package func scrub(
        after: Revision?, maxRecords: Int, maxBytes: Int = .max, verified: inout Int
    ) throws(StoreError) -> Revision? {
        threadOwner.check("a store reader")
        try disk.begin()
        defer { disk.end() }
        let start = after.map { Revision(main: $0.main, sub: $0.sub + 1) } ?? Revision(main: 0, sub: 0)
        var stored = try disk.seek(start)
        var records = 0
        var bytes = 0
        var last: Revision?
        while let record = stored {
            if records >= maxRecords || bytes >= maxBytes { return last ?? after }
            let version = KeyVersion.tombstone(
                main: record.revision.main, sub: record.revision.sub, recordBytes: record.bytes.count)
            do throws(StoreError) { _ = try KeyValueView.decode(record.bytes, at: version) } catch {
                throw error.located(store.backend.path)
            }
            last = record.revision
            records += 1
            bytes += record.bytes.count
            verified += 1
            stored = try disk.next()
        }
        return nil
    }

    /// As the other, for whoever does not count what was verified.
    package func scrub(after: Revision?, maxRecords: Int) throws(StoreError) -> Revision? {
        var verified = 0
        return try scrub(after: after, maxRecords: maxRecords, verified: &verified)
    }
}
