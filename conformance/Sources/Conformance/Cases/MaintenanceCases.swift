import Foundation
import NIOCore
import SwiftProtobuf
import Transport
import Wire

/// Cases of the maintenance area that data cannot express.
enum MaintenanceCases {
    static let all: [Case] = [
        Case(
            "maintenance", "snapshot",
            doc:
                "A snapshot comes in parts; remaining_bytes counts down to 0; the last 32 bytes are the SHA-256 of the "
                + "rest [rpc.proto, Maintenance.Snapshot]", body: snapshot),
        Case(
            "maintenance", "snapshot-under-load",
            doc: "Writes go on while a snapshot is sent [op-guide/recovery]"
        ) { context in
            let load = WriteLoad(context)
            let writing = Task { await load.run(writers: 3) }
            defer { load.stop() }
            _ = try await read(context)
            let before = load.newestRevision
            let deadline = ContinuousClock.now + Duration.seconds(5).patient
            while load.newestRevision <= before {
                try context.expect(ContinuousClock.now < deadline, "no write came through after the snapshot")
                try await Task.sleep(for: .milliseconds(10))
            }
            load.stop()
            await writing.value
        },
        Case(
            "maintenance", "defragment-under-load",
            doc: "Defragmentation loses nothing of what is written meanwhile [op-guide/maintenance]", needs: [.private]
        ) { context in
            let watch = try await context.watch("load/")
            let load = WriteLoad(context)
            let writing = Task { await load.run(writers: 3, count: 200) }
            for _ in 0..<3 {
                let _: Etcdserverpb_DefragmentResponse = try await context.call(
                    Paths.defragment, Etcdserverpb_DefragmentRequest(), timeout: .seconds(30).patient)
                try await Task.sleep(for: .milliseconds(50))
            }
            await writing.value
            let last = try await context.put("load/last", "x")
            var log = WatchLog()
            while log.lastRevision < last { try log.take(try await watch.answer()) }
            try log.checkComplete(load.acknowledged)
        },
        Case(
            "maintenance", "same-hash-on-all-members",
            doc: "HashKV of one revision is the same on every member, also under load [rpc.proto, Maintenance.HashKV]",
            needs: [.cluster]
        ) { context in
            let load = WriteLoad(context)
            await load.run(writers: 4, count: 100)
            let revision = try await context.revision()
            var request = Etcdserverpb_HashKVRequest()
            request.revision = revision
            var hashes: Set<UInt32> = []
            for endpoint in context.target.endpoints.indices {
                // A member may be behind by a moment.
                _ = try await context.revision(endpoint: endpoint)
                let answer: Etcdserverpb_HashKVResponse = try await context.call(
                    Paths.hashKV, request, endpoint: endpoint)
                hashes.insert(answer.hash)
            }
            try context.expectEqual(hashes.count, 1, "different hashes")
        },
    ]

    private static let snapshot: @Sendable (CaseContext) async throws -> Void = { context in
        for number in 0..<50 { try await context.put("k\(number)", Data(count: 2000)) }
        let bytes = try await read(context)
        try context.expect(bytes.count > 32, "a snapshot of \(bytes.count) bytes")
        let path = NSTemporaryDirectory() + "/conformance-\(UInt64.random(in: 0 ... .max))"
        try Data(bytes.dropLast(32)).write(to: URL(fileURLWithPath: path))
        defer { try? FileManager.default.removeItem(atPath: path) }
        let sum = try await Shell.run("sha256sum \(path)").output.split(separator: " ").first ?? ""
        let trailer = bytes.suffix(32).map { byte in
            let digits = String(byte, radix: 16)
            return digits.count == 1 ? "0" + digits : digits
        }.joined()
        try context.expectEqual(trailer, String(sum), "SHA-256 at the end")
    }

    /// The whole snapshot; checks what each part says of the rest.
    private static func read(_ context: CaseContext) async throws -> [UInt8] {
        let stream = try await context.open(Paths.snapshot)
        try await stream.send(try Etcdserverpb_SnapshotRequest().serializedBytes())
        stream.finish()
        var bytes: [UInt8] = []
        var remaining: UInt64 = .max
        while true {
            switch await stream.next(within: .seconds(20).patient) {
            case .message(let message):
                let part = try Etcdserverpb_SnapshotResponse(serializedBytes: message)
                try context.expect(part.remainingBytes <= remaining, "remaining_bytes grows")
                remaining = part.remainingBytes
                bytes += part.blob
            case .end(let status):
                guard status.isOK else { throw status }
                try context.expectEqual(remaining, 0, "remaining_bytes at the end")
                return bytes
            case nil: throw CaseFailure("the snapshot does not go on")
            }
        }
    }
}
