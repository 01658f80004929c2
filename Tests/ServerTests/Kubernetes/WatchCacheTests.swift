import Client
import Foundation
import NIOConcurrencyHelpers
import TestSupport
import Testing
import Transport
import Wire

extension ServerTests {
    /// What the watch cache builds on. Source: kubernetes-contract, sections 3, 9 and 10.
    @Suite("Kubernetes watch cache") struct KubernetesWatchCache {
        /// Runs `count` writers on `prefix` until the body is done.
        private func withWriters<T: Sendable>(
            _ server: TestServer, _ prefix: String, count: Int = 4, _ body: () async throws -> T
        ) async throws -> T {
            let client = try server.client()
            let tasks = (0..<count).map { writer in
                Task {
                    var number = 0
                    while !Task.isCancelled {
                        number += 1
                        let key = prefix + "k\(writer)-\(number % 20)"
                        _ = try? await (number % 7 == 0 ? client.delete(key) : client.put(key, "value \(number)"))
                    }
                }
            }
            let result: Result<T, any Error>
            do { result = .success(try await body()) } catch { result = .failure(error) }
            for task in tasks { task.cancel() }
            for task in tasks { await task.value }
            await client.close()
            return try result.get()
        }

        @Test("previous values come through compactions that race with delivery")
        func previousValues() async throws {
            try await withServer { server in
                let client = try server.client()
                let start = try await client.put("/registry/pods/first", "x")
                let recorder = try await WatchRecorder(client)
                for id in Int64(1)...8 {
                    try await recorder.create(EtcdClient.watchRequest("/registry/pods/", from: start, id: id))
                }
                try await eventually("all watches are there") {
                    recorder.entries.count == 8 && recorder.entries.values.allSatisfy { $0.count == 2 }
                }
                try await withWriters(server, "/registry/pods/") {
                    for _ in 0..<60 {
                        let revision = try await client.get("none").header.revision
                        // Up to the very newest: nothing but the live rows can be read any more.
                        _ = await failure { try await client.compact(revision, isPhysical: true) }
                        try await Task.sleep(for: .milliseconds(25))
                    }
                }
                let last = try await client.put("/registry/pods/last", "x")
                try await eventually("all watches have seen the last write") {
                    recorder.entries.values.allSatisfy { $0.last.map { Self.revision($0) == last } ?? false }
                }
                #expect(recorder.violations.isEmpty && recorder.entries.count == 8)
                for (id, entries) in recorder.entries {
                    #expect(entries.first == .created)
                    let events = Self.events(entries)
                    let revisions = events.map(\.kv.modRevision)
                    #expect(Set(revisions).count == Int(last - start + 1), "watch \(id) has gaps")
                    for event in events {
                        let isCreation = event.type == .put && event.kv.createRevision == event.kv.modRevision
                        #expect(event.hasPrevKv != isCreation, "revision \(event.kv.modRevision)")
                    }
                }
                await client.close()
            }
        }

        @Test("progress requests every 100 ms under load are answered, and never early")
        func progress() async throws {
            try await withServer { server in
                let client = try server.client()
                let start = try await client.put("/registry/pods/first", "x")
                let stream = try await client.watchStream()
                for id in Int64(1)...3 {
                    var message = Etcdserverpb_WatchRequest()
                    message.createRequest = EtcdClient.watchRequest("/registry/pods/", from: start, id: id)
                    try await stream.send(message)
                }
                let progress = NIOLockedValueBox(Progress())
                let reading = Task { await Self.readProgress(stream, into: progress) }
                func answered(_ count: Int) async throws {
                    try await Self.requestProgress(stream)
                    try await eventually("answer \(count)") {
                        progress.withLockedValue { $0.answers >= count || $0.problem != nil }
                    }
                }
                try await withWriters(server, "/registry/pods/") {
                    for count in 1...20 {
                        try await answered(count)
                        try await Task.sleep(for: .milliseconds(100))
                    }
                }
                // A quiet store must answer with its newest revision.
                let last = try await client.put("/registry/pods/last", "x")
                try await eventually("the newest revision") {
                    try await Self.requestProgress(stream)
                    return progress.withLockedValue { $0.newest >= last || $0.problem != nil }
                }
                stream.cancel()
                await reading.value
                let seen = progress.withLockedValue { $0 }
                #expect(seen.problem == nil)
                #expect(seen.newest == last)
                await client.close()
            }
        }

