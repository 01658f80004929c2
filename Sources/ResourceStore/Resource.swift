/// A kind of object as the store sees it: where its objects lie and whether they belong to namespaces.
public struct Resource: Sendable, Hashable {
    /// The API group, empty for the core group.
    public let group: String
    /// The plural name, in lower case.
    public let name: String
    /// Whether objects lie in namespaces.
    public let isNamespaced: Bool
    /// Where the objects lie below the store's prefix, without slashes at its ends: `pods`, `services/specs`,
    /// `example.com/widgets`.
    public let path: String

    /// A resource by group and plural name, laid out as the API server does: built-in resources under their name (with
    /// the old exceptions: nodes under `minions`, ingresses under `ingress`, ...), all others under group and name.
    public init(group: String = "", name: String, isNamespaced: Bool = true) {
        if let known = KubernetesKinds.kind(group: group, plural: name) {
            self = known.resource
        } else {
            self.init(
                group: group, name: name, isNamespaced: isNamespaced, path: group.isEmpty ? name : "\(group)/\(name)")
        }
    }

    /// A resource whose objects lie at a path of your own.
    public init(group: String, name: String, isNamespaced: Bool, path: String) {
        self.group = group
        self.name = name
        self.isNamespaced = isNamespaced
        self.path = path
    }

    /// The resource of a kind: from the table of Kubernetes' own kinds, and else by the rules of English plurals,
    /// `example.com/v1` `Proxy` being `proxies.example.com`. `isNamespaced` counts for unknown kinds only.
    public init(apiVersion: String, kind: String, isNamespaced: Bool = true) {
        let group = Self.group(ofAPIVersion: apiVersion)
        if let known = KubernetesKinds.kind(group: group, kind: kind) {
            self = known.resource
        } else {
            self.init(group: group, name: Self.plural(of: kind.lowercased()), isNamespaced: isNamespaced)
        }
    }

    /// Name and group, as Kubernetes names resources in full: `deployments.apps`.
    public var fullName: String { group.isEmpty ? name : "\(name).\(group)" }

    /// The part of an API version before the slash; empty for the core group.
    package static func group(ofAPIVersion apiVersion: String) -> String {
        apiVersion.contains("/") ? String(apiVersion.prefix { $0 != "/" }) : ""
    }

    /// The plural of a word in lower case.
    package static func plural(of word: String) -> String {
        guard let last = word.last else { return word }
        if word.hasSuffix("endpoints") { return word }
        if "sx".contains(last) || word.hasSuffix("ch") || word.hasSuffix("sh") { return word + "es" }
        if last == "y", let before = word.dropLast().last, !"aeiou".contains(before) { return word.dropLast() + "ies" }
        return word + "s"
    }
}

/// Keys of objects, below one prefix.
struct KeyLayout: Sendable, Hashable {
    /// Ends in a slash.
    let root: String

    /// `prefix` as the API server's `--etcd-prefix`: with or without slashes at its ends.
    init(prefix: String) {
        let parts = prefix.split(separator: "/")
        root = parts.isEmpty ? "/" : "/" + parts.joined(separator: "/") + "/"
    }

    /// The prefix of all objects of a resource, or of those in one namespace.
    func prefix(_ resource: Resource, namespace: String?) throws(ObjectStoreError) -> String {
        guard let namespace else { return root + resource.path + "/" }
        guard resource.isNamespaced else { throw .invalid("\(resource.fullName) have no namespaces") }
        try Self.check(namespace, "namespace")
        return root + resource.path + "/" + namespace + "/"
    }

    /// The key of one object.
    func key(_ resource: Resource, namespace: String?, name: String) throws(ObjectStoreError) -> String {
        if resource.isNamespaced, namespace == nil {
            throw .invalid("\(resource.fullName) \"\(name)\": a namespace is needed")
        }
        try Self.check(name, "name")
        return try prefix(resource, namespace: namespace) + name
    }

    /// Namespace and name of the object at a key of the resource; nil for a key that has another shape.
    func split(_ key: String, _ resource: Resource) -> (namespace: String?, name: String)? {
        let start = root + resource.path + "/"
        guard key.hasPrefix(start) else { return nil }
        let parts = key.dropFirst(start.count).split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count == (resource.isNamespaced ? 2 : 1), let name = parts.last else { return nil }
        return (resource.isNamespaced ? String(parts[0]) : nil, String(name))
    }

    /// A part of a key must stay within its place. Source: Kubernetes' rule for path segments.
    private static func check(_ part: String, _ what: String) throws(ObjectStoreError) {
        if part.isEmpty { throw .invalid("the \(what) is empty") }
        if part == "." || part == ".." { throw .invalid("the \(what) may not be \"\(part)\"") }
        if part.contains("/") || part.contains("%") { throw .invalid("the \(what) \"\(part)\" contains / or %") }
    }
}
