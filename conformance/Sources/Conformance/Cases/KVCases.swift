import Foundation
import SwiftProtobuf
import Transport
import Wire

/// Cases of the kv and range areas that data cannot express.
enum KVCases {
    static let all: [Case] = [
        Case(
            "kv", "put-visible-at-once",
            doc: "A put that is answered is seen by every later read on every connection [api_guarantees, durability]"
        ) { context in
            let other = try await context.connect(context.endpoint + 1)
            for number in 0..<50 {
                let revision = try await context.put("a", "\(number)")
                var request = Etcdserverpb_RangeRequest()
                request.key = context.key("a")
                let reply = try await other.unary(Paths.range, try request.serializedBytes())
                let answer = try Etcdserverpb_RangeResponse(serializedBytes: reply)
                try context.expectEqual(answer.kvs.first?.modRevision, revision, "mod revision on another connection")
            }
        },
        Case(
            "range", "stream-equals-unary",
            doc:
                "The parts of RangeStream put together are the answer of Range, at one revision, header and count with "
                + "the last [rpc.proto, KV.RangeStream]", level: .v37, body: rangeStream),
        Case(
            "range", "pages-under-writes",
            doc: "Pages at a pinned revision are the list of that revision while the store is written "
                + "[rpc.proto, RangeRequest.revision]", body: pages),
    ]

    private static let rangeStream: @Sendable (CaseContext) async throws -> Void = { context in
        for number in 0..<300 { try await context.put("k\(1000 + number)", String(repeating: "x", count: 2000)) }
        let unary = try await context.list()
        let stream = try await context.open(Paths.rangeStream)
        try await stream.send(try context.listRequest().serializedBytes())
        stream.finish()
        var rows: [Mvccpb_KeyValue] = []
        var last = Etcdserverpb_RangeResponse()
        var parts = 0
        reading: while true {
            switch await stream.next(within: .seconds(10).patient) {
            case .message(let bytes):
                last = try Etcdserverpb_RangeStreamResponse(serializedBytes: bytes).rangeResponse
                rows += last.kvs
                parts += 1
                if parts % 10 == 0 { try await context.put("k1000", "changed meanwhile") }
            case .end(let status):
                guard status.isOK else { throw status }
                break reading
            case nil: throw CaseFailure("the stream does not go on")
            }
        }
        try context.expect(parts > 1, "600 kB came in one part")
        try context.expectEqual(rows.count, unary.kvs.count, "rows")
        try context.expect(rows == unary.kvs, "the rows differ from those of Range")
        try context.expectEqual(last.count, unary.count, "count of the last part")
        try context.expect(last.header.revision >= unary.header.revision, "the last part has no revision")
    }

    private static let pages: @Sendable (CaseContext) async throws -> Void = { context in
        for number in 0..<200 { try await context.put("p/\(1000 + number)", "first") }
        let whole = try await context.list("p/")
        let load = WriteLoad(context, name: "p/")
        let writing = Task { await load.run(writers: 2) }
        defer { load.stop() }
        var rows: [Mvccpb_KeyValue] = []
        var start = context.key("p/")
        while true {
            let from = start
            let page = try await context.list("p/", limit: 17, revision: whole.header.revision) { $0.key = from }
            try context.expectEqual(page.count, Int64(200 - rows.count), "count of what is left")
            try context.expectEqual(page.more, Int64(page.kvs.count) < page.count, "more")
            rows += page.kvs
            guard page.more, let last = page.kvs.last else { break }
            start = last.key + [0]
        }
        load.stop()
        await writing.value
        try context.expect(rows == whole.kvs, "the pages together are not the list of their revision")
    }
}
