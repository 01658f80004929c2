package import Primitives

/// `etcdserverpb.InternalRaftRequest`: the payload of a normal log entry. It wraps a client's request bytes as they
/// came in, so that they go into the log without being encoded anew. Source: spec rows of that message.
package enum InternalRaftRequest {
    /// The members' field numbers, where we name them.
    package enum FieldNumber {
        package static let range: UInt32 = 3
        package static let put: UInt32 = 4
        package static let deleteRange: UInt32 = 5
        package static let txn: UInt32 = 6
        package static let compaction: UInt32 = 7
        package static let leaseGrant: UInt32 = 8
        package static let leaseRevoke: UInt32 = 9
        package static let alarm: UInt32 = 10
        package static let leaseCheckpoint: UInt32 = 11
        static let header: UInt32 = 100
        package static let authEnable: UInt32 = 1000
        package static let authDisable: UInt32 = 1011
        package static let authenticate: UInt32 = 1012
        package static let authStatus: UInt32 = 1013
        package static let authUserAdd: UInt32 = 1100
        package static let authUserDelete: UInt32 = 1101
        package static let authUserGet: UInt32 = 1102
        package static let authUserChangePassword: UInt32 = 1103
        package static let authUserGrantRole: UInt32 = 1104
        package static let authUserRevokeRole: UInt32 = 1105
        package static let authUserList: UInt32 = 1106
        package static let authRoleList: UInt32 = 1107
        package static let authRoleAdd: UInt32 = 1200
        package static let authRoleDelete: UInt32 = 1201
        package static let authRoleGet: UInt32 = 1202
        package static let authRoleGrantPermission: UInt32 = 1203
        package static let authRoleRevokePermission: UInt32 = 1204
        package static let clusterVersionSet: UInt32 = 1300
        package static let clusterMemberAttrSet: UInt32 = 1301
        package static let downgradeInfoSet: UInt32 = 1302
        package static let downgradeVersionTest: UInt32 = 9900
    }

    /// Wraps the encoded request `body` as member `fieldNumber`; `id` pairs the entry with the waiting caller.
    ///
    /// `userName` and `authRevision` say in whose name and under which auth revision it was proposed; empty and 0
    /// without authentication. Fields are in the order of their numbers, so the header stands behind most bodies.
    package static func encode(
        id: UInt64, fieldNumber: UInt32, body: UnsafeRawBufferPointer, userName: String = "", authRevision: UInt64 = 0
    ) -> Bytes {
        let header = RequestHeader(id: id, userName: userName, authRevision: authRevision)
        let size =
            ProtoSize.message(fieldNumber, count: body.count) + ProtoSize.message(FieldNumber.header, header)
        return Bytes(count: size) { buffer in
            var writer = ProtoWriter(buffer)
            if fieldNumber < FieldNumber.header { writer.message(fieldNumber, body) }
            writer.message(FieldNumber.header, header)
            if fieldNumber > FieldNumber.header { writer.message(fieldNumber, body) }
            writer.finish()
        }
    }

    /// The same for a body that is in `Bytes`.
    package static func encode(
        id: UInt64, fieldNumber: UInt32, body: Bytes, userName: String = "", authRevision: UInt64 = 0
    ) -> Bytes {
        body.withUnsafeBytes {
            encode(id: id, fieldNumber: fieldNumber, body: $0, userName: userName, authRevision: authRevision)
        }
    }
}

/// `etcdserverpb.RequestHeader`, for encoding.
struct RequestHeader: WireEncodable {
    var id: UInt64
    var userName: String
    var authRevision: UInt64

    var encodedSize: Int {
        ProtoSize.uint64(1, id) + ProtoSize.string(2, userName) + ProtoSize.uint64(3, authRevision)
    }

    func write(to writer: inout ProtoWriter) {
        writer.uint64(1, id)
        writer.string(2, userName)
        writer.uint64(3, authRevision)
    }
}

