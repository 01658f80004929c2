package import Primitives

/// `etcdserverpb.CompactionResponse`.
package struct CompactionResponse: WireEncodable, Equatable, Sendable {
    package var header: ResponseHeader

    package init(header: ResponseHeader) { self.header = header }

    package var encodedSize: Int { ProtoSize.message(1, header) }

    package func write(to writer: inout ProtoWriter) {
        writer.message(1, header)
    }
}

/// `etcdserverpb.AlarmResponse`.
package struct AlarmResponse: WireEncodable, Equatable, Sendable {
    package var header: ResponseHeader
    package var alarms: [AlarmMember]

    package init(header: ResponseHeader, alarms: [AlarmMember] = []) {
        self.header = header
        self.alarms = alarms
    }

    package var encodedSize: Int {
        var size = ProtoSize.message(1, header)
        for one in alarms { size += ProtoSize.message(2, one) }
        return size
    }

    package func write(to writer: inout ProtoWriter) {
        writer.message(1, header)
        for one in alarms { writer.message(2, one) }
    }
}

/// `etcdserverpb.DowngradeInfo`: whether a downgrade is under way.
package struct DowngradeInfo: WireEncodable, Equatable, Sendable {
    package var enabled: Bool
    package var targetVersion: String

    package init(enabled: Bool = false, targetVersion: String = "") {
        self.enabled = enabled
        self.targetVersion = targetVersion
    }

    package var encodedSize: Int {
        var size = ProtoSize.bool(1, enabled)
        size += ProtoSize.string(2, targetVersion)
        return size
    }

    package func write(to writer: inout ProtoWriter) {
        writer.bool(1, enabled)
        writer.string(2, targetVersion)
    }
}

/// `etcdserverpb.StatusResponse`. Sizes are in bytes.
package struct StatusResponse: WireEncodable, Equatable, Sendable {
    package var header: ResponseHeader
    /// etcd's version whose API is served.
    package var version: String
    package var databaseSize: Int64
    /// 0: none known.
    package var leader: UInt64
    /// The committed index.
    package var raftIndex: UInt64
    package var raftTerm: UInt64
    package var raftAppliedIndex: UInt64
    package var errors: [String]
    package var databaseSizeInUse: Int64
    package var isLearner: Bool
    package var storageVersion: String
    package var databaseSizeQuota: Int64
    package var downgradeInfo: DowngradeInfo?

    package init(
        header: ResponseHeader, version: String = "", databaseSize: Int64 = 0, leader: UInt64 = 0,
        raftIndex: UInt64 = 0, raftTerm: UInt64 = 0, raftAppliedIndex: UInt64 = 0, errors: [String] = [],
        databaseSizeInUse: Int64 = 0, isLearner: Bool = false, storageVersion: String = "",
        databaseSizeQuota: Int64 = 0, downgradeInfo: DowngradeInfo? = nil
    ) {
        self.header = header
        self.version = version
        self.databaseSize = databaseSize
        self.leader = leader
        self.raftIndex = raftIndex
        self.raftTerm = raftTerm
        self.raftAppliedIndex = raftAppliedIndex
        self.errors = errors
        self.databaseSizeInUse = databaseSizeInUse
        self.isLearner = isLearner
        self.storageVersion = storageVersion
        self.databaseSizeQuota = databaseSizeQuota
        self.downgradeInfo = downgradeInfo
    }

    package var encodedSize: Int {
        var size = ProtoSize.message(1, header)
        size += ProtoSize.string(2, version)
        size += ProtoSize.int64(3, databaseSize)
        size += ProtoSize.uint64(4, leader)
        size += ProtoSize.uint64(5, raftIndex)
        size += ProtoSize.uint64(6, raftTerm)
        size += ProtoSize.uint64(7, raftAppliedIndex)
        for one in errors { size += ProtoSize.message(8, count: one.utf8.count) }
        size += ProtoSize.int64(9, databaseSizeInUse)
        size += ProtoSize.bool(10, isLearner)
        size += ProtoSize.string(11, storageVersion)
        size += ProtoSize.int64(12, databaseSizeQuota)
        if let downgradeInfo { size += ProtoSize.message(13, downgradeInfo) }
        return size
    }

    package func write(to writer: inout ProtoWriter) {
        writer.message(1, header)
        writer.string(2, version)
        writer.int64(3, databaseSize)
        writer.uint64(4, leader)
        writer.uint64(5, raftIndex)
        writer.uint64(6, raftTerm)
        writer.uint64(7, raftAppliedIndex)
        for one in errors { writer.stringAlways(8, one) }
        writer.int64(9, databaseSizeInUse)
        writer.bool(10, isLearner)
        writer.string(11, storageVersion)
        writer.int64(12, databaseSizeQuota)
        if let downgradeInfo { writer.message(13, downgradeInfo) }
    }
}

