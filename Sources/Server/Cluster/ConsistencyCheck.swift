import IOInterfaces
import Logging
import Membership
import Primitives
import StateMachine
import Synchronization
import Wire

/// The always-on comparison of states: members tell each other the hashes of their states at shared indexes with every
/// probe. Each compares what it hears; the leader raises the alarm CORRUPT for who differs, and who differs says so in
/// its log.
///
/// Any thread.
final class ConsistencyCheck: Sendable {
    /// Marks told in one probe: enough for a member that is behind by some seconds.
    private static let marksMax = 64
    private static let markBytes = 12

    private let context: ServerContext
    private let comparison = Mutex(StateComparison())

    init(context: ServerContext) { self.context = context }

    /// This member's newest marks: index (8 bytes) and hash (4), little-endian.
    func ownMarks() -> Bytes {
        let marks = context.stateMachine.hashes.marks.suffix(Self.marksMax)
        return Bytes(count: marks.count * Self.markBytes) { buffer in
            for (place, mark) in marks.enumerated() {
                buffer.storeBytes(of: mark.index.rawValue.littleEndian, toByteOffset: place * 12, as: UInt64.self)
                buffer.storeBytes(of: mark.hash.littleEndian, toByteOffset: place * 12 + 8, as: UInt32.self)
            }
        }
    }

    /// Takes in what another member tells; an alarm may follow.
    func compare(with member: MemberID, _ bytes: Bytes) {
        guard let theirs = Self.decode(bytes) else { return }
        let own = context.identity.memberID
        let isLeader = context.leader.load(ordering: .relaxed) == own.rawValue
        let state = context.stateMachine.published.withLock { $0 }
        let now = context.clock.now()
        let findings = comparison.withLock { comparison in
            comparison.hear(
                theirs, from: member, own: (own, context.stateMachine.hashes.marks), isLeader: isLeader, state, now: now
            )
        }
        for suspect in findings.news { log(suspect) }
        for suspect in findings.accused { raiseAlarm(suspect.member) }
    }

    private func log(_ suspect: StateSuspect) {
        let own = context.identity.memberID
        let id = suspect.member.hex
        let who = suspect.member == own ? "the state of this member" : "the state of a member"
        let verdict =
            suspect.isProven
            ? "\(who) differs from the others': it refuses its clients until it is replaced"
            : "\(who) differs from another's and no majority tells which is right: all that differ refuse their clients "
                + "until the wrong ones are replaced"
        let remedy =
            "To replace it: etcdctl member remove \(id); delete its data directory; etcdctl member add NAME "
            + "--peer-urls=URL; start it with --initial-cluster-state existing"
        context.logger.critical(
            "\(verdict). \(remedy)",
            metadata: ["member": "\(id)", "since-index": "\(suspect.first.rawValue)"])
    }

    private func raiseAlarm(_ member: MemberID) {
        let request = AlarmRequest(
            action: StateMachine.AlarmAction.activate, memberID: member.rawValue, alarm: AlarmKind.corrupt.rawValue)
        context.proposeInternally(fieldNumber: InternalRaftRequest.FieldNumber.alarm, body: request.encoded())
    }

    private static func decode(_ bytes: Bytes) -> [StateHashMark]? {
        guard bytes.count % markBytes == 0, bytes.count <= marksMax * markBytes else { return nil }
        return bytes.withUnsafeBytes { buffer in
            stride(from: 0, to: buffer.count, by: markBytes).map { place in
                StateHashMark(
                    index: LogIndex(
                        UInt64(littleEndian: buffer.loadUnaligned(fromByteOffset: place, as: UInt64.self))),
                    hash: UInt32(littleEndian: buffer.loadUnaligned(fromByteOffset: place + 8, as: UInt32.self)))
            }
        }
    }
}
