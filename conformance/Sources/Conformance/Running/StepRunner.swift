import Foundation
import NIOCore
import Transport

/// Runs the steps of one case, one after another. Used by one task.
final class StepRunner {
    let context: CaseContext
    var scope: Scope
    var streams: [String: (method: Method, stream: MessageStream)] = [:]

    init(_ context: CaseContext, variables: [String: Value]) {
        self.context = context
        scope = Scope(prefix: context.prefix, variables: variables)
        scope.variables["prefix"] = .text(context.prefix)
        scope.variables["endpoints"] = .integer(Int128(context.target.endpoints.count))
    }

    /// Throws `CaseFailure` with the step and what was wrong.
    func run(_ steps: [Step]) async throws {
        for step in steps {
            do {
                try await run(step)
            } catch let failure as CaseFailure {
                throw CaseFailure("\(step.label): \(failure)")
            } catch let status as RPCStatus {
                throw CaseFailure("\(step.label): \(status)")
            } catch let error as SuiteError {
                throw SuiteError("\(step.place): \(error)")
            }
        }
    }

    private func run(_ step: Step) async throws {
        switch step.action {
        case .call: try await call(step)
        case .put: try await put(step)
        case .delete:
            for name in step.argument.list ?? [step.argument] {
                let request = Value.map([.init(name: "key", value: name)])
                try await save(step, try await unary("KV/DeleteRange", request))
            }
        case .compact: try await compact(step)
        case .grant: try await grant(step)
        case .watch: try await watch(step)
        case .open: try await open(step)
        case .send:
            let (method, stream) = try stream(step)
            try await stream.send(try encode(method, step.value["request"] ?? .map([])))
        case .expect: try await expect(step)
        case .events: try await events(step)
        case .silence: try await silence(step)
        case .finish: try stream(step).stream.finish()
        case .cancel: try stream(step).stream.cancel()
        case .ended: try await ended(step)
        case .http: try await http(step)
        case .sleep: try await Task.sleep(for: .milliseconds(Int64(try scope.integer(step.argument))))
        case .repeat:
            for index in 0..<(try scope.integer(step.argument)) {
                scope.variables["i"] = .integer(index)
                try await run(step.steps)
            }
        case .retry: try await retry(step)
        }
    }

    /// The steps again and again, so many times at the most, until none of them fails.
    private func retry(_ step: Step) async throws {
        let attempts = try scope.integer(step.argument)
        for attempt in 1...max(1, attempts) {
            do { return try await run(step.steps) } catch let failure as CaseFailure {
                if attempt >= attempts || Task.isCancelled { throw failure }
            }
        }
    }

    // MARK: Calls

    func encode(_ method: Method, _ request: Value) throws -> [UInt8] {
        try method.encode(try scope.resolve(request, method: method.name))
    }

    private func unary(_ name: String, _ request: Value, endpoint: Int? = nil) async throws -> Value {
        let method = try Method.named(name)
        let reply = try await context.target.unary(
            method.path, try encode(method, request), endpoint: endpoint ?? context.endpoint)
        return try method.decode(reply)
    }

    private func call(_ step: Step) async throws {
        guard let limit = step.value["eventually"] else { return try await callOnce(step) }
        let deadline = ContinuousClock.now + Duration.milliseconds(Int64(try scope.integer(limit))).patient
        while true {
            do {
                return try await callOnce(step)
            } catch let failure as CaseFailure {
                if ContinuousClock.now >= deadline { throw failure }
            }
            try await Task.sleep(for: .milliseconds(20))
        }
    }

