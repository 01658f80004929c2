package import Primitives

// The raftpb messages are proto2, and etcd's Go code (etcd-io/raft v3.6 `raftpb/raft.pb.go`) marks the scalars
// non-nullable: it writes Entry.Type, Term and Index, every scalar of Message and HardState, ConfState.auto_leave and
// so on ALWAYS, 0 and false included. `bytes` are written when they are not nil; we write them when they are not empty,
// so an entry with present but empty data loses the two bytes (nobody tells the two apart). Lists of numbers are not
// packed. The codecs in the files Raft*.swift do the same, so that equal values are equal bytes with etcd.

/// `raftpb.Entry` over borrowed bytes.
package struct RaftEntryView {
    /// 0 normal, 1 configuration change, 2 configuration change v2.
    package var type: Int32 = 0
    package var term: UInt64 = 0
    package var index: UInt64 = 0
    package var data: UnsafeRawBufferPointer = .empty

    @inlinable
    package init(decoding bytes: UnsafeRawBufferPointer) throws(WireError) {
        var reader = ProtoReader(bytes)
        while let tag = try reader.nextField() {
            switch tag {
            case .varint(1): type = try reader.int32()
            case .varint(2): term = try reader.uint64()
            case .varint(3): index = try reader.uint64()
            case .bytes(4): data = try reader.bytes()
            default: try reader.skip(tag)
            }
        }
    }
}

/// Writes `raftpb.Entry` from its parts, wherever they are.
package enum RaftEntryCodec {
    /// The entry alone.
    @inlinable
    package static func size(type: Int32, term: UInt64, index: UInt64, dataCount: Int) -> Int {
        ProtoSize.int32Always(1, type) + ProtoSize.uint64Always(2, term) + ProtoSize.uint64Always(3, index)
            + ProtoSize.bytes(4, count: dataCount)
    }

    /// The entry alone, `size(...)` bytes.
    @inlinable
    package static func write(
        to writer: inout ProtoWriter, type: Int32, term: UInt64, index: UInt64, data: UnsafeRawBufferPointer
    ) {
        writer.int32Always(1, type)
        writer.uint64Always(2, term)
        writer.uint64Always(3, index)
        writer.bytes(4, data)
    }
}

/// `raftpb.Entry` with data of its own.
package struct RaftEntryRecord: WireEncodable, Equatable, Sendable {
    /// 0 normal, 1 configuration change, 2 configuration change v2.
    package var type: Int32
    package var term: UInt64
    package var index: UInt64
    package var data: Bytes

    @inlinable
    package init(type: Int32, term: UInt64, index: UInt64, data: Bytes) {
        self.type = type
        self.term = term
        self.index = index
        self.data = data
    }

    /// Copies the data.
    @inlinable
    package init(_ view: RaftEntryView) {
        self.init(type: view.type, term: view.term, index: view.index, data: Bytes(copying: view.data))
    }

    @inlinable
    package var encodedSize: Int {
        RaftEntryCodec.size(type: type, term: term, index: index, dataCount: data.count)
    }

    @inlinable
    package func write(to writer: inout ProtoWriter) {
        data.withUnsafeBytes {
            RaftEntryCodec.write(to: &writer, type: type, term: term, index: index, data: $0)
        }
    }
}

/// `raftpb.HardState`: what a member must not forget.
package struct RaftHardStateRecord: WireEncodable, Equatable, Sendable {
    package var term: UInt64 = 0
    /// The member voted for in this term; 0: none.
    package var vote: UInt64 = 0
    /// The committed index.
    package var commit: UInt64 = 0

    package init(term: UInt64 = 0, vote: UInt64 = 0, commit: UInt64 = 0) {
        self.term = term
        self.vote = vote
        self.commit = commit
    }

    package init(decoding bytes: UnsafeRawBufferPointer) throws(WireError) {
        var reader = ProtoReader(bytes)
        while let tag = try reader.nextField() {
            switch tag {
            case .varint(1): term = try reader.uint64()
            case .varint(2): vote = try reader.uint64()
            case .varint(3): commit = try reader.uint64()
            default: try reader.skip(tag)
            }
        }
    }

    package var encodedSize: Int {
        ProtoSize.uint64Always(1, term) + ProtoSize.uint64Always(2, vote) + ProtoSize.uint64Always(3, commit)
    }

    package func write(to writer: inout ProtoWriter) {
        writer.uint64Always(1, term)
        writer.uint64Always(2, vote)
        writer.uint64Always(3, commit)
    }
}
