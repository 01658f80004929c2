/// `etcdserverpb.Member`: a member of the cluster.
package struct Member: WireEncodable, Equatable, Sendable {
    package var id: UInt64
    /// Empty until the member has started.
    package var name: String
    package var peerURLs: [String]
    package var clientURLs: [String]
    package var isLearner: Bool

    package init(
        id: UInt64 = 0, name: String = "", peerURLs: [String] = [], clientURLs: [String] = [], isLearner: Bool = false
    ) {
        self.id = id
        self.name = name
        self.peerURLs = peerURLs
        self.clientURLs = clientURLs
        self.isLearner = isLearner
    }

    package var encodedSize: Int {
        var size = ProtoSize.uint64(1, id)
        size += ProtoSize.string(2, name)
        for one in peerURLs { size += ProtoSize.message(3, count: one.utf8.count) }
        for one in clientURLs { size += ProtoSize.message(4, count: one.utf8.count) }
        size += ProtoSize.bool(5, isLearner)
        return size
    }

    package func write(to writer: inout ProtoWriter) {
        writer.uint64(1, id)
        writer.string(2, name)
        for one in peerURLs { writer.stringAlways(3, one) }
        for one in clientURLs { writer.stringAlways(4, one) }
        writer.bool(5, isLearner)
    }
}

/// `etcdserverpb.MemberListResponse`.
package struct MemberListResponse: WireEncodable, Equatable, Sendable {
    package var header: ResponseHeader
    package var members: [Member]

    package init(header: ResponseHeader, members: [Member] = []) {
        self.header = header
        self.members = members
    }

    package var encodedSize: Int {
        var size = ProtoSize.message(1, header)
        for one in members { size += ProtoSize.message(2, one) }
        return size
    }

    package func write(to writer: inout ProtoWriter) {
        writer.message(1, header)
        for one in members { writer.message(2, one) }
    }
}

/// `etcdserverpb.MemberAddRequest`, and `MemberUpdateRequest` and the requests that name a member only: they share
/// their field numbers but for the first.
package struct MemberRequest: Equatable, Sendable {
    /// Not of `MemberAddRequest`.
    package var id: UInt64 = 0
    package var peerURLs: [String] = []
    /// Of `MemberAddRequest` only.
    package var isLearner = false

    /// `MemberAddRequest`: peer URLs (1), learner (2).
    package static func add(decoding bytes: UnsafeRawBufferPointer) throws(WireError) -> MemberRequest {
        var request = MemberRequest()
        var reader = ProtoReader(bytes)
        while let tag = try reader.nextField() {
            switch tag {
            case .bytes(1): request.peerURLs.append(String(decoding: try reader.bytes(), as: UTF8.self))
            case .varint(2): request.isLearner = try reader.bool()
            default: try reader.skip(tag)
            }
        }
        return request
    }

    /// `MemberRemoveRequest`, `MemberPromoteRequest`, `MoveLeaderRequest`: identity (1); `MemberUpdateRequest`: peer
    /// URLs (2) too.
    package static func naming(decoding bytes: UnsafeRawBufferPointer) throws(WireError) -> MemberRequest {
        var request = MemberRequest()
        var reader = ProtoReader(bytes)
        while let tag = try reader.nextField() {
            switch tag {
            case .varint(1): request.id = try reader.uint64()
            case .bytes(2): request.peerURLs.append(String(decoding: try reader.bytes(), as: UTF8.self))
            default: try reader.skip(tag)
            }
        }
        return request
    }
}

/// `etcdserverpb.MemberListRequest`: whether the list is to be linearizable (1).
package struct MemberListRequest: Equatable, Sendable {
    package var linearizable = false

    package init(decoding bytes: UnsafeRawBufferPointer) throws(WireError) {
        var reader = ProtoReader(bytes)
        while let tag = try reader.nextField() {
            if tag == .varint(1) { linearizable = try reader.bool() } else { try reader.skip(tag) }
        }
    }
}
