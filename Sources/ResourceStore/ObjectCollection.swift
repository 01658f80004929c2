/// The objects of one resource in a store.
///
/// Reads are linearizable unless they ask for less. Writes are transactions on the version that was read: nobody's
/// change is ever lost.
public struct ObjectCollection<Codec: ObjectCodec>: Sendable {
    public typealias Object = Codec.Object

    /// The store that the objects are in.
    public let store: ObjectStore
    /// Where they lie in it.
    public let resource: Resource
    /// What reads and writes them.
    public let codec: Codec

    /// Times that a change is tried again because others were faster.
    static var attemptsMax: Int { 1000 }

    init(store: ObjectStore, resource: Resource, codec: Codec) {
        self.store = store
        self.resource = resource
        self.codec = codec
    }

    // MARK: Reading

    /// The object of this name. Throws `notFound` when there is none.
    ///
    /// `version` says how fresh the answer must be.
    public func get(
        _ name: String, namespace: String? = nil, version: ReadVersion = .mostRecent
    ) async throws(ObjectStoreError) -> Object {
        let key = try store.layout.key(resource, namespace: namespace, name: name)
        var revision: Int64 = 0
        if case .exact(let version) = version {
            guard version > 0 else { throw .invalid("an exact version is greater than 0") }
            revision = version.rawValue
        }
        let (record, current) = try await store.storage.get(
            key, isSerializable: version == .any, revision: revision)
        try check(version, storeIsAt: current)
        guard let record else { throw notFound(key) }
        return try decode(record)
    }

    /// How many objects there are, in one namespace or in all.
    public func count(namespace: String? = nil) async throws(ObjectStoreError) -> Int {
        let prefix = try store.layout.prefix(resource, namespace: namespace)
        return Int(try await store.storage.count(prefix))
    }

    /// How many objects there are, and about how large they are: the average of the first of them.
    public func stats() async throws(ObjectStoreError) -> CollectionStats {
        let page = try await store.storage.page(
            store.layout.prefix(resource, namespace: nil), limit: CollectionStats.sampleMax)
        let bytes = page.records.reduce(0) { $0 + $1.value.count }
        return CollectionStats(
            objectCount: Int(page.count),
            estimatedAverageBytes: page.records.isEmpty ? 0 : bytes / page.records.count)
    }

    // MARK: Writing

    /// Stores a new object and returns it as it is stored: with uid, creation time and resource version. Throws
    /// `alreadyExists` when its name is taken.
    ///
    /// With a time to live the object is deleted after it, at the earliest.
    @discardableResult
    public func create(_ object: Object, timeToLive: Duration? = nil) async throws(ObjectStoreError) -> Object {
        let identity = codec.identity(of: object)
        let key = try store.layout.key(resource, namespace: identity.namespace, name: identity.name)
        if identity.resourceVersion != nil {
            throw ObjectStoreError(.invalid, "an object that is to be created has no resource version", key: key)
        }
        var object = object
        codec.prepareForCreation(&object)
        let value = try encode(object, key)
        switch try await put(key, value, expected: 0, timeToLive) {
        case .done(let revision): return try decode(key, value, revision)
        case .differs: throw ObjectStoreError(.alreadyExists, "the object exists already", key: key)
        }
    }

    /// Deletes an object and returns its last state, in the version of its deletion. Throws `notFound` when there is
    /// none, and `conflict` when it does not meet the preconditions.
    ///
    /// `validate` sees the object before it goes, and may throw to keep it.
    @discardableResult
    public func delete(
        _ name: String, namespace: String? = nil, preconditions: Preconditions = Preconditions(),
        validate: (Object) throws -> Void = { _ in }
    ) async throws -> Object {
        let key = try store.layout.key(resource, namespace: namespace, name: name)
        var known = try await store.storage.get(key).record
        for _ in 0..<Self.attemptsMax {
            guard let record = known else { throw notFound(key) }
            let object = try decode(record)
            try check(preconditions, object, key)
            try validate(object)
            switch try await store.storage.delete(key, expected: record.modRevision) {
            case .done(let revision): return try decode(key, record.value, revision)
            case .differs(let current, _): known = current
            }
        }
        throw ObjectStoreError(.conflict, "others change the object all the time", key: key)
    }

