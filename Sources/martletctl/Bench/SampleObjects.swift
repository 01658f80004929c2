import ArgumentParser
import Foundation
import ResourceStore

/// Keys and values for `KubeSource` out of manifests: what is stored looks like the objects of a cluster, each with a
/// name, a namespace and a uid of its own, and is filled up to the size that is drawn by an annotation.
struct SampleObjects: Sendable {
    /// One object, taken apart where copies of it differ: the parts in the order in which they are written.
    private struct Template: Sendable {
        /// Below the prefix of all objects.
        let path: String
        let isBuiltIn: Bool
        /// The namespace without its number; nil for objects that belong to none.
        let namespace: [UInt8]?
        let name: [UInt8]
        /// Up to the name's number; from there to the namespace's; from there to the uid; from there to the filling.
        var parts: [[UInt8]]
        let rest: [UInt8]
        /// Bytes of a value without its filling.
        let bytes: Int
    }

    /// The folder that is taken when none is named, if it is there.
    static let defaultFolder = "manifests/samples"
    private static let nameDigits = 8
    private static let namespaceDigits = 2
    private static let namespaces = 20
    private static let uidBytes = 36
    /// Even a value that is large enough without it: what differs from one update to the next.
    private static let fillingBytesMin = 16

    /// Where the objects are from.
    let folder: String
    let count: Int
    /// The objects of each prefix.
    private let templates: [[Template]]

    /// Objects of the manifests in a folder for these prefixes: each prefix has the objects whose kind lies there; those
    /// of other custom resources have the custom objects, and all others every object in turn.
    init(folder: String, prefixes: [String], root: String = "/registry/") throws(CommandError) {
        let objects = try Manifests.read([folder], standardInput: { [] })
        var resolver = try KindResolver(override: nil)
        resolver.learn(from: objects.map(\.object))
        let all = objects.map { Self.template($0.object, resolver.resource(of: $0.object)) }
        let custom = all.filter { !$0.isBuiltIn }
        self.folder = folder
        count = all.count
        templates = prefixes.map { prefix in
            let path = String(prefix.dropFirst(root.count).dropLast())
            let own = all.filter { $0.path == path }
            if !own.isEmpty { return own }
            return path.contains(".") && !custom.isEmpty ? custom : all
        }
    }

    /// What values are, for a report's head.
    static func describe(_ samples: SampleObjects?) -> String {
        samples.map { "\($0.count) objects of \($0.folder), varied" } ?? "synthetic"
    }

    // MARK: Objects

    /// The key of an object, below its prefix.
    func key(_ prefix: [UInt8], index: Int, number: Int) -> [UInt8] {
        let template = template(index, number)
        var key = prefix
        if let namespace = template.namespace {
            key += namespace + [UInt8(ascii: "-")]
            Self.append(number % Self.namespaces, digits: Self.namespaceDigits, to: &key)
            key.append(UInt8(ascii: "/"))
        }
        key += template.name + [UInt8(ascii: "-")]
        Self.append(number, digits: Self.nameDigits, to: &key)
        return key
    }

    /// The value of an object, of `size` bytes if it is not larger without a filling.
    func value(index: Int, number: Int, size: Int, filling: inout ValuePool) -> [UInt8] {
        let template = template(index, number)
        var value: [UInt8] = []
        value.reserveCapacity(max(size, template.bytes + Self.fillingBytesMin))
        for (part, bytes) in template.parts.enumerated() {
            value += bytes
            switch part {
            case 0: Self.append(number, digits: Self.nameDigits, to: &value)
            case template.parts.count - 1: value += filling.next(size: max(Self.fillingBytesMin, size - template.bytes))
            case template.parts.count - 2: Self.append(uid: UInt64(number) << 6 | UInt64(index), to: &value)
            default: Self.append(number % Self.namespaces, digits: Self.namespaceDigits, to: &value)
            }
        }
        value += template.rest
        return value
    }

    private func template(_ index: Int, _ number: Int) -> Template {
        let own = templates[index]
        // Numbers of one prefix have a pattern; their products' middle bits have none.
        return own[(number &* 0x9e37_79b9 >> 16 & 0xffff) % own.count]
    }

