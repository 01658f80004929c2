import Foundation
import Transport
import Wire

/// Cases of the revisions area that data cannot express.
enum RevisionCases {
    static let all: [Case] = [
        Case(
            "revisions", "compact-under-load",
            doc: "Compactions while the store is written lose nothing: every live key has its last value "
                + "[rpc.proto, KV.Compact]", needs: [.private], body: compactUnderLoad),
        Case(
            "revisions", "read-fails-exactly-when-compacted",
            doc: "A read at a revision fails when that is below the compacted one, and only then "
                + "[rpctypes ErrGRPCCompacted]", needs: [.private]
        ) { context in
            var revisions: [Int64] = []
            for number in 0..<30 { revisions.append(try await context.put("a", "\(number)")) }
            for compacted in stride(from: 3, to: 30, by: 6) {
                try await context.compact(revisions[compacted])
                for number in 0..<30 {
                    if number < compacted {
                        try await context.expectError(
                            .outOfRange, "etcdserver: mvcc: required revision has been compacted", "read of \(number)"
                        ) { _ = try await context.get("a", revision: revisions[number]) }
                    } else {
                        let row = try await context.get("a", revision: revisions[number]).kvs.first
                        try context.expectEqual(row?.value, Data("\(number)".utf8), "value of \(number)")
                    }
                }
            }
        },
    ]

    private static let compactUnderLoad: @Sendable (CaseContext) async throws -> Void = { context in
        let watch = try await context.watch("load/")
        let load = WriteLoad(context)
        let writing = Task { await load.run(writers: 4, count: 250) }
        for _ in 0..<15 {
            try await Task.sleep(for: .milliseconds(20))
            let revision = try await context.revision()
            do throws(RPCStatus) { try await context.compact(revision - 5) } catch {
                guard error.code == .outOfRange else { throw error }
            }
        }
        await writing.value
        let last = try await context.put("load/last", "x")
        var log = WatchLog()
        while log.lastRevision < last { try log.take(try await watch.answer()) }
        try log.checkComplete(load.acknowledged)
        var expected: [String: String] = [:]
        for (_, changes) in log.changes.sorted(by: { $0.key < $1.key }) {
            for change in changes { expected[change.key] = change.value }
        }
        let rows = try await context.list("load/").kvs
        try context.expectEqual(rows.count, expected.count, "live keys")
        for row in rows {
            let key = String(decoding: row.key, as: UTF8.self)
            try context.expectEqual(String(decoding: row.value, as: UTF8.self), expected[key] ?? "", "value of \(key)")
        }
    }
}
