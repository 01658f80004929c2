import Foundation
import ResourceStore

/// One object of a manifest, with the place it was read from.
struct ManifestObject: Sendable {
    let file: String
    let document: YAMLDocument
    /// The path of the object in its document: empty, or `items[2]` in a list.
    let path: String
    var object: Unstructured

    /// One line that says what is wrong with a field, and where it stands.
    func problem(_ field: String, _ message: String) -> String {
        let full = path.isEmpty ? field : field.isEmpty ? path : "\(path).\(field)"
        return "\(file):\(document.position(of: full).line): \(full.isEmpty ? "" : full + ": ")\(message)"
    }
}

/// Reads manifests: files, folders and standard input, of several documents each.
enum Manifests {
    /// Names that a folder's files have.
    private static let extensions: Set<String> = ["yaml", "yml", "json"]

    /// All objects of the files, checked. Everything that is wrong anywhere is told together, a line each.
    static func read(
        _ paths: [String], standardInput: () -> [UInt8]
    ) throws(CommandError) -> [ManifestObject] {
        guard !paths.isEmpty else { throw .badArguments("name the manifests with -f FILE, -f FOLDER or -f -") }
        var problems: [String] = []
        var objects: [ManifestObject] = []
        for path in paths {
            for (name, bytes) in try files(path, standardInput) {
                let (found, wrong) = parse(bytes, file: name)
                objects += found
                problems += wrong
            }
        }
        guard problems.isEmpty else { throw .invalidInput(problems.joined(separator: "\n")) }
        guard !objects.isEmpty else { throw .invalidInput("there is no object in \(paths.joined(separator: ", "))") }
        return objects
    }

    /// The objects of one file, and a line for each thing that is wrong with it.
    static func parse(_ bytes: [UInt8], file: String) -> (objects: [ManifestObject], problems: [String]) {
        guard let text = String(validating: bytes, as: UTF8.self) else {
            return ([], ["\(file):1: the file is not UTF-8"])
        }
        let documents: [YAMLDocument]
        do throws(YAMLDocument.Failure) { documents = try YAMLDocument.documents(in: text) } catch {
            let field = error.field.isEmpty ? "" : error.field + ": "
            return ([], ["\(file):\(error.position.line): \(field)\(error.message)"])
        }
        var objects: [ManifestObject] = []
        var problems: [String] = []
        for document in documents {
            guard let fields = document.value.object else {
                problems.append("\(file):\(document.position(of: "").line): a document must be an object")
                continue
            }
            var found = [ManifestObject(file: file, document: document, path: "", object: .init(fields: fields))]
            if fields["kind"]?.string?.hasSuffix("List") == true, let items = fields["items"]?.array {
                found = items.enumerated().map { index, item in
                    ManifestObject(
                        file: file, document: document, path: "items[\(index)]",
                        object: .init(fields: item.object ?? [:]))
                }
            }
            for object in found { problems += ObjectRules.problems(of: object) }
            objects += found
        }
        return (objects, problems)
    }

    private static func files(
        _ path: String, _ standardInput: () -> [UInt8]
    ) throws(CommandError) -> [(name: String, bytes: [UInt8])] {
        if path == "-" { return [("standard input", standardInput())] }
        var isFolder: ObjCBool = false
        guard FileManager.default.fileExists(atPath: path, isDirectory: &isFolder) else {
            throw CommandError(.io, "\(path): no such file or folder")
        }
        guard isFolder.boolValue else { return [(path, try contents(path))] }
        var result: [(name: String, bytes: [UInt8])] = []
        let names = FileManager.default.enumerator(atPath: path)?.compactMap { $0 as? String } ?? []
        for name in names.sorted() where extensions.contains(URL(fileURLWithPath: name).pathExtension) {
            let file = path.hasSuffix("/") ? path + name : "\(path)/\(name)"
            result.append((file, try contents(file)))
        }
        if result.isEmpty { throw CommandError(.io, "\(path): no .yaml, .yml or .json file in the folder") }
        return result
    }

    private static func contents(_ path: String) throws(CommandError) -> [UInt8] {
        do { return Array(try Data(contentsOf: URL(fileURLWithPath: path))) } catch {
            throw CommandError(.io, "\(path): cannot be read")
        }
    }
}

/// What an object must look like to be stored. Source: Kubernetes' rules for metadata.
enum ObjectRules {
    private static let nameBytesMax = 253
    private static let labelBytesMax = 63

    static func problems(of manifest: ManifestObject) -> [String] {
        let object = manifest.object
        var problems: [String] = []
        func wrong(_ field: String, _ message: String) { problems.append(manifest.problem(field, message)) }

        for field in ["apiVersion", "kind"] {
            if (object[field]?.string ?? "").isEmpty { wrong(field, "must be given, as a text") }
        }
        if object.apiVersion.split(separator: "/", omittingEmptySubsequences: false).count > 2 {
            wrong("apiVersion", "is VERSION or GROUP/VERSION")
        }
        guard let metadata = object["metadata"]?.object else {
            wrong("metadata", "must be given, with the object's name")
            return problems
        }
        if let reason = reasonAgainst(name: metadata["name"]) { wrong("metadata.name", reason) }
        if let namespace = metadata["namespace"], let reason = reasonAgainst(name: namespace) {
            wrong("metadata.namespace", reason)
        }
        for (field, isLabel) in [("labels", true), ("annotations", false)] {
            guard let value = metadata[field], value != .null else { continue }
            guard let entries = value.object else {
                wrong("metadata.\(field)", "must be a mapping of texts")
                continue
            }
            for (key, value) in entries.sorted(by: { $0.key < $1.key }) where value != .null {
                guard let text = value.string else {
                    wrong("metadata.\(field).\(key)", "must be a text: put it in quotes")
                    continue
                }
                if isLabel, !isLabelValue(text) {
                    wrong("metadata.\(field).\(key)", "\"\(text)\" is no label value (letters, digits, - _ . up to 63)")
                }
            }
        }
        if let version = metadata["resourceVersion"], ResourceVersion(version.string ?? "") == nil {
            wrong("metadata.resourceVersion", "must be a whole number in quotes")
        }
        return problems
    }

    private static func reasonAgainst(name: JSONValue?) -> String? {
        guard let name, name != .null else { return "must be given" }
        guard let text = name.string else { return "must be a text: put it in quotes" }
        if text.isEmpty { return "must not be empty" }
        if text.utf8.count > nameBytesMax { return "is longer than \(nameBytesMax) bytes" }
        // RBAC and some others allow colons and capitals, as the API server's path rule does.
        let isGood = text.utf8.allSatisfy {
            $0 > 0x20 && $0 < 0x7f && $0 != UInt8(ascii: "/") && $0 != UInt8(ascii: "%")
        }
        return isGood && text != "." && text != ".." ? nil : "\"\(text)\" cannot be part of a key"
    }

    private static func isLabelValue(_ text: String) -> Bool {
        if text.isEmpty { return true }
        let isInner = text.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || "-_.".contains($0)) }
        guard let first = text.first, let last = text.last else { return true }
        return text.utf8.count <= labelBytesMax && isInner && !"-_.".contains(first) && !"-_.".contains(last)
    }
}
