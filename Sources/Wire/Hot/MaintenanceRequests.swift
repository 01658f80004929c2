/// `etcdserverpb.CompactionRequest`.
package struct CompactionRequest: WireEncodable, Equatable, Sendable {
    package var revision: Int64 = 0
    /// Answer only after the versions have left the disk.
    package var physical: Bool = false

    package init(revision: Int64 = 0, physical: Bool = false) {
        self.revision = revision
        self.physical = physical
    }

    package init(decoding bytes: UnsafeRawBufferPointer) throws(WireError) {
        var reader = ProtoReader(bytes)
        while let tag = try reader.nextField() {
            switch tag {
            case .varint(1): revision = try reader.int64()
            case .varint(2): physical = try reader.bool()
            default: try reader.skip(tag)
            }
        }
    }

    package var encodedSize: Int {
        ProtoSize.int64(1, revision) + ProtoSize.bool(2, physical)
    }

    package func write(to writer: inout ProtoWriter) {
        writer.int64(1, revision)
        writer.bool(2, physical)
    }
}

/// `etcdserverpb.AlarmRequest`.
package struct AlarmRequest: WireEncodable, Equatable, Sendable {
    /// 0 get, 1 activate, 2 deactivate.
    package var action: Int32 = 0
    /// 0: all members.
    package var memberID: UInt64 = 0
    /// 0 none (all), 1 no space, 2 corrupt.
    package var alarm: Int32 = 0

    package init(action: Int32 = 0, memberID: UInt64 = 0, alarm: Int32 = 0) {
        self.action = action
        self.memberID = memberID
        self.alarm = alarm
    }

    package init(decoding bytes: UnsafeRawBufferPointer) throws(WireError) {
        var reader = ProtoReader(bytes)
        while let tag = try reader.nextField() {
            switch tag {
            case .varint(1): action = try reader.int32()
            case .varint(2): memberID = try reader.uint64()
            case .varint(3): alarm = try reader.int32()
            default: try reader.skip(tag)
            }
        }
    }

    package var encodedSize: Int {
        ProtoSize.int32(1, action) + ProtoSize.uint64(2, memberID) + ProtoSize.int32(3, alarm)
    }

    package func write(to writer: inout ProtoWriter) {
        writer.int32(1, action)
        writer.uint64(2, memberID)
        writer.int32(3, alarm)
    }
}

/// `etcdserverpb.AlarmMember`: an alarm of one member.
package struct AlarmMember: WireEncodable, Equatable, Sendable {
    package var memberID: UInt64 = 0
    /// 1 no space, 2 corrupt.
    package var alarm: Int32 = 0

    package init(memberID: UInt64 = 0, alarm: Int32 = 0) {
        self.memberID = memberID
        self.alarm = alarm
    }

    package init(decoding bytes: UnsafeRawBufferPointer) throws(WireError) {
        var reader = ProtoReader(bytes)
        while let tag = try reader.nextField() {
            switch tag {
            case .varint(1): memberID = try reader.uint64()
            case .varint(2): alarm = try reader.int32()
            default: try reader.skip(tag)
            }
        }
    }

    package var encodedSize: Int {
        ProtoSize.uint64(1, memberID) + ProtoSize.int32(2, alarm)
    }

    package func write(to writer: inout ProtoWriter) {
        writer.uint64(1, memberID)
        writer.int32(2, alarm)
    }
}

/// `etcdserverpb.HashKVRequest`.
package struct HashKVRequest: WireEncodable, Equatable, Sendable {
    /// 0: the newest.
    package var revision: Int64 = 0

    package init(revision: Int64 = 0) {
        self.revision = revision
    }

    package init(decoding bytes: UnsafeRawBufferPointer) throws(WireError) {
        var reader = ProtoReader(bytes)
        while let tag = try reader.nextField() {
            switch tag {
            case .varint(1): revision = try reader.int64()
            default: try reader.skip(tag)
            }
        }
    }

    package var encodedSize: Int {
        ProtoSize.int64(1, revision)
    }

    package func write(to writer: inout ProtoWriter) {
        writer.int64(1, revision)
    }
}

/// `etcdserverpb.DowngradeRequest`: what to do (1) and the version to go to (2).
package struct DowngradeRequest: Equatable, Sendable {
    /// `DowngradeAction.CANCEL`.
    package static let cancel: Int32 = 2

    package var action: Int32 = 0
    package var version = ""

    package init(decoding bytes: UnsafeRawBufferPointer) throws(WireError) {
        var reader = ProtoReader(bytes)
        while let tag = try reader.nextField() {
            switch tag {
            case .varint(1): action = try reader.int32()
            case .bytes(2): version = String(decoding: try reader.bytes(), as: UTF8.self)
            default: try reader.skip(tag)
            }
        }
    }
}
