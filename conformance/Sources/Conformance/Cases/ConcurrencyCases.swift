import Foundation
import NIOCore
import Primitives
import Transport
import Wire

/// Many clients at once. Source: https://etcd.io/docs/v3.6/learning/api_guarantees/: strict serializability.
enum ConcurrencyCases {
    static let all: [Case] =
        [2, 6, 16].map { clients in
            Case(
                "concurrency", "registers-are-linearizable[\(clients)]",
                doc:
                    "What \(clients) clients read, write and compare-and-set on a few keys has an order that real time "
                    + "allows, judged by the values alone [api_guarantees, linearizability; Wing and Gong]",
                timeout: .seconds(120)
            ) { context in try await registers(context, clients: clients) }
        }
        + [2, 6, 16].map { clients in
            Case(
                "concurrency", "revisions-are-the-order[\(clients)]",
                doc:
                    "The revisions in the answers to \(clients) clients agree with real time, with the values read and "
                    + "with the watch of everything [api_guarantees, strict serializability]",
                timeout: .seconds(120)
            ) { context in try await revisions(context, clients: clients) }
        } + [
            Case(
                "concurrency", "counter",
                doc: "Optimistic increments by many clients lose nothing [api_guarantees, atomicity of transactions]",
                timeout: .seconds(120), body: counter),
            Case(
                "concurrency", "one-winner",
                doc: "Of many clients that create one key, exactly one succeeds [rpc.proto, KV.Txn]", body: oneWinner),
            Case(
                "concurrency", "txn-isolation",
                doc: "No read sees a part of a transaction [api_guarantees, isolation]", body: isolation),
            Case(
                "concurrency", "distinct-revisions",
                doc: "Concurrent puts have revisions of their own, with no gap [data model]", body: distinctRevisions),
            Case(
                "concurrency", "reads-do-not-go-back",
                doc: "The revision that a client is answered never goes back, whichever member it asks "
                    + "[api_guarantees, linearizability]", body: monotonicReads),
        ]

    private static func now() -> UInt64 { NIODeadline.now().uptimeNanoseconds }

    private static func registers(_ context: CaseContext, clients: Int) async throws {
        let keys = ["a", "b", "c"]
        let history = Collected<(key: String, operation: RegisterOperation)>()
        await withTaskGroup(of: Void.self) { group in
            for client in 0..<clients {
                group.addTask {
                    var random = PRNG(seed: UInt64(client) &* 77 &+ 5)
                    var known: [String: String] = [:]
                    for number in 0..<(240 / clients) {
                        let key = keys[random.next(in: 0..<keys.count)]
                        let operation = await register(
                            context, client, number, key, choice: random.next(in: 0..<4), known: &known)
                        history.append((key, operation))
                    }
                }
            }
        }
        for (key, entries) in Dictionary(grouping: history.all, by: { $0.key }) {
            let operations = entries.map(\.operation)
            try context.expect(
                RegisterChecker.isLinearizable(operations),
                "the \(operations.count) operations on \(key) have no order that explains their answers")
        }
    }

    /// One operation and how it went. A failed one has no end.
    private static func register(
        _ context: CaseContext, _ client: Int, _ number: Int, _ key: String, choice: Int,
        known: inout [String: String]
    ) async -> RegisterOperation {
        let value = "\(client)-\(number)"
        let endpoint = client + number
        let start = now()
        var kind: RegisterOperation.Kind
        do throws(RPCStatus) {
            switch choice {
            case 0:
                kind = .write(value)
                try await context.put(key, value, endpoint: endpoint)
            case 1:
                let expected = known[key] ?? "none"
                kind = .compareAndSet(expected: expected, new: value, succeeded: nil)
                var request = Etcdserverpb_TxnRequest()
                request.compare = [.value(context.key(key), equals: expected)]
                request.success = [.put(context.key(key), value)]
                let answer = try await context.txn(request, endpoint: endpoint)
                kind = .compareAndSet(expected: expected, new: value, succeeded: answer.succeeded)
            default:
                kind = .read(nil)
                let answer = try await context.get(key, endpoint: endpoint)
                let seen = answer.kvs.first.map { String(decoding: $0.value, as: UTF8.self) }
                known[key] = seen
                kind = .read(seen)
            }
            return RegisterOperation(kind, start: start, end: now())
        } catch {
            let kind: RegisterOperation.Kind = choice == 0 ? .write(value) : .read(nil)
            return RegisterOperation(kind, start: start, end: nil)
        }
    }

    private static func revisions(_ context: CaseContext, clients: Int) async throws {
        let watch = try await context.watch()
        let history = Collected<RevisionHistory.Operation>()
        try await withThrowingTaskGroup(of: Void.self) { group in
            for client in 0..<clients {
                group.addTask {
                    var random = PRNG(seed: UInt64(client) &+ 99)
                    for number in 0..<(600 / clients) {
                        let operation = try await step(context, client, number, random.next(in: 0..<6), &random)
                        if let operation { history.append(operation) }
                    }
                }
            }
            try await group.waitForAll()
        }
        let operations = history.all
        let last = try await context.put("last", "x")
        var log = WatchLog()
        while log.lastRevision < last { try log.take(try await watch.answer()) }
        if let violation = RevisionHistory(operations, log: log.changes).violation() { throw CaseFailure(violation) }
    }

