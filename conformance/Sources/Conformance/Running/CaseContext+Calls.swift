import Client
package import Foundation
package import NIOCore
package import SwiftProtobuf
package import Transport
package import Wire

/// The methods that Swift cases call.
package enum Paths {
    package static let range = MethodPath.range
    package static let put = MethodPath.put
    package static let deleteRange = MethodPath.deleteRange
    package static let txn = MethodPath.txn
    package static let compact = MethodPath.compact
    package static let watch = MethodPath.watch
    package static let leaseGrant = MethodPath.leaseGrant
    package static let leaseRevoke = MethodPath.leaseRevoke
    package static let leaseKeepAlive = MethodPath.leaseKeepAlive
    package static let leaseTimeToLive = MethodPath.leaseTimeToLive
    package static let status = MethodPath.status
    package static let memberList = MethodPath.memberList
    package static let memberAdd = MethodPath.memberAdd
    package static let memberRemove = MethodPath.memberRemove
    package static let alarm = MethodPath.alarm
    package static let defragment = MethodPath.defragment
    package static let hashKV = MethodPath.hashKV
    package static let snapshot = MethodPath.snapshot
    package static let moveLeader = MethodPath.moveLeader
    package static let rangeStream = RPCPath("/etcdserverpb.KV/RangeStream")
}

/// The end of the range of all keys that begin with `prefix`.
package func prefixEnd(_ prefix: String) -> [UInt8] { KeyRange.prefixEnd(Array(prefix.utf8)) }

extension CaseContext {
    /// A unary call at the case's endpoint. Throws `RPCStatus`.
    package func call<Request: Message, Response: Message>(
        _ path: RPCPath, _ request: Request, endpoint: Int? = nil, timeout: TimeAmount = Target.callTimeout,
        _: Response.Type = Response.self
    ) async throws(RPCStatus) -> Response {
        try await target.call(path, request, endpoint: endpoint ?? self.endpoint, timeout: timeout)
    }

    /// The whole key of a name within the case.
    package func key(_ name: String) -> Data { Data((prefix + name).utf8) }

    // MARK: Key-value

    /// Returns the revision of the put.
    @discardableResult
    package func put(
        _ name: String, _ value: String = "v", lease: Int64 = 0, endpoint: Int? = nil
    ) async throws(RPCStatus) -> Int64 {
        try await put(name, Data(value.utf8), lease: lease, endpoint: endpoint)
    }

    @discardableResult
    package func put(
        _ name: String, _ value: Data, lease: Int64 = 0, endpoint: Int? = nil
    ) async throws(RPCStatus) -> Int64 {
        var request = Etcdserverpb_PutRequest()
        request.key = key(name)
        request.value = value
        request.lease = lease
        let response: Etcdserverpb_PutResponse = try await call(Paths.put, request, endpoint: endpoint)
        return response.header.revision
    }

    /// Reads one key.
    package func get(
        _ name: String, revision: Int64 = 0, serializable: Bool = false, endpoint: Int? = nil,
        timeout: TimeAmount = Target.callTimeout
    ) async throws(RPCStatus) -> Etcdserverpb_RangeResponse {
        var request = Etcdserverpb_RangeRequest()
        request.key = key(name)
        request.revision = revision
        request.serializable = serializable
        return try await call(Paths.range, request, endpoint: endpoint, timeout: timeout)
    }

    /// A range over the keys that begin with `name`, with what `change` adds.
    package func list(
        _ name: String = "", limit: Int64 = 0, revision: Int64 = 0, endpoint: Int? = nil,
        timeout: TimeAmount = Target.callTimeout, _ change: (inout Etcdserverpb_RangeRequest) -> Void = { _ in }
    ) async throws(RPCStatus) -> Etcdserverpb_RangeResponse {
        var request = listRequest(name)
        request.limit = limit
        request.revision = revision
        change(&request)
        return try await call(Paths.range, request, endpoint: endpoint, timeout: timeout)
    }

    package func listRequest(_ name: String = "") -> Etcdserverpb_RangeRequest {
        var request = Etcdserverpb_RangeRequest()
        request.key = key(name)
        request.rangeEnd = Data(prefixEnd(prefix + name))
        return request
    }

    /// The store's revision now, linearizable.
    package func revision(endpoint: Int? = nil) async throws(RPCStatus) -> Int64 {
        try await get("", endpoint: endpoint).header.revision
    }

    /// Deletes a key, or all that begin with `name`. Returns revision and count.
    @discardableResult
    package func delete(
        _ name: String, isPrefix: Bool = false, endpoint: Int? = nil
    ) async throws(RPCStatus) -> (revision: Int64, deleted: Int64) {
        var request = Etcdserverpb_DeleteRangeRequest()
        request.key = key(name)
        if isPrefix { request.rangeEnd = Data(prefixEnd(prefix + name)) }
        let response: Etcdserverpb_DeleteRangeResponse = try await call(Paths.deleteRange, request, endpoint: endpoint)
        return (response.header.revision, response.deleted)
    }

    package func txn(_ request: Etcdserverpb_TxnRequest, endpoint: Int? = nil) async throws(RPCStatus)
        -> Etcdserverpb_TxnResponse
    {
        try await call(Paths.txn, request, endpoint: endpoint)
    }

