import Client
import Foundation
import NIOConcurrencyHelpers
import TestSupport
import Wire

/// Everything that came on a watch stream, by watch: what was said about the watch, and its events in order.
final class WatchRecorder: Sendable {
    /// A line of what a watch told, in a form that compares.
    enum Entry: Equatable, Sendable, CustomStringConvertible {
        case created
        /// `revision`: the header's, where the compaction is the reason; else it depends on when the request came in.
        case cancelled(compactRevision: Int64, reason: String, revision: Int64 = 0)
        case event(Mvccpb_Event)

        var description: String {
            switch self {
            case .created: "created"
            case .cancelled(let compactRevision, let reason, let revision):
                "cancelled compactRevision=\(compactRevision) reason=\(reason) revision=\(revision)"
            case .event(let event):
                "\(event.type) \(String(decoding: event.kv.key, as: UTF8.self)) mod=\(event.kv.modRevision) "
                    + "create=\(event.kv.createRevision) version=\(event.kv.version) lease=\(event.kv.lease) "
                    + "value=\(event.kv.value.count)B prev=\(event.hasPrevKv ? String(event.prevKv.modRevision) : "-")"
            }
        }
    }

    private struct State {
        var entries: [Int64: [Entry]] = [:]
        var violations: [String] = []
        /// Fragments received whose last part has not.
        var open: [Int64: [Mvccpb_Event]] = [:]
        var ended = false
        var progressAnswers = 0
        var createAnswers = 0
    }

    let stream: EtcdClient.WatchStream
    private let state = NIOLockedValueBox(State())
    private let reader: Task<Void, Never>

    init(_ client: EtcdClient) async throws {
        let stream = try await client.watchStream()
        self.stream = stream
        let state = self.state
        reader = Task {
            do {
                for try await response in stream { state.withLockedValue { Self.record(response, in: &$0) } }
                state.withLockedValue { $0.ended = true }
            } catch {
                state.withLockedValue { state in
                    state.ended = true
                    state.violations.append("the stream ended: \(error)")
                }
            }
        }
    }

    private static func record(_ response: Etcdserverpb_WatchResponse, in state: inout State) {
        let id = response.watchID
        if id == -1, !response.created, !response.canceled {
            state.progressAnswers += 1
            return
        }
        if response.created {
            state.entries[id, default: []].append(.created)
            state.createAnswers += 1
        }
        if response.fragment {
            state.open[id, default: []] += response.events
            return
        }
        let events = (state.open.removeValue(forKey: id) ?? []) + response.events
        // One revision's events come in one message: the last known may not continue in the next.
        if let first = events.first, case .event(let last)? = state.entries[id]?.last,
            last.kv.modRevision >= first.kv.modRevision
        {
            state.violations.append("watch \(id): revision \(first.kv.modRevision) after \(last.kv.modRevision)")
        }
        state.entries[id, default: []] += events.map(Entry.event)
        if response.canceled {
            state.entries[id, default: []].append(
                .cancelled(
                    compactRevision: response.compactRevision, reason: response.cancelReason,
                    revision: response.compactRevision == 0 ? 0 : response.header.revision))
        }
    }

    var entries: [Int64: [Entry]] { state.withLockedValue { $0.entries } }
    /// What contradicts the guarantees of a watch, whatever the other server says.
    var violations: [String] { state.withLockedValue { $0.violations } }
    /// The server has ended the stream.
    var hasEnded: Bool { state.withLockedValue { $0.ended } }

    /// Every entry of every watch: grows when anything arrives.
    var count: Int { state.withLockedValue { $0.entries.values.reduce(0) { $0 + $1.count } } }

    func create(_ request: Etcdserverpb_WatchCreateRequest) async throws {
        var message = Etcdserverpb_WatchRequest()
        message.createRequest = request
        try await stream.send(message)
    }

    /// Creates a watch, whose number may be refused, and waits until the server has answered.
    func createAndWait(_ request: Etcdserverpb_WatchCreateRequest) async throws {
        let before = state.withLockedValue { $0.createAnswers }
        try await create(request)
        try await eventually("an answer to the creation of watch \(request.watchID)") {
            state.withLockedValue { $0.createAnswers > before || $0.ended }
        }
    }

    func cancel(_ id: Int64) async throws {
        var message = Etcdserverpb_WatchRequest()
        message.cancelRequest.watchID = id
        try await stream.send(message)
    }

    func requestProgress() async throws {
        var message = Etcdserverpb_WatchRequest()
        message.progressRequest = .init()
        try await stream.send(message)
    }

    /// Asks until every watch of the stream has been sent all there is, for at most 300 milliseconds.
    func waitForProgress() async throws {
        let before = state.withLockedValue { $0.progressAnswers }
        for _ in 0..<15 {
            if hasEnded { return }
            try await requestProgress()
            for _ in 0..<10 {
                if state.withLockedValue({ $0.progressAnswers }) > before { return }
                try await Task.sleep(for: .milliseconds(2))
            }
        }
    }

    func close() { stream.cancel() }
}
