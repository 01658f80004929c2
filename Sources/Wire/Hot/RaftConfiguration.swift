package import Primitives

/// `raftpb.ConfState`: a configuration, simple or joint. See `RaftEntry.swift` for what is always written.
package struct RaftConfStateRecord: WireEncodable, Equatable, Sendable {
    /// The voters of the incoming configuration.
    package var voters: [UInt64] = []
    package var learners: [UInt64] = []
    /// The voters of the outgoing configuration; empty unless joint.
    package var votersOutgoing: [UInt64] = []
    /// Voters that become learners when the outgoing configuration is left.
    package var learnersNext: [UInt64] = []
    /// The joint configuration is left without being asked.
    package var autoLeave = false

    package init(
        voters: [UInt64] = [], learners: [UInt64] = [], votersOutgoing: [UInt64] = [], learnersNext: [UInt64] = [],
        autoLeave: Bool = false
    ) {
        self.voters = voters
        self.learners = learners
        self.votersOutgoing = votersOutgoing
        self.learnersNext = learnersNext
        self.autoLeave = autoLeave
    }

    package init(decoding bytes: UnsafeRawBufferPointer) throws(WireError) {
        var reader = ProtoReader(bytes)
        while let tag = try reader.nextField() {
            switch tag {
            case .varint(1): voters.append(try reader.uint64())
            case .varint(2): learners.append(try reader.uint64())
            case .varint(3): votersOutgoing.append(try reader.uint64())
            case .varint(4): learnersNext.append(try reader.uint64())
            case .varint(5): autoLeave = try reader.bool()
            case .bytes(1): try reader.appendPacked(to: &voters)
            case .bytes(2): try reader.appendPacked(to: &learners)
            case .bytes(3): try reader.appendPacked(to: &votersOutgoing)
            case .bytes(4): try reader.appendPacked(to: &learnersNext)
            default: try reader.skip(tag)
            }
        }
    }

    package var encodedSize: Int {
        var size = 2
        for id in voters { size += ProtoSize.uint64Always(1, id) }
        for id in learners { size += ProtoSize.uint64Always(2, id) }
        for id in votersOutgoing { size += ProtoSize.uint64Always(3, id) }
        for id in learnersNext { size += ProtoSize.uint64Always(4, id) }
        return size
    }

    package func write(to writer: inout ProtoWriter) {
        for id in voters { writer.uint64Always(1, id) }
        for id in learners { writer.uint64Always(2, id) }
        for id in votersOutgoing { writer.uint64Always(3, id) }
        for id in learnersNext { writer.uint64Always(4, id) }
        writer.uint64Always(5, autoLeave ? 1 : 0)
    }
}

/// `raftpb.ConfChange`: a change of one member.
package struct RaftConfChangeRecord: WireEncodable, Equatable, Sendable {
    /// Pairs the entry with the waiting caller.
    package var id: UInt64 = 0
    /// 0 add node, 1 remove node, 2 update node, 3 add learner.
    package var type: Int32 = 0
    package var nodeID: UInt64 = 0
    /// For the state machine; etcd puts the member as JSON here.
    package var context = Bytes()

    package init(id: UInt64 = 0, type: Int32 = 0, nodeID: UInt64 = 0, context: Bytes = Bytes()) {
        self.id = id
        self.type = type
        self.nodeID = nodeID
        self.context = context
    }

    package init(decoding bytes: UnsafeRawBufferPointer) throws(WireError) {
        var reader = ProtoReader(bytes)
        while let tag = try reader.nextField() {
            switch tag {
            case .varint(1): id = try reader.uint64()
            case .varint(2): type = try reader.int32()
            case .varint(3): nodeID = try reader.uint64()
            case .bytes(4): context = Bytes(copying: try reader.bytes())
            default: try reader.skip(tag)
            }
        }
    }

    package var encodedSize: Int {
        ProtoSize.uint64Always(1, id) + ProtoSize.int32Always(2, type) + ProtoSize.uint64Always(3, nodeID)
            + ProtoSize.bytes(4, count: context.count)
    }

    package func write(to writer: inout ProtoWriter) {
        writer.uint64Always(1, id)
        writer.int32Always(2, type)
        writer.uint64Always(3, nodeID)
        writer.bytes(4, context)
    }
}