    package func compact(_ revision: Int64, isPhysical: Bool = false) async throws(RPCStatus) {
        var request = Etcdserverpb_CompactionRequest()
        request.revision = revision
        request.physical = isPhysical
        let _: Etcdserverpb_CompactionResponse = try await call(Paths.compact, request)
    }

    package func status(endpoint: Int? = nil) async throws(RPCStatus) -> Etcdserverpb_StatusResponse {
        try await call(Paths.status, Etcdserverpb_StatusRequest(), endpoint: endpoint)
    }

    // MARK: Leases

    /// Grants a lease, to be revoked when the case ends.
    package func grant(ttl: Int64) async throws(RPCStatus) -> Int64 {
        var request = Etcdserverpb_LeaseGrantRequest()
        request.ttl = ttl
        let response: Etcdserverpb_LeaseGrantResponse = try await call(Paths.leaseGrant, request)
        granted(response.id)
        return response.id
    }

    package func revoke(_ lease: Int64) async throws(RPCStatus) -> Int64 {
        var request = Etcdserverpb_LeaseRevokeRequest()
        request.id = lease
        let response: Etcdserverpb_LeaseRevokeResponse = try await call(Paths.leaseRevoke, request)
        return response.header.revision
    }

    // MARK: Watches

    /// Opens a stream with one watch on the keys that begin with `name`; returns after `created`.
    package func watch(
        _ name: String = "", from start: Int64 = 0, endpoint: Int? = nil, on channel: RPCChannel? = nil,
        metadata: [(String, String)] = [], _ change: (inout Etcdserverpb_WatchCreateRequest) -> Void = { _ in }
    ) async throws -> WatchReader {
        let stream = try await open(Paths.watch, endpoint: endpoint, metadata: metadata, on: channel)
        let reader = WatchReader(stream)
        try await reader.create(watchRequest(name, from: start, change))
        return reader
    }

    package func watchRequest(
        _ name: String = "", from start: Int64 = 0, _ change: (inout Etcdserverpb_WatchCreateRequest) -> Void = { _ in }
    ) -> Etcdserverpb_WatchCreateRequest {
        var create = Etcdserverpb_WatchCreateRequest()
        create.key = key(name)
        create.rangeEnd = Data(prefixEnd(prefix + name))
        create.startRevision = start
        create.prevKv = true
        change(&create)
        return create
    }
}

/// A watch stream as a case reads it.
package struct WatchReader: Sendable {
    package let stream: MessageStream

    package init(_ stream: MessageStream) { self.stream = stream }

    /// The next answer; nil when none came in time. Throws the status when the stream ends.
    package func next(within limit: Duration = .seconds(10)) async throws -> Etcdserverpb_WatchResponse? {
        switch await stream.next(within: limit) {
        case .message(let bytes): return try Etcdserverpb_WatchResponse(serializedBytes: bytes)
        case .end(let status): throw status.isOK ? RPCStatus(.unknown, "the server ended the watch stream") : status
        case nil: return nil
        }
    }

    /// The next answer; its absence fails the case.
    package func answer(within limit: Duration = .seconds(10)) async throws -> Etcdserverpb_WatchResponse {
        guard let response = try await next(within: limit.patient) else {
            throw CaseFailure("no answer on the watch stream within \(limit.patient)")
        }
        return response
    }

    /// Creates a watch and takes its `created` answer, which must be the next one.
    @discardableResult
    package func create(_ create: Etcdserverpb_WatchCreateRequest) async throws -> Etcdserverpb_WatchResponse {
        try await send(create)
        let response = try await answer()
        guard response.created, !response.canceled else {
            throw CaseFailure("a watch was not created: \(response.cancelReason), created \(response.created)")
        }
        return response
    }

    package func send(_ create: Etcdserverpb_WatchCreateRequest) async throws {
        var request = Etcdserverpb_WatchRequest()
        request.createRequest = create
        try await stream.send(try request.serializedBytes())
    }

    package func cancel(id: Int64) async throws {
        var request = Etcdserverpb_WatchRequest()
        request.cancelRequest.watchID = id
        try await stream.send(try request.serializedBytes())
    }

    /// Not inlined: in a loop that is unrolled it crashes the optimiser of Swift 6.3 in release builds.
    @inline(never)
    package func requestProgress() async throws {
        var request = Etcdserverpb_WatchRequest()
        request.progressRequest = Etcdserverpb_WatchProgressRequest()
        try await stream.send(try request.serializedBytes())
    }

    /// Asks for progress and waits until it is told; passes over what comes before.
    package func progress() async throws {
        try await requestProgress()
        while try await !answer().events.isEmpty {}
    }

    /// Exactly the next `count` events, of whatever answers carry them.
    package func events(_ count: Int, within limit: Duration = .seconds(20)) async throws -> [Mvccpb_Event] {
        var events: [Mvccpb_Event] = []
        let deadline = ContinuousClock.now + limit.patient
        while events.count < count {
            guard let response = try await next(within: deadline - ContinuousClock.now) else {
                throw CaseFailure("\(events.count) of \(count) events came within \(limit.patient)")
            }
            if response.canceled { throw CaseFailure("the watch was cancelled: \(response.cancelReason)") }
            events += response.events
        }
        guard events.count == count else { throw CaseFailure("\(events.count) events came, \(count) were expected") }
        return events
    }
}