        private static func requestProgress(_ stream: EtcdClient.WatchStream) async throws {
            var message = Etcdserverpb_WatchRequest()
            message.progressRequest = .init()
            try await stream.send(message)
        }

        /// How many progress answers came, the newest revision they told, and what was wrong with them.
        private struct Progress {
            var answers = 0
            var newest: Int64 = 0
            var problem: String?

            mutating func note(_ response: Etcdserverpb_WatchResponse) {
                if response.watchID == -1 {
                    answers += 1
                    let isBare = response.events.isEmpty && !response.canceled && !response.created
                    if !isBare || response.compactRevision != 0 {
                        problem = "a progress answer says more than a revision"
                    }
                    if response.header.revision < newest { problem = "progress went back" }
                    newest = max(newest, response.header.revision)
                }
                for event in response.events where event.kv.modRevision <= newest {
                    problem = "revision \(event.kv.modRevision) came after progress \(newest) was told"
                }
            }
        }

        /// Until the stream is cancelled.
        private static func readProgress(
            _ stream: EtcdClient.WatchStream, into progress: NIOLockedValueBox<Progress>
        ) async {
            do {
                for try await response in stream { progress.withLockedValue { $0.note(response) } }
            } catch {}
        }

        @Test("1,000 keys on one lease expire in one revision and one message")
        func lease() async throws {
            try await withServer { server in
                let client = try server.client()
                // A machine that cannot write the keys while the lease lives gets a longer one.
                var revision: Int64?
                var (ttl, lease) = (Int64(1), Int64(0))
                while revision == nil {
                    ttl *= 2
                    var grant = Etcdserverpb_LeaseGrantRequest()
                    grant.ttl = ttl
                    lease = try await client.leaseGrant(grant).id
                    revision = try await Self.putEvents(client, lease: lease)
                }
                let last = try #require(revision)
                let stream = try await client.watch(EtcdClient.watchRequest("/registry/events/", from: last + 1))
                var iterator = stream.makeAsyncIterator()
                #expect(try await iterator.nextMessage()?.created == true)
                let response = try #require(try await iterator.nextMessage())
                #expect(response.events.count == 1000)
                for event in response.events {
                    #expect(event.type == .delete && event.kv.modRevision == last + 1)
                    #expect(event.prevKv.value.count == 100 && event.prevKv.lease == lease)
                }
                #expect(try await client.list("/registry/events/", countOnly: true).count == 0)
                #expect(try await client.get("none").header.revision == last + 1)
                stream.cancel()
                await client.close()
            }
        }

        /// The last put's revision; nil when the lease had ended before.
        private static func putEvents(_ client: EtcdClient, lease: Int64) async throws -> Int64? {
            let puts = (0..<1000).map { number in
                var request = Etcdserverpb_PutRequest()
                request.key = Data("/registry/events/e\(number)".utf8)
                request.value = Data(count: 100)
                request.lease = lease
                return request
            }
            let last = NIOLockedValueBox(Int64(0))
            let problem = await failure {
                try await forEach(puts, atOnce: 100) { request in
                    let revision = try await client.put(request).header.revision
                    last.withLockedValue { $0 = max($0, revision) }
                }
            }
            guard let problem else { return last.withLockedValue { $0 } }
            guard problem.code == .notFound else { throw problem }
            return nil
        }

