import Foundation
import NIOCore
import Primitives
import Transport
import Wire

/// The shapes in which a Kubernetes API server uses its store, under load; their plain forms are data
/// (`cases/kubernetes`). Source: kubernetes-contract; staging/src/k8s.io/apiserver/pkg/storage/etcd3.
enum KubernetesCases {
    static let all: [Case] = [
        Case(
            "kubernetes", "progress-every-100-ms",
            doc: "RequestProgress every 100 ms while four clients write is answered, and never early "
                + "[kubernetes, consistent reads from cache; etcd#15220]", timeout: .seconds(60), body: progress),
        Case(
            "kubernetes", "etcd-15220-progress-while-unsynced",
            doc: "Progress is not told to a stream of which one watch is synced and another is not [etcd#15220]",
            timeout: .seconds(60), body: unsyncedProgress),
        Case(
            "kubernetes", "thousand-keys-on-a-lease",
            doc: "A thousand keys of one lease expire in one revision, in one watch answer, each with its old value "
                + "[kubernetes, lease_manager.go]", timeout: .seconds(60), body: thousandKeys),
        Case(
            "kubernetes", "prev-kv-under-compaction",
            doc: "Every event that is no creation carries the old value while compactions race with delivery "
                + "[k8s#76675, etcd#10681]", needs: [.private], timeout: .seconds(60), body: previousUnderCompaction),
        Case(
            "kubernetes", "etcd-18089-delete-at-compacted-revision",
            doc: "A delete whose revision is compacted at the same time still reaches the watches [etcd#18089]",
            needs: [.private], body: deleteAtCompaction),
        Case(
            "kubernetes", "etcd-17247-no-duplicates",
            doc: "Watches that are opened and broken off under load have no event twice [etcd#17247]",
            timeout: .seconds(60), body: noDuplicates),
        Case(
            "kubernetes", "etcd-17529-no-starvation",
            doc: "Hundreds of watches that start in the past catch up while the store is written [etcd#17529]",
            timeout: .seconds(120), body: noStarvation),
        Case(
            "kubernetes", "pages-until-compacted",
            doc: "Pages at a pinned revision are exact until that is compacted, then they fail and a new list works "
                + "[kubernetes, continue tokens; 410 Gone]", needs: [.private], body: pages),
        Case(
            "kubernetes", "guaranteed-update",
            doc: "Updates by revision with the current value on failure lose nothing under contention "
                + "[kubernetes, store.go GuaranteedUpdate]", timeout: .seconds(60), body: guaranteedUpdate),
        Case(
            "kubernetes", "compaction-election",
            doc:
                "One of many API servers wins the election by compact_rev_key; its compaction hides the past "
                + "[kubernetes, compact.go]", needs: [.private], body: election),
        Case(
            "kubernetes", "list-is-what-the-watch-says",
            doc: "A cache fed by list and watch equals a list at the revision that progress tells "
                + "[kubernetes, DetectCacheInconsistency]", timeout: .seconds(60), body: cache),
    ]

    private static let progress: @Sendable (CaseContext) async throws -> Void = { context in
        let watch = try await context.watch("load/")
        let load = WriteLoad(context)
        let writing = Task { await load.run(writers: 4, count: 400) }
        let asking = Task {
            for _ in 0..<15 {
                try await watch.requestProgress()
                try await Task.sleep(for: .milliseconds(100))
            }
        }
        let promises = try await WatchCases.follow(context, watch, load, until: writing)
        asking.cancel()
        if promises == 0 { try await watch.progress() }
    }

    private static let unsyncedProgress: @Sendable (CaseContext) async throws -> Void = { context in
        let first = try await context.put("load/0", "x")
        let load = WriteLoad(context)
        await load.run(writers: 8, count: 200)
        let current = try await context.revision()
        for round in 0..<5 {
            let watch = WatchReader(try await context.open(Paths.watch, endpoint: round))
            try await watch.create(context.watchRequest("none") { $0.watchID = 1 })
            try await watch.send(context.watchRequest("load/", from: first) { $0.watchID = 2 })
            for _ in 0..<10 { try await watch.requestProgress() }
            var seen: Int64 = 0
            while seen < current {
                let response = try await watch.answer()
                if response.created { continue }
                if let last = response.events.last {
                    seen = last.kv.modRevision
                } else if response.header.revision > seen, response.watchID == -1 {
                    throw CaseFailure("progress up to \(response.header.revision) was told at \(seen)")
                }
            }
            watch.stream.cancel()
        }
    }

