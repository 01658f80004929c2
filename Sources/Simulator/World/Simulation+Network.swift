import MVCC
import Primitives
import RaftCore
import Replica
import ServerCore
import Snapshots
import StateMachine
import Synchronization

/// One snapshot on its way from a member's disk to another's.
struct SnapshotTransfer {
    let from: Int
    let to: Int
    let fromLife: Int
    let toLife: Int
    let message: Message
    let writer: SnapshotWriter
    let backend: MemoryBackend
    let restore: SnapshotRestore
    var chunks = 0
    /// The chunk that is on its way; nil: the end of the stream.
    var chunk: Bytes?
    /// After so many chunks the connection breaks; 0: never.
    var cutAfter: Int
    /// In this chunk a bit is flipped; 0: in none.
    var flipIn: Int
    var wasFlipped = false
}

/// Messages between members, and snapshots.
extension Simulation {
    /// Gives an event to a process, as soon as it runs.
    func hand(_ machine: Machine, _ event: ReplicaEvent) {
        switch machine.status {
        case .running:
            machine.driver?.deliver(event)
            schedule(machine)
        case .paused: machine.heldEvents.append(event)
        case .absent, .down, .removed: break
        }
    }

    func send(_ message: Message, from sender: Machine) {
        durability.sent(message)
        guard let receiver = machine(message.to), receiver !== sender else { return }
        if message.type == .snapshot { return beginTransfer(message, from: sender, to: receiver) }
        let times = network.arrivals(from: sender.index, to: receiver.index, now: now, type: message.type)
        let envelope = Envelope(
            from: sender.index, to: receiver.index, life: sender.life, message: network.part(of: message))
        for time in times { queue.add(.deliver(envelope), at: time) }
        if times.isEmpty { lose(envelope) }
    }

    /// A message does not arrive; the sender's transport may notice.
    private func lose(_ envelope: Envelope) {
        trace.note(
            .drop, time: now, member: envelope.from, UInt64(envelope.to), envelope.message.term.rawValue,
            envelope.message.index.rawValue, envelope.message.type.name)
        guard random.chance(oneIn: 4) else { return }
        queue.add(
            .unreachable(member: envelope.from, life: envelope.life, peer: envelope.to),
            at: now + time(1_000_000..<100_000_000))
    }

    func deliver(_ envelope: Envelope) {
        let receiver = machines[envelope.to]
        let sender = machines[envelope.from]
        guard receiver.isUp, let driver = receiver.driver else { return lose(envelope) }
        // The transport refuses a member that it knows to be removed.
        if driver.core.stateMachine.published.withLock({ $0.removed.contains(sender.id) }) { return }
        trace.note(
            .deliver, time: now, member: envelope.to, UInt64(envelope.from), envelope.message.term.rawValue,
            envelope.message.index.rawValue, envelope.message.type.name)
        hand(receiver, .message(envelope.message))
    }

    // MARK: Snapshots

    private func beginTransfer(_ message: Message, from sender: Machine, to receiver: Machine) {
        let transfer = open(message, from: sender, to: receiver)
        guard let transfer, receiver.status == .running, receiver.incomingTransfer == nil,
            !network.isCut(from: sender.index, to: receiver.index)
        else {
            counters.snapshotsFailed += 1
            hand(sender, .snapshotSent(to: receiver.id, succeeded: false))
            return
        }
        receiver.incomingTransfer = transfers.count
        trace.note(
            .snapshot, time: now, member: sender.index, UInt64(receiver.index),
            transfer.writer.header.appliedIndex.rawValue, UInt64(transfers.count))
        transfers.append(transfer)
        queue.add(
            .snapshotChunk(transfer: transfers.count - 1),
            at: network.arrival(from: sender.index, to: receiver.index, now: now))
    }

    private func open(_ message: Message, from sender: Machine, to receiver: Machine) -> SnapshotTransfer? {
        var options = SnapshotOptions()
        options.frameBytes = [300, 2000, 64 << 10][random.next(in: 0..<3)]
        // A wrong state would spread: nothing can be told of it then.
        guard sender.wrongSince == nil else { return nil }
        let incoming = MemoryBackend()
        guard let reader = try? sender.backend.makeReader(),
            let writer = try? SnapshotWriter(
                reader: reader, clusterID: Self.clusterID, memberID: sender.id, options: options),
            let restore = try? SnapshotRestore(into: incoming)
        else { return nil }
        let mayFail = phase == .safety
        let cuts = mayFail && self.options.cutsSnapshots && random.chance(oneIn: 2)
        let flips = mayFail && self.options.flipsSnapshotBits && random.chance(oneIn: 3)
        return SnapshotTransfer(
            from: sender.index, to: receiver.index, fromLife: sender.life, toLife: receiver.life, message: message,
            writer: writer, backend: incoming, restore: restore, cutAfter: cuts ? random.next(in: 1..<6) : 0,
            flipIn: flips ? random.next(in: 1..<6) : 0)
    }

