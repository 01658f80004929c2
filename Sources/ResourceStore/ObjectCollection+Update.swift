extension ObjectCollection {
    /// Changes an object: reads it, lets `change` work on it, and stores the result; when others were faster, begins
    /// again with what they left. Returns the object as it is stored. A change that changes nothing is not written, unless
    /// it gives a time to live, which begins anew with it; written without one, an object stays.
    ///
    /// ```swift
    /// try await widgets.guaranteedUpdate("first", namespace: "default") { $0.spec.size += 1 }
    /// ```
    ///
    /// `change` may run several times. What it throws ends the update. Throws `notFound` when there is no such object,
    /// and `conflict` when it does not meet the preconditions.
    @discardableResult
    public func guaranteedUpdate(
        _ name: String, namespace: String? = nil, preconditions: Preconditions = Preconditions(),
        timeToLive: Duration? = nil, change: (inout Object) async throws -> Void
    ) async throws -> Object {
        let key = try store.layout.key(resource, namespace: namespace, name: name)
        return try await update(key, preconditions, timeToLive) { stored in
            guard var object = stored else { throw notFound(key) }
            try await change(&object)
            return object
        }
    }

    /// As `guaranteedUpdate`, for an object that may not exist yet: `change` gets nil then, and what it returns is
    /// created.
    @discardableResult
    public func createOrUpdate(
        _ name: String, namespace: String? = nil, preconditions: Preconditions = Preconditions(),
        timeToLive: Duration? = nil, change: (Object?) async throws -> Object
    ) async throws -> Object {
        let key = try store.layout.key(resource, namespace: namespace, name: name)
        return try await update(key, preconditions, timeToLive, change: change)
    }

    /// Stores an object over the one of its name. With a resource version, or a uid, it must be that of the stored
    /// object, else `conflict`: so an object that was read, changed and stored again loses nobody's change.
    @discardableResult
    public func update(_ object: Object) async throws(ObjectStoreError) -> Object {
        let identity = codec.identity(of: object)
        let key = try store.layout.key(resource, namespace: identity.namespace, name: identity.name)
        let preconditions = Preconditions(uid: identity.uid, resourceVersion: identity.resourceVersion)
        do {
            return try await update(key, preconditions, nil) { stored in
                if stored == nil { throw notFound(key) }
                return object
            }
        } catch {
            throw (error as? ObjectStoreError) ?? ObjectStoreError(.other, "\(error)", key: key)
        }
    }

    /// The loop behind all three. `change` must return an object of the same name.
    private func update(
        _ key: String, _ preconditions: Preconditions, _ timeToLive: Duration?,
        change: (Object?) async throws -> Object
    ) async throws -> Object {
        var known = try await store.storage.get(key).record
        for _ in 0..<Self.attemptsMax {
            let stored = try known.map { record throws(ObjectStoreError) in try decode(record) }
            if let stored {
                try check(preconditions, stored, key)
            } else if preconditions != Preconditions() {
                throw notFound(key)
            }
            var object = try await change(stored)
            let identity = codec.identity(of: object)
            guard try store.layout.key(resource, namespace: identity.namespace, name: identity.name) == key else {
                throw ObjectStoreError(.invalid, "an update may not change name or namespace", key: key)
            }
            if let stored {
                codec.prepareForUpdate(&object, from: stored)
            } else {
                codec.prepareForCreation(&object)
            }
            let value = try encode(object, key)
            if let known, known.value == value, timeToLive == nil { return try decode(known) }
            switch try await put(key, value, expected: known?.modRevision ?? 0, timeToLive) {
            case .done(let revision): return try decode(key, value, revision)
            case .differs(let current, _): known = current
            }
        }
        throw ObjectStoreError(.conflict, "others change the object all the time", key: key)
    }
}
