import Client
import Foundation
import Primitives
import TestSupport
import Transport
import Wire

/// Clients that write as fast as the server answers, until they are cancelled or it is gone.
struct Writers: Sendable {
    static let count = 8
    static let keys = 60

    let journal: Journal
    let server: TestServer

    /// Runs all writers and a reader; returns when all have ended.
    func run(seed: UInt64) async throws {
        let clients = try (0..<2).map { _ in try server.client(timeoutSeconds: 30) }
        await withTaskGroup(of: Void.self) { group in
            for number in 0..<Self.count {
                let client = clients[number % clients.count]
                group.addTask { await write(number, client, PRNG(seed: seed &* 1000 &+ UInt64(number))) }
            }
            group.addTask { await read(clients[0]) }
        }
        for client in clients { await client.close() }
    }

    private func write(_ number: Int, _ client: EtcdClient, _ generator: PRNG) async {
        var random = generator
        while !Task.isCancelled {
            do throws(ClientError) {
                try await writeOnce(number, client, &random)
            } catch {
                // The server is gone, or the round is over.
                if error.code == .unavailable || error.code == .cancelled || error.isDeadlineExceeded { return }
                // A lease that another writer has just revoked.
                if error.code == .notFound { continue }
                return journal.violation("writer \(number): \(error.code) \(error.message)")
            }
        }
    }

    private func key(_ random: inout PRNG) -> Data { Data("key\(random.next(in: 0..<Self.keys))".utf8) }

    private func writeOnce(_ number: Int, _ client: EtcdClient, _ random: inout PRNG) async throws(ClientError) {
        switch random.next(in: 0..<100) {
        case 0..<60: try await put(number, client, &random)
        case 60..<75: try await transact(number, client, &random)
        case 75..<85: try await delete(client, &random)
        case 85..<90: try await deleteRange(client, &random)
        case 90..<97: try await grant(client)
        default: try await revoke(client)
        }
    }

    private func put(_ number: Int, _ client: EtcdClient, _ random: inout PRNG) async throws(ClientError) {
        var request = Etcdserverpb_PutRequest()
        request.key = key(&random)
        let filler = random.chance(oneIn: 50) ? 200_000 : random.next(in: 0..<300)
        request.value = journal.newValue(writer: number, filler: filler)
        if random.chance(oneIn: 8), let lease = journal.anyLease() { request.lease = lease }
        let response = try await client.put(request)
        journal.acknowledge(
            revision: response.header.revision, [Change(key: request.key, value: request.value)])
    }

    /// Two puts and a delete, in one revision.
    private func transact(_ number: Int, _ client: EtcdClient, _ random: inout PRNG) async throws(ClientError) {
        var request = Etcdserverpb_TxnRequest()
        var changes: [Change] = []
        var keys: Set<Data> = []
        while keys.count < 3 { keys.insert(key(&random)) }
        for (position, key) in keys.sorted(by: { $0.lexicographicallyPrecedes($1) }).enumerated() {
            var operation = Etcdserverpb_RequestOp()
            if position == 2 {
                operation.requestDeleteRange.key = key
            } else {
                operation.requestPut.key = key
                operation.requestPut.value = journal.newValue(writer: number, filler: 10)
                changes.append(Change(key: key, value: operation.requestPut.value))
            }
            request.success.append(operation)
        }
        let deleted = request.success[2].requestDeleteRange.key
        let response = try await client.txn(request)
        if response.responses[2].responseDeleteRange.deleted == 1 { changes.append(Change(key: deleted, value: nil)) }
        journal.acknowledge(revision: response.header.revision, changes)
    }

    private func delete(_ client: EtcdClient, _ random: inout PRNG) async throws(ClientError) {
        var request = Etcdserverpb_DeleteRangeRequest()
        request.key = key(&random)
        let response = try await client.deleteRange(request)
        guard response.deleted == 1 else { return }
        journal.acknowledge(revision: response.header.revision, [Change(key: request.key, value: nil)])
    }

    private func deleteRange(_ client: EtcdClient, _ random: inout PRNG) async throws(ClientError) {
        var request = Etcdserverpb_DeleteRangeRequest()
        request.key = key(&random)
        request.rangeEnd = request.key + [0xff]
        request.prevKv = true
        let response = try await client.deleteRange(request)
        guard response.deleted > 0 else { return }
        journal.acknowledge(
            revision: response.header.revision, response.prevKvs.map { Change(key: $0.key, value: nil) })
    }

    private func grant(_ client: EtcdClient) async throws(ClientError) {
        var request = Etcdserverpb_LeaseGrantRequest()
        request.ttl = 100_000
        journal.acknowledgeGrant(try await client.leaseGrant(request).id)
    }

    private func revoke(_ client: EtcdClient) async throws(ClientError) {
        guard let id = journal.anyLease() else { return }
        journal.beginRevocation(id)
        var request = Etcdserverpb_LeaseRevokeRequest()
        request.id = id
        _ = try await client.leaseRevoke(request)
        journal.acknowledgeRevocation(id)
    }

    /// Reads all the time: no linearizable read may know less than what was acknowledged before it was asked.
    private func read(_ client: EtcdClient) async {
        var request = Etcdserverpb_RangeRequest()
        request.key = Data("key1".utf8)
        while !Task.isCancelled {
            let acknowledged = journal.highestRevision
            guard let response = try? await client.range(request) else { return }
            if response.header.revision < acknowledged {
                journal.violation("a read at \(response.header.revision) after \(acknowledged) was acknowledged")
            }
            try? await Task.sleep(for: .milliseconds(1))
        }
    }
}
