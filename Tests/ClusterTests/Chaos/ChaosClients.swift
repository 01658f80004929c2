import Client
import Foundation
import NIOConcurrencyHelpers
import NIOCore
import NIOPosix
import Primitives
import TestSupport
import Transport
import Wire

/// Clients that write, read and watch at any member while it is there, and note what they see.
struct ChaosClients: Sendable {
    static let writers = 8
    static let watchers = 3
    static let prefix = "c/"
    static let prefixEnd = "c0"
    private static let keys = 16
    /// Short, so that many calls are left in doubt.
    private static let patience = TimeAmount.milliseconds(1000)

    let history: History
    let cluster: TestCluster
    let seed: UInt64
    /// Where the watchers are to get to before they end; nil while nobody knows.
    let goal = NIOLockedValueBox<Int64?>(nil)

    /// Runs until the task is cancelled.
    func write() async {
        await withTaskGroup(of: Void.self) { group in
            for number in 0..<Self.writers {
                group.addTask { await write(number, PRNG(seed: seed &* 100 &+ UInt64(number))) }
            }
        }
    }

    /// Runs until every watcher has seen the revision `goal`, or the task is cancelled.
    func watch() async {
        await withTaskGroup(of: Void.self) { group in
            for number in 0..<Self.watchers {
                group.addTask { await watch(number, PRNG(seed: seed &* 100 &+ 50 &+ UInt64(number))) }
            }
        }
    }

    private func client(_ member: TestMember) -> EtcdClient {
        var configuration = EtcdClient.Configuration(endpoints: [Endpoint(member.server.endpoint)!])
        configuration.requestTimeout = Self.patience
        configuration.dialTimeout = Self.patience
        return EtcdClient(configuration, group: MultiThreadedEventLoopGroup.singleton)
    }

    // MARK: Calls

    private func write(_ number: Int, _ generator: PRNG) async {
        var random = generator
        var clients: [String: EtcdClient] = [:]
        var known: [String: Int64] = [:]
        while !Task.isCancelled {
            let members = cluster.members
            let member = members[random.next(in: 0..<members.count)]
            let client = clients[member.name] ?? client(member)
            clients[member.name] = client
            let request = request(number, known, &random)
            let begin = NIODeadline.now().uptimeNanoseconds
            let outcome = await carryOut(request, client)
            let end = NIODeadline.now().uptimeNanoseconds
            learn(request, outcome, &known)
            history.note(
                Operation(member: member.name, begin: begin, end: end, request: request, outcome: outcome))
            try? await Task.sleep(for: .milliseconds(random.next(in: 0..<8)))
        }
        for client in clients.values { await client.close() }
    }

    private func key(_ random: inout PRNG) -> String { Self.prefix + "k\(10 + random.next(in: 0..<Self.keys))" }

    private func request(_ number: Int, _ known: [String: Int64], _ random: inout PRNG) -> Operation.Request {
        let key = key(&random)
        let change = Change(key: key, value: history.newValue(client: number))
        switch random.next(in: 0..<100) {
        case 0..<25: return .put([change])
        case 25..<33:
            var other = self.key(&random)
            while other == key { other = self.key(&random) }
            return .put([change, Change(key: other, value: history.newValue(client: number))])
        case 33..<53: return .swap(change, expected: known[key] ?? 0)
        case 53..<58: return .delete(key)
        case 58..<78: return .read(from: key, upTo: nil, isSerializable: false)
        case 78..<84: return .read(from: Self.prefix, upTo: Self.prefixEnd, isSerializable: false)
        case 84..<95: return .read(from: key, upTo: nil, isSerializable: true)
        default: return .read(from: Self.prefix, upTo: Self.prefixEnd, isSerializable: true)
        }
    }

    private func learn(_ request: Operation.Request, _ outcome: Operation.Outcome, _ known: inout [String: Int64]) {
        switch (request, outcome) {
        case (.swap(let change, _), .written(let revision)): known[change.key] = revision
        case (.swap(let change, _), .unchanged(_, let rows)): known[change.key] = rows.first?.modRevision ?? 0
        case (.read(_, _, _), .read(_, let rows)): for row in rows { known[row.key] = row.modRevision }
        default: break
        }
    }

