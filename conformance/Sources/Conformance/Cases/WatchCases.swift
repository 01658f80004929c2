import Foundation
import NIOCore
import SwiftProtobuf
import Transport
import Wire

/// The seven guarantees of watches, and what only many events or slow readers show.
/// Source: https://etcd.io/docs/v3.6/learning/api_guarantees/, "Watch APIs".
enum WatchCases {
    static let all: [Case] = [
        Case(
            "watch", "guarantees-under-load",
            doc:
                "Ordered, unique, reliable and atomic: while four clients write, a watch has every acknowledged change "
                + "once, in order of revisions, none split [api_guarantees]", body: guarantees),
        Case(
            "watch", "guarantees-from-the-past",
            doc: "A watch that starts in the past under load has the history and what follows without a seam "
                + "[api_guarantees]", body: guaranteesFromThePast),
        Case(
            "watch", "resumable",
            doc:
                "A watch that is broken off goes on from the revision after the last seen, nothing lost, nothing twice "
                + "[api_guarantees]", body: resumable),
        Case(
            "watch", "bookmarkable",
            doc: "Whenever progress is told, every change up to its revision has been delivered [api_guarantees]",
            body: bookmarkable),
        Case(
            "watch", "progress-while-catching-up",
            doc: "Progress is not told of a watch that is still catching up [etcd#15220]", body: progressWhileCatchingUp
        ),
        Case(
            "watch", "thousands-of-events",
            doc: "Thousands of past events come whole and in order [api_guarantees, reliable]", timeout: .seconds(120),
            body: thousands),
        Case(
            "watch", "large-history-in-one-go",
            doc: "Without fragment an answer may be larger than the request limit; nothing is lost [rpc.proto, "
                + "WatchCreateRequest.fragment]", timeout: .seconds(120)
        ) { try await large($0, isFragmented: false) },
        Case(
            "watch", "fragments",
            doc: "With fragment a large answer comes in parts, all but the last marked [rpc.proto, "
                + "WatchResponse.fragment]", timeout: .seconds(120)
        ) { try await large($0, isFragmented: true) },
        Case(
            "watch", "slow-reader",
            doc:
                "A stream that nobody reads keeps neither writes nor other watches waiting, on its connection too, "
                + "and has everything when it is read at last [gRPC flow control; etcd#17529]", timeout: .seconds(120),
            body: slowReader),
        Case(
            "watch", "many-watchers-of-one-key",
            doc: "Every watch of a key has its event [rpc.proto, Watch.Watch]", body: manyWatchers),
        Case(
            "watch", "cancel-while-events-flow",
            doc: "After canceled no event of the watch follows [rpc.proto, WatchCancelRequest]", body: cancelUnderLoad),
        Case(
            "watch", "created-before-events",
            doc: "The created answer comes before every event of its watch, in the order of requests "
                + "[kubernetes: the Go client pairs them so]", body: createdFirst),
        Case(
            "watch", "linearizable-read-then-watch",
            doc: "A list at revision R and a watch from R+1 together miss nothing [learning/api, watch streams]",
            body: listThenWatch),
        Case(
            "watch", "compaction-while-catching-up",
            doc: "A watch that is overtaken by a compaction is cancelled with compact_revision, or has everything "
                + "[rpc.proto, WatchResponse.compact_revision]", needs: [.private], body: compactionOvertakes),
        Case(
            "watch", "across-members",
            doc: "A watch on any member has what is written on any other [api_guarantees]", body: acrossMembers),
    ]

    private static let guarantees: @Sendable (CaseContext) async throws -> Void = { context in
        let watches = try await [
            context.watch("load/", endpoint: 0), context.watch("load/", endpoint: 1),
            context.watch("load/", endpoint: 2),
        ]
        let load = WriteLoad(context)
        await load.run(writers: 4, count: 250)
        let last = try await context.put("load/last", "x")
        for watch in watches {
            var log = WatchLog()
            while log.lastRevision < last { try log.take(try await watch.answer()) }
            try log.checkComplete(load.acknowledged)
        }
    }