/// `raftpb.ConfChangeSingle`: one step of a `RaftConfChangeV2Record`.
package struct RaftConfChangeSingleRecord: WireEncodable, Equatable, Sendable {
    /// 0 add node, 1 remove node, 2 update node, 3 add learner.
    package var type: Int32 = 0
    package var nodeID: UInt64 = 0

    package init(type: Int32 = 0, nodeID: UInt64 = 0) {
        self.type = type
        self.nodeID = nodeID
    }

    package init(decoding bytes: UnsafeRawBufferPointer) throws(WireError) {
        var reader = ProtoReader(bytes)
        while let tag = try reader.nextField() {
            switch tag {
            case .varint(1): type = try reader.int32()
            case .varint(2): nodeID = try reader.uint64()
            default: try reader.skip(tag)
            }
        }
    }

    package var encodedSize: Int { ProtoSize.int32Always(1, type) + ProtoSize.uint64Always(2, nodeID) }

    package func write(to writer: inout ProtoWriter) {
        writer.int32Always(1, type)
        writer.uint64Always(2, nodeID)
    }
}

/// `raftpb.ConfChangeV2`: a change of any number of members; with none it leaves a joint configuration.
package struct RaftConfChangeV2Record: WireEncodable, Equatable, Sendable {
    /// 0 automatic, 1 joint and left by itself, 2 joint until told.
    package var transition: Int32 = 0
    package var changes: [RaftConfChangeSingleRecord] = []
    /// For the state machine.
    package var context = Bytes()

    package init(transition: Int32 = 0, changes: [RaftConfChangeSingleRecord] = [], context: Bytes = Bytes()) {
        self.transition = transition
        self.changes = changes
        self.context = context
    }

    package init(decoding bytes: UnsafeRawBufferPointer) throws(WireError) {
        var reader = ProtoReader(bytes)
        while let tag = try reader.nextField() {
            switch tag {
            case .varint(1): transition = try reader.int32()
            case .bytes(2): changes.append(try RaftConfChangeSingleRecord(decoding: try reader.bytes()))
            case .bytes(3): context = Bytes(copying: try reader.bytes())
            default: try reader.skip(tag)
            }
        }
    }

    package var encodedSize: Int {
        var size = ProtoSize.int32Always(1, transition) + ProtoSize.bytes(3, count: context.count)
        for change in changes { size += ProtoSize.message(2, change) }
        return size
    }

    package func write(to writer: inout ProtoWriter) {
        writer.int32Always(1, transition)
        for change in changes { writer.message(2, change) }
        writer.bytes(3, context)
    }
}

/// `raftpb.SnapshotMetadata`: the log position and configuration a snapshot stands for.
package struct RaftSnapshotMetadataRecord: WireEncodable, Equatable, Sendable {
    package var configuration = RaftConfStateRecord()
    package var index: UInt64 = 0
    package var term: UInt64 = 0

    package init(configuration: RaftConfStateRecord = RaftConfStateRecord(), index: UInt64 = 0, term: UInt64 = 0) {
        self.configuration = configuration
        self.index = index
        self.term = term
    }

    package init(decoding bytes: UnsafeRawBufferPointer) throws(WireError) {
        var reader = ProtoReader(bytes)
        while let tag = try reader.nextField() {
            switch tag {
            case .bytes(1): configuration = try RaftConfStateRecord(decoding: try reader.bytes())
            case .varint(2): index = try reader.uint64()
            case .varint(3): term = try reader.uint64()
            default: try reader.skip(tag)
            }
        }
    }

    package var encodedSize: Int {
        ProtoSize.message(1, configuration) + ProtoSize.uint64Always(2, index) + ProtoSize.uint64Always(3, term)
    }

    package func write(to writer: inout ProtoWriter) {
        writer.message(1, configuration)
        writer.uint64Always(2, index)
        writer.uint64Always(3, term)
    }
}

/// `raftpb.Snapshot` with data of its own. The store itself is streamed beside the message; `data` is what the state
/// machine needs to find it.
package struct RaftSnapshotRecord: WireEncodable, Equatable, Sendable {
    package var data = Bytes()
    package var metadata = RaftSnapshotMetadataRecord()

    package init(data: Bytes = Bytes(), metadata: RaftSnapshotMetadataRecord = RaftSnapshotMetadataRecord()) {
        self.data = data
        self.metadata = metadata
    }

    package init(decoding bytes: UnsafeRawBufferPointer) throws(WireError) {
        var reader = ProtoReader(bytes)
        while let tag = try reader.nextField() {
            switch tag {
            case .bytes(1): data = Bytes(copying: try reader.bytes())
            case .bytes(2): metadata = try RaftSnapshotMetadataRecord(decoding: try reader.bytes())
            default: try reader.skip(tag)
            }
        }
    }

    package var encodedSize: Int { ProtoSize.bytes(1, count: data.count) + ProtoSize.message(2, metadata) }

    package func write(to writer: inout ProtoWriter) {
        writer.bytes(1, data)
        writer.message(2, metadata)
    }
}

extension ProtoReader {
    /// Reads a packed list of numbers.
    mutating func appendPacked(to numbers: inout [UInt64]) throws(WireError) {
        var packed = ProtoReader(try bytes())
        while packed.remaining > 0 { numbers.append(try packed.uint64()) }
    }
}
