package import Membership
package import Primitives
package import Wire

/// How a member is stored: the protobuf message `membershippb.Member`, whose nested messages are `RaftAttributes`
/// (field 2: peer URLs, learner) and `Attributes` (field 3: name, client URLs).
package enum MemberCodec {
    package static func encode(_ member: Membership.Member) -> Bytes {
        let raft = attributes(texts: [(1, member.peerURLs)], flag: member.isLearner ? 2 : nil)
        let own = attributes(texts: [(1, member.name.isEmpty ? [] : [member.name]), (2, member.clientURLs)], flag: nil)
        let size =
            ProtoSize.uint64(1, member.id.rawValue) + ProtoSize.message(2, count: raft.count)
            + ProtoSize.message(3, count: own.count)
        return Bytes(count: size) { buffer in
            var writer = ProtoWriter(buffer)
            writer.uint64(1, member.id.rawValue)
            writer.message(2, raft)
            writer.message(3, own)
            writer.finish()
        }
    }

    package static func decode(_ bytes: Bytes) throws(WireError) -> Membership.Member {
        try bytes.withUnsafeBytes { (bytes) throws(WireError) in
            var member = Membership.Member(id: .none, name: "", peerURLs: [])
            var reader = ProtoReader(bytes)
            while let tag = try reader.nextField() {
                switch tag {
                case .varint(1): member.id = MemberID(try reader.uint64())
                case .bytes(2): try decodeRaftAttributes(try reader.bytes(), into: &member)
                case .bytes(3): try decodeAttributes(try reader.bytes(), into: &member)
                default: try reader.skip(tag)
                }
            }
            return member
        }
    }

    /// Reads `membershippb.Attributes` (name, client URLs) into a member, replacing both.
    static func decodeAttributes(_ bytes: UnsafeRawBufferPointer, into member: inout Membership.Member)
        throws(WireError)
    {
        member.name = ""
        member.clientURLs = []
        var reader = ProtoReader(bytes)
        while let tag = try reader.nextField() {
            switch tag {
            case .bytes(1): member.name = String(decoding: try reader.bytes(), as: UTF8.self)
            case .bytes(2): member.clientURLs.append(String(decoding: try reader.bytes(), as: UTF8.self))
            default: try reader.skip(tag)
            }
        }
    }

    /// `membershippb.ClusterMemberAttrSetRequest`: what a member publishes of itself through the log.
    package static func encodeAttributesRequest(_ member: Membership.Member) -> Bytes {
        let own = attributes(texts: [(1, [member.name]), (2, member.clientURLs)], flag: nil)
        let size = ProtoSize.uint64(1, member.id.rawValue) + ProtoSize.message(2, count: own.count)
        return Bytes(count: size) { buffer in
            var writer = ProtoWriter(buffer)
            writer.uint64(1, member.id.rawValue)
            writer.message(2, own)
            writer.finish()
        }
    }

    private static func decodeRaftAttributes(
        _ bytes: UnsafeRawBufferPointer, into member: inout Membership.Member
    ) throws(WireError) {
        var reader = ProtoReader(bytes)
        while let tag = try reader.nextField() {
            switch tag {
            case .bytes(1): member.peerURLs.append(String(decoding: try reader.bytes(), as: UTF8.self))
            case .varint(2): member.isLearner = try reader.bool()
            default: try reader.skip(tag)
            }
        }
    }

    /// A message of repeated strings and at most one flag, which is set.
    private static func attributes(texts: [(number: UInt32, values: [String])], flag: UInt32?) -> Bytes {
        var size = flag.map { ProtoSize.bool($0, true) } ?? 0
        for (number, values) in texts {
            for value in values { size += ProtoSize.message(number, count: value.utf8.count) }
        }
        return Bytes(count: size) { buffer in
            var writer = ProtoWriter(buffer)
            for (number, values) in texts {
                for value in values { writer.stringAlways(number, value) }
            }
            if let flag { writer.bool(flag, true) }
            writer.finish()
        }
    }
}
