/// A type of your own whose values are stored as objects.
///
/// ```swift
/// struct Widget: ResourceObject {
///     static let resource = Resource(group: "example.com", name: "widgets")
///
///     var apiVersion = "example.com/v1"
///     var kind = "Widget"
///     var metadata: ObjectMetadata
///     var spec: Spec
///
///     struct Spec: Codable, Sendable { var size: Int }
/// }
/// ```
///
/// Fields that the type does not have are lost when a value is stored again; ``Unstructured`` keeps them.
public protocol ResourceObject: Codable, Sendable {
    /// Where objects of this type lie.
    static var resource: Resource { get }

    var apiVersion: String { get }
    var kind: String { get }
    var metadata: ObjectMetadata { get set }
}

/// An object of any kind, as the tree of its fields: nothing is lost that the program does not know.
public struct Unstructured: Sendable, Hashable {
    /// All fields; always an object.
    public var fields: JSONValue

    /// An object with these fields.
    public init(fields: [String: JSONValue]) { self.fields = .object(fields) }

    /// An object of a kind, with nothing but its name.
    public init(apiVersion: String, kind: String, name: String, namespace: String? = nil) {
        fields = ["apiVersion": .string(apiVersion), "kind": .string(kind), "metadata": ["name": .string(name)]]
        self.namespace = namespace
    }

    /// A field of the object itself: `object["spec"]?["replicas"]`.
    public subscript(key: String) -> JSONValue? {
        get { fields[key] }
        set { fields[key] = newValue }
    }

    public var apiVersion: String {
        get { fields["apiVersion"]?.string ?? "" }
        set { fields["apiVersion"] = .string(newValue) }
    }

    public var kind: String {
        get { fields["kind"]?.string ?? "" }
        set { fields["kind"] = .string(newValue) }
    }

    public var name: String {
        get { metadata("name") ?? "" }
        set { setMetadata("name", .string(newValue)) }
    }

    public var namespace: String? {
        get { metadata("namespace") }
        set { setMetadata("namespace", newValue.map { .string($0) }) }
    }

    public var uid: String? {
        get { metadata("uid") }
        set { setMetadata("uid", newValue.map { .string($0) }) }
    }

    public var resourceVersion: ResourceVersion? {
        get { metadata("resourceVersion").flatMap { ResourceVersion($0) } }
        set { setMetadata("resourceVersion", newValue.map { .string($0.description) }) }
    }

    public var generation: Int64? {
        get { fields["metadata"]?["generation"]?.integer }
        set { setMetadata("generation", newValue.map { .integer($0) }) }
    }

    public var creationTimestamp: String? {
        get { metadata("creationTimestamp") }
        set { setMetadata("creationTimestamp", newValue.map { .string($0) }) }
    }

    public var labels: [String: String] {
        get { texts("labels") }
        set { setTexts("labels", newValue) }
    }

    public var annotations: [String: String] {
        get { texts("annotations") }
        set { setTexts("annotations", newValue) }
    }

    /// Fills in what a new object has from its store: uid, creation time and generation, where they are missing.
    package mutating func prepareForCreation() {
        uid = uid ?? ObjectIdentity.newUID()
        creationTimestamp = creationTimestamp ?? ObjectIdentity.now()
        generation = generation ?? 1
    }

    /// Keeps what an update may not change, and counts the generation on when anything but metadata and status is new.
    package mutating func prepareForUpdate(from stored: Unstructured) {
        uid = stored.uid ?? uid
        creationTimestamp = stored.creationTimestamp ?? creationTimestamp
        guard let before = stored.generation else { return }
        generation = Self.wanted(self) == Self.wanted(stored) ? before : before + 1
    }

    private static func wanted(_ object: Unstructured) -> [String: JSONValue]? {
        object.fields.object?.filter { $0.key != "metadata" && $0.key != "status" }
    }

    private func metadata(_ key: String) -> String? { fields["metadata"]?[key]?.string }

    private mutating func setMetadata(_ key: String, _ value: JSONValue?) {
        var metadata = fields["metadata"] ?? .object([:])
        metadata[key] = value
        fields["metadata"] = metadata
    }

    private func texts(_ key: String) -> [String: String] {
        fields["metadata"]?[key]?.object?.compactMapValues(\.string) ?? [:]
    }

    private mutating func setTexts(_ key: String, _ texts: [String: String]) {
        setMetadata(key, texts.isEmpty ? nil : .object(texts.mapValues { .string($0) }))
    }
}

/// An object as the bytes that are stored, untouched: for objects that a program carries but does not understand, such
/// as those that an API server writes as protobuf (`k8s` and a zero byte in front).
public struct OpaqueObject: Sendable, Hashable {
    /// Where the object lies. When it was read, with its version, and its uid where the bytes say it.
    public var identity: ObjectIdentity
    /// What is stored.
    public var bytes: [UInt8]

    public init(name: String, namespace: String? = nil, bytes: [UInt8]) {
        identity = ObjectIdentity(namespace: namespace, name: name)
        self.bytes = bytes
    }

    init(identity: ObjectIdentity, bytes: [UInt8]) {
        self.identity = identity
        self.bytes = bytes
    }

    /// Kind, uid, labels and so on, where the bytes are JSON or Kubernetes' protobuf; nil where they are neither.
    public var header: ObjectHeader? { ObjectHeader(bytes) }
}
