import Foundation
import NIOCore
import SwiftProtobuf
import Transport
import Wire

/// Cases of the limits area that data cannot express.
enum LimitCases {
    static let all: [Case] = [
        Case(
            "limits", "quota",
            doc:
                "A store above its quota refuses writes with RESOURCE_EXHAUSTED \"database space exceeded\", serves "
                + "reads and deletes, and takes writes again after deletes, compaction, defragmentation and disarming "
                + "[op-guide/maintenance, space quota]",
            serverFlags: ["--quota-backend-bytes=16777216"], timeout: .seconds(120), body: quota),
        Case(
            "limits", "many-connections",
            doc: "Hundreds of connections are served at once [op-guide/performance]"
        ) { context in
            var channels: [RPCChannel] = []
            for number in 0..<200 { channels.append(try await context.connect(number)) }
            try await withThrowingTaskGroup(of: Void.self) { group in
                for channel in channels {
                    group.addTask {
                        _ = try await channel.unary(Paths.range, try context.listRequest("none").serializedBytes())
                    }
                }
                try await group.waitForAll()
            }
        },
        Case(
            "limits", "many-streams",
            doc: "A connection carries hundreds of calls at once [--max-concurrent-streams]"
        ) { context in
            let channel = try await context.connect()
            let request: [UInt8] = try context.listRequest("none").serializedBytes()
            try await withThrowingTaskGroup(of: Void.self) { group in
                for _ in 0..<1000 { group.addTask { _ = try await channel.unary(Paths.range, request) } }
                try await group.waitForAll()
            }
        },
    ]

    private static let quota: @Sendable (CaseContext) async throws -> Void = { context in
        let value = Data((0..<200_000).map { UInt8(truncatingIfNeeded: $0 &* 2_654_435_761 >> 7) })
        var refusal: RPCStatus?
        for number in 0..<400 where refusal == nil {
            do throws(RPCStatus) { try await context.put("k\(number)", value) } catch { refusal = error }
        }
        try context.expectEqual(
            refusal, RPCStatus(.resourceExhausted, "etcdserver: mvcc: database space exceeded"), "the refusal")
        try context.expectEqual(try await context.get("k0").count, 1, "a read of a full store")
        let deleted = try await context.delete("k", isPrefix: true)
        try context.expect(deleted.deleted > 20, "deleted \(deleted.deleted) keys of a full store")
        try await context.compact(deleted.revision, isPhysical: true)
        let _: Etcdserverpb_DefragmentResponse = try await context.call(
            Paths.defragment, Etcdserverpb_DefragmentRequest(), timeout: .seconds(30).patient)
        var disarm = Etcdserverpb_AlarmRequest()
        disarm.action = .deactivate
        disarm.alarm = .nospace
        disarm.memberID = try await context.status().header.memberID
        let _: Etcdserverpb_AlarmResponse = try await context.call(Paths.alarm, disarm)
        let deadline = ContinuousClock.now + Duration.seconds(20).patient
        while true {
            do throws(RPCStatus) {
                try await context.put("again", "x")
                return
            } catch {
                if ContinuousClock.now >= deadline { throw error }
            }
            try await Task.sleep(for: .milliseconds(200))
        }
    }
}
