import Primitives
import RaftCore

/// A message under way, with the image that a snapshot message is streamed with.
struct Envelope {
    var message: Message
    var image: Image?
}

/// One member: a `Raft`, its disk, its state machine, and the queues to both. Works at once (`run`) or step by step
/// (`takeReady`, `finishWrite`, `applyNext`).
final class TestNode {
    let id: MemberID
    let disk: TestDisk
    var raft: Raft
    var witness = RaftWitness()
    /// The state machine in memory; the disk has an older one.
    var image: Image
    var isUp = true
    /// Readys that are being written, oldest first.
    var writing: [Ready] = []
    /// Committed entries that are not applied yet.
    var applying: [Entry] = []
    /// Images received, by the last entry they contain.
    var received: [EntryID: Image] = [:]
    var outgoing: [Envelope] = []
    var readStates: [ReadState] = []
    var abortedReads: [UInt64] = []
    /// Every entry applied since the start or the last restart, without snapshots.
    var applied: [Entry] = []
    var options: RaftConfiguration

    init(options: RaftConfiguration, disk: TestDisk, keepAll: Bool = true, seed: UInt64) {
        id = options.id
        self.options = options
        self.disk = disk
        image = disk.image
        raft = Raft(
            configuration: options, restored: disk.restored(keepAll: keepAll), storage: disk,
            random: PRNG(seed: seed))
    }

    /// Stops; the first `survivors` of the writes in flight reach the disk unacknowledged.
    func crash(survivors: Int) {
        for ready in writing.prefix(survivors) { write(ready) }
        isUp = false
        writing = []
        applying = []
        outgoing = []
        received = [:]
        readStates = []
        abortedReads = []
        applied = []
    }

    func restart(keepAll: Bool, seed: UInt64) {
        raft = Raft(
            configuration: options, restored: disk.restored(keepAll: keepAll), storage: disk,
            random: PRNG(seed: seed))
        image = disk.image
        witness.noteRestart()
        isUp = true
    }

    func check() { witness.check(raft) }

    func takeReady() {
        let ready = raft.ready()
        emit(ready.messages)
        if ready.needsAppend || !ready.messagesAfterAppend.isEmpty { writing.append(ready) }
        applying += ready.committed
        readStates += ready.readStates
        abortedReads += ready.abortedReads
        check()
    }

    private func emit(_ messages: [Message]) {
        for var message in messages {
            if message.type == .snapshot {
                // The image really streamed may be newer than the one the core asked for.
                message.snapshot = try? disk.snapshot()
                if message.snapshot == nil {
                    raft.reportSnapshot(to: message.to, succeeded: false)
                    continue
                }
                outgoing.append(Envelope(message: message, image: disk.image))
            } else {
                outgoing.append(Envelope(message: message))
            }
        }
    }

    private func write(_ ready: Ready) {
        disk.write(ready, image: ready.snapshot.flatMap { received[$0.entryID] })
    }

    /// The disk finishes the oldest `count` writes and reports them together.
    func finishWrites(_ count: Int) {
        let done = writing.prefix(count)
        guard let last = done.last else { return }
        writing.removeFirst(done.count)
        for ready in done {
            write(ready)
            if ready.snapshot != nil {
                image = disk.image
                applying.removeAll { $0.index <= image.last.index }
            }
        }
        raft.appendDurable(through: last.number)
        check()
        emit(done.flatMap(\.messagesAfterAppend))
    }

    /// Applies up to `count` entries and reports them.
    func apply(_ count: Int) {
        let entries = applying.prefix(count)
        guard let last = entries.last else { return }
        applying.removeFirst(entries.count)
        for entry in entries {
            precondition(entry.index == image.last.index.advanced(by: 1), "a gap in what is applied")
            image.last = EntryID(term: entry.term, index: entry.index)
            applied.append(entry)
            if entry.kind.changesConfiguration {
                _ = try? raft.applyConfigurationChange(ChangeCodec.decode(entry.payload))
                image.configuration = raft.configurationState
                check()
            } else if !entry.payload.isEmpty {
                image.payloads.append(entry.payload)
            }
        }
        raft.applied(through: last.index)
        check()
    }

    /// Persists the state machine.
    func persist() { disk.image = image }

    /// Does all that is to be done without messages from others.
    func run() {
        while raft.hasReady || !writing.isEmpty || !applying.isEmpty {
            if raft.hasReady { takeReady() }
            finishWrites(writing.count)
            apply(applying.count)
        }
    }

    func step(_ envelope: Envelope) throws(RaftError) {
        if let snapshot = envelope.message.snapshot { received[snapshot.entryID] = envelope.image }
        defer { check() }
        try raft.step(envelope.message)
    }

    func term(at index: UInt64) -> UInt64? { disk.entry(at: LogIndex(index))?.term.rawValue }
}