    private static let guaranteesFromThePast: @Sendable (CaseContext) async throws -> Void = { context in
        let first = try await context.put("load/first", "x")
        let load = WriteLoad(context)
        let writing = Task { await load.run(writers: 4, count: 250) }
        var watches: [WatchReader] = []
        for number in 0..<8 {
            try await Task.sleep(for: .milliseconds(30))
            watches.append(try await context.watch("load/", from: first, endpoint: number))
        }
        await writing.value
        let last = try await context.put("load/last", "x")
        for watch in watches {
            var log = WatchLog()
            while log.lastRevision < last { try log.take(try await watch.answer()) }
            try log.checkComplete(load.acknowledged)
        }
    }

    private static let resumable: @Sendable (CaseContext) async throws -> Void = { context in
        let first = try await context.put("load/first", "x")
        let load = WriteLoad(context)
        let writing = Task { await load.run(writers: 4, count: 250) }
        var log = WatchLog()
        var isLast = false
        var last = Int64.max
        var round = 0
        while log.lastRevision < last {
            round += 1
            // A new connection each time, to the next member.
            let channel = try await context.connect(round)
            let watch = try await context.watch("load/", from: max(first, log.lastRevision + 1), on: channel)
            let end = ContinuousClock.now + .milliseconds(120)
            while ContinuousClock.now < end || isLast, log.lastRevision < last {
                let limit: Duration = isLast ? .seconds(5).patient : .milliseconds(50)
                guard let response = try await watch.next(within: limit) else {
                    try context.expect(!isLast, "the last event does not come after a reconnect")
                    continue
                }
                try log.take(response)
            }
            await channel.close()
            if !isLast, round >= 8 {
                await writing.value
                last = try await context.put("load/last", "x")
                isLast = true
            }
        }
        try log.checkComplete(load.acknowledged)
    }

    private static let bookmarkable: @Sendable (CaseContext) async throws -> Void = { context in
        let watch = try await context.watch("load/")
        let load = WriteLoad(context)
        let writing = Task { await load.run(writers: 4, count: 200) }
        let asking = Task {
            for _ in 0..<60 {
                try await watch.requestProgress()
                try await Task.sleep(for: .milliseconds(10))
            }
        }
        let promises = try await follow(context, watch, load, until: writing)
        try await asking.value
        if promises == 0 { try await watch.progress() }
    }

    /// Reads until the writers are done and all of theirs has come; checks each progress answer. Returns how many.
    static func follow(
        _ context: CaseContext, _ watch: WatchReader, _ load: WriteLoad, until writing: Task<Void, Never>,
        from start: Int64 = 0
    ) async throws -> Int {
        var log = WatchLog()
        var promises: [(revision: Int64, seen: Int64)] = []
        var last = Int64.max
        let deadline = ContinuousClock.now + Duration.seconds(50).patient
        while log.lastRevision < last {
            try context.expect(ContinuousClock.now < deadline, "the watch does not come to its end")
            if last == .max, load.isDone { last = try await context.put("load/last", "x") }
            guard let response = try await watch.next(within: .milliseconds(100)) else { continue }
            if response.watchID == -1 || response.events.isEmpty {
                promises.append((response.header.revision, log.lastRevision))
            } else {
                try log.take(response)
            }
        }
        await writing.value
        try log.checkComplete(load.acknowledged, from: start)
        // What came after a promise must be younger than it.
        let revisions = log.counts.keys.sorted()
        for promise in promises {
            if let late = revisions.first(where: { $0 > promise.seen && $0 <= promise.revision }) {
                throw CaseFailure("progress was told up to \(promise.revision) before the event of \(late) had come")
            }
        }
        return promises.count
    }

