import Foundation

/// Where a paged list goes on: the version it is pinned to and the key that the next page begins with.
///
/// Written as API servers write theirs: JSON in URL-safe base64.
struct ContinueToken: Sendable, Hashable {
    /// Nil in a token that goes on at whatever version is newest.
    var revision: Int64?
    /// The first key of the next page, relative to the list's prefix.
    var start: String

    private static let version = "meta.k8s.io/v1"

    init(revision: Int64?, start: String) {
        self.revision = revision
        self.start = start
    }

    init(_ text: String) throws(ObjectStoreError) {
        let bad = ObjectStoreError(.invalid, "the continue token is not valid")
        var base64 = text.replacing("-", with: "+").replacing("_", with: "/")
        base64 += String(repeating: "=", count: (4 - base64.count % 4) % 4)
        guard let data = Data(base64Encoded: base64), let value = try? JSONValue(parsing: data),
            value["v"]?.string == Self.version, let revision = value["rv"]?.integer,
            let start = value["start"]?.string, !start.isEmpty
        else { throw bad }
        // A key that leaves the prefix would let a token read what its list may not.
        if start.split(separator: "/", omittingEmptySubsequences: false).contains(where: { $0 == ".." }) { throw bad }
        guard revision > 0 || revision == -1 else { throw bad }
        self.revision = revision > 0 ? revision : nil
        self.start = start
    }

    var text: String {
        let value: JSONValue = [
            "v": .string(Self.version), "rv": .integer(revision ?? -1), "start": .string(start),
        ]
        return Data(value.bytes).base64EncodedString()
            .replacing("+", with: "-").replacing("/", with: "_").replacing("=", with: "")
    }
}
