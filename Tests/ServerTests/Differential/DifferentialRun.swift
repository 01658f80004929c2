import Client
import Foundation
import TestSupport
import Transport
import Wire

/// What differed, and the calls that led there.
struct SequenceFailure: Sendable, CustomStringConvertible {
    var step: Int
    var what: String
    var history: [String]

    var description: String {
        "after \(step) calls: \(what)\nthe last calls:\n" + history.suffix(12).joined(separator: "\n")
    }
}

/// An answer in a form that compares: identities and terms are removed, revisions are not.
enum Answer: Equatable, Sendable, CustomStringConvertible {
    case reply(revision: Int64, text: String)
    case failure(code: Int, message: String)

    var description: String {
        switch self {
        case .reply(let revision, let text): "revision \(revision): \(text)"
        case .failure(let code, let message): "error \(code): \(message)"
        }
    }

    /// The first lines in which two answers differ, with what stands before them.
    static func difference(etcd: Answer, martlet: Answer) -> String {
        let expected = etcd.description.split(separator: "\n")
        let actual = martlet.description.split(separator: "\n")
        let common = zip(expected, actual).prefix { $0 == $1 }.count
        func part(_ lines: [Substring]) -> String { lines.dropFirst(common).prefix(6).joined(separator: "\n    ") }
        return "  both:    \(expected.prefix(common).suffix(6).joined(separator: "\n    "))\n"
            + "  etcd:    \(part(expected))\n  martlet: \(part(actual))"
    }
}

/// Runs one sequence against both servers and compares as it goes.
struct DifferentialRun {
    private var generator: OperationGenerator
    private let martlet: Side
    private let etcd: Side
    private var history: [String] = []
    /// Watches that the comparison leaves out, with the reason in `unfair(_:)`.
    private var unfairWatches: Set<Int64> = []
    /// Watches were created, perhaps of the past, and not all of them may have come to the present.
    private var mayLag = false

    init(seed: UInt64, martlet: TestServer, etcd: TestServer) async throws {
        generator = OperationGenerator(seed: seed)
        self.martlet = try await Side(martlet)
        self.etcd = try await Side(etcd)
    }

    func close() async {
        await martlet.close()
        await etcd.close()
    }

    mutating func run(operations: Int) async throws -> SequenceFailure? {
        for step in 0..<operations {
            let operation = generator.next()
            history.append("\(step): \(operation)")
            if operation.needsQuietWatches, let difference = try await watchDifference() {
                return failure(step, difference)
            }
            if case .watch(let request) = operation {
                if unfair(request) { unfairWatches.insert(request.watchID) }
                mayLag = true
            }
            let expected = try await etcd.perform(operation)
            let actual = try await martlet.perform(operation)
            if expected != actual, !KnownDeviation.explains(operation, etcd: expected, martlet: actual) {
                return failure(step, "\(operation)\n\(Answer.difference(etcd: expected, martlet: actual))")
            }
            if case .reply(let revision, _) = expected, revision > 0 {
                generator.revision = revision
                if case .compact(let request) = operation { generator.compactRevision = request.revision }
            }
        }
        if let difference = try await watchDifference() { return failure(operations, difference) }
        // Nothing may follow once both have told the same.
        try await Task.sleep(for: .milliseconds(150))
        if let difference = try await watchDifference() { return failure(operations, "late: " + difference) }
        let violations = martlet.recorder.violations
        return violations.isEmpty ? nil : failure(operations, violations.joined(separator: "\n"))
    }

    private func failure(_ step: Int, _ what: String) -> SequenceFailure {
        SequenceFailure(step: step, what: what, history: history)
    }

    /// etcd 3.5.1 gives a watch that begins at the compacted revision less than it should: the delete at that revision
    /// (etcd#19179) and the previous values are gone. Later versions and Martlet have them.
    private func unfair(_ request: Etcdserverpb_WatchCreateRequest) -> Bool {
        request.startRevision > 0 && request.startRevision == generator.compactRevision
    }

