import Client
import Foundation
import ResourceStore
import Wire

/// What applying a set of manifests would do, worked out against what is stored, before anything is written.
struct ApplyPlan: Sendable {
    enum Action: String, Sendable {
        case created
        case configured
        case unchanged
    }

    /// One object of the set.
    struct Step: Sendable {
        let manifest: ManifestObject
        let resource: Resource
        let key: String
        let action: Action
        /// What is stored; nil where nothing is.
        let live: StorageClient.Record?
        /// What is to be stored.
        let result: Unstructured

        /// As kubectl names it: `deployment.apps/web`.
        var name: String { ApplyPlan.name(resource, manifest.object.kind, result.name) }
    }

    private(set) var steps: [Step] = []
    /// Why nothing may be written: a line for each reason.
    private(set) var refusals: [String] = []

    static func name(_ resource: Resource, _ kind: String, _ name: String) -> String {
        "\(kind.lowercased())\(resource.group.isEmpty ? "" : "." + resource.group)/\(name)"
    }

    /// What the commands say about the set as a whole.
    struct Options: Sendable {
        var namespace: String?
        /// Take back what others have changed.
        var forcesConflicts = false

        init() {}
    }

    /// Works out what to do with each object. Reads the store, writes nothing.
    static func make(
        _ manifests: [ManifestObject], store: ObjectStore, resolver: KindResolver, options: Options
    ) async throws(ObjectStoreError) -> ApplyPlan {
        var plan = ApplyPlan()
        var seen: [String: ManifestObject] = [:]
        for manifest in manifests {
            var object = manifest.object
            let resource = resolver.resource(of: object)
            if let problem = place(&object, resource, manifest, options.namespace) {
                plan.refusals.append(problem)
                continue
            }
            let key: String
            do throws(ObjectStoreError) {
                key = try store.key(resource, namespace: object.namespace, name: object.name)
            } catch {
                plan.refusals.append(manifest.problem("metadata", error.message))
                continue
            }
            if let other = seen.updateValue(manifest, forKey: key) {
                plan.refusals.append(
                    manifest.problem("metadata.name", "the object stands in \(other.problem("", "already")) too"))
                continue
            }
            let live = try await store.storage.get(key).record
            plan.add(manifest, object, resource, key, live, options)
        }
        return plan
    }

    /// Gives the object its namespace; a problem where it cannot have the one that is wanted.
    private static func place(
        _ object: inout Unstructured, _ resource: Resource, _ manifest: ManifestObject, _ wanted: String?
    ) -> String? {
        guard resource.isNamespaced else {
            guard object.namespace != nil else { return nil }
            return manifest.problem("metadata.namespace", "\(resource.fullName) belong to no namespace")
        }
        if let own = object.namespace, let wanted, own != wanted {
            return manifest.problem("metadata.namespace", "\"\(own)\" is not the \"\(wanted)\" of --namespace")
        }
        object.namespace = object.namespace ?? wanted ?? "default"
        return nil
    }

    private mutating func add(
        _ manifest: ManifestObject, _ object: Unstructured, _ resource: Resource, _ key: String,
        _ live: StorageClient.Record?, _ options: Options
    ) {
        var wanted = object
        let (uid, version) = (wanted.uid, wanted.resourceVersion)
        Self.removeServerFields(&wanted)
        var annotated = wanted
        annotated.annotations[ThreeWayMerge.annotation] = String(decoding: wanted.fields.bytes, as: UTF8.self) + "\n"
        guard let live else {
            if uid != nil || version != nil {
                refusals.append(manifest.problem("metadata.resourceVersion", "the object is not in the store any more"))
                return
            }
            annotated.fields = annotated.fields.withoutNulls
            annotated.prepareForCreation()
            steps.append(
                Step(
                    manifest: manifest, resource: resource, key: key, action: .created, live: nil, result: annotated))
            return
        }
        guard let stored = Self.decode(live) else {
            let form =
                ObjectHeader.isProtobuf(live.value) ? "as protobuf, by an API server" : "in a form not known here"
            refusals.append(manifest.problem("", "\(key) is stored \(form): it is left as it is"))
            return
        }
        if let uid, uid != stored.uid {
            refusals.append(manifest.problem("metadata.uid", "the stored object is another one, \(stored.uid ?? "?")"))
            return
        }
        if let version, version.rawValue != live.modRevision {
            refusals.append(
                manifest.problem("metadata.resourceVersion", "the stored object is at \(live.modRevision) by now"))
            return
        }
        merge(manifest, wanted, annotated, stored, resource, key, live, options)
    }

