import ArgumentParser
import Client
import Foundation
import ResourceStore
import Wire

/// Shows all that can be told of an object, and of the record that holds it.
struct DescribeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "describe", abstract: "Shows an object and the record that holds it")

    @Argument(help: "The kind and names, or KIND/NAME.")
    var words: [String] = []

    @OptionGroup var options: ResourceOptions
    @OptionGroup var global: GlobalOptions

    func run() async throws {
        let (kind, names) = try ObjectWords.parse(words, resource: options.resource)
        guard !names.isEmpty else {
            throw CommandError.badArguments("name the objects, as in: describe configmap NAME")
        }
        try await global.store(options) { store, client in
            let resource = try await options.resolve(kind, store)
            let namespace = resource.isNamespaced ? options.namespace ?? "default" : nil
            for (index, name) in names.enumerated() {
                let key = try store.key(resource, namespace: namespace, name: name)
                var request = Etcdserverpb_RangeRequest()
                request.key = Data(key.utf8)
                guard let record = try await client.range(request).kvs.first else {
                    throw CommandError.failure("\(key): there is no such object")
                }
                Output.write(text: (index > 0 ? "\n" : "") + Self.describe(record, key))
            }
        }
    }

    private static func describe(_ record: Mvccpb_KeyValue, _ key: String) -> String {
        let bytes = Array(record.value)
        let header = ObjectHeader(bytes)
        var lines: [(String, String)] = [
            ("Name", header?.name ?? "?"), ("Namespace", header?.namespace ?? "<none>"),
            ("Kind", header?.kind ?? "?"), ("API Version", header?.apiVersion ?? "?"), ("UID", header?.uid ?? "<none>"),
            ("Generation", header?.generation.map(String.init) ?? "<none>"),
            ("Age", header?.creationSeconds.map { ObjectRow.age(max(0, ObjectRow.nowSeconds() - $0)) } ?? "<unknown>"),
            ("Labels", pairs(header?.labels ?? [:])), ("Annotations", pairs(shortened(header?.annotations ?? [:]))),
            ("Key", key), ("Encoding", header?.encoding.rawValue ?? "unknown"), ("Size", "\(bytes.count) bytes"),
            ("Created at revision", "\(record.createRevision)"), ("Changed at revision", "\(record.modRevision)"),
            ("Writes", "\(record.version)"),
        ]
        if record.lease != 0 { lines.append(("Lease", String(record.lease, radix: 16))) }
        let width = lines.map(\.0.count).max() ?? 0
        var text = lines.map { name, value in
            let indented = value.split(separator: "\n", omittingEmptySubsequences: false)
                .joined(separator: "\n" + String(repeating: " ", count: width + 3))
            return name + ":" + String(repeating: " ", count: width - name.count + 2) + indented + "\n"
        }.joined()
        if header?.encoding == .json, let value = try? JSONValue(parsing: bytes), var members = value.object {
            for field in ["apiVersion", "kind", "metadata"] { members[field] = nil }
            if !members.isEmpty { text += "\n" + YAMLWriter.text(of: .object(members)) }
        }
        return text
    }

    private static func pairs(_ map: [String: String]) -> String {
        let lines = map.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }
        return lines.isEmpty ? "<none>" : lines.joined(separator: "\n")
    }

    /// Without what was applied last, and each on one line.
    private static func shortened(_ annotations: [String: String]) -> [String: String] {
        var result: [String: String] = [:]
        for (key, value) in annotations where key != ThreeWayMerge.annotation {
            let line = value.split(whereSeparator: \.isNewline).joined(separator: " ")
            result[key] = line.count > 100 ? line.prefix(97) + "..." : line
        }
        return result
    }
}