    /// The lowest decimal digits of a number.
    private static func append(_ number: Int, digits: Int, to bytes: inout [UInt8]) {
        let end = bytes.count + digits
        bytes.append(contentsOf: repeatElement(UInt8(ascii: "0"), count: digits))
        var rest = number
        for position in (end - digits..<end).reversed() where rest > 0 {
            bytes[position] += UInt8(rest % 10)
            rest /= 10
        }
    }

    /// A uid in the form of RFC 9562, version 4, that nothing else has.
    private static func append(uid number: UInt64, to bytes: inout [UInt8]) {
        let digits = Array("0123456789abcdef".utf8)
        let (high, low) = (number &* 0x9e37_79b9_7f4a_7c15, number)
        for position in 0..<uidBytes {
            switch position {
            case 8, 13, 18, 23: bytes.append(UInt8(ascii: "-"))
            case 14: bytes.append(UInt8(ascii: "4"))
            case 19: bytes.append(UInt8(ascii: "8"))
            case ..<19: bytes.append(digits[Int(high >> UInt64(3 * position) & 15)])
            default: bytes.append(digits[Int(low >> UInt64(4 * (35 - position)) & 15)])
            }
        }
    }

    // MARK: Taking apart

    private static func template(_ object: Unstructured, _ resource: Resource) -> Template {
        var metadata = object["metadata"]?.object ?? [:]
        var annotations = metadata["annotations"]?.object ?? [:]
        for field in ["name", "namespace", "uid", "annotations", "creationTimestamp", "generation", "resourceVersion"] {
            metadata[field] = nil
        }
        annotations["example.com/filling"] = nil
        var others = object.fields.object ?? [:]
        for field in ["apiVersion", "kind", "metadata"] { others[field] = nil }
        let namespace = resource.isNamespaced ? object.namespace ?? "default" : nil
        let type = "{\"kind\":\(text(object.kind)),\"apiVersion\":\(text(object.apiVersion)),\"metadata\":{\"name\":"
        var parts = [type + open(object.name) + "-"]
        if let namespace { parts.append("\",\"namespace\":" + open(namespace) + "-") }
        parts.append("\",\"uid\":\"")
        parts.append(
            "\",\"creationTimestamp\":\"2026-01-31T12:00:00Z\",\"generation\":1,\"annotations\":{"
                + members(annotations).map { $0 + "," }.joined() + "\"example.com/filling\":\"")
        let rest =
            "\"}" + members(metadata).map { "," + $0 }.joined() + "}"
            + members(others).map { "," + $0 }.joined() + "}"
        let fixed = (parts + [rest]).reduce(nameDigits + uidBytes) { $0 + $1.utf8.count }
        return Template(
            path: resource.path, isBuiltIn: KubernetesKinds.kind(path: resource.path) != nil,
            namespace: namespace.map { Array($0.utf8) }, name: Array(object.name.utf8),
            parts: parts.map { Array($0.utf8) }, rest: Array(rest.utf8),
            bytes: fixed + (namespace == nil ? 0 : namespaceDigits))
    }

    private static func text(_ text: String) -> String { String(decoding: JSONValue.string(text).bytes, as: UTF8.self) }

    /// A text in JSON that goes on: without its second quotation mark.
    private static func open(_ text: String) -> String { String(Self.text(text).dropLast()) }

    private static func members(_ object: [String: JSONValue]) -> [String] {
        object.sorted { $0.key < $1.key }.map { "\(text($0.key)):\(String(decoding: $0.value.bytes, as: UTF8.self))" }
    }
}

/// Where the objects of the Kubernetes mix come from.
struct SampleOptions: ParsableArguments {
    @Option(
        help: """
            A folder of manifests that the stored objects are made of; manifests/samples where that is found, else, or \
            with an empty name, values are synthetic.
            """)
    var samples: String?

    /// The objects; nil for synthetic values. A folder that is named must be good, one that is found need not.
    func load() throws(CommandError) -> SampleObjects? {
        let prefixes = KubeSource.prefixes.map { String(decoding: $0, as: UTF8.self) }
        if let samples { return samples.isEmpty ? nil : try SampleObjects(folder: samples, prefixes: prefixes) }
        let folder = SampleObjects.defaultFolder
        guard FileManager.default.fileExists(atPath: folder) else { return nil }
        do throws(CommandError) { return try SampleObjects(folder: folder, prefixes: prefixes) } catch {
            Output.error("\(folder) cannot be used, values are synthetic: \(error.message)")
            return nil
        }
    }
}
