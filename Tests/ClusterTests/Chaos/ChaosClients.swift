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
    static let lessees = 2
    static let prefix = "c/"
    static let prefixEnd = "c0"
    private static let keys = 16
    /// Short, so that many calls are left in doubt.
    static let patience = TimeAmount.milliseconds(1000)

    let history: History
    let cluster: TestCluster
    let seed: UInt64
    /// Where the watchers are to get to before they end; nil while nobody knows.
    let goal = NIOLockedValueBox<Int64?>(nil)
    /// What each watcher sees next: nothing that one of them still needs is compacted.
    let positions = NIOLockedValueBox([Int64](repeating: 2, count: ChaosClients.watchers))

    /// Writers, holders of leases and the one who compacts; runs until the task is cancelled.
    func write() async {
        await withTaskGroup(of: Void.self) { group in
            for number in 0..<Self.writers {
                group.addTask { await write(number, PRNG(seed: seed &* 100 &+ UInt64(number))) }
            }
            for number in 0..<Self.lessees {
                group.addTask { await holdLeases(number, PRNG(seed: seed &* 100 &+ 70 &+ UInt64(number))) }
            }
            group.addTask { await compact(PRNG(seed: seed &* 100 &+ 90)) }
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

    func client(_ member: TestMember) -> EtcdClient {
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
            let outcome = await call(request, client, member)
            learn(request, outcome, &known)
            try? await Task.sleep(for: .milliseconds(random.next(in: 0..<8)))
        }
        for client in clients.values { await client.close() }
    }

    /// Carries a call out, once, and notes it.
    @discardableResult
    func call(_ request: Operation.Request, _ client: EtcdClient, _ member: TestMember) async -> Operation.Outcome {
        let begin = NIODeadline.now().uptimeNanoseconds
        let outcome = await carryOut(request, client)
        let end = NIODeadline.now().uptimeNanoseconds
        history.note(Operation(member: member.name, begin: begin, end: end, request: request, outcome: outcome))
        return outcome
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
        case 84..<91: return .read(from: key, upTo: nil, isSerializable: true)
        case 91..<94: return .read(from: Self.prefix, upTo: Self.prefixEnd, isSerializable: true)
        default: return readPast(&random)
        }
    }

    /// A read on either side of the newest compaction.
    private func readPast(_ random: inout PRNG) -> Operation.Request {
        let isAll = random.chance(oneIn: 2)
        return .readPast(
            from: isAll ? Self.prefix : key(&random), upTo: isAll ? Self.prefixEnd : nil,
            revision: max(1, history.newest - Int64(random.next(in: 0..<2 * Self.compactionLag))),
            isSerializable: random.chance(oneIn: 2))
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
                return try await read(first, end, revision: 0, isSerializable, client)
            case .readPast(let first, let end, let revision, let isSerializable):
                return try await read(first, end, revision: revision, isSerializable, client)
            case .compact(let revision):
                var compaction = Etcdserverpb_CompactionRequest()
                compaction.revision = revision
                compaction.physical = revision % 2 == 0
                return .compacted(try await client.compact(compaction).header.revision)
            }
        } catch {
            return failed(request, error)
        }
    }

    private func read(
        _ first: String, _ end: String?, revision: Int64, _ isSerializable: Bool, _ client: EtcdClient
    ) async throws(ClientError) -> Operation.Outcome {
        var request = Etcdserverpb_RangeRequest()
        request.key = Data(first.utf8)
        request.rangeEnd = Data((end ?? "").utf8)
        request.revision = revision
        request.serializable = isSerializable
        let response = try await client.range(request)
        return .read(response.header.revision, response.kvs.map(Row.init))
    }

    /// What an error means for the call; errors that no fault of this test explains are violations.
    private func failed(_ request: Operation.Request, _ error: ClientError) -> Operation.Outcome {
        switch (request, error.code, error.message) {
        case (_, .unavailable, _), (_, .deadlineExceeded, _), (_, .cancelled, _), (_, .resourceExhausted, _),
            (_, .failedPrecondition, "etcdserver: rpc not supported for learner"):
            return .unknown(error.message)
        case (.readPast, .outOfRange, "etcdserver: mvcc: required revision has been compacted"),
            (.compact, .outOfRange, "etcdserver: mvcc: required revision has been compacted"):
            return .tooOld
        case (.readPast(_, _, _, true), .outOfRange, "etcdserver: mvcc: required revision is a future revision"):
            return .refused(error.message)
        case (.put(let changes), .notFound, Self.noSuchLease) where changes.contains { $0.lease != 0 }:
            return .refused(error.message)
        default:
            history.violation("\(request): \(error.code): \(error.message)")
            return .unknown(error.message)
        }
    }

    private func putRequest(_ change: Change) -> Etcdserverpb_PutRequest {
        var request = Etcdserverpb_PutRequest()
        request.key = Data(change.key.utf8)
        request.value = Data((change.value ?? "").utf8)
        request.lease = change.lease
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
        var cursor = WatchCursor(from: 2)
        while !Task.isCancelled {
            if isAtGoal(cursor) { return }
            let members = cluster.members
            let member = members[random.next(in: 0..<members.count)]
            let client = client(member)
            let seconds = random.next(in: 1..<6)
            if let stream = try? await client.watch(EtcdClient.watchRequest(Self.prefix, from: cursor.next)) {
                let limit = Task {
                    await Self.askForProgress(stream, every: .milliseconds(300), for: .seconds(seconds))
                    stream.cancel()
                }
                await follow(stream, number, &cursor, "watcher \(number) at \(member.name)")
                limit.cancel()
                stream.cancel()
            }
            await client.close()
            try? await Task.sleep(for: .milliseconds(20))
        }
    }

    private static func askForProgress(
        _ stream: EtcdClient.WatchStream, every pause: Duration, for time: Duration
    ) async {
        let end = ContinuousClock.now + time
        var request = Etcdserverpb_WatchRequest()
        request.progressRequest = Etcdserverpb_WatchProgressRequest()
        while ContinuousClock.now < end, (try? await Task.sleep(for: pause)) != nil {
            try? await stream.send(request)
        }
    }

    private func isAtGoal(_ cursor: WatchCursor) -> Bool {
        goal.withLockedValue { $0 }.map { cursor.next > $0 } ?? false
    }

    private func follow(
        _ stream: EtcdClient.WatchStream, _ number: Int, _ cursor: inout WatchCursor, _ watcher: String
    ) async {
        let start = cursor.next
        var isFirst = true
        var iterator = stream.makeAsyncIterator()
        while let response = try? await iterator.nextMessage() {
            let now = NIODeadline.now().uptimeNanoseconds
            if response.canceled {
                // Nothing that a watcher needs is compacted: the check finds it.
                if response.compactRevision != 0 {
                    history.note(
                        WatchStart(
                            watcher: watcher, revision: start, floor: 0, end: now,
                            outcome: .compacted(response.compactRevision)))
                }
                return
            }
            if isFirst, let first = response.events.first {
                isFirst = false
                history.note(
                    WatchStart(
                        watcher: watcher, revision: start, floor: 0, end: now,
                        outcome: .events(first: first.kv.modRevision)))
            }
            do throws(WatchCursor.Fault) {
                for step in try cursor.take(response) {
                    history.watched(step.revision, step.changes, step.rows, by: watcher, at: now)
                }
            } catch {
                return history.violation("\(watcher), from \(start): \(error)")
            }
            let next = cursor.next
            positions.withLockedValue { $0[number] = next }
            if isAtGoal(cursor) { return }
        }
    }
}
