/// A black-box suite for servers of the etcd v3 API: it knows the protocol and its documentation, and nothing of a
/// server's inside.
///
/// Owner threads: none. A case runs in one task at a time; what cases share (`Target`, `CaseContext`) is guarded by
/// locks of its own.
///
/// Invariants:
/// - A case writes only keys that begin with its own prefix, and what it leaves (keys, leases, streams) is removed when
///   it ends, however it ends. Cases that must touch more (compaction, alarms, a full store) run on a server that is
///   private to the suite.
/// - A case is wrong when it fails on a real etcd whose documentation it claims to check.
///
/// File format: `cases/<area>/*.yaml`, described in `conformance/README.md` and read by `CaseFile`.
package enum Suite {
    /// The areas, in the order in which they run and are reported.
    package static let areas = [
        "kv", "txn", "range", "revisions", "watch", "lease", "maintenance", "cluster", "errors", "limits", "transport",
        "http", "health", "tls", "concurrency", "kubernetes",
    ]

    /// All cases: those of the files under `folder`, and the named ones written in Swift, by area.
    package static func load(folder: String) throws -> [Case] {
        var cases = try CaseFile.load(folder: folder) + codeCases
        var seen: Set<String> = []
        for item in cases where !seen.insert(item.id).inserted {
            throw SuiteError("two cases are called \(item.id)")
        }
        for item in cases where !areas.contains(item.area) {
            throw SuiteError("\(item.id): there is no area \(item.area)")
        }
        let order = Dictionary(uniqueKeysWithValues: areas.enumerated().map { ($1, $0) })
        let indexed = cases.enumerated().sorted { left, right in
            (order[left.element.area] ?? 0, left.offset) < (order[right.element.area] ?? 0, right.offset)
        }
        cases = indexed.map(\.element)
        return cases
    }

    /// The cases that data cannot express.
    static var codeCases: [Case] {
        KVCases.all + RevisionCases.all + WatchCases.all + LeaseCases.all + MaintenanceCases.all + ClusterCases.all
            + LimitCases.all + TransportCases.all + HTTPCases.all + TLSCases.all + ConcurrencyCases.all
            + KubernetesCases.all + FaultCases.all
    }
}

/// What is wrong with the suite itself or how it was called; never a server's fault.
package struct SuiteError: Error, CustomStringConvertible {
    package let description: String

    package init(_ description: String) { self.description = description }
}