    private func callOnce(_ step: Step) async throws {
        let method = try Method.named(try scope.evaluate(step.argument.text ?? "").text ?? "")
        let request = try encode(method, step.value["request"] ?? .map([]))
        let endpoint = step.value["endpoint"]?.text == "other" ? context.endpoint + 1 : context.endpoint
        let timeout = try step.value["timeout"].map { TimeAmount.milliseconds(Int64(try scope.integer($0))) }
        let reply: [UInt8]
        do throws(RPCStatus) {
            reply = try await context.target.unary(
                method.path, request, endpoint: endpoint, metadata: metadata(step),
                timeout: timeout?.patient ?? Target.callTimeout)
        } catch {
            return try check(step, error)
        }
        let answer = try method.decode(reply)
        if method.name == "Lease/LeaseGrant", let id = answer["ID"]?.integer { context.granted(Int64(id)) }
        if let expected = step.value["error"] { throw CaseFailure("expected error \(expected), got \(answer)") }
        if let expected = step.value["response"] { try check(expected, answer, method) }
        try await save(step, answer)
    }

    func metadata(_ step: Step) -> [(String, String)] {
        let value = step.value["metadata"]?.text.flatMap { try? scope.evaluate($0) } ?? step.value["metadata"]
        return (value?.fields ?? []).map { ($0.name, $0.value.text ?? "") }
    }

    func check(_ expected: Value, _ answer: Value, _ method: Method) throws {
        let matcher = Matcher(scope: scope, method: method.name)
        if let wrong = try matcher.mismatch(expected, answer) { throw CaseFailure(wrong) }
    }

    /// Compares a status with the step's `error`.
    func check(_ step: Step, _ status: RPCStatus) throws {
        guard let expected = step.value["error"] else { throw CaseFailure("failed with \(status)") }
        let actual = Value.map([
            .init(name: "code", value: .text(status.code.wireName)),
            .init(name: "message", value: .text(status.message)),
        ])
        let matcher = Matcher(scope: scope, method: "")
        if let wrong = try matcher.mismatch(expected, actual, path: "error") { throw CaseFailure(wrong) }
    }

    func save(_ step: Step, _ answer: Value) async throws {
        for field in step.value["save"]?.fields ?? [] {
            guard let path = field.value.text else { throw SuiteError("save: \(field.name) needs a path") }
            // JSON leaves zeros out; a list or message that is absent has no such path.
            scope.variables[field.name] = answer.at(path: path) ?? .integer(0)
        }
    }

    // MARK: Short forms

    private func put(_ step: Step) async throws {
        for field in step.argument.fields ?? [] {
            for value in field.value.list ?? [field.value] {
                var request: [Value.Field] = [
                    .init(name: "key", value: .text(field.name)), .init(name: "value", value: value),
                ]
                if let lease = step.value["lease"] { request.append(.init(name: "lease", value: lease)) }
                try await save(step, try await unary("KV/Put", .map(request)))
            }
        }
    }

    private func compact(_ step: Step) async throws {
        var request: [Value.Field] = [.init(name: "revision", value: step.argument)]
        if let physical = step.value["physical"] { request.append(.init(name: "physical", value: physical)) }
        try await save(step, try await unary("KV/Compact", .map(request)))
    }

    private func grant(_ step: Step) async throws {
        let request = Value.map([.init(name: "TTL", value: step.value["ttl"] ?? .integer(60))])
        let answer = try await unary("Lease/LeaseGrant", request)
        guard let name = step.argument.text, let id = answer["ID"]?.integer else {
            throw CaseFailure("no lease: \(answer)")
        }
        context.granted(Int64(id))
        scope.variables[name] = .integer(id)
        try await save(step, answer)
    }
}

extension Step {
    /// For messages: the step's number and what it does.
    var label: String {
        let number = place.range(of: "step ").map { place[$0.upperBound...] } ?? ""
        return "step \(number), \(action.rawValue) \(argument)"
    }
}

extension RPCCode {
    /// The code as documentation writes it: `OUT_OF_RANGE`.
    var wireName: String {
        var text = ""
        for character in String(describing: self) {
            if character.isUppercase { text += "_" }
            text += character.uppercased()
        }
        return text
    }
}
