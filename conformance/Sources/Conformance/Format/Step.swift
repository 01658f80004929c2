/// One step of a case: something done, and what is expected of it.
///
/// A step is a map; the field that is named first below says what is done.
/// - `call: KV/Put` with `request`: a unary call. `response`: what to expect; or `error: {code, message}`.
///   `metadata`: request headers; `timeout`: milliseconds until the deadline; `endpoint: other`: another member, if
///   there is one; `eventually`: milliseconds for which it is repeated until it answers as expected; `save`.
/// - `put: {a: "1", b: ["2", "3"]}`: puts, in this order. `delete: a` or a list. `compact: $rev`. `grant: NAME` with
///   `ttl`: a lease whose id becomes the variable NAME.
/// - `watch: NAME` with `create`: opens the watch stream NAME unless it is open, creates a watch, expects `created`
///   (and what `response` says). `open: NAME` with `method`: any stream.
/// - `send: NAME` with `request`. `expect: NAME` with `response`: the next message. `events: NAME` with a list: the
///   events of the next answers, exactly so many. `silence: NAME`: nothing comes for so many `ms`.
///   `finish: NAME`, `cancel: NAME`, `ended: NAME` with `error`.
/// - `http: GET /health` with `status`, `headers`, `text` or `json`; `body` to send; `save`.
/// - `sleep: MILLISECONDS`.
/// - `repeat: N` with `steps`, whose variable `i` counts from 0. `retry: N` with `steps`, which are tried again, N times at
///   the most, until none of them fails: for what a busy machine may spoil.
///
/// `save: {rev: header.revision}` makes variables of the answer, by path.
struct Step: Sendable {
    enum Action: String, CaseIterable {
        case call, put, delete, compact, grant, watch, open, send, expect, events, silence, finish, cancel, ended, http
        case sleep, `repeat`, retry
    }

    let action: Action
    let value: Value
    let steps: [Step]
    let place: String

    /// The action's own argument: the method, the stream's name, the keys.
    var argument: Value { value[action.rawValue] ?? .null }

    init(_ value: Value, place: String) throws {
        guard let action = Action.allCases.first(where: { value[$0.rawValue] != nil }) else {
            throw SuiteError("\(place): no known action in \(value)")
        }
        self.action = action
        self.value = value
        self.place = place
        steps = try (value["steps"]?.list ?? []).enumerated().map { index, step in
            try Step(step, place: "\(place).\(index + 1)")
        }
        try CaseFile.check(value, Step.fields(action).union([action.rawValue, "save", "note"]), place)
        if let expected = value["response"] { try Step.checkNames(expected, place) }
        if let expected = value["list"] { try Step.checkNames(expected, place) }
        if action == .call, let name = argument.text, !name.hasPrefix("$") { _ = try Method.named(name) }
    }

    private static func fields(_ action: Action) -> Set<String> {
        switch action {
        case .call:
            ["request", "response", "error", "metadata", "timeout", "endpoint", "eventually"]
        case .put, .delete: ["lease"]
        case .compact: ["physical"]
        case .grant: ["ttl"]
        case .watch: ["create", "response", "metadata"]
        case .open: ["method", "metadata", "request"]
        case .send: ["request"]
        case .expect: ["response", "within"]
        case .events: ["list", "watch_id", "within", "revision"]
        case .silence: ["ms"]
        case .finish, .cancel, .sleep: []
        case .ended: ["error", "within"]
        case .http: ["status", "headers", "text", "json", "body", "eventually"]
        case .repeat, .retry: ["steps"]
        }
    }

    /// An expectation with a misspelt name would hold for any answer.
    private static func checkNames(_ expected: Value, _ place: String) throws {
        switch expected {
        case .list(let items): for item in items { try checkNames(item, place) }
        case .map(let fields):
            for field in fields {
                guard field.name.hasPrefix("$") || FieldKind.names.contains(field.name) else {
                    throw SuiteError("\(place): no message has a field \(field.name)")
                }
                try checkNames(field.value, place)
            }
        default: return
        }
    }
}
