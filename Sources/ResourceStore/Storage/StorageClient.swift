package import Client
import Foundation
import Transport
import Wire

/// The few requests that storing objects takes, in the shapes that Kubernetes' own storage sends. Source:
/// kubernetes-contract, section 2.
package struct StorageClient: Sendable {
    /// A stored record.
    package struct Record: Sendable {
        package let key: String
        package let value: [UInt8]
        package let createRevision: Int64
        package let modRevision: Int64
    }

    /// One answer of a range.
    package struct Page: Sendable {
        package let records: [Record]
        /// Keys in the range, whatever the limit.
        package let count: Int64
        /// The store's revision when it answered.
        package let revision: Int64
    }

    /// What became of a conditional write.
    package enum Outcome: Sendable {
        /// Done, by this revision.
        case done(revision: Int64)
        /// Not done: this is what the key holds, nil for nothing.
        case differs(Record?, revision: Int64)
    }

    package let client: EtcdClient

    package init(_ client: EtcdClient) { self.client = client }

    /// The record at a key, and the store's revision.
    package func get(
        _ key: String, isSerializable: Bool = false, revision: Int64 = 0
    ) async throws(ObjectStoreError) -> (record: Record?, revision: Int64) {
        var request = Etcdserverpb_RangeRequest()
        request.key = Data(key.utf8)
        request.limit = 1
        request.serializable = isSerializable
        request.revision = revision
        let answer = try await range(request, key: key)
        return (answer.records.first, answer.revision)
    }

    /// The records from `start` (or `prefix` itself) to the prefix's end, in order of keys.
    package func page(
        _ prefix: String, from start: String? = nil, limit: Int = 0, revision: Int64 = 0, isSerializable: Bool = false,
        keysOnly: Bool = false
    ) async throws(ObjectStoreError) -> Page {
        var request = Etcdserverpb_RangeRequest()
        request.key = Data((start ?? prefix).utf8)
        request.rangeEnd = Data(KeyRange.prefixEnd(Array(prefix.utf8)))
        request.limit = Int64(limit)
        request.revision = revision
        request.serializable = isSerializable
        request.keysOnly = keysOnly
        return try await range(request, key: prefix)
    }

    /// How many keys begin with a prefix.
    package func count(_ prefix: String) async throws(ObjectStoreError) -> Int64 {
        var request = Etcdserverpb_RangeRequest()
        request.key = Data(prefix.utf8)
        request.rangeEnd = Data(KeyRange.prefixEnd(Array(prefix.utf8)))
        request.countOnly = true
        return try await range(request, key: prefix).count
    }

    /// Writes a key if its last write was `expected`; 0 stands for a key that does not exist.
    package func put(
        _ key: String, _ value: [UInt8], expected: Int64, lease: Int64 = 0
    ) async throws(ObjectStoreError) -> Outcome {
        var operation = Etcdserverpb_RequestOp()
        operation.requestPut.key = Data(key.utf8)
        operation.requestPut.value = Data(value)
        operation.requestPut.lease = lease
        return try await write(operation, key, expected: expected)
    }

    /// Deletes a key if its last write was `expected`.
    package func delete(_ key: String, expected: Int64) async throws(ObjectStoreError) -> Outcome {
        var operation = Etcdserverpb_RequestOp()
        operation.requestDeleteRange.key = Data(key.utf8)
        return try await write(operation, key, expected: expected)
    }

    /// A lease that lives for so many seconds.
    package func grantLease(seconds: Int64) async throws(ObjectStoreError) -> Int64 {
        var request = Etcdserverpb_LeaseGrantRequest()
        request.ttl = seconds
        do throws(ClientError) { return try await client.leaseGrant(request).id } catch {
            throw ObjectStoreError(error)
        }
    }

    private func write(
        _ operation: Etcdserverpb_RequestOp, _ key: String, expected: Int64
    ) async throws(ObjectStoreError) -> Outcome {
        var compare = Etcdserverpb_Compare()
        compare.key = Data(key.utf8)
        compare.target = .mod
        compare.result = .equal
        compare.modRevision = expected
        var request = Etcdserverpb_TxnRequest()
        request.compare = [compare]
        request.success = [operation]
        var read = Etcdserverpb_RequestOp()
        read.requestRange.key = Data(key.utf8)
        request.failure = [read]
        let answer: Etcdserverpb_TxnResponse
        do throws(ClientError) { answer = try await client.txn(request) } catch {
            throw ObjectStoreError(error, key: key)
        }
        if answer.succeeded { return .done(revision: answer.header.revision) }
        let record = answer.responses.first?.responseRange.kvs.first.map { Record($0) }
        return .differs(record, revision: answer.header.revision)
    }

    private func range(
        _ request: Etcdserverpb_RangeRequest, key: String
    ) async throws(ObjectStoreError) -> Page {
        do throws(ClientError) {
            let answer = try await client.range(request)
            return Page(
                records: answer.kvs.map { Record($0) }, count: answer.count, revision: answer.header.revision)
        } catch {
            throw ObjectStoreError(error, key: key)
        }
    }
}

extension StorageClient.Record {
    init(_ record: Mvccpb_KeyValue) {
        key = String(decoding: record.key, as: UTF8.self)
        value = Array(record.value)
        createRevision = record.createRevision
        modRevision = record.modRevision
    }
}