    private static let thousandKeys: @Sendable (CaseContext) async throws -> Void = { context in
        let watch = try await context.watch("events/")
        let lease = try await context.grant(ttl: 4)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for writer in 0..<10 {
                group.addTask {
                    for number in 0..<100 {
                        try await context.put("events/\(writer * 100 + number)", "old \(number)", lease: lease)
                    }
                }
            }
            try await group.waitForAll()
        }
        _ = try await watch.events(1000)
        let answer = try await watch.answer(within: .seconds(20))
        try context.expectEqual(answer.events.count, 1000, "events in the answer")
        let revisions = Set(answer.events.map(\.kv.modRevision))
        try context.expectEqual(revisions.count, 1, "revisions of the expiry")
        try context.expect(
            answer.events.allSatisfy { $0.type == .delete && $0.hasPrevKv && $0.prevKv.lease == lease },
            "a delete has no old value")
        try context.expectEqual(try await context.list("events/").count, 0, "keys left")
    }

    private static let previousUnderCompaction: @Sendable (CaseContext) async throws -> Void = { context in
        var watches: [WatchReader] = []
        for number in 0..<6 { watches.append(try await context.watch("load/", endpoint: number)) }
        let load = WriteLoad(context)
        let writing = Task { await load.run(writers: 4, count: 250) }
        let compacting = Task {
            while !Task.isCancelled {
                guard let revision = try? await context.revision() else { continue }
                try? await context.compact(revision)
                try? await Task.sleep(for: .milliseconds(10))
            }
        }
        await writing.value
        compacting.cancel()
        await compacting.value
        let last = try await context.put("load/last", "x")
        for watch in watches {
            var log = WatchLog()
            while log.lastRevision < last { try log.take(try await watch.answer()) }
            try log.checkComplete(load.acknowledged)
        }
    }

    private static let deleteAtCompaction: @Sendable (CaseContext) async throws -> Void = { context in
        for round in 0..<25 {
            let watch = try await context.watch("a")
            try await context.put("a", "\(round)")
            let deleted = try await context.delete("a").revision
            try await context.compact(deleted)
            let events = try await watch.events(2)
            try context.expectEqual(events[1].type, .delete, "second event")
            try context.expectEqual(events[1].kv.modRevision, deleted, "revision of the delete")
            watch.stream.cancel()
        }
    }

    private static let noDuplicates: @Sendable (CaseContext) async throws -> Void = { context in
        let first = try await context.put("load/first", "x")
        let load = WriteLoad(context)
        let writing = Task { await load.run(writers: 4, count: 250) }
        defer { load.stop() }
        for round in 0..<20 {
            let watch = try await context.watch("load/", from: first, endpoint: round)
            var log = WatchLog()
            let goal = load.newestRevision
            while log.lastRevision < goal { try log.take(try await watch.answer()) }
            try log.checkComplete(load.acknowledged.filter { $0.key <= goal })
            watch.stream.cancel()
        }
        load.stop()
        await writing.value
    }

    private static let noStarvation: @Sendable (CaseContext) async throws -> Void = { context in
        let first = try await context.put("load/first", "x")
        let history = WriteLoad(context)
        await history.run(writers: 4, count: 100)
        let load = WriteLoad(context, name: "load/more-")
        let writing = Task { await load.run(writers: 2, count: 200) }
        var watches: [WatchReader] = []
        for number in 0..<200 { watches.append(try await context.watch("load/", from: first, endpoint: number)) }
        await writing.value
        let last = try await context.put("load/last", "x")
        let all = history.acknowledged.merging(load.acknowledged) { _, new in new }
        for watch in watches {
            var log = WatchLog()
            while log.lastRevision < last { try log.take(try await watch.answer(within: .seconds(20))) }
            try log.checkComplete(all)
        }
    }

    private static let pages: @Sendable (CaseContext) async throws -> Void = { context in
        for number in 0..<300 { try await context.put("pods/\(1000 + number)", "x") }
        let firstPage = try await context.list("pods/", limit: 100)
        let revision = firstPage.header.revision
        try context.expectEqual(firstPage.count, 300, "count of the first page")
        let start = (firstPage.kvs.last?.key ?? Data()) + [0]
        try await context.delete("pods/1150")
        try await context.put("pods/1151", "changed")
        try await context.compact(revision)
        let second = try await context.list("pods/", limit: 100, revision: revision) { $0.key = start }
        try context.expectEqual(second.count, 200, "count of the second page")
        try context.expect(second.kvs.allSatisfy { $0.value == Data("x".utf8) }, "the page has later values")
        try await context.compact(revision + 1)
        try await context.expectError(
            .outOfRange, "etcdserver: mvcc: required revision has been compacted", "a page at a compacted revision"
        ) { _ = try await context.list("pods/", limit: 100, revision: revision) { $0.key = start } }
        try context.expectEqual(try await context.list("pods/", limit: 100).count, 299, "count of a new list")
    }

    private static let guaranteedUpdate: @Sendable (CaseContext) async throws -> Void = { context in
        let key = context.key("configmaps/default/a")
        try await context.put("configmaps/default/a", "0")
        try await withThrowingTaskGroup(of: Void.self) { group in
            for client in 0..<6 {
                group.addTask {
                    guard var row = try await context.get("configmaps/default/a", endpoint: client).kvs.first else {
                        throw CaseFailure("the object is gone")
                    }
                    var done = 0
                    while done < 30 {
                        var request = Etcdserverpb_TxnRequest()
                        request.compare = [.modRevision(key, equals: row.modRevision)]
                        let value = String((Int(String(decoding: row.value, as: UTF8.self)) ?? 0) + 1)
                        request.success = [.put(key, value)]
                        request.failure = [.range(key)]
                        let answer = try await context.txn(request, endpoint: client)
                        if answer.succeeded {
                            done += 1
                            row.value = Data(value.utf8)
                            // The new revision is taken from the header, as the API server does.
                            row.modRevision = answer.header.revision
                        } else {
                            guard let current = answer.responses.first?.responseRange.kvs.first else {
                                throw CaseFailure("a failure without the current value")
                            }
                            try context.expect(current.modRevision != row.modRevision, "a failure without a conflict")
                            row = current
                        }
                    }
                }
            }
            try await group.waitForAll()
        }
        let row = try await context.get("configmaps/default/a").kvs.first
        try context.expectEqual(row?.value, Data("180".utf8), "the object after 180 updates")
        try context.expectEqual(row?.version, 181, "its version")
    }

    private static let election: @Sendable (CaseContext) async throws -> Void = { context in
        let key = context.key("compact_rev_key")
        for round in Int64(0)..<5 {
            let revision = try await context.put("a", "\(round)")
            let winners = try await withThrowingTaskGroup(of: Bool.self) { group in
                for server in 0..<5 {
                    group.addTask {
                        var compare = Etcdserverpb_Compare()
                        compare.key = key
                        compare.target = .version
                        compare.version = round
                        var request = Etcdserverpb_TxnRequest()
                        request.compare = [compare]
                        request.success = [.put(key, "\(revision)")]
                        request.failure = [.range(key)]
                        let answer = try await context.txn(request, endpoint: server)
                        guard !answer.succeeded else { return true }
                        let row = answer.responses.first?.responseRange.kvs.first
                        try context.expectEqual(row?.version, round + 1, "version that a loser sees")
                        return false
                    }
                }
                return try await group.reduce(0) { $0 + ($1 ? 1 : 0) }
            }
            try context.expectEqual(winners, 1, "winners of round \(round)")
            try await context.compact(revision)
            try await context.expectError(.outOfRange, nil, "a read of the past") {
                _ = try await context.get("a", revision: revision - 1)
            }
        }
    }

    private static let cache: @Sendable (CaseContext) async throws -> Void = { context in
        let list = try await context.list("load/")
        let watch = try await context.watch("load/", from: list.header.revision + 1) { $0.progressNotify = true }
        var rows = Dictionary(uniqueKeysWithValues: list.kvs.map { ($0.key, $0) })
        let load = WriteLoad(context)
        let writing = Task { await load.run(writers: 4) }
        defer { load.stop() }
        for _ in 0..<12 {
            // As a consistent list from the cache: ask for the revision, then wait until the cache has come to it.
            let wanted = try await context.revision()
            var known: Int64 = 0
            var asked = ContinuousClock.now
            while known < wanted {
                if ContinuousClock.now >= asked {
                    try await watch.requestProgress()
                    asked = ContinuousClock.now + .milliseconds(100)
                }
                guard let response = try await watch.next(within: .milliseconds(50)) else { continue }
                for event in response.events { rows[event.kv.key] = event.type == .put ? event.kv : nil }
                known = response.events.last?.kv.modRevision ?? response.header.revision
            }
            let made = rows.values.sorted { $0.key.lexicographicallyPrecedes($1.key) }
            let read = try await context.list("load/", revision: known).kvs
            try context.expect(made == read, "the cache at revision \(known) is not the list of that revision")
        }
        load.stop()
        await writing.value
    }
}
