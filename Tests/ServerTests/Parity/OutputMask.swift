import Client
import Foundation
import TestSupport
import Wire

/// Replaces what must differ between two servers: identities, ports, sizes, terms, times and versions.
struct OutputMask {
    /// Text to replace, in order: longer needles first.
    var literals: [(String, String)]

    init(server: TestServer, folder: TemporaryFolder) async throws {
        let client = try server.client()
        let status = try await client.status()
        await client.close()
        literals = [
            (folder.root, "FOLDER"), ("127.0.0.1:\(server.clientPort)", "CLIENT"),
            ("127.0.0.1:\(server.peerPort)", "PEER"),
            (String(status.header.memberID), "MEMBER"), (String(status.header.memberID, radix: 16), "MEMBER"),
            (String(status.header.clusterID), "CLUSTER"), (String(status.header.clusterID, radix: 16), "CLUSTER"),
            // Signed readings of the same numbers, which some outputs use.
            (String(Int64(bitPattern: status.header.memberID)), "MEMBER"),
            (String(Int64(bitPattern: status.header.clusterID)), "CLUSTER"),
        ]
    }

    /// Patterns and what they become. Reasons:
    /// - etcd writes an empty entry and its version through the log, so its term, index and applied index are ahead;
    /// - sizes are those of another store;
    /// - the version is the API level that is reported on purpose (design, section 6);
    /// - times and generated identities differ from run to run.
    private static let patterns: [(String, String)] = [
        (#""raft_term":\d+"#, #""raft_term":T"#), (#""raftTerm":\d+"#, #""raftTerm":T"#),
        (#""RaftTerm" : \d+"#, #""RaftTerm" : T"#), (#""raftIndex":\d+"#, #""raftIndex":I"#),
        (#""raftAppliedIndex":\d+"#, #""raftAppliedIndex":I"#), (#""RaftIndex" : \d+"#, #""RaftIndex" : I"#),
        (#""RaftAppliedIndex" : \d+"#, #""RaftAppliedIndex" : I"#), (#""dbSize":\d+"#, #""dbSize":S"#),
        (#""dbSizeInUse":\d+"#, #""dbSizeInUse":S"#), (#""DBSize" : \d+"#, #""DBSize" : S"#),
        (#""version":"3\.\d+\.\d+""#, #""version":"V""#), (#""Version" : "3\.\d+\.\d+""#, #""Version" : "V""#),
        (#"\b3\.(5\.1|7\.1)\b"#, "V"), (#"took = [0-9.µa-z]+"#, "took = TIME"), (#""took":"[^"]*""#, #""took":"TIME""#),
        (#""ts":"[^"]*""#, #""ts":"TIME""#), (#""took":"[^"]*""#, #""took":"TIME""#),
        (#"\d{4}-\d\d-\d\dT[0-9:.Z+-]+"#, "TIME"), (#"endpoint://client-[0-9a-f-]+"#, "endpoint://client-ID"),
        (#"client-[0-9a-f-]{36}"#, "client-ID"), (#"lease [0-9a-f]{16} granted"#, "lease LEASE granted"),
        (#""ID":\d{6,}"#, #""ID":LEASE"#), (#""size":"[^"]*""#, #""size":"S""#),
        (#"\{"level":"info"[^\n]*\n"#, ""), (#""ID" : \d{6,}"#, #""ID" : LEASE"#),
        // Martlet's live bytes are 0 in an empty store, where etcd counts pages; a zero is left out.
        (#","dbSizeInUse":S"#, ""), (#"\d+(\.\d+)? [kMG]?B\b"#, "SIZE"),
        // Leader, learner, then term, index and applied index; widths of columns follow the identities'.
        (#"(true|false), (\d+, ){3}"#, "NUMBERS "), (#"(true|false) \|( +\d+ \|){3}"#, "NUMBERS |"),
        (#" {2,}"#, " "), (#"-{3,}"#, "--"), (#"0x[0-9a-f]+\??"#, "ADDRESS"),
    ]

    private static let regexes = patterns.compactMap { pattern, replacement in
        let regex = try? NSRegularExpression(pattern: pattern)
        return regex.map { ($0, NSRegularExpression.escapedTemplate(for: replacement)) }
    }

    func apply(to text: String) -> String {
        var text = text
        for (needle, replacement) in literals where !needle.isEmpty {
            text = text.replacingOccurrences(of: needle, with: replacement)
        }
        precondition(Self.regexes.count == Self.patterns.count, "a pattern is malformed")
        for (regex, replacement) in Self.regexes {
            text = regex.stringByReplacingMatches(
                in: text, range: NSRange(text.startIndex..., in: text), withTemplate: replacement)
        }
        return text
    }
}
