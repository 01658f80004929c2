package import Primitives

/// `etcdserverpb.LeaseGrantResponse`.
package struct LeaseGrantResponse: WireEncodable, Equatable, Sendable {
    package var header: ResponseHeader
    package var id: Int64
    package var timeToLiveSeconds: Int64
    package var error: String

    package init(header: ResponseHeader, id: Int64 = 0, timeToLiveSeconds: Int64 = 0, error: String = "") {
        self.header = header
        self.id = id
        self.timeToLiveSeconds = timeToLiveSeconds
        self.error = error
    }

    package var encodedSize: Int {
        var size = ProtoSize.message(1, header)
        size += ProtoSize.int64(2, id)
        size += ProtoSize.int64(3, timeToLiveSeconds)
        size += ProtoSize.string(4, error)
        return size
    }

    package func write(to writer: inout ProtoWriter) {
        writer.message(1, header)
        writer.int64(2, id)
        writer.int64(3, timeToLiveSeconds)
        writer.string(4, error)
    }
}

/// `etcdserverpb.LeaseRevokeResponse`.
package struct LeaseRevokeResponse: WireEncodable, Equatable, Sendable {
    package var header: ResponseHeader

    package init(header: ResponseHeader) { self.header = header }

    package var encodedSize: Int { ProtoSize.message(1, header) }

    package func write(to writer: inout ProtoWriter) {
        writer.message(1, header)
    }
}

/// `etcdserverpb.LeaseKeepAliveResponse`.
package struct LeaseKeepAliveResponse: WireEncodable, Equatable, Sendable {
    package var header: ResponseHeader
    package var id: Int64
    /// 0: the lease is gone.
    package var timeToLiveSeconds: Int64

    package init(header: ResponseHeader, id: Int64 = 0, timeToLiveSeconds: Int64 = 0) {
        self.header = header
        self.id = id
        self.timeToLiveSeconds = timeToLiveSeconds
    }

    package var encodedSize: Int {
        var size = ProtoSize.message(1, header)
        size += ProtoSize.int64(2, id)
        size += ProtoSize.int64(3, timeToLiveSeconds)
        return size
    }

    package func write(to writer: inout ProtoWriter) {
        writer.message(1, header)
        writer.int64(2, id)
        writer.int64(3, timeToLiveSeconds)
    }
}

/// `etcdserverpb.LeaseTimeToLiveResponse`.
package struct LeaseTimeToLiveResponse: WireEncodable, Equatable, Sendable {
    package var header: ResponseHeader
    package var id: Int64
    /// -1: there is no such lease.
    package var timeToLiveSeconds: Int64
    package var grantedSeconds: Int64
    package var keys: [Bytes]

    package init(
        header: ResponseHeader, id: Int64 = 0, timeToLiveSeconds: Int64 = 0, grantedSeconds: Int64 = 0,
        keys: [Bytes] = []
    ) {
        self.header = header
        self.id = id
        self.timeToLiveSeconds = timeToLiveSeconds
        self.grantedSeconds = grantedSeconds
        self.keys = keys
    }

    package var encodedSize: Int {
        var size = ProtoSize.message(1, header)
        size += ProtoSize.int64(2, id)
        size += ProtoSize.int64(3, timeToLiveSeconds)
        size += ProtoSize.int64(4, grantedSeconds)
        for one in keys { size += ProtoSize.message(5, count: one.count) }
        return size
    }

    package func write(to writer: inout ProtoWriter) {
        writer.message(1, header)
        writer.int64(2, id)
        writer.int64(3, timeToLiveSeconds)
        writer.int64(4, grantedSeconds)
        for one in keys { writer.message(5, one) }
    }
}

/// `etcdserverpb.LeaseLeasesResponse`.
package struct LeaseLeasesResponse: WireEncodable, Equatable, Sendable {
    package var header: ResponseHeader
    /// The IDs.
    package var leases: [Int64]

    package init(header: ResponseHeader, leases: [Int64] = []) {
        self.header = header
        self.leases = leases
    }

    package var encodedSize: Int {
        var size = ProtoSize.message(1, header)
        for one in leases { size += ProtoSize.message(2, LeaseStatus(id: one)) }
        return size
    }

    package func write(to writer: inout ProtoWriter) {
        writer.message(1, header)
        for one in leases { writer.message(2, LeaseStatus(id: one)) }
    }
}

/// `etcdserverpb.LeaseStatus`: one lease of a list.
struct LeaseStatus: WireEncodable {
    var id: Int64

    var encodedSize: Int { ProtoSize.int64(1, id) }

    func write(to writer: inout ProtoWriter) { writer.int64(1, id) }
}
