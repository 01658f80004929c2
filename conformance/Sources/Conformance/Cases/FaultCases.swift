import Foundation
import NIOCore
import Transport
import Wire

/// What must hold when the server is killed, paused or restarted. Each needs a process of its own. Most are bugs that
/// etcd had once (kubernetes-contract, section 10).
enum FaultCases {
    static let all: [Case] = [
        Case(
            "kubernetes", "etcd-14370-killed-after-acknowledgement",
            doc: "A single member that is killed has every acknowledged write when it is back [etcd#14370]",
            needs: [.process], timeout: .seconds(120)
        ) { context in try await kill(context, rounds: 4) { _, _ in } },
        Case(
            "kubernetes", "etcd-13766-killed-under-load",
            doc: "Data and applied index are one after a kill: no write is lost, none is done twice [etcd#13766]",
            needs: [.process], timeout: .seconds(120)
        ) { context in
            try await kill(context, rounds: 4) { context, round in
                for number in 0..<100 { _ = try? await context.put("bulk/\(round)-\(number)", Data(count: 20_000)) }
            }
        },
        Case(
            "kubernetes", "etcd-17780-killed-while-compacting",
            doc: "The revision does not go down when a server is killed while it compacts [etcd#17780]",
            needs: [.process], timeout: .seconds(120)
        ) { context in
            try await kill(context, rounds: 4, isCompacted: true) { context, _ in
                guard let revision = try? await context.revision() else { return }
                try? await context.compact(max(2, revision - 3), isPhysical: false)
            }
        },
        Case(
            "kubernetes", "etcd-14685-killed-while-defragmenting",
            doc: "The revision and the data survive a kill during defragmentation [etcd#14685]",
            needs: [.process], timeout: .seconds(120)
        ) { context in
            try await kill(context, rounds: 4) { context, _ in
                Task {
                    let _: Etcdserverpb_DefragmentResponse? = try? await context.call(
                        Paths.defragment, Etcdserverpb_DefragmentRequest(), timeout: .seconds(2))
                }
                try? await Task.sleep(for: .milliseconds(10))
            }
        },
        Case(
            "kubernetes", "etcd-20418-paused-process",
            doc: "A server that was stopped for a while answers no stale read when it goes on [etcd#20418]",
            needs: [.process], timeout: .seconds(60), body: paused),
        Case(
            "kubernetes", "etcd-15271-watch-after-restart",
            doc: "A watch that resumes after a restart does not go back in time [etcd#15271]", needs: [.process],
            timeout: .seconds(60), body: watchAfterRestart),
        Case(
            "kubernetes", "graceful-restart",
            doc: "SIGTERM ends the server in order; what was written is there afterwards [op-guide]", needs: [.process],
            timeout: .seconds(60)
        ) { context in
            guard let server = context.server else { throw CaseSkip("no server of our own") }
            let revision = try await context.put("a", "1")
            await server.end(SIGTERM)
            try await server.start()
            let row = try await context.get("a")
            try context.expectEqual(row.kvs.first?.modRevision, revision, "mod revision after the restart")
            try context.expectEqual(try await context.put("a", "2"), revision + 1, "revision of the next write")
        },
        Case(
            "kubernetes", "compaction-survives-restart",
            doc: "What is compacted stays compacted after a restart [data model]", needs: [.process],
            timeout: .seconds(60)
        ) { context in
            guard let server = context.server else { throw CaseSkip("no server of our own") }
            let first = try await context.put("a", "1")
            let last = try await context.put("a", "2")
            try await context.compact(last, isPhysical: true)
            await server.end(SIGKILL)
            try await server.start()
            try await context.expectError(
                .outOfRange, "etcdserver: mvcc: required revision has been compacted", "a read after the restart"
            ) { _ = try await context.get("a", revision: first) }
            try context.expectEqual(try await context.get("a").kvs.first?.version, 2, "version after the restart")
        },
    ]

