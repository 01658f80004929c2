import Foundation

/// Differences from the documented behaviour that are known and meant, as data.
///
/// File format (YAML): a map from a server's name to a list of `{case: ID, reason: TEXT}`. An identity may end in `*`.
package struct Deviations: Sendable {
    private var exact: [String: String] = [:]
    private var prefixes: [(prefix: String, reason: String)] = []

    /// None.
    package init() {}

    /// Those of `server` in the file. Throws `SuiteError` when the file has no such server.
    package init(file: String, server: String) throws {
        try self.init(yaml: try String(contentsOfFile: file, encoding: .utf8), file: file, server: server)
    }

    package init(yaml text: String, file: String, server: String) throws {
        let root = try Value(yaml: text, file: file)
        guard let entries = root[server] else { throw SuiteError("\(file): nothing is said of \(server)") }
        for entry in entries.list ?? [] {
            guard let id = entry["case"]?.text, let reason = entry["reason"]?.text else {
                throw SuiteError("\(file): \(server): a deviation needs case and reason")
            }
            if id.hasSuffix("*") {
                prefixes.append((String(id.dropLast()), reason))
            } else {
                exact[id] = reason
            }
        }
    }

    /// Why the case may fail; nil when it may not.
    package subscript(id: String) -> String? {
        exact[id] ?? prefixes.first { id.hasPrefix($0.prefix) }?.reason
    }
}
