import Foundation

/// Differences from the documented behaviour that are known and meant, as data.
///
/// File format (YAML): a map from a server's name to a list of `{case: ID, reason: TEXT, failure: TEXT}`. An identity may
/// end in `*`. With `failure` only a message that contains it is meant: whatever else goes wrong there is a failure.
package struct Deviations: Sendable {
    private struct Entry {
        let id: String
        let reason: String
        let failure: String?

        func covers(_ other: String) -> Bool {
            id.hasSuffix("*") ? other.hasPrefix(id.dropLast()) : other == id
        }
    }

    private var entries: [Entry] = []

    /// None.
    package init() {}

    /// Those of `server` in the file. Throws `SuiteError` when there is no such file, or no such server in it.
    package init(file: String, server: String) throws {
        guard let text = try? String(contentsOfFile: file, encoding: .utf8) else {
            throw SuiteError("\(file) cannot be read")
        }
        try self.init(yaml: text, file: file, server: server)
    }

    package init(yaml text: String, file: String, server: String) throws {
        let root = try Value(yaml: text, file: file)
        guard let list = root[server] else { throw SuiteError("\(file): nothing is said of \(server)") }
        entries = try (list.list ?? []).map { entry in
            guard let id = entry["case"]?.text, let reason = entry["reason"]?.text else {
                throw SuiteError("\(file): \(server): a deviation needs case and reason")
            }
            return Entry(id: id, reason: reason, failure: entry["failure"]?.text)
        }
    }

    /// Why the case may fail; nil when it may not.
    package subscript(id: String) -> String? { entries.first { $0.covers(id) }?.reason }

    /// Why the case may fail with this message; nil when it may not.
    package func reason(_ id: String, failure: String) -> String? {
        entries.first { $0.covers(id) && ($0.failure.map { failure.contains($0) } ?? true) }?.reason
    }
}