    /// Kills the server under load, again and again, and checks each time that nothing acknowledged is lost.
    private static func kill(
        _ context: CaseContext, rounds: Int, isCompacted: Bool = false,
        _ disturb: @Sendable (CaseContext, Int) async throws -> Void
    ) async throws {
        guard let server = context.server else { throw CaseSkip("no server of our own") }
        let first = try await context.put("load/first", "x")
        var acknowledged: [Int64: Int] = [first: 1]
        var newest = first
        for round in 0..<rounds {
            let load = WriteLoad(context)
            let writing = Task { await load.run(writers: 4) }
            try await Task.sleep(for: .milliseconds(150))
            try await disturb(context, round)
            try await Task.sleep(for: .milliseconds(20 * round))
            await server.end(SIGKILL)
            load.stop()
            await writing.value
            acknowledged.merge(load.acknowledged) { _, new in new }
            newest = max(newest, load.newestRevision)
            try await server.start()
            let revision = try await context.revision()
            try context.expect(revision >= newest, "revision \(revision) after \(newest) was acknowledged")
        }
        if isCompacted { return try await checkLive(context, newest) }
        let last = try await context.put("load/last", "x")
        let watch = try await context.watch("load/", from: first)
        var log = WatchLog()
        while log.lastRevision < last { try log.take(try await watch.answer()) }
        try log.checkComplete(acknowledged)
    }

    /// The history is compacted: what can be read must be in itself consistent, and go on.
    private static func checkLive(_ context: CaseContext, _ newest: Int64) async throws {
        let revision = try await context.revision()
        let rows = try await context.list("load/").kvs
        try context.expect(rows.allSatisfy { $0.modRevision <= revision }, "a row is younger than the store")
        try context.expectEqual(try await context.put("load/last", "x"), revision + 1, "revision of the next write")
    }

    private static let paused: @Sendable (CaseContext) async throws -> Void = { context in
        guard let server = context.server else { throw CaseSkip("no server of our own") }
        for round in 0..<3 {
            let revision = try await context.put("a", "\(round)")
            server.signal(SIGSTOP)
            let reading = Task { try await context.get("a", timeout: .seconds(12)) }
            try await Task.sleep(for: .milliseconds(1500))
            // In a cluster the others have gone on meanwhile, with a leader of their own if need be.
            var newest = revision
            if context.target.endpoints.count > 1 {
                newest = try await eventually {
                    try await context.put("a", "elsewhere \(round)", endpoint: context.endpoint + 1)
                }
            }
            let late = Task { try await context.get("a", timeout: .seconds(12)) }
            try await Task.sleep(for: .milliseconds(50))
            server.signal(SIGCONT)
            if let answer = try? await late.value {
                let read = answer.kvs.first?.modRevision ?? 0
                try context.expect(read >= newest, "revision \(read) read after \(newest) was acknowledged")
            }
            // A read that fails is no stale read.
            if let answer = try? await reading.value {
                let read = answer.kvs.first?.modRevision ?? 0
                try context.expect(read >= revision, "revision \(read) read over a pause, after \(revision)")
            }
            _ = try await eventually { try await context.put("a", "again \(round)") }
        }
    }

    /// Tries a write again until it succeeds, as long as the run is patient.
    private static func eventually(_ write: () async throws -> Int64) async throws -> Int64 {
        let deadline = ContinuousClock.now + Duration.seconds(10).patient
        while true {
            do { return try await write() } catch {
                if ContinuousClock.now >= deadline { throw error }
            }
            try await Task.sleep(for: .milliseconds(50))
        }
    }

    private static let watchAfterRestart: @Sendable (CaseContext) async throws -> Void = { context in
        guard let server = context.server else { throw CaseSkip("no server of our own") }
        let first = try await context.put("load/first", "x")
        var log = WatchLog()
        for round in 0..<3 {
            let load = WriteLoad(context)
            await load.run(writers: 2, count: 40)
            let last = try await context.put("load/round\(round)", "x")
            let watch = try await context.watch("load/", from: max(first, log.lastRevision + 1))
            while log.lastRevision < last { try log.take(try await watch.answer()) }
            try log.checkComplete(load.acknowledged)
            await server.end(round == 1 ? SIGTERM : SIGKILL)
            try await server.start()
            let revision = try await context.revision()
            try context.expect(
                revision >= log.lastRevision, "revision \(revision) after \(log.lastRevision) was delivered")
        }
    }
}
