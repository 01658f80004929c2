import ArgumentParser
import Client
import Foundation
import ResourceStore
import Transport
import Wire

/// The flags that `du` and `top` share.
struct UsageOptions: ParsableArguments {
    @Flag(help: "Read every value for its size, instead of some of each resource.")
    var exact = false

    @Option(help: "How long writes are counted; 0 for not at all.")
    var interval = GoDuration.seconds(1)

    @Option(help: "Order by: bytes, keys, writes or name.")
    var sort = UsageOrder.bytes
}

enum UsageOrder: String, ExpressibleByArgument, CaseIterable {
    case bytes
    case keys
    case writes
    case name
}

/// What each resource takes of the store, once.
struct DuCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "du", abstract: "Live keys, bytes, revisions and write rate by resource",
        discussion: "REVISIONS are the writes of the live keys since each was created. BYTES with ~ are estimates.")

    @OptionGroup var usage: UsageOptions
    @OptionGroup var options: ResourceOptions
    @OptionGroup var global: GlobalOptions

    func run() async throws {
        try await global.store(options) { store, client in
            let table = try await UsageTable.read(client, root: store.root, usage: usage)
            Output.write(text: table.render(by: usage.sort))
        }
    }
}

/// What each resource takes of the store, again and again.
struct ResourceTopCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "top", abstract: "As du, again and again until interrupted")

    @Flag(help: "By resource; the only view there is.")
    var keys = false

    @Option(help: "How often; 0 for ever.")
    var iterations = 0

    @OptionGroup var usage: UsageOptions
    @OptionGroup var options: ResourceOptions
    @OptionGroup var global: GlobalOptions

    func run() async throws {
        guard keys else { throw CommandError.badArguments("top needs --keys") }
        try await UsageTable.follow(global, options, usage, iterations: iterations)
    }
}

/// Counts by resource prefix. Keys are read without their values; sizes are those of some values of each resource,
/// unless all are asked for; writes come from a watch.
struct UsageTable {
    struct Row {
        var keys = 0
        /// Writes of the live keys since each was created.
        var versions: Int64 = 0
        var keyBytes = 0
        var sampled = 0
        var sampledBytes = 0
        /// The first keys, whose values are measured.
        var samples: [Data] = []
        /// Writes and deletes seen while they were counted.
        var writes = 0

        /// Bytes of keys and values; the values' by the average of those that were read.
        var bytes: Int { keyBytes + (sampled > 0 ? sampledBytes * keys / sampled : 0) }
        var isEstimate: Bool { sampled < keys }

        fileprivate mutating func count(_ record: Mvccpb_KeyValue, hasValue: Bool) {
            keys += 1
            versions += record.version
            keyBytes += record.key.count
            if hasValue {
                sampled += 1
                sampledBytes += record.value.count
            } else if samples.count < UsageTable.samplesMax {
                samples.append(record.key)
            }
        }
    }

    /// Keys in one answer.
    private static let pageLimit: Int64 = 5000
    /// Values read of each resource, where not all are.
    private static let samplesMax = 64

    private var rows: [String: Row] = [:]
    private var revision: Int64 = 0
    private var seconds = 0.0

    /// Prints a table again and again, each over one interval; `iterations` 0 is for ever.
    static func follow(
        _ global: GlobalOptions, _ options: ResourceOptions, _ usage: UsageOptions, iterations: Int
    ) async throws {
        guard usage.interval.nanoseconds > 0 else { throw CommandError.badArguments("top needs an --interval above 0") }
        try await global.store(options) { store, client in
            var round = 0
            while iterations == 0 || round < iterations {
                let table = try await read(client, root: store.root, usage: usage)
                Output.write(text: (round > 0 ? "\n" : "") + table.render(by: usage.sort))
                round += 1
            }
        }
    }

    static func read(_ client: EtcdClient, root: String, usage: UsageOptions) async throws -> UsageTable {
        var table = UsageTable()
        try await table.readKeys(client, root, withValues: usage.exact)
        if !usage.exact { try await table.readSamples(client) }
        table.seconds = Double(usage.interval.nanoseconds) / 1e9
        if table.seconds > 0 {
            try await table.countWrites(client, root, for: .nanoseconds(usage.interval.nanoseconds))
        }
        return table
    }

    /// What keys that belong to no resource are counted under.
    static let noPrefix = "(no prefix)"

