/// `etcdserverpb.LeaseGrantRequest`.
package struct LeaseGrantRequest: WireEncodable, Equatable, Sendable {
    package var timeToLiveSeconds: Int64 = 0
    /// 0: the server chooses.
    package var id: Int64 = 0

    package init(timeToLiveSeconds: Int64 = 0, id: Int64 = 0) {
        self.timeToLiveSeconds = timeToLiveSeconds
        self.id = id
    }

    package init(decoding bytes: UnsafeRawBufferPointer) throws(WireError) {
        var reader = ProtoReader(bytes)
        while let tag = try reader.nextField() {
            switch tag {
            case .varint(1): timeToLiveSeconds = try reader.int64()
            case .varint(2): id = try reader.int64()
            default: try reader.skip(tag)
            }
        }
    }

    package var encodedSize: Int {
        ProtoSize.int64(1, timeToLiveSeconds) + ProtoSize.int64(2, id)
    }

    package func write(to writer: inout ProtoWriter) {
        writer.int64(1, timeToLiveSeconds)
        writer.int64(2, id)
    }
}

/// `etcdserverpb.LeaseRevokeRequest`.
package struct LeaseRevokeRequest: WireEncodable, Equatable, Sendable {
    package var id: Int64 = 0

    package init(id: Int64 = 0) {
        self.id = id
    }

    package init(decoding bytes: UnsafeRawBufferPointer) throws(WireError) {
        var reader = ProtoReader(bytes)
        while let tag = try reader.nextField() {
            switch tag {
            case .varint(1): id = try reader.int64()
            default: try reader.skip(tag)
            }
        }
    }

    package var encodedSize: Int {
        ProtoSize.int64(1, id)
    }

    package func write(to writer: inout ProtoWriter) {
        writer.int64(1, id)
    }
}

/// `etcdserverpb.LeaseKeepAliveRequest`.
package struct LeaseKeepAliveRequest: WireEncodable, Equatable, Sendable {
    package var id: Int64 = 0

    @inlinable
    package init(id: Int64 = 0) {
        self.id = id
    }

    @inlinable
    package init(decoding bytes: UnsafeRawBufferPointer) throws(WireError) {
        var reader = ProtoReader(bytes)
        while let tag = try reader.nextField() {
            switch tag {
            case .varint(1): id = try reader.int64()
            default: try reader.skip(tag)
            }
        }
    }

    @inlinable
    package var encodedSize: Int {
        ProtoSize.int64(1, id)
    }

    @inlinable
    package func write(to writer: inout ProtoWriter) {
        writer.int64(1, id)
    }
}

/// `etcdserverpb.LeaseTimeToLiveRequest`.
package struct LeaseTimeToLiveRequest: WireEncodable, Equatable, Sendable {
    package var id: Int64 = 0
    /// Return the keys that hang on the lease, too.
    package var keys: Bool = false

    package init(id: Int64 = 0, keys: Bool = false) {
        self.id = id
        self.keys = keys
    }

    package init(decoding bytes: UnsafeRawBufferPointer) throws(WireError) {
        var reader = ProtoReader(bytes)
        while let tag = try reader.nextField() {
            switch tag {
            case .varint(1): id = try reader.int64()
            case .varint(2): keys = try reader.bool()
            default: try reader.skip(tag)
            }
        }
    }

    package var encodedSize: Int {
        ProtoSize.int64(1, id) + ProtoSize.bool(2, keys)
    }

    package func write(to writer: inout ProtoWriter) {
        writer.int64(1, id)
        writer.bool(2, keys)
    }
}

/// `etcdserverpb.LeaseCheckpoint`: how long a lease has left.
package struct LeaseCheckpoint: WireEncodable, Equatable, Sendable {
    package var id: Int64 = 0
    package var remainingSeconds: Int64 = 0

    package init(id: Int64 = 0, remainingSeconds: Int64 = 0) {
        self.id = id
        self.remainingSeconds = remainingSeconds
    }

    package init(decoding bytes: UnsafeRawBufferPointer) throws(WireError) {
        var reader = ProtoReader(bytes)
        while let tag = try reader.nextField() {
            switch tag {
            case .varint(1): id = try reader.int64()
            case .varint(2): remainingSeconds = try reader.int64()
            default: try reader.skip(tag)
            }
        }
    }

    package var encodedSize: Int {
        ProtoSize.int64(1, id) + ProtoSize.int64(2, remainingSeconds)
    }

    package func write(to writer: inout ProtoWriter) {
        writer.int64(1, id)
        writer.int64(2, remainingSeconds)
    }
}

/// `etcdserverpb.LeaseCheckpointRequest`: the remaining times of some leases.
package struct LeaseCheckpointRequest: WireEncodable, Equatable, Sendable {
    package var checkpoints: [LeaseCheckpoint] = []

    package init(checkpoints: [LeaseCheckpoint]) { self.checkpoints = checkpoints }

    package init(decoding bytes: UnsafeRawBufferPointer) throws(WireError) {
        var reader = ProtoReader(bytes)
        while let tag = try reader.nextField() {
            switch tag {
            case .bytes(1): checkpoints.append(try LeaseCheckpoint(decoding: try reader.bytes()))
            default: try reader.skip(tag)
            }
        }
    }

    package var encodedSize: Int {
        var size = 0
        for checkpoint in checkpoints { size += ProtoSize.message(1, checkpoint) }
        return size
    }

    package func write(to writer: inout ProtoWriter) {
        for checkpoint in checkpoints { writer.message(1, checkpoint) }
    }
}
