import Transport

// Steps on streams.
extension StepRunner {
    func stream(_ step: Step) throws -> (method: Method, stream: MessageStream) {
        guard let name = step.argument.text, let known = streams[name] else {
            throw SuiteError("the stream \(step.argument) is not open")
        }
        return known
    }

    func open(_ step: Step) async throws {
        let method = try Method.named(step.value["method"]?.text ?? "Watch/Watch")
        let stream = try await context.open(method.path, metadata: metadata(step))
        streams[step.argument.text ?? ""] = (method, stream)
        guard let request = step.value["request"] else { return }
        try await stream.send(try encode(method, request))
    }

    func watch(_ step: Step) async throws {
        if streams[step.argument.text ?? ""] == nil { try await open(step) }
        let (method, stream) = try stream(step)
        let create = Value.map([.init(name: "create_request", value: step.value["create"] ?? .map([]))])
        try await stream.send(try encode(method, create))
        let answer = try await next(stream, method, within: .seconds(10).patient)
        try check(
            .map([.init(name: "created", value: .bool(true)), .init(name: "events", value: .null)]), answer, method)
        if let expected = step.value["response"] {
            try check(expected, answer, method)
        } else {
            try check(.map([.init(name: "canceled", value: .null)]), answer, method)
        }
        try await save(step, answer)
    }

    func expect(_ step: Step) async throws {
        let (method, stream) = try stream(step)
        let answer = try await next(stream, method, within: try limit(step, "within", milliseconds: 10_000).patient)
        try check(step.value["response"] ?? .map([]), answer, method)
        try await save(step, answer)
    }

    func events(_ step: Step) async throws {
        let (method, stream) = try stream(step)
        let expected = try scope.items(step.value["list"] ?? .list([]))
        let deadline = ContinuousClock.now + (try limit(step, "within", milliseconds: 10_000)).patient
        var events: [Value] = []
        while events.count < expected.count {
            let answer = try await next(stream, method, within: deadline - .now)
            if answer["canceled"] != nil { throw CaseFailure("the watch was cancelled: \(answer)") }
            if let id = step.value["watch_id"] {
                try check(.map([.init(name: "watch_id", value: id)]), answer, method)
            }
            if let revision = step.value["revision"] {
                try check(
                    .map([.init(name: "header", value: .map([.init(name: "revision", value: revision)]))]), answer,
                    method)
            }
            events += answer["events"]?.list ?? []
        }
        let answer = Value.map([.init(name: "events", value: .list(events))])
        try check(.map([.init(name: "events", value: .list(expected))]), answer, method)
        try await save(step, answer)
    }

    func silence(_ step: Step) async throws {
        let (method, stream) = try stream(step)
        switch await stream.next(within: try limit(step, "ms", milliseconds: 200)) {
        case .message(let bytes): throw CaseFailure("expected silence, got \(try method.decode(bytes))")
        case .end(let status): throw CaseFailure("expected silence, the stream ended with \(status)")
        case nil: return
        }
    }

    func ended(_ step: Step) async throws {
        let (method, stream) = try stream(step)
        switch await stream.next(within: try limit(step, "within", milliseconds: 10_000).patient) {
        case .message(let bytes): throw CaseFailure("expected the end, got \(try method.decode(bytes))")
        case .end(let status):
            if step.value["error"] != nil { return try check(step, status) }
            if !status.isOK { throw CaseFailure("expected OK at the end, got \(status)") }
        case nil: throw CaseFailure("the stream did not end")
        }
    }

    private func next(_ stream: MessageStream, _ method: Method, within limit: Duration) async throws -> Value {
        switch await stream.next(within: limit) {
        case .message(let bytes): return try method.decode(bytes)
        case .end(let status): throw CaseFailure("the stream ended with \(status)")
        case nil: throw CaseFailure("nothing came within the time given")
        }
    }

    private func limit(_ step: Step, _ field: String, milliseconds: Int64) throws -> Duration {
        guard let value = step.value[field] else { return .milliseconds(milliseconds) }
        return .milliseconds(Int64(try scope.integer(value)))
    }

    // MARK: HTTP

    func http(_ step: Step) async throws {
        guard let limit = step.value["eventually"] else { return try await httpOnce(step) }
        let deadline = ContinuousClock.now + Duration.milliseconds(Int64(try scope.integer(limit))).patient
        while true {
            do {
                return try await httpOnce(step)
            } catch let failure as CaseFailure {
                if ContinuousClock.now >= deadline { throw failure }
            }
            try await Task.sleep(for: .milliseconds(50))
        }
    }

    private func httpOnce(_ step: Step) async throws {
        let words = try scope.evaluate(step.argument.text ?? "").text?.split(separator: " ") ?? []
        guard words.count == 2 else { throw SuiteError("http: METHOD PATH") }
        let body = try step.value["body"].map { Array(try scope.resolve($0, method: "").json.utf8) }
        let answer = try await HTTPClient.request(
            context.target, endpoint: context.endpoint, method: String(words[0]), path: String(words[1]), body: body)
        let matcher = Matcher(scope: scope, method: "HTTP")
        var wrong: String?
        if let expected = step.value["status"] {
            wrong = try matcher.mismatch(expected, .integer(Int128(answer.status)), path: "status")
        }
        if wrong == nil, let expected = step.value["headers"] {
            let headers = Value.map(answer.headers.map { .init(name: $0.name, value: .text($0.value)) })
            wrong = try matcher.mismatch(expected, headers, path: "headers")
        }
        if wrong == nil, let expected = step.value["text"] {
            wrong = try matcher.mismatch(expected, .text(String(decoding: answer.body, as: UTF8.self)), path: "text")
        }
        if step.value["json"] != nil || step.value["save"] != nil {
            guard var json = try? Value(json: answer.body) else {
                throw CaseFailure("no JSON: \(String(decoding: answer.body.prefix(300), as: UTF8.self))")
            }
            // The gateway has bytes as base64.
            if words[1].hasPrefix("/v3/") { json = Method.withBytes(json, field: nil, method: "HTTP") }
            if wrong == nil, let expected = step.value["json"] {
                wrong = try matcher.mismatch(expected, json, path: "json")
            }
            try await save(step, json)
        }
        if let wrong {
            throw CaseFailure("\(wrong); \(answer.status) \(String(decoding: answer.body.prefix(200), as: UTF8.self))")
        }
    }
}