    private static let progressWhileCatchingUp: @Sendable (CaseContext) async throws -> Void = { context in
        let first = try await context.put("load/0", "x")
        let writing = WriteLoad(context)
        await writing.run(writers: 8, count: 250)
        let current = try await context.revision()
        for round in 0..<6 {
            let stream = try await context.open(Paths.watch, endpoint: round)
            let watch = WatchReader(stream)
            try await watch.send(context.watchRequest("load/", from: first))
            for _ in 0..<20 { try await watch.requestProgress() }
            var seen: Int64 = 0
            var asked = 0
            while seen < current {
                guard let response = try await watch.next(within: .milliseconds(500)) else {
                    asked += 1
                    try context.expect(
                        asked < max(20, Int(Patience.least / .milliseconds(500))),
                        "the watch does not come to the current revision")
                    try await watch.requestProgress()
                    continue
                }
                if response.created { continue }
                if let last = response.events.last {
                    seen = last.kv.modRevision
                } else {
                    // The newest key of the load is the newest revision, so nothing may be missing.
                    try context.expect(
                        seen >= min(response.header.revision, current),
                        "progress was told up to \(response.header.revision), events had come up to \(seen)")
                }
            }
            stream.cancel()
        }
    }

    private static let thousands: @Sendable (CaseContext) async throws -> Void = { context in
        let first = try await context.put("load/0", "x")
        try await withThrowingTaskGroup(of: Void.self) { group in
            for writer in 0..<16 {
                group.addTask {
                    for number in 0..<320 { try await context.put("load/\(writer)", "\(number)", endpoint: writer) }
                }
            }
            try await group.waitForAll()
        }
        let watch = try await context.watch("load/", from: first)
        var log = WatchLog()
        while log.eventCount < 5121 { try log.take(try await watch.answer()) }
        try context.expectEqual(log.eventCount, 5121, "events")
        try context.expect(try await watch.next(within: .milliseconds(150)) == nil, "more events than were made")
    }

    private static func large(_ context: CaseContext, isFragmented: Bool) async throws {
        let first = try await context.put("k", Data(count: 500_000))
        for _ in 0..<9 { try await context.put("k", Data(count: 500_000)) }
        let watch = try await context.watch("k", from: first) { $0.fragment = isFragmented }
        var log = WatchLog()
        var wasFragment = false
        while log.eventCount < 10 {
            let response = try await watch.answer()
            if isFragmented, response.events.count > 1 {
                let bytes = try response.serializedData().count
                try context.expect(bytes < 4_000_000, "a part of \(response.events.count) events has \(bytes) bytes")
            }
            if !isFragmented { try context.expect(!response.fragment, "an answer is a fragment unasked") }
            try log.take(response)
            wasFragment = response.fragment
        }
        try context.expectEqual(log.eventCount, 10, "events")
        try context.expect(!wasFragment, "the last part is marked as a fragment")
    }

    private static let slowReader: @Sendable (CaseContext) async throws -> Void = { context in
        let channel = try await context.connect()
        var request = Etcdserverpb_WatchRequest()
        request.createRequest = context.watchRequest("k")
        // Read by nobody: after 64 answers the client gives the server no more window for it.
        let slow = channel.stream(Paths.watch)
        try await slow.send(try request.serializedBytes())
        _ = try await slow.next()
        let fast = try await context.watch("k", on: channel)
        let value = Data(count: 50_000)
        for number in 0..<200 {
            try await context.put("k", value)
            if number % 20 == 0 {
                let reply = try await channel.unary(
                    Paths.range, try context.listRequest("none").serializedBytes(),
                    deadline: .now() + .seconds(5).patient)
                try context.expect(!reply.isEmpty, "a read on the slow reader's connection")
            }
        }
        try context.expectEqual(try await fast.events(200).count, 200, "events of the watch that is read")
        var log = WatchLog()
        while log.eventCount < 200 {
            guard let message = try await slow.next() else { throw CaseFailure("the slow stream has ended") }
            try log.take(try Etcdserverpb_WatchResponse(serializedBytes: message))
        }
        slow.cancel()
    }

    private static let manyWatchers: @Sendable (CaseContext) async throws -> Void = { context in
        var watches: [WatchReader] = []
        for number in 0..<100 {
            let name = number % 2 == 0 ? "a" : ""
            watches.append(try await context.watch(name, endpoint: number))
        }
        let revision = try await context.put("a", "1")
        for watch in watches {
            let events = try await watch.events(1)
            try context.expectEqual(events.first?.kv.modRevision, revision, "revision of the event")
        }
    }

