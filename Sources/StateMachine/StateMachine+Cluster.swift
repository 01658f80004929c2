import MVCC
import Membership
import Primitives
import Wire

/// Alarms and what members publish of themselves.
extension StateMachine {
    /// `etcdserverpb.AlarmRequest.AlarmAction`.
    package enum AlarmAction {
        package static let get: Int32 = 0
        package static let activate: Int32 = 1
        package static let deactivate: Int32 = 2
    }

    func alarm(_ bytes: UnsafeRawBufferPointer) throws(ApplyFailure) -> Bytes {
        let request = try decoding { () throws(WireError) in try AlarmRequest(decoding: bytes) }
        var concerned: [Alarm] = []
        switch request.action {
        case AlarmAction.get:
            concerned = alarms.active.filter { request.alarm == 0 || $0.kind.rawValue == request.alarm }
        case AlarmAction.activate:
            if let kind = AlarmKind(rawValue: request.alarm) {
                let alarm = Alarm(member: MemberID(request.memberID), kind: kind)
                alarms.activate(alarm, in: store)
                concerned = [alarm]
                publish()
            }
        case AlarmAction.deactivate:
            if let kind = AlarmKind(rawValue: request.alarm) {
                let alarm = Alarm(member: MemberID(request.memberID), kind: kind)
                if alarms.deactivate(alarm, in: store) { concerned = [alarm] }
                publish()
            }
        default: throw .refused(.malformed)
        }
        return AlarmResponse(
            header: header(revision: store.currentRevision),
            alarms: concerned.map { AlarmMember(memberID: $0.member.rawValue, alarm: $0.kind.rawValue) }
        ).encoded()
    }

    /// Takes in the name and the client URLs that a member publishes.
    func memberAttributes(_ bytes: UnsafeRawBufferPointer) throws(ApplyFailure) -> Bytes {
        let changed = try decoding { () throws(WireError) -> Membership.Member? in
            var reader = ProtoReader(bytes)
            var changed: Membership.Member?
            while let tag = try reader.nextField() {
                switch tag {
                case .varint(1): changed = table[MemberID(try reader.uint64())]
                case .bytes(2):
                    let attributes = try reader.bytes()
                    if changed != nil { try MemberCodec.decodeAttributes(attributes, into: &changed!) }
                default: try reader.skip(tag)
                }
            }
            return changed
        }
        guard let changed else { return Bytes() }
        table.publish(changed.id, name: changed.name, clientURLs: changed.clientURLs)
        store.setMeta(MetaKeys.member(changed.id), MemberCodec.encode(changed))
        publish()
        return Bytes()
    }
}
