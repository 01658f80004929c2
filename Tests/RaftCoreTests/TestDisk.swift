import Primitives
import RaftCore

/// A state machine: what was applied, and the membership as of that index.
struct Image: Equatable {
    var last = EntryID.zero
    var configuration = ConfigurationState()
    /// Payloads of the normal entries applied, empty ones left out.
    var payloads: [Bytes] = []
}

/// What survives a crash of one member: hard state, log, and the last persisted image.
final class TestDisk: LogStorage {
    var hardState = HardState()
    /// The log on disk: entry `compacted.index + 1` first.
    var entries: [Entry] = []
    var compacted = EntryID.zero
    var image = Image()
    /// When true, reads of the log and of the snapshot answer `temporarilyUnavailable`.
    var isBusy = false
    /// How often it was asked for evicted entries, lost entries to a truncation, and was replaced by a snapshot.
    var reads = 0
    var truncations = 0
    var installs = 0

    var lastIndex: LogIndex { compacted.index.advanced(by: entries.count) }

    func entry(at index: LogIndex) -> Entry? {
        guard index > compacted.index, index <= lastIndex else { return nil }
        return entries[Int(index.rawValue - compacted.index.rawValue) - 1]
    }

    /// Makes one Ready durable.
    func write(_ ready: Ready, image: Image?) {
        if let snapshot = ready.snapshot, let image {
            self.image = image
            compacted = snapshot.entryID
            entries = []
            installs += 1
        }
        if let first = ready.appends.first {
            if first.index <= lastIndex { truncations += 1 }
            entries.removeLast(Int(lastIndex.rawValue + 1 - first.index.rawValue))
            entries += ready.appends
        }
        if let hardState = ready.hardState { self.hardState = hardState }
    }

    func compact(through index: LogIndex) {
        guard let entry = entry(at: index) else { return }
        entries.removeFirst(Int(index.rawValue - compacted.index.rawValue))
        compacted = EntryID(term: entry.term, index: index)
    }

    /// What a restart finds; entries before the image are left to `LogStorage` when `inMemory` is small.
    func restored(keepAll: Bool) -> RestoredState {
        RestoredState(
            hardState: hardState, configurationState: image.configuration, compacted: compacted,
            applied: image.last.index,
            entries: keepAll ? entries : entries.filter { $0.index > image.last.index })
    }

    func term(at index: LogIndex) throws(LogStorageError) -> Term {
        if index == compacted.index { return compacted.term }
        guard let entry = entry(at: index) else { throw index < compacted.index ? .compacted : .unavailable }
        return entry.term
    }

    func entries(from: LogIndex, to: LogIndex, bytesMax: Int) throws(LogStorageError) -> [Entry] {
        if isBusy { throw .temporarilyUnavailable }
        reads += 1
        if from <= compacted.index { throw .compacted }
        var result: [Entry] = []
        var bytes = 0
        var index = from
        while index < to, let entry = entry(at: index) {
            bytes += entry.sizeBytes
            if bytes > bytesMax, !result.isEmpty { break }
            result.append(entry)
            index = index.advanced(by: 1)
        }
        if result.isEmpty { throw .unavailable }
        return result
    }

    func snapshot() throws(LogStorageError) -> SnapshotMetadata {
        if isBusy || image.last.index < compacted.index || image.last.index == .zero { throw .temporarilyUnavailable }
        return SnapshotMetadata(
            configurationState: image.configuration, index: image.last.index, term: image.last.term)
    }
}

/// Membership changes as the tests encode them: transition, then step and member, a byte each. Empty leaves a joint
/// configuration.
enum ChangeCodec {
    static func encode(_ change: ConfigurationChange) -> Bytes {
        if change.leavesJoint { return Bytes() }
        return Bytes(
            [change.transition.rawValue] + change.changes.flatMap { [$0.step.rawValue, UInt8($0.member.rawValue)] })
    }

    static func decode(_ payload: Bytes) -> ConfigurationChange {
        if payload.isEmpty { return .leaveJoint }
        let bytes = payload.array
        var changes: [ConfigurationChange.Single] = []
        for position in stride(from: 1, to: bytes.count, by: 2) {
            changes.append(.init(.init(rawValue: bytes[position])!, MemberID(UInt64(bytes[position + 1]))))
        }
        return ConfigurationChange(changes, transition: .init(rawValue: bytes[0])!)
    }
}
