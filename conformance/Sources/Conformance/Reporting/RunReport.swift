/// How a case ended.
package enum Outcome: Sendable, Equatable {
    case passed
    case failed(String)
    /// It failed, and that is known and meant.
    case deviates(String, reason: String)
    case skipped(String)

    /// One word for tables.
    package var word: String {
        switch self {
        case .passed: "pass"
        case .failed: "FAIL"
        case .deviates: "deviates"
        case .skipped: "skip"
        }
    }

    /// What went wrong, or why it did not run.
    package var message: String {
        switch self {
        case .passed: ""
        case .failed(let message): message
        case .deviates(let message, let reason): "\(reason) [\(message)]"
        case .skipped(let reason): reason
        }
    }
}

/// One case's result.
package struct CaseResult: Sendable {
    package let id: String
    package let area: String
    package let doc: String
    package let level: Level
    package let isRequired: Bool
    package let outcome: Outcome
    package let seconds: Double

    init(_ item: Case, _ outcome: Outcome, seconds: Double) {
        id = item.id
        area = item.area
        doc = item.doc
        level = item.level
        isRequired = item.isRequired
        self.outcome = outcome
        self.seconds = seconds
    }

    init(id: String, area: String, doc: String, level: Level, isRequired: Bool, outcome: Outcome, seconds: Double) {
        self.id = id
        self.area = area
        self.doc = doc
        self.level = level
        self.isRequired = isRequired
        self.outcome = outcome
        self.seconds = seconds
    }
}

/// All results of a run.
package struct RunReport: Sendable {
    package var endpoints: [String]
    /// What the server calls itself.
    package var version: String
    package var level: Level
    package var memberCount: Int
    package var results: [CaseResult] = []

    package init(endpoints: [String], version: String, level: Level, memberCount: Int) {
        self.endpoints = endpoints
        self.version = version
        self.level = level
        self.memberCount = memberCount
    }

    package func count(_ word: String) -> Int { results.count { $0.outcome.word == word } }

    /// Whether no required case failed.
    package var isSuccess: Bool {
        !results.contains { result in
            if case .failed = result.outcome { result.isRequired } else { false }
        }
    }

    package var summary: String {
        let seconds = results.reduce(0) { $0 + $1.seconds }
        return "\(results.count) cases at level \(level) against version \(version), \(memberCount) "
            + (memberCount == 1 ? "member" : "members")
            + ": \(count("pass")) passed, \(count("FAIL")) failed, \(count("deviates")) deviate knowingly, "
            + "\(count("skip")) skipped, \(Format.fixed(seconds, 1)) s"
    }
}

/// Numbers as reports show them.
enum Format {
    /// With `digits` after the point.
    static func fixed(_ number: Double, _ digits: Int) -> String {
        var scale = 1.0
        for _ in 0..<digits { scale *= 10 }
        let whole = Int((number * scale).rounded())
        let text = String(repeating: "0", count: max(0, digits + 1 - String(whole).count)) + String(whole)
        return digits == 0 ? text : text.dropLast(digits) + "." + text.suffix(digits)
    }
}
