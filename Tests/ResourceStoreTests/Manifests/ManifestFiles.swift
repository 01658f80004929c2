import Foundation

@testable import ResourceStore

/// The files of the project's `manifests` folder.
enum ManifestFiles {
    static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .appending(path: "../../../manifests").standardizedFileURL.path

    /// Every file, by its path below the folder.
    static func all() throws -> [String] {
        let names = FileManager.default.enumerator(atPath: root)?.compactMap { $0 as? String } ?? []
        let files = names.filter { name in
            var isFolder: ObjCBool = false
            let exists = FileManager.default.fileExists(atPath: root + "/" + name, isDirectory: &isFolder)
            return exists && !isFolder.boolValue
        }
        if files.count < 15 { throw TestFailure("the manifests are not at \(root)") }
        return files.sorted()
    }

    static func text(_ name: String) throws -> String {
        try String(contentsOfFile: root + "/" + name, encoding: .utf8)
    }

    static func documents(_ name: String) throws -> [JSONValue] {
        if name.hasSuffix(".json") { return [try JSONValue(parsing: text(name).utf8)] }
        return try YAMLDocument.documents(in: text(name)).map(\.value)
    }

    /// All objects of the deployments.
    static func deployed() throws -> [JSONValue] {
        try all().filter { $0.hasPrefix("deploy/k") && $0.hasSuffix(".yaml") }.flatMap { try documents($0) }
    }

    /// Every container that is described anywhere in a value.
    static func containers(in value: JSONValue) -> [JSONValue] {
        switch value {
        case .array(let elements): return elements.flatMap { containers(in: $0) }
        case .object(let members):
            let own = members["containers"]?.array ?? []
            return own + members.filter { $0.key != "containers" }.values.flatMap { containers(in: $0) }
        default: return []
        }
    }

    /// Every expression of Prometheus in the rules and the dashboard.
    static func expressions() throws -> [String] {
        try ["deploy/monitoring/rules.yaml", "deploy/monitoring/dashboard.json"].flatMap { file in
            try documents(file).flatMap { expressions(in: $0) }
        }
    }

    private static func expressions(in value: JSONValue) -> [String] {
        switch value {
        case .array(let elements): return elements.flatMap { expressions(in: $0) }
        case .object(let members):
            return members.flatMap { key, value in
                if ["expr", "query"].contains(key), let text = value.string { return [text] }
                return expressions(in: value)
            }
        default: return []
        }
    }

    /// The containers that run Martlet.
    static func servers() throws -> [JSONValue] {
        try deployed().flatMap { containers(in: $0) }.filter { $0["command"]?.array?.first?.string == "martlet" }
    }

    /// The names of all flags of the server, from its own help.
    static func knownFlags() throws -> Set<String> {
        let help = try Command.run([try Binaries.program("martlet"), "--help"])
        let flags = help.output.split(separator: "\n").filter { $0.hasPrefix("  --") }.compactMap {
            $0.dropFirst(4).split(separator: " ").first.map(String.init)
        }
        if flags.count < 50 { throw TestFailure("no help: \(help.errors)") }
        return Set(flags)
    }
}
