import ArgumentParser
import ResourceStore

/// Deletes objects by name, by labels, or those that manifests name.
///
/// It is the store's delete: finalizers are not waited for and nothing that belongs to the object goes with it. So
/// objects with finalizers, and those that an API server stored as protobuf, are only deleted when that is asked for.
/// An object that cannot be deleted does not keep the others.
struct ResourceDeleteCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "delete", abstract: "Deletes objects")

    @Argument(help: "The kind and names, or KIND/NAME.")
    var words: [String] = []

    @OptionGroup var manifests: ManifestOptions
    @OptionGroup var options: ResourceOptions
    @OptionGroup var global: GlobalOptions

    @Option(name: [.customShort("l"), .long], help: "All objects of the kind with these labels.")
    var selector: String?

    @Flag(help: "Objects that do not exist are no failure.")
    var ignoreNotFound = false

    @Flag(help: "Also objects that an API server stored as protobuf.")
    var allowProtobuf = false

    @Flag(help: "Also objects with finalizers.")
    var force = false

    /// An object to delete.
    private struct Target {
        let resource: Resource
        let namespace: String?
        let name: String
        var preconditions = Preconditions()
    }

    func run() async throws {
        guard words.isEmpty != manifests.filename.isEmpty else {
            throw CommandError.badArguments("name objects, or manifests with -f; not both")
        }
        // An empty one would choose everything: a variable that is not set must not delete a namespace.
        if let selector, selector.allSatisfy(\.isWhitespace) {
            throw CommandError.badArguments("an empty --selector would delete all objects of the kind")
        }
        guard selector == nil || manifests.filename.isEmpty else {
            throw CommandError.badArguments("manifests and --selector do not mix")
        }
        let files =
            manifests.filename.isEmpty
            ? [] : try Manifests.read(manifests.filename, standardInput: { StandardInput.readAll() })
        try await global.store(options) { store, _ in
            var problems: [String] = []
            for target in try await targets(store, files) {
                let objects = store.objects(target.resource, codec: OpaqueCodec())
                do {
                    let gone = try await objects.delete(
                        target.name, namespace: target.namespace, preconditions: target.preconditions, validate: check)
                    let kind = gone.header?.kind ?? target.resource.name
                    Output.write(text: "\(ApplyPlan.name(target.resource, kind, target.name)) deleted\n")
                } catch let error as ObjectStoreError where Self.isOfOneObject(error) {
                    if error.code != .notFound || !ignoreNotFound { problems.append(error.description) }
                } catch let error as CommandError {
                    problems.append(error.message)
                }
            }
            guard problems.isEmpty else { throw CommandError.failure(problems.joined(separator: "\n")) }
        }
    }

    /// Whether an error says something of one object, and nothing of the store.
    private static func isOfOneObject(_ error: ObjectStoreError) -> Bool {
        [.notFound, .conflict, .invalid, .undecodable].contains(error.code)
    }

    private func targets(_ store: ObjectStore, _ files: [ManifestObject]) async throws -> [Target] {
        if !files.isEmpty {
            let resolver = try await options.resolver(for: files, store)
            return files.map { file in
                let resource = resolver.resource(of: file.object)
                let namespace = resource.isNamespaced ? file.object.namespace ?? options.namespace ?? "default" : nil
                return Target(
                    resource: resource, namespace: namespace, name: file.object.name,
                    preconditions: Preconditions(uid: file.object.uid))
            }
        }
        let (kind, names) = try ObjectWords.parse(words, resource: options.resource)
        let resource = try await options.resolve(kind, store)
        let namespace = resource.isNamespaced ? options.namespace ?? "default" : nil
        if let selector {
            guard names.isEmpty else { throw CommandError.badArguments("names and --selector do not mix") }
            let wanted: LabelSelector
            do { wanted = try LabelSelector(selector) } catch { throw CommandError.badArguments(error.message) }
            let list = try await store.objects(resource, codec: OpaqueCodec()).list(namespace: namespace)
            return list.items.filter { wanted.matches($0.header?.labels ?? [:]) }.map { item in
                Target(
                    resource: resource, namespace: item.identity.namespace, name: item.identity.name,
                    preconditions: Preconditions(uid: item.header?.uid))
            }
        }
        guard !names.isEmpty else { throw CommandError.badArguments("name the objects, or choose them by --selector") }
        return names.map { Target(resource: resource, namespace: namespace, name: $0) }
    }

    private func check(_ object: OpaqueObject) throws {
        let name = object.identity.name
        if object.header?.encoding == .protobuf, !allowProtobuf {
            throw CommandError.failure("\(name) is stored as protobuf, by an API server: --allow-protobuf deletes it")
        }
        let finalizers = (try? JSONValue(parsing: object.bytes))?["metadata"]?["finalizers"]?.array ?? []
        if !finalizers.isEmpty, !force {
            let names = finalizers.compactMap(\.string).joined(separator: ", ")
            throw CommandError.failure("\(name) has finalizers (\(names)): --force deletes it all the same")
        }
    }
}