    private mutating func merge(
        _ manifest: ManifestObject, _ wanted: Unstructured, _ annotated: Unstructured, _ stored: Unstructured,
        _ resource: Resource, _ key: String, _ live: StorageClient.Record, _ options: Options
    ) {
        let text = stored.annotations[ThreeWayMerge.annotation]
        let last = text.flatMap { try? JSONValue(parsing: $0.utf8) }
        let isBuiltIn = KubernetesKinds.kind(group: resource.group, plural: resource.name) != nil
        var bare = stored
        bare.annotations[ThreeWayMerge.annotation] = nil
        let merge = ThreeWayMerge(last: last, wanted: wanted.fields, live: bare.fields, mergesLists: isBuiltIn)
        if !options.forcesConflicts, !merge.conflicts.isEmpty {
            refusals += merge.conflicts.map { conflict in
                manifest.problem(conflict.field, "conflict: \(conflict.message) (--force-conflicts takes it)")
            }
            return
        }
        var result = Unstructured(fields: merge.result.object ?? [:])
        result.annotations[ThreeWayMerge.annotation] = annotated.annotations[ThreeWayMerge.annotation]
        result.prepareForUpdate(from: stored)
        steps.append(
            Step(
                manifest: manifest, resource: resource, key: key, action: result == stored ? .unchanged : .configured,
                live: live, result: result))
    }

    /// What the store gives, and what controllers report, is not for a manifest to set.
    private static func removeServerFields(_ object: inout Unstructured) {
        object["status"] = nil
        var metadata = object["metadata"] ?? [:]
        for field in ["uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "selfLink"] {
            metadata[field] = nil
        }
        // Field by field: an annotation may be null, which asks for it to be away.
        if var annotations = metadata["annotations"]?.object {
            annotations[ThreeWayMerge.annotation] = nil
            metadata["annotations"] = annotations.isEmpty ? nil : .object(annotations)
        }
        object["metadata"] = metadata
    }

    /// The stored object as a tree; nil where it is not JSON or YAML.
    static func decode(_ record: StorageClient.Record) -> Unstructured? {
        guard !ObjectHeader.isProtobuf(record.value), let value = try? JSONValue(parsing: record.value) else {
            return nil
        }
        return value.object.map { Unstructured(fields: $0) }
    }

    // MARK: Carrying out

    /// Writes one object if it is still as it was when the plan was made; false when it is not.
    static func write(_ step: Step, store: ObjectStore) async throws(ObjectStoreError) -> Bool {
        let outcome = try await store.storage.put(
            step.key, step.result.fields.bytes, expected: step.live?.modRevision ?? 0)
        if case .done = outcome { return true }
        return false
    }

    /// Writes all objects that change in one transaction, if all of the set are still as they were; false when not.
    func writeAtomically(_ client: EtcdClient) async throws(ClientError) -> Bool {
        var request = Etcdserverpb_TxnRequest()
        for step in steps {
            var compare = Etcdserverpb_Compare()
            compare.key = Data(step.key.utf8)
            compare.target = .mod
            compare.modRevision = step.live?.modRevision ?? 0
            request.compare.append(compare)
            guard step.action != .unchanged else { continue }
            var operation = Etcdserverpb_RequestOp()
            operation.requestPut.key = compare.key
            operation.requestPut.value = Data(step.result.fields.bytes)
            request.success.append(operation)
        }
        return try await client.txn(request).succeeded
    }
}
