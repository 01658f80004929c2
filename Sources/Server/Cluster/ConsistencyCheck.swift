import Logging
import Membership
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
    /// What the others told last.
    private let told = Mutex<[MemberID: [StateHashMark]]>([:])

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

    /// Takes in what another member tells; on the leader an alarm may follow.
    func compare(with member: MemberID, _ bytes: Bytes) {
        guard let theirs = Self.decode(bytes) else { return }
        let told = told.withLock { told in
            told[member] = theirs
            return told
        }
        let own = context.identity.memberID
        guard context.leader.load(ordering: .relaxed) == own.rawValue else { return }
        let state = context.stateMachine.published.withLock { $0 }
        let voters = state.members.filter { !$0.isLearner }.map(\.id)
        var marks = told.filter { id, _ in state.members.contains { $0.id == id } }
        marks[own] = context.stateMachine.hashes.marks
        for suspect in Self.suspects(marks, voters: voters, leader: own) {
            if state.alarms.contains(where: { $0.kind == .corrupt && $0.member == suspect.member }) { continue }
            raiseAlarm(suspect.member, at: suspect.index)
        }
    }

    /// Who differs from what most voters have in common, at the newest index that tells.
    ///
    /// Nobody is blamed before a majority of the voters agrees; when all have spoken and there is none (of two, one
    /// differs), it is not the leader that is blamed, as in etcd.
    static func suspects(
        _ marks: [MemberID: [StateHashMark]], voters: [MemberID], leader: MemberID
    ) -> [(member: MemberID, index: LogIndex)] {
        let members = marks.keys.sorted()
        var suspects: [MemberID: LogIndex] = [:]
        let indexes = Set(marks.values.joined().map(\.index)).sorted()
        for index in indexes {
            var groups: [UInt32: [MemberID]] = [:]
            for member in members {
                guard let mark = marks[member]?.first(where: { $0.index == index }) else { continue }
                groups[mark.hash, default: []].append(member)
            }
            guard groups.count > 1 else { continue }
            let votes = groups.mapValues { $0.count { voters.contains($0) } }
            let spoken = votes.values.reduce(0, +)
            let right =
                votes.first { $0.value * 2 > voters.count }?.key
                ?? (spoken == voters.count ? groups.first { $0.value.contains(leader) }?.key : nil)
            guard let right else { continue }
            for (hash, members) in groups where hash != right { for member in members { suspects[member] = index } }
        }
        return suspects.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
    }

    private func raiseAlarm(_ member: MemberID, at index: LogIndex) {
        context.logger.critical(
            "members have different states: raising the alarm CORRUPT; remove the member, delete its data, add it again",
            metadata: ["member": "\(member.hex)", "index": "\(index.rawValue)"])
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