    /// Waits until both servers have told the same about every watch; what differs after that, or nil.
    private mutating func watchDifference() async throws -> String? {
        // etcd looks after watches of the past every 100 ms; a compaction before that cancels even those that would be told
        // nothing.
        if mayLag {
            for side in [etcd, martlet] { try await side.waitUntilNoneLags() }
            mayLag = false
        }
        // Progress is told only when everything has been; etcd 3.5.1 tells it at once, so that only ours is asked. A
        // watch of the future holds it back for good: then there is nothing to wait for.
        try await martlet.recorder.waitForProgress()
        let deadline = ContinuousClock.now + .seconds(60)
        while true {
            let expected = etcd.recorder.entries
            let actual = martlet.recorder.entries
            guard let difference = Self.difference(expected, actual, without: unfairWatches) else { return nil }
            if ContinuousClock.now > deadline { return difference }
            try await Task.sleep(for: .milliseconds(2))
        }
    }

    private static func withoutRepeatedEnd(_ entries: [WatchRecorder.Entry]) -> [WatchRecorder.Entry] {
        guard case .cancelled? = entries.last, case .cancelled? = entries.dropLast().last else { return entries }
        return entries.dropLast()
    }

    private static func difference(
        _ expected: [Int64: [WatchRecorder.Entry]], _ actual: [Int64: [WatchRecorder.Entry]], without: Set<Int64>
    ) -> String? {
        for id in Set(expected.keys).union(actual.keys).subtracting(without).sorted() {
            // etcd answers the cancellation of a watch that it has cancelled itself; we know that watch no more.
            let expected = withoutRepeatedEnd(expected[id] ?? [])
            let actual = actual[id] ?? []
            if expected == actual { continue }
            let common = zip(expected, actual).prefix { $0 == $1 }.count
            return "watch \(id), entry \(common):\n"
                + "  etcd    \(expected.count) entries: \(expected.dropFirst(common).prefix(3))\n"
                + "  martlet \(actual.count) entries: \(actual.dropFirst(common).prefix(3))"
        }
        return nil
    }
}

/// One server under the sequence.
private struct Side {
    let client: EtcdClient
    let recorder: WatchRecorder
    private let port: Int

    init(_ server: TestServer) async throws {
        port = server.clientPort
        client = try server.client()
        recorder = try await WatchRecorder(client)
    }

    func close() async {
        recorder.close()
        await client.close()
    }

    func waitUntilNoneLags() async throws {
        try await eventually("no watch lags") {
            let page = try await HTTPProbe.get(port: port, "/metrics").body
            return page.contains("\netcd_debugging_mvcc_slow_watcher_total 0\n")
        }
    }

    func perform(_ operation: Operation) async throws -> Answer {
        do throws(ClientError) {
            return try await call(operation)
        } catch {
            return .failure(code: error.code.rawValue, message: error.message)
        }
    }

    private func call(_ operation: Operation) async throws(ClientError) -> Answer {
        switch operation {
        case .range(let request): return Self.answer(try await client.range(request))
        case .put(let request): return Self.answer(try await client.put(request))
        case .deleteRange(let request): return Self.answer(try await client.deleteRange(request))
        case .txn(let request): return Self.answer(try await client.txn(request))
        case .compact(let request): return Self.answer(try await client.compact(request))
        case .leaseGrant(let request): return Self.answer(try await client.leaseGrant(request))
        case .leaseRevoke(let id):
            var request = Etcdserverpb_LeaseRevokeRequest()
            request.id = id
            return Self.answer(try await client.leaseRevoke(request))
        case .leaseTimeToLive(let id):
            var request = Etcdserverpb_LeaseTimeToLiveRequest()
            request.id = id
            request.keys = true
            var response = try await client.leaseTimeToLive(request)
            // Seconds pass between the two servers' answers; keys come in no promised order.
            if response.ttl > 0 { response.ttl = response.grantedTtl }
            response.keys.sort { $0.lexicographicallyPrecedes($1) }
            return Self.answer(response)
        case .leases:
            var response = try await client.leaseLeases()
            response.leases.sort { $0.id < $1.id }
            return Self.answer(response)
        case .hashKV(let revision):
            return Self.answer(try await client.hashKV(revision: revision))
        case .watch(let request):
            await ignoringEnd { try await recorder.createAndWait(request) }
        case .cancelWatch(let id):
            await ignoringEnd { try await recorder.cancel(id) }
        }
        return .reply(revision: 0, text: "sent")
    }

    /// A stream that the server has ended shows in the recorder.
    private func ignoringEnd(_ body: () async throws -> Void) async { try? await body() }

    private static func answer(_ response: some AnswerMessage) -> Answer {
        var response = response
        let revision = response.header.revision
        response.header = .init()
        return .reply(revision: revision, text: response.debugDescription)
    }
}