    private static func step(
        _ context: CaseContext, _ client: Int, _ number: Int, _ choice: Int, _ random: inout PRNG
    ) async throws -> RevisionHistory.Operation? {
        let name = "k\(random.next(in: 0..<5))"
        let key = context.prefix + name
        let value = "\(client)-\(number)"
        let endpoint = client + number
        let start = now()
        switch choice {
        case 0, 1:
            let revision = try await context.put(name, value, endpoint: endpoint)
            return .init(.write(revision: revision, changes: [.init(key, value)]), start: start, end: now())
        case 2:
            let answer = try await context.delete(name, endpoint: endpoint)
            if answer.deleted == 0 { return nil }
            return .init(.write(revision: answer.revision, changes: [.init(key, nil)]), start: start, end: now())
        case 3:
            var request = Etcdserverpb_TxnRequest()
            request.success = [.put(context.key(name), value), .put(context.key("t"), value)]
            let answer = try await context.txn(request, endpoint: endpoint)
            let changes: [RevisionHistory.Change] = [.init(key, value), .init(context.prefix + "t", value)]
            return .init(.write(revision: answer.header.revision, changes: changes), start: start, end: now())
        default:
            let answer = try await context.get(name, endpoint: endpoint)
            let row = answer.kvs.first
            return .init(
                .read(
                    revision: answer.header.revision, key: key,
                    value: row.map { String(decoding: $0.value, as: UTF8.self) }, modRevision: row?.modRevision ?? 0),
                start: start, end: now())
        }
    }

    private static let counter: @Sendable (CaseContext) async throws -> Void = { context in
        let first = try await context.put("n", "0")
        let (clients, each) = (8, 25)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for client in 0..<clients {
                group.addTask { for _ in 0..<each { try await increment(context, client) } }
            }
            try await group.waitForAll()
        }
        let end = try await context.get("n")
        try context.expectEqual(end.kvs.first?.value, Data(String(clients * each).utf8), "the counter")
        try context.expectEqual(end.header.revision, first + Int64(clients * each), "revisions used")
    }

    private static func increment(_ context: CaseContext, _ endpoint: Int) async throws {
        let key = context.key("n")
        while true {
            guard let row = try await context.get("n", endpoint: endpoint).kvs.first else {
                throw CaseFailure("the counter is gone")
            }
            var request = Etcdserverpb_TxnRequest()
            request.compare = [.modRevision(key, equals: row.modRevision)]
            request.success = [.put(key, String((Int(String(decoding: row.value, as: UTF8.self)) ?? 0) + 1))]
            if try await context.txn(request, endpoint: endpoint).succeeded { return }
        }
    }

    private static let oneWinner: @Sendable (CaseContext) async throws -> Void = { context in
        for round in 0..<20 {
            let key = context.key("lock\(round)")
            let winners = try await withThrowingTaskGroup(of: Bool.self) { group in
                for client in 0..<10 {
                    group.addTask {
                        var request = Etcdserverpb_TxnRequest()
                        request.compare = [.modRevision(key, equals: 0)]
                        request.success = [.put(key, "\(client)")]
                        request.failure = [.range(key)]
                        let answer = try await context.txn(request, endpoint: client)
                        if !answer.succeeded, answer.responses.first?.responseRange.kvs.count != 1 {
                            throw CaseFailure("a loser does not see the winner's key")
                        }
                        return answer.succeeded
                    }
                }
                return try await group.reduce(0) { $0 + ($1 ? 1 : 0) }
            }
            try context.expectEqual(winners, 1, "winners of round \(round)")
        }
    }

    private static let isolation: @Sendable (CaseContext) async throws -> Void = { context in
        let writer = Task {
            for number in 0..<150 {
                var request = Etcdserverpb_TxnRequest()
                for key in ["a", "b", "c"] { request.success.append(.put(context.key(key), String(number))) }
                _ = try await context.txn(request)
            }
        }
        for number in 0..<200 {
            let rows = try await context.list("", endpoint: number).kvs
            guard let first = rows.first else { continue }
            try context.expectEqual(rows.count, 3, "rows of a transaction of three")
            try context.expect(
                rows.allSatisfy { $0.value == first.value && $0.modRevision == first.modRevision },
                "a read saw a part of a transaction: \(rows.map { String(decoding: $0.value, as: UTF8.self) })")
        }
        try await writer.value
    }

    private static let distinctRevisions: @Sendable (CaseContext) async throws -> Void = { context in
        let first = try await context.put("start")
        let revisions = try await withThrowingTaskGroup(of: Int64.self) { group in
            for number in 0..<200 {
                group.addTask { try await context.put("k\(number % 7)", "\(number)", endpoint: number) }
            }
            return try await group.reduce(into: []) { $0.append($1) }
        }
        try context.expectEqual(revisions.sorted(), Array(first + 1...first + 200), "revisions of 200 puts")
    }

    private static let monotonicReads: @Sendable (CaseContext) async throws -> Void = { context in
        let load = WriteLoad(context)
        let writing = Task { await load.run(writers: 3) }
        defer { load.stop() }
        var newest: Int64 = 0
        for number in 0..<300 {
            let acknowledged = load.newestRevision
            let revision = try await context.revision(endpoint: number)
            try context.expect(
                revision >= max(newest, acknowledged),
                "a read was answered at revision \(revision) after \(max(newest, acknowledged)) was known")
            newest = revision
        }
        load.stop()
        await writing.value
    }
}
