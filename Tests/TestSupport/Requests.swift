package import Client
package import Foundation
import Transport
package import Wire

/// Requests as Kubernetes shapes them, and short forms for the tests.
extension EtcdClient {
    @discardableResult
    package func put(_ key: String, _ value: Data, lease: Int64 = 0) async throws -> Int64 {
        var request = Etcdserverpb_PutRequest()
        request.key = Data(key.utf8)
        request.value = value
        request.lease = lease
        return try await put(request).header.revision
    }

    @discardableResult
    package func put(_ key: String, _ value: String) async throws -> Int64 { try await put(key, Data(value.utf8)) }

    @discardableResult
    package func delete(_ key: String) async throws -> Int64 {
        var request = Etcdserverpb_DeleteRangeRequest()
        request.key = Data(key.utf8)
        return try await deleteRange(request).header.revision
    }

    package func get(_ key: String, revision: Int64 = 0) async throws -> Etcdserverpb_RangeResponse {
        var request = Etcdserverpb_RangeRequest()
        request.key = Data(key.utf8)
        request.revision = revision
        return try await range(request)
    }

    /// All keys from `start` (or the prefix itself) to the prefix's end.
    package func list(
        _ prefix: String, from start: Data? = nil, limit: Int64 = 0, revision: Int64 = 0, countOnly: Bool = false
    ) async throws -> Etcdserverpb_RangeResponse {
        var request = Etcdserverpb_RangeRequest()
        request.key = start ?? Data(prefix.utf8)
        request.rangeEnd = Self.prefixEnd(prefix)
        request.limit = limit
        request.revision = revision
        request.countOnly = countOnly
        return try await range(request)
    }

    package func compact(_ revision: Int64, isPhysical: Bool = false) async throws {
        var request = Etcdserverpb_CompactionRequest()
        request.revision = revision
        request.physical = isPhysical
        _ = try await compact(request)
    }

    /// Kubernetes' OptimisticPut: writes when the key's modification revision is `expected` (0: does not exist).
    package func optimisticPut(
        _ key: String, _ value: Data, expected: Int64, getOnFailure: Bool
    ) async throws -> Etcdserverpb_TxnResponse {
        var request = Etcdserverpb_TxnRequest()
        request.compare = [Self.modCompare(key, expected)]
        var put = Etcdserverpb_RequestOp()
        put.requestPut.key = Data(key.utf8)
        put.requestPut.value = value
        request.success = [put]
        if getOnFailure { request.failure = [Self.getOperation(key)] }
        return try await txn(request)
    }

    /// Kubernetes' OptimisticDelete.
    package func optimisticDelete(_ key: String, expected: Int64) async throws -> Etcdserverpb_TxnResponse {
        var request = Etcdserverpb_TxnRequest()
        request.compare = [Self.modCompare(key, expected)]
        var delete = Etcdserverpb_RequestOp()
        delete.requestDeleteRange.key = Data(key.utf8)
        request.success = [delete]
        request.failure = [Self.getOperation(key)]
        return try await txn(request)
    }

    private static func modCompare(_ key: String, _ revision: Int64) -> Etcdserverpb_Compare {
        var compare = Etcdserverpb_Compare()
        compare.key = Data(key.utf8)
        compare.target = .mod
        compare.result = .equal
        compare.modRevision = revision
        return compare
    }

    private static func getOperation(_ key: String) -> Etcdserverpb_RequestOp {
        var operation = Etcdserverpb_RequestOp()
        operation.requestRange.key = Data(key.utf8)
        return operation
    }

    /// Many keys with one value each, 100 to a transaction. Returns the last revision.
    @discardableResult
    package func fill(_ prefix: String, count: Int, value: Data) async throws -> Int64 {
        var revision: Int64 = 0
        // A transaction stays below the limits of operations and of bytes.
        let batch = max(1, min(100, (1 << 20) / max(value.count, 1)))
        for start in stride(from: 0, to: count, by: batch) {
            var request = Etcdserverpb_TxnRequest()
            for number in start..<min(start + batch, count) {
                var put = Etcdserverpb_RequestOp()
                put.requestPut.key = Data((prefix + String(number + 1_000_000)).utf8)
                put.requestPut.value = value
                request.success.append(put)
            }
            revision = try await txn(request).header.revision
        }
        return revision
    }

    package static func prefixEnd(_ prefix: String) -> Data {
        var end = Data(prefix.utf8)
        end[end.count - 1] += 1
        return end
    }

    /// A watch of a prefix as Kubernetes opens it.
    package static func watchRequest(_ prefix: String, from revision: Int64, id: Int64 = 0)
        -> Etcdserverpb_WatchCreateRequest
    {
        var request = Etcdserverpb_WatchCreateRequest()
        request.key = Data(prefix.utf8)
        request.rangeEnd = prefixEnd(prefix)
        request.startRevision = revision
        request.prevKv = true
        request.progressNotify = true
        request.watchID = id
        return request
    }
}

/// Code and text of the error that `body` ends with, or nil.
package func failure(isolation: isolated (any Actor)? = #isolation, of body: () async throws -> Void) async
    -> ClientError?
{
    do { try await body() } catch { return error as? ClientError ?? ClientError(.unknown, "\(error)") }
    return nil
}

/// Repeats `condition` until it holds; throws when it does not within `limit`.
package func eventually(
    _ what: String, within limit: Duration = .seconds(60), isolation: isolated (any Actor)? = #isolation,
    _ condition: () async throws -> Bool
) async throws {
    let deadline = ContinuousClock.now + limit
    while !(try await condition()) {
        if ContinuousClock.now > deadline { throw TestFailure("not within \(limit): \(what)") }
        try await Task.sleep(for: .milliseconds(10))
    }
}
