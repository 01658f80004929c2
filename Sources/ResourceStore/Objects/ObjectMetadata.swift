import Foundation

/// What every object says of itself, under `metadata`.
public struct ObjectMetadata: Sendable, Hashable {
    /// Unique among the objects of a resource, in its namespace.
    public var name: String
    /// Nil for objects that belong to no namespace.
    public var namespace: String?
    /// Tells an object from an earlier one of the same name. Given by the store when the object is created.
    public var uid: String?
    /// The version that was read; nil in an object that never was. It is not stored: it is the revision of the write.
    public var resourceVersion: ResourceVersion?
    /// Counts changes of what is wanted of the object. Given by the store when the object is created.
    public var generation: Int64?
    /// When the object was created, as RFC 3339 writes it. Given by the store.
    public var creationTimestamp: String?
    /// When the object was asked to go; it stays until it has no finalizers.
    public var deletionTimestamp: String?
    public var deletionGracePeriodSeconds: Int64?
    public var labels: [String: String]
    public var annotations: [String: String]
    /// Who must agree before the object goes.
    public var finalizers: [String]
    public var ownerReferences: [OwnerReference]
    /// What API servers note on who set which field; carried as it is.
    public var managedFields: [JSONValue]

    public init(
        name: String, namespace: String? = nil, labels: [String: String] = [:], annotations: [String: String] = [:],
        ownerReferences: [OwnerReference] = []
    ) {
        self.name = name
        self.namespace = namespace
        self.labels = labels
        self.annotations = annotations
        self.ownerReferences = ownerReferences
        finalizers = []
        managedFields = []
    }

    /// Fills in what a new object has from its store: uid, creation time and generation, where they are missing.
    mutating func prepareForCreation() {
        uid = uid ?? ObjectIdentity.newUID()
        creationTimestamp = creationTimestamp ?? ObjectIdentity.now()
        generation = generation ?? 1
    }

    /// Keeps what an update may not change.
    mutating func prepareForUpdate(from stored: ObjectMetadata) {
        uid = stored.uid ?? uid
        creationTimestamp = stored.creationTimestamp ?? creationTimestamp
        generation = generation ?? stored.generation
    }
}

/// The object that another one belongs to.
public struct OwnerReference: Codable, Sendable, Hashable {
    public var apiVersion: String
    public var kind: String
    public var name: String
    public var uid: String
    /// The one owner that manages the object.
    public var controller: Bool?
    public var blockOwnerDeletion: Bool?

    public init(apiVersion: String, kind: String, name: String, uid: String, controller: Bool? = nil) {
        self.apiVersion = apiVersion
        self.kind = kind
        self.name = name
        self.uid = uid
        self.controller = controller
    }
}

extension ObjectMetadata: Codable {
    private enum CodingKeys: String, CodingKey {
        case name, namespace, uid, resourceVersion, generation, creationTimestamp, deletionTimestamp
        case deletionGracePeriodSeconds, labels, annotations, finalizers, ownerReferences, managedFields
    }

    public init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        name = try container.decodeIfPresent(String.self, forKey: .name) ?? ""
        namespace = try container.decodeIfPresent(String.self, forKey: .namespace)
        uid = try container.decodeIfPresent(String.self, forKey: .uid)
        // Some write an empty one where they mean none.
        let version = try container.decodeIfPresent(String.self, forKey: .resourceVersion)
        resourceVersion =
            version?.isEmpty ?? true
            ? nil : try container.decode(ResourceVersion.self, forKey: .resourceVersion)
        generation = try container.decodeIfPresent(Int64.self, forKey: .generation)
        creationTimestamp = try container.decodeIfPresent(String.self, forKey: .creationTimestamp)
        deletionTimestamp = try container.decodeIfPresent(String.self, forKey: .deletionTimestamp)
        deletionGracePeriodSeconds = try container.decodeIfPresent(Int64.self, forKey: .deletionGracePeriodSeconds)
        labels = try container.decodeIfPresent([String: String].self, forKey: .labels) ?? [:]
        annotations = try container.decodeIfPresent([String: String].self, forKey: .annotations) ?? [:]
        finalizers = try container.decodeIfPresent([String].self, forKey: .finalizers) ?? []
        ownerReferences = try container.decodeIfPresent([OwnerReference].self, forKey: .ownerReferences) ?? []
        managedFields = try container.decodeIfPresent([JSONValue].self, forKey: .managedFields) ?? []
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(name, forKey: .name)
        try container.encodeIfPresent(namespace, forKey: .namespace)
        try container.encodeIfPresent(uid, forKey: .uid)
        try container.encodeIfPresent(resourceVersion, forKey: .resourceVersion)
        try container.encodeIfPresent(generation, forKey: .generation)
        try container.encodeIfPresent(creationTimestamp, forKey: .creationTimestamp)
        try container.encodeIfPresent(deletionTimestamp, forKey: .deletionTimestamp)
        try container.encodeIfPresent(deletionGracePeriodSeconds, forKey: .deletionGracePeriodSeconds)
        if !labels.isEmpty { try container.encode(labels, forKey: .labels) }
        if !annotations.isEmpty { try container.encode(annotations, forKey: .annotations) }
        if !finalizers.isEmpty { try container.encode(finalizers, forKey: .finalizers) }
        if !ownerReferences.isEmpty { try container.encode(ownerReferences, forKey: .ownerReferences) }
        if !managedFields.isEmpty { try container.encode(managedFields, forKey: .managedFields) }
    }
}

/// What identifies an object in the store: where it lies, which one it is, and how new.
public struct ObjectIdentity: Sendable, Hashable {
    /// Nil for objects that belong to no namespace.
    public var namespace: String?
    public var name: String
    /// Nil where the object has none, or the codec cannot know.
    public var uid: String?
    /// Nil in an object that was not read from the store.
    public var resourceVersion: ResourceVersion?

    public init(namespace: String?, name: String, uid: String? = nil, resourceVersion: ResourceVersion? = nil) {
        self.namespace = namespace
        self.name = name
        self.uid = uid
        self.resourceVersion = resourceVersion
    }

    /// A uid that no object has yet.
    package static func newUID() -> String { UUID().uuidString.lowercased() }

    /// The time now in whole seconds, as RFC 3339 writes it.
    package static func now() -> String { Date().formatted(.iso8601) }
}