    private func carryOut(_ request: Operation.Request, _ client: EtcdClient) async -> Operation.Outcome {
        do throws(ClientError) {
            switch request {
            case .put(let changes) where changes.count == 1:
                return .written(try await client.put(putRequest(changes[0])).header.revision)
            case .put(let changes):
                var request = Etcdserverpb_TxnRequest()
                request.success = changes.map(putOperation)
                return .written(try await client.txn(request).header.revision)
            case .swap(let change, let expected): return try await swap(change, expected, client)
            case .delete(let key):
                var request = Etcdserverpb_DeleteRangeRequest()
                request.key = Data(key.utf8)
                let response = try await client.deleteRange(request)
                return response.deleted > 0
                    ? .written(response.header.revision) : .unchanged(response.header.revision, [])
            case .read(let first, let end, let isSerializable):
                var request = Etcdserverpb_RangeRequest()
                request.key = Data(first.utf8)
                request.rangeEnd = Data((end ?? "").utf8)
                request.serializable = isSerializable
                let response = try await client.range(request)
                return .read(response.header.revision, response.kvs.map(Row.init))
            }
        } catch {
            if let text = Self.impossible(error) { history.violation("\(request): \(text)") }
            return .unknown(error.message)
        }
    }

    /// Errors that no fault of this test explains.
    private static func impossible(_ error: ClientError) -> String? {
        switch error.code {
        case .unavailable, .deadlineExceeded, .cancelled, .resourceExhausted: nil
        case .failedPrecondition where error.message == "etcdserver: rpc not supported for learner": nil
        default: "\(error.code): \(error.message)"
        }
    }

    private func putRequest(_ change: Change) -> Etcdserverpb_PutRequest {
        var request = Etcdserverpb_PutRequest()
        request.key = Data(change.key.utf8)
        request.value = Data((change.value ?? "").utf8)
        return request
    }

    private func putOperation(_ change: Change) -> Etcdserverpb_RequestOp {
        var operation = Etcdserverpb_RequestOp()
        operation.requestPut = putRequest(change)
        return operation
    }

    private func swap(
        _ change: Change, _ expected: Int64, _ client: EtcdClient
    ) async throws(ClientError) -> Operation.Outcome {
        var request = Etcdserverpb_TxnRequest()
        var compare = Etcdserverpb_Compare()
        compare.key = Data(change.key.utf8)
        compare.target = .mod
        compare.result = .equal
        compare.modRevision = expected
        request.compare = [compare]
        request.success = [putOperation(change)]
        var get = Etcdserverpb_RequestOp()
        get.requestRange.key = Data(change.key.utf8)
        request.failure = [get]
        let response = try await client.txn(request)
        return response.succeeded
            ? .written(response.header.revision)
            : .unchanged(
                response.header.revision, response.responses.first?.responseRange.kvs.map { Row($0) } ?? [])
    }

    // MARK: Watches

    /// One watch after another, each going on where the one before it ended, at some member.
    private func watch(_ number: Int, _ generator: PRNG) async {
        var random = generator
        var next: Int64 = 2
        while !Task.isCancelled {
            if let goal = goal.withLockedValue({ $0 }), next > goal { return }
            let members = cluster.members
            let member = members[random.next(in: 0..<members.count)]
            let client = client(member)
            let seconds = random.next(in: 1..<6)
            if let stream = try? await client.watch(EtcdClient.watchRequest(Self.prefix, from: next)) {
                let limit = Task {
                    try? await Task.sleep(for: .seconds(seconds))
                    stream.cancel()
                }
                await follow(stream, &next, "watcher \(number) at \(member.name)")
                limit.cancel()
                stream.cancel()
            }
            await client.close()
            try? await Task.sleep(for: .milliseconds(20))
        }
    }

    private func follow(_ stream: EtcdClient.WatchStream, _ next: inout Int64, _ watcher: String) async {
        let start = next
        var iterator = stream.makeAsyncIterator()
        while let response = try? await iterator.nextMessage() {
            if response.canceled { return }
            var revisions: [(Int64, [Change])] = []
            for event in response.events {
                let revision = event.kv.modRevision
                let change = Change(
                    key: String(decoding: event.kv.key, as: UTF8.self),
                    value: event.type == .put ? String(decoding: event.kv.value, as: UTF8.self) : nil)
                if revision == revisions.last?.0 {
                    revisions[revisions.count - 1].1.append(change)
                } else if revision == next {
                    revisions.append((revision, [change]))
                    next += 1
                } else {
                    return history.violation(
                        "\(watcher), from \(start): revision \(revision) where \(next) should come")
                }
            }
            for (revision, changes) in revisions { history.watched(revision, changes, by: watcher) }
            if let goal = goal.withLockedValue({ $0 }), next > goal { return }
        }
    }
}
