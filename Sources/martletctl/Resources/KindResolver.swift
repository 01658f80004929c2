import ResourceStore

/// Finds the resource that a kind or a user's word means: in Kubernetes' own table, among the custom resource
/// definitions of the manifests and of the store, or by the rules of names.
struct KindResolver: Sendable {
    /// A custom resource, from its definition.
    struct Custom: Sendable {
        let kind: String
        let names: Set<String>
        let resource: Resource
    }

    private var custom: [Custom] = []
    private let override: Resource?

    /// `override`: what `--resource` says, for kinds that are not known.
    init(override: String?) throws(CommandError) {
        guard let override else {
            self.override = nil
            return
        }
        guard let resource = Self.parse(override) else {
            throw .badArguments("--resource takes PLURAL[.GROUP][:cluster], got \"\(override)\"")
        }
        self.override = resource
    }

    /// Learns the resources that definitions in manifests or in the store define.
    mutating func learn(from objects: [Unstructured]) {
        for object in objects where object.kind == "CustomResourceDefinition" {
            guard let spec = object["spec"], let group = spec["group"]?.string, let names = spec["names"],
                let kind = names["kind"]?.string, let plural = names["plural"]?.string
            else { continue }
            let words = [plural, names["singular"]?.string, kind.lowercased(), "\(plural).\(group)"].compactMap { $0 }
            custom.append(
                Custom(
                    kind: kind, names: Set(words + (names["shortNames"]?.array ?? []).compactMap(\.string)),
                    resource: Resource(
                        group: group, name: plural, isNamespaced: spec["scope"]?.string != "Cluster")))
        }
    }

    /// Learns the definitions in the store. Those that are stored as protobuf cannot be read here and are passed over.
    mutating func learn(from store: ObjectStore) async throws(ObjectStoreError) {
        let resource = Resource(apiVersion: "apiextensions.k8s.io/v1", kind: "CustomResourceDefinition")
        let definitions = try await store.objects(resource, codec: OpaqueCodec()).list()
        learn(
            from: definitions.items.compactMap { item in
                (try? JSONValue(parsing: item.bytes))?.object.map { Unstructured(fields: $0) }
            })
    }

    /// Whether the kind of an object is known without asking the store.
    func knows(_ object: Unstructured) -> Bool {
        let group = Self.group(of: object)
        return KubernetesKinds.kind(group: group, kind: object.kind) != nil
            || custom.contains { $0.kind == object.kind && $0.resource.group == group }
    }

    /// The resource of an object.
    func resource(of object: Unstructured) -> Resource {
        let group = Self.group(of: object)
        if KubernetesKinds.kind(group: group, kind: object.kind) == nil {
            if let known = custom.first(where: { $0.kind == object.kind && $0.resource.group == group }) {
                return known.resource
            }
            if let override { return override }
        }
        return Resource(apiVersion: object.apiVersion, kind: object.kind)
    }

    /// The resource that a user names: plural, singular, short or `PLURAL.GROUP`.
    func resource(named word: String) throws(CommandError) -> Resource {
        if let override { return override }
        if let known = KubernetesKinds.kind(named: word) { return known.resource }
        if let known = custom.first(where: { $0.names.contains(word.lowercased()) || $0.kind == word }) {
            return known.resource
        }
        if word.contains("."), let resource = Self.parse(word) { return resource }
        throw .failure("the store has no kind \"\(word)\": name it as PLURAL.GROUP, or use --resource")
    }

    private static func group(of object: Unstructured) -> String { Resource.group(ofAPIVersion: object.apiVersion) }

    private static func parse(_ text: String) -> Resource? {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count <= 2, parts.count == 1 || ["cluster", "namespaced"].contains(parts[1]) else { return nil }
        let name = parts[0].prefix { $0 != "." }
        let group = parts[0].dropFirst(name.count + 1)
        guard !name.isEmpty, parts[0].allSatisfy({ $0.isASCII && ($0.isLowercase || $0.isNumber || ".-".contains($0)) })
        else { return nil }
        return Resource(
            group: String(group), name: String(name), isNamespaced: parts.count == 1 || parts[1] == "namespaced")
    }
}
