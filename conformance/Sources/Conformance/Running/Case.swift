/// What a case demands of the place where it runs.
package enum Need: String, Sendable, CaseIterable {
    /// Disturbs everything else on the server: compacts, raises alarms, reads or fills the whole store.
    case `private`
    /// A server that has just started with an empty store.
    case fresh
    /// The server's process must be ours: started with certain flags, killed, paused.
    case process
    /// Exactly one member.
    case single
    /// At least three members.
    case cluster
    /// The `openssl` command.
    case openssl
}

/// One case: a behaviour that the documentation promises, and how to see it.
package struct Case: Sendable {
    /// `area/name`: how reports, deviations and `--case` call it.
    package var id: String { area + "/" + name }
    package let area: String
    package let name: String
    /// The behaviour, and where it is documented.
    package let doc: String
    /// The API level since which it holds, and the last one at which it does (nil: it still does).
    package let level: Level
    package let until: Level?
    package let needs: Set<Need>
    /// Flags that a private server is started with.
    package let serverFlags: [String]
    /// Whether a failure fails the run.
    package let isRequired: Bool
    /// How long it may take.
    package let timeout: Duration
    let body: @Sendable (CaseContext) async throws -> Void

    package init(
        _ area: String, _ name: String, doc: String, level: Level = .v34, until: Level? = nil, needs: Set<Need> = [],
        serverFlags: [String] = [], isRequired: Bool = true, timeout: Duration = .seconds(60),
        body: @escaping @Sendable (CaseContext) async throws -> Void
    ) {
        self.area = area
        self.name = name
        self.doc = doc
        self.level = level
        self.until = until
        self.needs = serverFlags.isEmpty ? needs : needs.union([.process])
        self.serverFlags = serverFlags
        self.isRequired = isRequired
        self.timeout = timeout
        self.body = body
    }

    /// Whether it cannot run on a server that others use.
    var needsOwnServer: Bool { !needs.isDisjoint(with: [.private, .fresh, .process]) }
}

/// A minor version of the API: behaviours are required from the one in which they came.
package struct Level: Sendable, Hashable, Comparable, CustomStringConvertible {
    package let minor: Int

    /// Reads `3.5`, or the front of a version like `3.5.1`. Nil when it is none.
    package init?(_ text: String) {
        let parts = text.split(separator: ".")
        guard parts.count >= 2, parts[0] == "3", let minor = Int(parts[1]) else { return nil }
        self.minor = minor
    }

    private init(minor: Int) { self.minor = minor }

    package static let v34 = Level(minor: 4)
    package static let v35 = Level(minor: 5)
    package static let v36 = Level(minor: 6)
    package static let v37 = Level(minor: 7)

    package static func < (left: Level, right: Level) -> Bool { left.minor < right.minor }
    package var description: String { "3.\(minor)" }
}

/// The server did not behave as the case expects.
package struct CaseFailure: Error, Sendable, CustomStringConvertible {
    package let description: String

    package init(_ description: String) { self.description = description }
}

/// The case cannot run here.
package struct CaseSkip: Error, Sendable, CustomStringConvertible {
    package let description: String

    package init(_ description: String) { self.description = description }
}