    /// The next chunk of a stream arrives, or its end.
    func continueTransfer(_ number: Int) throws(Violation) {
        guard var transfer = transfers[number] else { return }
        let receiver = machines[transfer.to]
        let sender = machines[transfer.from]
        if receiver.status == .paused || sender.status == .paused {
            queue.add(.snapshotChunk(transfer: number), at: now + 100_000_000)
            return
        }
        let isBroken = network.isCut(from: transfer.from, to: transfer.to) || transfer.cutAfter == transfer.chunks + 1
        if isBroken, options.bug == .tornSnapshot, transfer.chunks > 1 {
            return try install(transfer, number)
        }
        let next: Bytes?
        do { next = isBroken ? nil : try transfer.writer.nextChunk() } catch {
            guard sender.isRecordFlipped else {
                throw Violation("snapshot", "a store that nobody touched cannot be read: \(error)")
            }
            return fail(number)
        }
        guard let chunk = next else { return isBroken ? fail(number) : try finish(transfer, number) }
        transfer.chunks += 1
        var bytes = chunk
        if transfer.flipIn == transfer.chunks {
            var array = chunk.array
            array[random.next(in: 0..<array.count)] ^= UInt8(1 << random.next(in: 0..<8))
            bytes = Bytes(array)
            transfer.wasFlipped = true
        }
        do throws(SnapshotError) {
            try bytes.withUnsafeBytes { (bytes) throws(SnapshotError) in try transfer.restore.append(bytes) }
        } catch {
            guard transfer.wasFlipped else {
                throw Violation("snapshot", "a stream that nobody touched is refused: \(error)")
            }
            return fail(number)
        }
        transfers[number] = transfer
        queue.add(
            .snapshotChunk(transfer: number),
            at: network.arrival(from: transfer.from, to: transfer.to, now: now))
    }

    private func finish(_ transfer: SnapshotTransfer, _ number: Int) throws(Violation) {
        let receiver = machines[transfer.to]
        guard let header = transfer.restore.header, let driver = receiver.driver else { return fail(number) }
        let verdict = SnapshotInstall.judge(
            clusterID: header.clusterID, index: header.appliedIndex, ownClusterID: Self.clusterID,
            applied: driver.core.store.appliedIndex)
        guard verdict == .install else {
            transfers[number] = nil
            receiver.incomingTransfer = nil
            if verdict == .otherCluster {
                throw Violation("snapshot", "an image of this cluster is taken for another's")
            }
            hand(machines[transfer.from], .snapshotSent(to: receiver.id, succeeded: true))
            return
        }
        do throws(SnapshotError) {
            _ = try transfer.restore.finish { SnapshotInstall.mark(&$0, index: header.appliedIndex) }
        } catch {
            guard transfer.wasFlipped else { throw Violation("snapshot", "a whole stream is refused: \(error)") }
            return fail(number)
        }
        if transfer.wasFlipped { throw Violation("snapshot", "a stream with a flipped bit is taken for whole") }
        try install(transfer, number)
    }

    /// Puts the image in the store's place, by a restart.
    private func install(_ transfer: SnapshotTransfer, _ number: Int) throws(Violation) {
        let receiver = machines[transfer.to]
        transfers[number] = nil
        receiver.incomingTransfer = nil
        counters.snapshotsInstalled += 1
        let header = transfer.writer.header
        trace.note(
            .install, time: now, member: receiver.index, header.appliedIndex.rawValue, header.appliedTerm.rawValue,
            UInt64(receiver.life))
        hand(machines[transfer.from], .snapshotSent(to: receiver.id, succeeded: true))
        hand(receiver, .message(transfer.message))
        abandonRequests(at: receiver)
        breakWatches(at: receiver)
        breakTransfers(of: receiver)
        // A clean end of the process, or one in the middle of it all.
        if random.chance(oneIn: 2) { try? receiver.driver?.core.logWriter.close() }
        let crashes = phase == .safety && options.crashes && random.chance(oneIn: 4)
        let isBefore = crashes && random.chance(oneIn: 2)
        receiver.die(losesPower: crashes && options.losesPower)
        if !isBefore {
            receiver.backend = transfer.backend
            receiver.isRecordFlipped = false
            receiver.flippedRecords.bytes = [:]
            receiver.wrongSince = nil
        }
        if crashes {
            queue.add(.start(member: receiver.index), at: now + time(10_000_000..<1_000_000_000))
        } else {
            try start(receiver)
        }
    }

    private func fail(_ number: Int) {
        guard let transfer = transfers[number] else { return }
        transfers[number] = nil
        counters.snapshotsFailed += 1
        trace.note(.snapshotCut, time: now, member: transfer.to, UInt64(number))
        if machines[transfer.to].incomingTransfer == number { machines[transfer.to].incomingTransfer = nil }
        let sender = machines[transfer.from]
        if sender.life == transfer.fromLife {
            hand(sender, .snapshotSent(to: machines[transfer.to].id, succeeded: false))
        }
    }

    /// The process at one end is gone.
    func breakTransfers(of machine: Machine) {
        for (number, transfer) in transfers.enumerated() {
            guard let transfer, transfer.from == machine.index || transfer.to == machine.index else { continue }
            fail(number)
        }
    }
}

extension MessageType {
    /// Its name, for the trace.
    var name: StaticString {
        switch self {
        case .propose: "propose"
        case .append: "append"
        case .appendResponse: "appendResponse"
        case .vote: "vote"
        case .voteResponse: "voteResponse"
        case .snapshot: "snapshot"
        case .heartbeat: "heartbeat"
        case .heartbeatResponse: "heartbeatResponse"
        case .transferLeader: "transferLeader"
        case .timeoutNow: "timeoutNow"
        case .readIndex: "readIndex"
        case .readIndexResponse: "readIndexResponse"
        case .preVote: "preVote"
        case .preVoteResponse: "preVoteResponse"
        }
    }
}