    private static let cancelUnderLoad: @Sendable (CaseContext) async throws -> Void = { context in
        let load = WriteLoad(context)
        let writing = Task { await load.run(writers: 3) }
        defer { load.stop() }
        let stream = WatchReader(try await context.open(Paths.watch))
        for id in Int64(1)...20 {
            try await stream.send(context.watchRequest("load/") { $0.watchID = id })
            try await Task.sleep(for: .milliseconds(5))
            try await stream.cancel(id: id)
        }
        var cancelled: Set<Int64> = []
        while cancelled.count < 20 {
            let response = try await stream.answer()
            try context.expect(
                !cancelled.contains(response.watchID), "an answer of watch \(response.watchID) after its end")
            if response.canceled { cancelled.insert(response.watchID) }
        }
        load.stop()
        await writing.value
    }

    private static let createdFirst: @Sendable (CaseContext) async throws -> Void = { context in
        let first = try await context.put("load/first", "x")
        let load = WriteLoad(context)
        let writing = Task { await load.run(writers: 3) }
        defer { load.stop() }
        let stream = WatchReader(try await context.open(Paths.watch))
        for id in Int64(1)...40 {
            try await stream.send(context.watchRequest("load/", from: id % 2 == 0 ? first : 0) { $0.watchID = id })
        }
        var created: Int64 = 0
        while created < 40 {
            let response = try await stream.answer()
            if response.created {
                created += 1
                try context.expectEqual(response.watchID, created, "order of created answers")
            } else {
                try context.expect(response.watchID <= created, "an event of watch \(response.watchID) before created")
            }
        }
        load.stop()
        await writing.value
    }

    private static let listThenWatch: @Sendable (CaseContext) async throws -> Void = { context in
        let load = WriteLoad(context)
        let writing = Task { await load.run(writers: 4, count: 150) }
        defer { load.stop() }
        var views: [(rows: [Mvccpb_KeyValue], watch: WatchReader)] = []
        for number in 0..<6 {
            let list = try await context.list("load/", endpoint: number)
            let watch = try await context.watch("load/", from: list.header.revision + 1, endpoint: number)
            views.append((list.kvs, watch))
            try await Task.sleep(for: .milliseconds(20))
        }
        await writing.value
        let last = try await context.put("load/last", "x")
        let final = try await context.list("load/", revision: last).kvs
        for view in views {
            var rows = Dictionary(uniqueKeysWithValues: view.rows.map { ($0.key, $0) })
            var seen: Int64 = 0
            while seen < last {
                for event in try await view.watch.answer().events {
                    rows[event.kv.key] = event.type == .put ? event.kv : nil
                    seen = event.kv.modRevision
                }
            }
            let made = rows.values.sorted { $0.key.lexicographicallyPrecedes($1.key) }
            try context.expect(made == final, "list and watch together are not the list of the end")
        }
    }

    private static let compactionOvertakes: @Sendable (CaseContext) async throws -> Void = { context in
        let first = try await context.put("load/0", "x")
        let load = WriteLoad(context)
        await load.run(writers: 8, count: 150)
        let current = try await context.revision()
        let watch = try await context.watch("load/", from: first)
        try await context.compact(current)
        var log = WatchLog()
        while log.lastRevision < current {
            let response = try await watch.answer()
            if response.canceled {
                try context.expectEqual(response.compactRevision, current, "compact_revision")
                return
            }
            try log.take(response)
        }
    }

    private static let acrossMembers: @Sendable (CaseContext) async throws -> Void = { context in
        let count = max(3, context.target.endpoints.count)
        for writer in 0..<count {
            for reader in 0..<count {
                // Each its own key: on a member that is a moment behind, a watch of what is new begins before the last put.
                let name = "k\(writer)-\(reader)"
                let watch = try await context.watch(name, endpoint: reader)
                let revision = try await context.put(name, "v", endpoint: writer)
                let events = try await watch.events(1)
                try context.expectEqual(events.first?.kv.modRevision, revision, "revision of the event")
                watch.stream.cancel()
            }
        }
    }
}
