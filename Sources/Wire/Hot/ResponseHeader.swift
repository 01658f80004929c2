/// `etcdserverpb.ResponseHeader`: who answered, and the state the answer was made in.
/// Inside of a `TxnResponse` only the revision is set. Source: spec rows `etcdserverpb.ResponseHeader`.
package struct ResponseHeader: WireEncodable, Equatable, Sendable {
    package var clusterID: UInt64 = 0
    package var memberID: UInt64 = 0
    /// The store revision of the answer.
    package var revision: Int64 = 0
    package var raftTerm: UInt64 = 0

    @inlinable
    package init(clusterID: UInt64 = 0, memberID: UInt64 = 0, revision: Int64 = 0, raftTerm: UInt64 = 0) {
        self.clusterID = clusterID
        self.memberID = memberID
        self.revision = revision
        self.raftTerm = raftTerm
    }

    @inlinable
    package init(decoding bytes: UnsafeRawBufferPointer) throws(WireError) {
        var reader = ProtoReader(bytes)
        while let tag = try reader.nextField() {
            switch tag {
            case .varint(1): clusterID = try reader.uint64()
            case .varint(2): memberID = try reader.uint64()
            case .varint(3): revision = try reader.int64()
            case .varint(4): raftTerm = try reader.uint64()
            default: try reader.skip(tag)
            }
        }
    }

    @inlinable
    package var encodedSize: Int {
        ProtoSize.uint64(1, clusterID) + ProtoSize.uint64(2, memberID) + ProtoSize.int64(3, revision)
            + ProtoSize.uint64(4, raftTerm)
    }

    @inlinable
    package func write(to writer: inout ProtoWriter) {
        writer.uint64(1, clusterID)
        writer.uint64(2, memberID)
        writer.int64(3, revision)
        writer.uint64(4, raftTerm)
    }
}