    /// The resource that a key belongs to, as a prefix that ends in a slash. Keys that have none are one resource: a
    /// store may have millions of them.
    static func prefix(of key: String, root: String) -> String {
        guard key.hasPrefix(root) else {
            let parts = key.split(separator: "/", maxSplits: 1)
            return parts.count == 2 ? (key.hasPrefix("/") ? "/" : "") + parts[0] + "/" : noPrefix
        }
        let parts = key.dropFirst(root.count).split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count > 1 else { return noPrefix }
        // Groups, and the two built-in resources that lie one level deeper.
        let isDeep =
            parts.count > 2 && (parts[0].contains(".") || KubernetesKinds.kind(path: "\(parts[0])/\(parts[1])") != nil)
        return root + parts.prefix(isDeep ? 2 : 1).joined(separator: "/") + "/"
    }

    private mutating func readKeys(_ client: EtcdClient, _ root: String, withValues: Bool) async throws {
        var request = Etcdserverpb_RangeRequest()
        // From the first key on to the last.
        request.key = Data([0])
        request.rangeEnd = Data([0])
        request.limit = Self.pageLimit
        request.keysOnly = !withValues
        while true {
            let page = try await client.range(request)
            if request.revision == 0 {
                revision = page.header.revision
                request.revision = revision
            }
            for record in page.kvs {
                let key = String(decoding: record.key, as: UTF8.self)
                rows[Self.prefix(of: key, root: root), default: Row()].count(record, hasValue: withValues)
            }
            guard page.more, let last = page.kvs.last else { return }
            request.key = last.key + [0]
        }
    }

    /// Measures the first values of each resource, as many as are asked for at once in one range: between the first and
    /// the last of them there may be keys of another resource.
    private mutating func readSamples(_ client: EtcdClient) async throws {
        for (prefix, row) in rows.sorted(by: { $0.key < $1.key }) {
            guard let first = row.samples.first, let last = row.samples.last else { continue }
            let wanted = Set(row.samples)
            var request = Etcdserverpb_RangeRequest()
            request.key = first
            request.rangeEnd = last + [0]
            request.limit = Int64(Self.samplesMax)
            request.revision = revision
            let values = try await client.range(request).kvs.filter { wanted.contains($0.key) }
            rows[prefix]?.sampled = values.count
            rows[prefix]?.sampledBytes = values.reduce(0) { $0 + $1.value.count }
        }
    }

    private mutating func countWrites(_ client: EtcdClient, _ root: String, for span: Duration) async throws {
        var request = Etcdserverpb_WatchCreateRequest()
        request.key = Data([0])
        request.rangeEnd = Data([0])
        let stream = try await client.watch(request)
        let end = Task {
            try? await Task.sleep(for: span)
            stream.cancel()
        }
        defer { end.cancel() }
        do {
            for try await answer in stream {
                for event in answer.events {
                    let key = String(decoding: event.kv.key, as: UTF8.self)
                    rows[Self.prefix(of: key, root: root), default: Row()].writes += 1
                }
            }
        } catch let error as ClientError where error.code == .cancelled {
            // Cancelled, by the task above: the time is over.
        }
    }

    func render(by order: UsageOrder) -> String {
        var table = ObjectTable([
            "PREFIX", "KEYS", "BYTES", "WRITES", seconds > 0 ? "WRITES/S" : "WRITES/S (not counted)",
        ])
        let sorted = rows.sorted { left, right in
            switch order {
            case .name: return left.key < right.key
            case .bytes where left.value.bytes != right.value.bytes: return left.value.bytes > right.value.bytes
            case .keys where left.value.keys != right.value.keys: return left.value.keys > right.value.keys
            case .writes where left.value.writes != right.value.writes: return left.value.writes > right.value.writes
            default: return left.key < right.key
            }
        }
        var total = Row()
        var isEstimate = false
        var bytes = 0
        for (prefix, row) in sorted {
            table.append(cells(prefix, row, bytes: row.bytes, isEstimate: row.isEstimate))
            total.keys += row.keys
            total.versions += row.versions
            total.writes += row.writes
            bytes += row.bytes
            isEstimate = isEstimate || row.isEstimate
        }
        table.append(cells("TOTAL at revision \(revision)", total, bytes: bytes, isEstimate: isEstimate))
        return table.render()
    }

    private func cells(_ prefix: String, _ row: Row, bytes: Int, isEstimate: Bool) -> [String] {
        let rate = seconds > 0 ? String(format: "%.1f", Double(row.writes) / seconds) : "-"
        return [prefix, "\(row.keys)", (isEstimate ? "~" : "") + "\(bytes)", "\(row.versions)", rate]
    }
}