/// A decoded `etcdserverpb.InternalRaftRequest` over borrowed bytes. The request within is not decoded: it is the raw
/// slice, for the view that `body` names.
package struct InternalRaftRequestView {
    /// The request: the last member that occurs.
    package enum Body {
        /// No member at all.
        case none
        case range(UnsafeRawBufferPointer)
        case put(UnsafeRawBufferPointer)
        case deleteRange(UnsafeRawBufferPointer)
        case txn(UnsafeRawBufferPointer)
        case compaction(UnsafeRawBufferPointer)
        case leaseGrant(UnsafeRawBufferPointer)
        case leaseRevoke(UnsafeRawBufferPointer)
        case leaseCheckpoint(UnsafeRawBufferPointer)
        case alarm(UnsafeRawBufferPointer)
        case clusterVersionSet(UnsafeRawBufferPointer)
        case clusterMemberAttrSet(UnsafeRawBufferPointer)
        case downgradeInfoSet(UnsafeRawBufferPointer)
        /// Any other embedded message, known (`InternalRaftRequest.FieldNumber`, auth for instance) or not.
        case other(fieldNumber: UInt32, UnsafeRawBufferPointer)
    }

    /// `header.ID`, or the older `ID` field where that is not 0, as etcd decides.
    package var id: UInt64 { outerID != 0 ? outerID : headerID }
    /// UTF-8, not validated; empty without authentication.
    package var userName: UnsafeRawBufferPointer = .empty
    package var authRevision: UInt64 = 0
    package var body: Body = .none

    private var outerID: UInt64 = 0
    private var headerID: UInt64 = 0

    package init(decoding bytes: UnsafeRawBufferPointer) throws(WireError) {
        var reader = ProtoReader(bytes)
        while let tag = try reader.nextField() {
            switch tag {
            case .varint(1): outerID = try reader.uint64()
            case .bytes(InternalRaftRequest.FieldNumber.header): try decodeHeader(try reader.bytes())
            default:
                if tag.wireType == .lengthDelimited, tag.number != 1 {
                    body = Self.body(UInt32(tag.number), try reader.bytes())
                } else {
                    try reader.skip(tag)
                }
            }
        }
    }

    private mutating func decodeHeader(_ bytes: UnsafeRawBufferPointer) throws(WireError) {
        headerID = 0
        userName = .empty
        authRevision = 0
        var reader = ProtoReader(bytes)
        while let tag = try reader.nextField() {
            switch tag {
            case .varint(1): headerID = try reader.uint64()
            case .bytes(2): userName = try reader.bytes()
            case .varint(3): authRevision = try reader.uint64()
            default: try reader.skip(tag)
            }
        }
    }

    private static func body(_ fieldNumber: UInt32, _ bytes: UnsafeRawBufferPointer) -> Body {
        switch fieldNumber {
        case InternalRaftRequest.FieldNumber.range: .range(bytes)
        case InternalRaftRequest.FieldNumber.put: .put(bytes)
        case InternalRaftRequest.FieldNumber.deleteRange: .deleteRange(bytes)
        case InternalRaftRequest.FieldNumber.txn: .txn(bytes)
        case InternalRaftRequest.FieldNumber.compaction: .compaction(bytes)
        case InternalRaftRequest.FieldNumber.leaseGrant: .leaseGrant(bytes)
        case InternalRaftRequest.FieldNumber.leaseRevoke: .leaseRevoke(bytes)
        case InternalRaftRequest.FieldNumber.leaseCheckpoint: .leaseCheckpoint(bytes)
        case InternalRaftRequest.FieldNumber.alarm: .alarm(bytes)
        case InternalRaftRequest.FieldNumber.clusterVersionSet: .clusterVersionSet(bytes)
        case InternalRaftRequest.FieldNumber.clusterMemberAttrSet: .clusterMemberAttrSet(bytes)
        case InternalRaftRequest.FieldNumber.downgradeInfoSet: .downgradeInfoSet(bytes)
        default: .other(fieldNumber: fieldNumber, bytes)
        }
    }
}
