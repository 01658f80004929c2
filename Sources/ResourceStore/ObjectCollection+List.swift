/// A list of objects at one moment, or a page of it.
public struct ObjectList<Object: Sendable>: Sendable {
    /// In order of namespace and name.
    public let items: [Object]
    /// The moment: a watch from here sees every change that the list does not have.
    public let resourceVersion: ResourceVersion
    /// What to ask the next page with; nil after the last.
    public let continueToken: String?
    /// How many objects the pages after this one have, at this moment; nil after the last.
    public let remainingItemCount: Int?
}

extension ObjectCollection {
    /// The objects of one namespace or of all.
    ///
    /// - Parameters:
    ///   - limit: objects on a page; nil for all at once.
    ///   - continueToken: goes on where a page with this token ended, at the same moment. Throws `expired` when that
    ///     has been compacted; the error's `inconsistentContinueToken` goes on at the newest version instead.
    ///   - version: how fresh the list must be, or at which version. Not together with a token.
    public func list(
        namespace: String? = nil, limit: Int? = nil, continueToken: String? = nil, version: ReadVersion = .mostRecent
    ) async throws(ObjectStoreError) -> ObjectList<Object> {
        let prefix = try store.layout.prefix(resource, namespace: namespace)
        if let limit, limit < 1 { throw .invalid("a page has at least one object") }
        var start: String?
        var revision: Int64 = 0
        if let continueToken {
            guard version == .mostRecent else { throw .invalid("a continue token carries the version already") }
            let token = try ContinueToken(continueToken)
            start = prefix + token.start
            revision = token.revision ?? 0
        } else if case .exact(let version) = version {
            guard version > 0 else { throw .invalid("an exact version is greater than 0") }
            revision = version.rawValue
        }
        let page: StorageClient.Page
        do throws(ObjectStoreError) {
            page = try await store.storage.page(
                prefix, from: start, limit: limit ?? 0, revision: revision, isSerializable: version == .any)
        } catch {
            throw expired(error, prefix: prefix, start: start)
        }
        try check(version, storeIsAt: page.revision)
        return try answer(page, prefix: prefix, revision: revision > 0 ? revision : page.revision)
    }

    private func answer(
        _ page: StorageClient.Page, prefix: String, revision: Int64
    ) throws(ObjectStoreError) -> ObjectList<Object> {
        var items: [Object] = []
        items.reserveCapacity(page.records.count)
        for record in page.records { items.append(try decode(record)) }
        let remaining = Int(page.count) - page.records.count
        var token: String?
        if remaining > 0, let last = page.records.last {
            token = ContinueToken(revision: revision, start: last.key.dropFirst(prefix.count) + "\0").text
        }
        return ObjectList(
            items: items, resourceVersion: ResourceVersion(rawValue: revision), continueToken: token,
            remainingItemCount: token == nil ? nil : remaining)
    }

    /// An expired page says how to go on without the moment it was pinned to.
    private func expired(_ error: ObjectStoreError, prefix: String, start: String?) -> ObjectStoreError {
        guard error.code == .expired, let start else { return error }
        var error = error
        error.inconsistentContinueToken =
            ContinueToken(revision: nil, start: String(start.dropFirst(prefix.count))).text
        return error
    }
}
