import ArgumentParser
import Client
import ResourceStore

/// Creates or updates objects from manifests, by three-way merge.
///
/// Nothing is written unless every file can be read, every object is good, and none conflicts with what others have
/// changed. With `--atomic` the objects are then written in one transaction, else one after the other.
struct ApplyCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "apply", abstract: "Creates or updates objects from manifests")

    @OptionGroup var manifests: ManifestOptions
    @OptionGroup var options: ResourceOptions
    @OptionGroup var global: GlobalOptions

    @Flag(help: "Write all objects in one transaction, or none.")
    var atomic = false

    @Flag(help: "Take fields back that others have changed since they were applied.")
    var forceConflicts = false

    @Flag(help: "Say what would be done, and write nothing.")
    var dryRun = false

    /// Times that an object is merged again because others were faster.
    private static let attemptsMax = 10

    func run() async throws {
        let objects = try Manifests.read(manifests.filename, standardInput: { StandardInput.readAll() })
        try await global.store(options) { store, client in
            let resolver = try await options.resolver(for: objects, store)
            var planning = ApplyPlan.Options()
            planning.namespace = options.namespace
            planning.forcesConflicts = forceConflicts
            let plan = try await Self.plan(objects, store, resolver, planning)
            if dryRun {
                for step in plan.steps { Output.write(text: "\(step.name) \(step.action.rawValue) (dry run)\n") }
            } else if atomic {
                try await writeAtomically(plan, objects, store, client, resolver, planning)
            } else {
                for step in plan.steps { try await write(step, store, resolver, planning) }
            }
        }
    }

    /// The plan for all objects; refusals end the command.
    private static func plan(
        _ objects: [ManifestObject], _ store: ObjectStore, _ resolver: KindResolver, _ options: ApplyPlan.Options
    ) async throws -> ApplyPlan {
        let plan = try await ApplyPlan.make(objects, store: store, resolver: resolver, options: options)
        guard plan.refusals.isEmpty else { throw CommandError.failure(plan.refusals.joined(separator: "\n")) }
        return plan
    }

    private func write(
        _ first: ApplyPlan.Step, _ store: ObjectStore, _ resolver: KindResolver, _ planning: ApplyPlan.Options
    ) async throws {
        var step = first
        for _ in 0..<Self.attemptsMax {
            var isWritten = step.action == .unchanged
            if !isWritten { isWritten = try await ApplyPlan.write(step, store: store) }
            if isWritten {
                Output.write(text: "\(step.name) \(step.action.rawValue)\n")
                return
            }
            guard let next = try await Self.plan([step.manifest], store, resolver, planning).steps.first else { break }
            step = next
        }
        throw CommandError.failure("\(step.name): others change the object all the time")
    }

    private func writeAtomically(
        _ first: ApplyPlan, _ objects: [ManifestObject], _ store: ObjectStore, _ client: EtcdClient,
        _ resolver: KindResolver, _ planning: ApplyPlan.Options
    ) async throws {
        var plan = first
        for _ in 0..<Self.attemptsMax {
            let isWritten: Bool
            do throws(ClientError) { isWritten = try await plan.writeAtomically(client) } catch {
                let isTooLarge = error.message.contains("too many operations") || error.message.contains("too large")
                throw CommandError.failure(
                    isTooLarge
                        ? "--atomic: \(plan.steps.count) objects do not fit into one transaction: \(error.message)"
                        : error.description)
            }
            if isWritten {
                for step in plan.steps { Output.write(text: "\(step.name) \(step.action.rawValue)\n") }
                return
            }
            plan = try await Self.plan(objects, store, resolver, planning)
        }
        throw CommandError.failure("--atomic: others change the objects all the time")
    }
}

extension ResourceOptions {
    /// What finds the resources of manifests: the store's definitions are read only where a kind is not known.
    func resolver(for objects: [ManifestObject], _ store: ObjectStore) async throws -> KindResolver {
        var resolver = try KindResolver(override: resource)
        resolver.learn(from: objects.map(\.object))
        if objects.contains(where: { !resolver.knows($0.object) }) { try await resolver.learn(from: store) }
        return resolver
    }

    /// The resource that a user names.
    func resolve(_ word: String, _ store: ObjectStore) async throws -> Resource {
        var resolver = try KindResolver(override: resource)
        if resource == nil, KubernetesKinds.kind(named: word) == nil { try await resolver.learn(from: store) }
        return try resolver.resource(named: word)
    }
}