        /// etcd#20221: a watch of the future is given nothing older, and no early progress claims more than is true.
        @Test("a watch from a future revision waits for it")
        func future() async throws {
            try await withServer { server in
                let client = try server.client()
                let now = try await client.put("/registry/a", "0")
                let recorder = try await WatchRecorder(client)
                try await recorder.create(EtcdClient.watchRequest("/registry/", from: now + 10, id: 1))
                for number in 1...20 {
                    try await client.put("/registry/a", "\(number)")
                    try await recorder.requestProgress()
                }
                try await eventually("the events from the asked revision on") {
                    Self.events(recorder.entries[1] ?? []).last?.kv.modRevision == now + 20
                }
                let revisions = Self.events(recorder.entries[1] ?? []).map(\.kv.modRevision)
                #expect(revisions == Array((now + 10)...(now + 20)))
                await client.close()
            }
        }

        @Test("created comes first and in the order of the requests; a stream survives its bad watches")
        func creation() async throws {
            try await withServer { server in
                let client = try server.client()
                for number in 0..<200 { try await client.put("/registry/k\(number)", "x") }
                try await client.compact(50)
                let stream = try await client.watchStream()
                for id in Int64(1)...100 {
                    var message = Etcdserverpb_WatchRequest()
                    message.createRequest = EtcdClient.watchRequest("/registry/", from: id * 4, id: id)
                    try await stream.send(message)
                }
                var created: [Int64] = []
                var ended: Set<Int64> = []
                var complete: Set<Int64> = []
                var iterator = stream.makeAsyncIterator()
                while ended.count + complete.count < 100 {
                    let response = try #require(try await iterator.nextMessage())
                    if response.created { created.append(response.watchID) }
                    #expect(created.contains(response.watchID))
                    if response.canceled {
                        #expect(response.compactRevision == 50)
                        ended.insert(response.watchID)
                    }
                    if response.events.last?.kv.modRevision == 201 { complete.insert(response.watchID) }
                    if created.count == 100, complete.count + ended.count >= 50 { break }
                }
                #expect(created == Array(1...100))
                // 4, 8, ... 48 are compacted; the rest up to 201 has something to deliver.
                #expect(ended == Set(1...12))
                try await eventually("the watches with history have been served") {
                    while complete.count < 38 {
                        guard let response = try await iterator.nextMessage() else { return false }
                        if response.events.last?.kv.modRevision == 201 { complete.insert(response.watchID) }
                    }
                    return true
                }
                stream.cancel()
                await client.close()
            }
        }

        /// Since 3.6; the reference, 3.5, takes a negative revision for the beginning.
        @Test("a watch from a negative revision is refused as compacted, and the stream lives on")
        func negative() async throws {
            try await withServer { server in
                let client = try server.client()
                let recorder = try await WatchRecorder(client)
                try await recorder.create(EtcdClient.watchRequest("/registry/", from: -1, id: 7))
                try await recorder.create(EtcdClient.watchRequest("/registry/", from: 0, id: 8))
                try await client.put("/registry/a", "1")
                try await eventually("both answers") {
                    Self.events(recorder.entries[8] ?? []).count == 1 && recorder.entries[-1]?.count == 2
                }
                let reason = "etcdserver: mvcc: required revision has been compacted"
                #expect(recorder.entries[-1] == [.created, .cancelled(compactRevision: 0, reason: reason)])
                await client.close()
            }
        }

        @Test("an idle watch is told of progress at the interval of the flag")
        func progressNotify() async throws {
            try await withServer(.martlet, ["--watch-progress-notify-interval", "500ms"]) { server in
                let client = try server.client()
                let stream = try await client.watch(EtcdClient.watchRequest("/registry/", from: 0, id: 1))
                var iterator = stream.makeAsyncIterator()
                #expect(try await iterator.nextMessage()?.created == true)
                let start = ContinuousClock.now
                let revision = try await client.put("/other", "1")
                var count = 0
                while count < 4 {
                    let response = try #require(try await iterator.nextMessage())
                    #expect(response.watchID == 1 && response.events.isEmpty && !response.canceled)
                    // On a slow machine one may have left before the put.
                    if response.header.revision == revision { count += 1 }
                }
                // Three intervals, of which the first may have begun late.
                #expect(ContinuousClock.now - start >= .milliseconds(1000))
                stream.cancel()
                await client.close()
            }
        }

