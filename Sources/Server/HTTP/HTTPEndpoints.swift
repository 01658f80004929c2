import NIOCore
import Primitives
import StateMachine
import Synchronization
package import Transport

/// Health, version and metrics over plain HTTP. One for each event loop and listener; owner: the loop.
///
/// Source: etcd-behaviour, section 4.
package final class HTTPEndpoints: HTTPResponder {
    private let state: LoopState
    private let metrics: MetricsCollector

    package init(state: LoopState, metrics: MetricsCollector) {
        self.state = state
        self.metrics = metrics
    }

    package func respond(to request: HTTPRequest, reply: HTTPReply) {
        // As in etcd, which asks the method of all but the metrics.
        guard request.method == "GET" || (request.method == "HEAD" && request.path == "/metrics") else {
            return reply.send(HTTPResponse(status: 405, text: "Method Not Allowed\n"))
        }
        let query = Query(request.query)
        switch request.path {
        case "/version": reply.send(version())
        case "/metrics": sendMetrics(reply)
        case "/health": health(query, reply)
        case "/livez", "/readyz": probe(String(request.path.dropFirst()), only: nil, query, reply)
        default:
            let parts = request.path.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
            if parts.count == 3, parts[0].isEmpty, let checks = ProbeCheck.names[parts[1]], checks.contains(parts[2]) {
                return probe(parts[1], only: parts[2], query, reply)
            }
            reply.send(HTTPResponse(status: 404, text: "404 page not found\n"))
        }
    }

    private func version() -> HTTPResponse {
        HTTPResponse(
            status: 200, contentType: "application/json",
            text: "{\"etcdserver\":\"\(ProductVersion.api)\",\"etcdcluster\":\"\(ProductVersion.cluster)\","
                + "\"storage\":\"\(ProductVersion.storage)\",\"martlet\":\"\(ProductVersion.product)\"}")
    }

    private func sendMetrics(_ reply: HTTPReply) {
        metrics.collect { page in
            reply.eventLoop.execute {
                reply.send(
                    HTTPResponse(status: 200, contentType: "text/plain; version=0.0.4; charset=utf-8", text: page))
            }
        }
    }

    /// `/health`: one verdict as JSON; alarms count unless excluded.
    private func health(_ query: Query, _ reply: HTTPReply) {
        let context = state.context
        if context.isJoining { return sendHealth(ProbeCheck.joining, reply) }
        let excluded = query.values("exclude")
        // Another member's CORRUPT is none of this one's: it serves.
        let isCorrupt = context.isCorrupt.load(ordering: .relaxed)
        let alarms = context.stateMachine.published.withLock { $0.alarms }
        let counting = alarms.filter { $0.kind != .corrupt || isCorrupt }
        if let alarm = counting.first(where: { !excluded.contains($0.kind.name) }) {
            return sendHealth("ALARM \(alarm.kind.name)", reply)
        }
        if context.leader.load(ordering: .relaxed) == 0, !query.isTrue("serializable") {
            return sendHealth("RAFT NO LEADER", reply)
        }
        if query.isTrue("serializable") { return sendHealth(nil, reply) }
        state.linearize { [self] error in sendHealth(error.map { "RANGE ERROR:\(RPCStatus($0).message)" }, reply) }
    }

    private func sendHealth(_ reason: String?, _ reply: HTTPReply) {
        let metrics = state.context.metrics
        (reason == nil ? metrics.healthSuccess : metrics.healthFailures).add()
        reply.send(
            HTTPResponse(
                status: reason == nil ? 200 : 503, contentType: "application/json",
                text: "{\"health\":\"\(reason == nil)\",\"reason\":\"\(reason ?? "")\"}"))
    }

    /// `/livez` and `/readyz`: a list of checks, each of which can be asked for alone or excluded.
    private func probe(_ kind: String, only: String?, _ query: Query, _ reply: HTTPReply) {
        let excluded = query.values("exclude")
        var names = only.map { [$0] } ?? ProbeCheck.names[kind] ?? []
        names.removeAll { excluded.contains($0) }
        let isUnready = state.context.isJoining && kind == "readyz"
        let needsRound = names.contains("linearizable_read") && !isUnready
        let finish: (RequestError?) -> Void = { [self] error in
            var lines = ""
            var failed = isUnready
            if isUnready { lines += "[-]joining failed: \(ProbeCheck.joining)\n" }
            for name in names {
                let reason = ProbeCheck.failure(of: name, state.context, linearization: error)
                failed = failed || reason != nil
                state.context.metrics.healthChecks.note(kind: kind, name: name, isGood: reason == nil)
                lines += reason.map { "[-]\(name) failed: \($0)\n" } ?? "[+]\(name) ok\n"
            }
            let verdict = only.map { "\(kind)/\($0)" } ?? kind
            if failed {
                reply.send(HTTPResponse(status: 503, text: lines + "\(verdict) check failed\n"))
            } else {
                reply.send(HTTPResponse(status: 200, text: query.has("verbose") ? lines + "ok\n" : "ok\n"))
            }
        }
        if needsRound { state.linearize(then: finish) } else { finish(nil) }
    }
}

/// The checks behind `/livez` and `/readyz`. NOSPACE is none of them: a full store must not be restarted for it.
private enum ProbeCheck {
    static let names: [String: [String]] = [
        "livez": ["serializable_read"],
        "readyz": ["data_corruption", "serializable_read", "linearizable_read", "non_learner"],
    ]

    /// Why a member without a store is not ready; nobody can ask to have that excluded.
    static let joining = "this member waits for a snapshot from the cluster"

    /// Why a check fails, or nil.
    static func failure(of name: String, _ context: ServerContext, linearization: RequestError?) -> String? {
        switch name {
        case "data_corruption": context.isCorrupt.load(ordering: .relaxed) ? "alarm activated: CORRUPT" : nil
        case "non_learner":
            context.isLearner.load(ordering: .relaxed) ? "this member is a learner: it has no vote yet" : nil
        case "linearizable_read": linearization.map { RPCStatus($0).message }
        // Reads of the published view cannot fail while the process lives: a store that breaks ends it.
        default: nil
        }
    }
}

/// The part of a URL behind the question mark.
private struct Query {
    private let pairs: [(name: String, value: String?)]

    init(_ text: String) {
        pairs = text.split(separator: "&").map { part in
            let pieces = part.split(separator: "=", maxSplits: 1).map(String.init)
            return (pieces.first ?? "", pieces.count == 2 ? pieces[1] : nil)
        }
    }

    func has(_ name: String) -> Bool { pairs.contains { $0.name == name } }
    func values(_ name: String) -> [String] { pairs.filter { $0.name == name }.compactMap(\.value) }
    func isTrue(_ name: String) -> Bool {
        pairs.contains { $0.name == name && ($0.value == "true" || $0.value == "1") }
    }
}
