import Logging
import Primitives
import StateMachine
import Synchronization
import Wire

/// The always-on comparison of states: members tell each other the hashes of their states at shared indexes with every
/// probe. The leader, where all comparisons meet, raises the alarm CORRUPT for who differs from the majority.
///
/// Any thread.
final class ConsistencyCheck: Sendable {
    /// Marks told in one probe: enough for a member that is behind by some seconds.
    private static let marksMax = 64
    private static let markBytes = 12

    private let context: ServerContext
    /// By member: the first index at which it was found to differ from this one; none for those that agree.
    private let differences = Mutex<[MemberID: LogIndex?]>([:])

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

    /// Compares with what another member tells; on the leader an alarm may follow.
    func compare(with member: MemberID, _ bytes: Bytes) {
        guard bytes.count % Self.markBytes == 0 else { return }
        let theirs = bytes.withUnsafeBytes { buffer in
            stride(from: 0, to: buffer.count, by: Self.markBytes).map { place in
                StateHashMark(
                    index: LogIndex(
                        UInt64(littleEndian: buffer.loadUnaligned(fromByteOffset: place, as: UInt64.self))),
                    hash: UInt32(littleEndian: buffer.loadUnaligned(fromByteOffset: place + 8, as: UInt32.self)))
            }
        }
        let difference = StateHashes.firstDifference(context.stateMachine.hashes.marks, theirs)
        let differing = differences.withLock { known -> [MemberID: LogIndex?] in
            // One difference is enough: states that parted do not meet again.
            if case .some(.some) = known[member] { return known }
            known[member] = .some(difference)
            return known
        }
        guard let difference, context.leader.load(ordering: .relaxed) == context.identity.memberID.rawValue else {
            return
        }
        let state = context.stateMachine.published.withLock { $0 }
        let others = state.members.map(\.id).filter { $0 != context.identity.memberID }
        let parted = others.count { if case .some(.some) = differing[$0] { true } else { false } }
        // When most of the others differ, it is this one.
        let suspect = parted > others.count / 2 && others.count > 1 ? context.identity.memberID : member
        guard !state.alarms.contains(where: { $0.kind == .corrupt && $0.member == suspect }) else { return }
        context.logger.critical(
            "members have different states: the alarm CORRUPT is raised; remove the member, delete its data directory and add it again",
            metadata: ["member": "\(suspect.hex)", "index": "\(difference.rawValue)"])
        let request = AlarmRequest(
            action: StateMachine.AlarmAction.activate, memberID: suspect.rawValue, alarm: AlarmKind.corrupt.rawValue)
        context.proposeInternally(fieldNumber: InternalRaftRequest.FieldNumber.alarm, body: request.encoded())
    }
}