    // MARK: Parts

    func notFound(_ key: String) -> ObjectStoreError {
        ObjectStoreError(.notFound, "there is no such object", key: key)
    }

    /// Writes if the last write was `expected`; under a lease, if there is a time to live.
    func put(
        _ key: String, _ value: [UInt8], expected: Int64, _ timeToLive: Duration?
    ) async throws(ObjectStoreError) -> StorageClient.Outcome {
        let storage = store.storage
        guard let timeToLive else { return try await storage.put(key, value, expected: expected) }
        let lease = try await store.leases.lease(for: timeToLive)
        do throws(ObjectStoreError) {
            return try await storage.put(key, value, expected: expected, lease: lease)
        } catch {
            // Others may revoke a lease that objects share. Nothing was written: another one will do.
            guard error.message.contains("requested lease not found") else { throw error }
            await store.leases.forget(lease)
            let other = try await store.leases.lease(for: timeToLive)
            return try await storage.put(key, value, expected: expected, lease: other)
        }
    }

    func encode(_ object: Object, _ key: String) throws(ObjectStoreError) -> [UInt8] {
        do { return try codec.encode(object) } catch {
            if var error = error as? ObjectStoreError {
                error.key = error.key ?? key
                throw error
            }
            throw ObjectStoreError(.invalid, "the object cannot be encoded: \(error)", key: key)
        }
    }

    func decode(_ record: StorageClient.Record) throws(ObjectStoreError) -> Object {
        try decode(record.key, record.value, record.modRevision)
    }

    func decode(_ key: String, _ value: [UInt8], _ revision: Int64) throws(ObjectStoreError) -> Object {
        guard let place = store.layout.split(key, resource) else {
            throw ObjectStoreError(.undecodable, "the key is not one of \(resource.fullName)", key: key)
        }
        let identity = ObjectIdentity(
            namespace: place.namespace, name: place.name, resourceVersion: ResourceVersion(rawValue: revision))
        do { return try codec.decode(value, at: identity) } catch {
            let reason = (error as? ObjectStoreError)?.message ?? "\(error)"
            throw ObjectStoreError(.undecodable, "what is stored cannot be decoded: \(reason)", key: key)
        }
    }

    /// Fails when the store has not come as far as was asked.
    func check(_ version: ReadVersion, storeIsAt current: Int64) throws(ObjectStoreError) {
        guard case .notOlderThan(let wanted) = version, wanted.rawValue > current else { return }
        var error = ObjectStoreError(
            .tooLargeResourceVersion, "too large resource version: \(wanted), current: \(current)")
        error.currentResourceVersion = ResourceVersion(rawValue: current)
        throw error
    }

    /// Fails when the stored object is not the one that is meant.
    func check(
        _ preconditions: Preconditions, _ object: Object, _ key: String
    ) throws(ObjectStoreError) {
        let identity = codec.identity(of: object)
        var reason: String?
        if let uid = preconditions.uid, uid != identity.uid {
            reason = "uid in precondition: \(uid), uid of the object: \(identity.uid ?? "none")"
        } else if let version = preconditions.resourceVersion, version != identity.resourceVersion {
            reason = "resource version in precondition: \(version), resource version of the object: "
            reason = reason.map { $0 + (identity.resourceVersion?.description ?? "none") }
        }
        guard let reason else { return }
        var error = ObjectStoreError(.conflict, "precondition failed: \(reason)", key: key)
        error.currentResourceVersion = identity.resourceVersion
        throw error
    }
}

/// What must hold of an object for it to be changed or deleted.
public struct Preconditions: Sendable, Hashable {
    /// The object is this one, and not a later one of the same name.
    public var uid: String?
    /// The object has not been changed since this version.
    public var resourceVersion: ResourceVersion?

    public init(uid: String? = nil, resourceVersion: ResourceVersion? = nil) {
        self.uid = uid
        self.resourceVersion = resourceVersion
    }
}

/// How many objects of a resource there are, and how large.
public struct CollectionStats: Sendable, Hashable {
    /// Objects that are measured for the average.
    static let sampleMax = 256

    public let objectCount: Int
    /// The average size of the first objects, as stored, in bytes.
    public let estimatedAverageBytes: Int
}
