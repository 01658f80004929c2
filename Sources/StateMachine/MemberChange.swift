package import Membership
package import Primitives
package import RaftCore
import Wire

/// One change of the membership as it stands in the log: a `raftpb.ConfChangeV2` of a single step, whose context says the
/// rest. The context is a protobuf message: request identity 1 (uint64), member 2 (`MemberCodec`; identity alone for a
/// removal or promotion), promotion 3 (bool), most learners 4 (uint64; 0 for no limit).
///
/// The shell proposes it with `ReplicaEvent.proposeChange(id: requestID, change: configurationChange,
/// kind: .configurationChangeV2, payload: encoded())`.
package struct MemberChange: Sendable, Equatable {
    /// What the waiting caller is found by; 0 when nobody waits.
    package var requestID: UInt64
    package var change: MemberTable.Change

    package init(requestID: UInt64, _ change: MemberTable.Change) {
        self.requestID = requestID
        self.change = change
    }

    /// What Raft makes of it.
    package var configurationChange: ConfigurationChange { ConfigurationChange([single]) }

    private var single: ConfigurationChange.Single {
        switch change {
        case .add(let member, _): .init(member.isLearner ? .addLearner : .addVoter, member.id)
        case .promote(let id): .init(.addVoter, id)
        case .remove(let id): .init(.removeMember, id)
        case .update(let id, _): .init(.updateMember, id)
        }
    }

    package func encoded() -> Bytes {
        let single = single
        return RaftConfChangeV2Record(
            changes: [RaftConfChangeSingleRecord(type: Int32(single.step.rawValue), nodeID: single.member.rawValue)],
            context: encodedContext()
        ).encoded()
    }

    private func encodedContext() -> Bytes {
        var member = Membership.Member(id: single.member, name: "", peerURLs: [])
        var learnersMax: UInt64 = 0
        var isPromotion = false
        switch change {
        case .add(let added, let most):
            member = added
            learnersMax = UInt64(max(0, most))
        case .promote: isPromotion = true
        case .remove: break
        case .update(_, let peerURLs): member.peerURLs = peerURLs
        }
        let encoded = MemberCodec.encode(member)
        let size =
            ProtoSize.uint64(1, requestID) + ProtoSize.message(2, count: encoded.count)
            + ProtoSize.bool(3, isPromotion) + ProtoSize.uint64(4, learnersMax)
        return Bytes(count: size) { buffer in
            var writer = ProtoWriter(buffer)
            writer.uint64(1, requestID)
            writer.message(2, encoded)
            writer.bool(3, isPromotion)
            writer.uint64(4, learnersMax)
            writer.finish()
        }
    }

    /// Nil for bytes that are no change of one member: another message, more or fewer steps than one, a joint change, a
    /// step that the context contradicts.
    package init?(decoding bytes: UnsafeRawBufferPointer) {
        guard let record = try? RaftConfChangeV2Record(decoding: bytes), record.transition == 0,
            record.changes.count == 1,
            let step = UInt8(exactly: record.changes[0].type).flatMap(ConfigurationChange.Step.init(rawValue:)),
            let context = try? Context(decoding: record.context)
        else { return nil }
        let id = MemberID(record.changes[0].nodeID)
        guard let member = context.member, member.id == id, id != .none,
            member.isLearner == (step == .addLearner)
        else { return nil }
        requestID = context.requestID
        switch step {
        case .addVoter where context.isPromotion: change = .promote(id)
        case .addVoter, .addLearner:
            change = .add(member, learnersMax: Int(truncatingIfNeeded: min(context.learnersMax, 1 << 30)))
        case .removeMember: change = .remove(id)
        case .updateMember: change = .update(id, peerURLs: member.peerURLs)
        }
    }

    private struct Context {
        var requestID: UInt64 = 0
        var member: Membership.Member?
        var isPromotion = false
        var learnersMax: UInt64 = 0

        init(decoding bytes: Bytes) throws(WireError) {
            try bytes.withUnsafeBytes { (bytes) throws(WireError) in
                var reader = ProtoReader(bytes)
                while let tag = try reader.nextField() {
                    switch tag {
                    case .varint(1): requestID = try reader.uint64()
                    case .bytes(2): member = try MemberCodec.decode(Bytes(copying: try reader.bytes()))
                    case .varint(3): isPromotion = try reader.bool()
                    case .varint(4): learnersMax = try reader.uint64()
                    default: try reader.skip(tag)
                    }
                }
            }
        }
    }
}