/// `etcdserverpb.HashResponse`.
package struct HashResponse: WireEncodable, Equatable, Sendable {
    package var header: ResponseHeader
    package var hash: UInt32

    package init(header: ResponseHeader, hash: UInt32 = 0) {
        self.header = header
        self.hash = hash
    }

    package var encodedSize: Int {
        var size = ProtoSize.message(1, header)
        size += ProtoSize.uint64(2, UInt64(hash))
        return size
    }

    package func write(to writer: inout ProtoWriter) {
        writer.message(1, header)
        writer.uint64(2, UInt64(hash))
    }
}

/// `etcdserverpb.HashKVResponse`.
package struct HashKVResponse: WireEncodable, Equatable, Sendable {
    package var header: ResponseHeader
    package var hash: UInt32
    package var compactRevision: Int64
    package var hashRevision: Int64

    package init(header: ResponseHeader, hash: UInt32 = 0, compactRevision: Int64 = 0, hashRevision: Int64 = 0) {
        self.header = header
        self.hash = hash
        self.compactRevision = compactRevision
        self.hashRevision = hashRevision
    }

    package var encodedSize: Int {
        var size = ProtoSize.message(1, header)
        size += ProtoSize.uint64(2, UInt64(hash))
        size += ProtoSize.int64(3, compactRevision)
        size += ProtoSize.int64(4, hashRevision)
        return size
    }

    package func write(to writer: inout ProtoWriter) {
        writer.message(1, header)
        writer.uint64(2, UInt64(hash))
        writer.int64(3, compactRevision)
        writer.int64(4, hashRevision)
    }
}

/// `etcdserverpb.SnapshotResponse`: one chunk of a copy of the store.
package struct SnapshotResponse: WireEncodable, Equatable, Sendable {
    package var header: ResponseHeader?
    /// What is left after this chunk.
    package var remainingBytes: UInt64
    package var blob: Bytes
    package var version: String

    package init(
        header: ResponseHeader? = nil, remainingBytes: UInt64 = 0, blob: Bytes = Bytes(), version: String = ""
    ) {
        self.header = header
        self.remainingBytes = remainingBytes
        self.blob = blob
        self.version = version
    }

    package var encodedSize: Int {
        var size = 0
        if let header { size += ProtoSize.message(1, header) }
        size += ProtoSize.uint64(2, remainingBytes)
        size += ProtoSize.bytes(3, count: blob.count)
        size += ProtoSize.string(4, version)
        return size
    }

    package func write(to writer: inout ProtoWriter) {
        if let header { writer.message(1, header) }
        writer.uint64(2, remainingBytes)
        writer.bytes(3, blob)
        writer.string(4, version)
    }
}

/// `etcdserverpb.DefragmentResponse`.
package struct DefragmentResponse: WireEncodable, Equatable, Sendable {
    package var header: ResponseHeader

    package init(header: ResponseHeader) { self.header = header }

    package var encodedSize: Int { ProtoSize.message(1, header) }

    package func write(to writer: inout ProtoWriter) {
        writer.message(1, header)
    }
}