        /// etcd#18089, etcd#19179: a delete at the revision that is then compacted still reaches who asks from there.
        @Test("a tombstone at the compacted revision is delivered")
        func tombstone() async throws {
            try await withServer { server in
                let client = try server.client()
                try await client.put("/registry/a", "1")
                try await client.put("/registry/b", "1")
                let deleted = try await client.delete("/registry/a")
                try await client.compact(deleted, isPhysical: true)
                let recorder = try await WatchRecorder(client)
                try await recorder.create(EtcdClient.watchRequest("/registry/", from: deleted, id: 1))
                let last = try await client.put("/registry/b", "2")
                try await eventually("both events") { Self.events(recorder.entries[1] ?? []).count >= 2 }
                let events = Self.events(recorder.entries[1] ?? [])
                #expect(events.map(\.kv.modRevision) == [deleted, last])
                #expect(events[0].type == .delete)
                await client.close()
            }
        }

        /// etcd#17529: watchers that must catch up under load do so, and miss nothing.
        @Test("300 watches catch up from the beginning while the store is written")
        func starvation() async throws {
            try await withServer { server in
                let client = try server.client()
                let start = try await client.put("/registry/pods/first", "x")
                for number in 0..<2000 { try await client.put("/registry/pods/old\(number % 50)", "\(number)") }
                let streams = try await Self.recorders(server, count: 6)
                try await withWriters(server, "/registry/pods/", count: 2) {
                    for (recorder, _) in streams {
                        for id in Int64(1)...50 {
                            try await recorder.create(EtcdClient.watchRequest("/registry/pods/", from: start, id: id))
                        }
                    }
                    try await eventually("every watch has come past the beginning") {
                        streams.allSatisfy { recorder, _ in
                            let entries = recorder.entries
                            return entries.count == 50 && entries.values.allSatisfy { $0.count > 2500 }
                        }
                    }
                }
                let last = try await client.put("/registry/pods/last", "x")
                try await eventually("every watch has caught up") {
                    streams.allSatisfy { recorder, _ in
                        let entries = recorder.entries
                        return entries.count == 50
                            && entries.values.allSatisfy { $0.last.map { Self.revision($0) == last } ?? false }
                    }
                }
                for (recorder, other) in streams {
                    #expect(recorder.violations.isEmpty)
                    for entries in recorder.entries.values {
                        #expect(Set(entries.dropFirst().map(Self.revision)).count == Int(last - start + 1))
                    }
                    await other.close()
                }
                await client.close()
            }
        }

        private static func recorders(_ server: TestServer, count: Int) async throws -> [(WatchRecorder, EtcdClient)] {
            var all: [(WatchRecorder, EtcdClient)] = []
            for _ in 0..<count {
                let client = try server.client()
                all.append((try await WatchRecorder(client), client))
            }
            return all
        }

        @Test("a watch that the server's death broke resumes without gap or repetition")
        func resume() async throws {
            try await withServer { server in
                let writer = try server.client()
                var next = try await writer.put("/registry/a", "0")
                await writer.close()
                let first = next
                var received: [Int64] = []
                for _ in 0..<5 {
                    let client = try server.client()
                    let recorder = try await WatchRecorder(client)
                    try await recorder.create(EtcdClient.watchRequest("/registry/", from: next, id: 1))
                    try await withWriters(server, "/registry/") {
                        try await eventually("events come") { recorder.count > 20 }
                        try await Task.sleep(for: .milliseconds(100))
                        await server.killHard()
                    }
                    try await eventually("the end of the stream") { recorder.hasEnded }
                    received += Self.events(recorder.entries[1] ?? []).map(\.kv.modRevision)
                    next = (received.last ?? next - 1) + 1
                    await client.close()
                    try await server.start()
                }
                #expect(received == Array(first..<next))
                #expect(received.count > 50)
            }
        }

        private static func events(_ entries: [WatchRecorder.Entry]) -> [Mvccpb_Event] {
            entries.compactMap { if case .event(let event) = $0 { event } else { nil } }
        }

        private static func revision(_ entry: WatchRecorder.Entry) -> Int64 {
            if case .event(let event) = entry { event.kv.modRevision } else { 0 }
        }
    }
}
