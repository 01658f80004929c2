import ArgumentParser
import ResourceStore

/// The forms in which objects are printed.
enum ObjectOutput: String, ExpressibleByArgument, CaseIterable {
    case table
    case wide
    case name
    case yaml
    case json
}

/// Lists objects, or follows their changes. Objects that an API server stored as protobuf are listed like all others,
/// but cannot be shown as YAML or JSON.
struct ResourceGetCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "get", abstract: "Lists objects, or follows their changes",
        discussion: """
            -w without an output format behind it is --watch: `resource get pods -w`, `resource get pods -w -A`.
            """)

    @Argument(help: "The kind - plural, singular, short or PLURAL.GROUP - and names; or KIND/NAME.")
    var words: [String] = []

    @OptionGroup var objects: ObjectGetOptions
    @OptionGroup var global: GlobalOptions

    func run() async throws { try await objects.run(words, global) }
}

/// What objects to read and how to show them. `get KIND` has these flags too: with one of them it reads objects instead of
/// a key.
struct ObjectGetOptions: ParsableArguments {
    @OptionGroup var options: ResourceOptions

    @Flag(name: [.customShort("A"), .long], help: "Objects of all namespaces.")
    var allNamespaces = false

    @Option(name: [.customShort("o"), .long], help: "Objects as table, wide, name, yaml or json.")
    var output: ObjectOutput?

    @Option(name: [.customShort("l"), .long], help: "Only objects with these labels: a=b,c!=d,e in (f,g),!h.")
    var selector: String?

    @Flag(help: "Go on with the changes of objects, until interrupted; also -w.")
    var watch = false

    @Option(help: "Objects in one page of the list.")
    var chunkSize = 500

    /// Whether anything says that objects are meant.
    var isGiven: Bool {
        allNamespaces || output != nil || selector != nil || watch || options.namespace != nil
            || options.resource != nil
    }

    /// Whether nothing but `--watch`, which may have been written `-w`, says that objects are meant.
    var isOnlyWatch: Bool {
        watch && !allNamespaces && output == nil && selector == nil && options.namespace == nil
            && options.resource == nil
    }

    func run(_ words: [String], _ global: GlobalOptions) async throws {
        let output = try chosenOutput(global)
        let (kind, names) = try ObjectWords.parse(words, resource: options.resource)
        guard chunkSize > 0 else { throw CommandError.badArguments("--chunk-size is at least 1") }
        if !names.isEmpty {
            for (flag, isGiven) in [
                ("--all-namespaces", allNamespaces), ("--selector", self.selector != nil), ("--watch", watch),
            ] where isGiven { throw CommandError.badArguments("names and \(flag) do not mix") }
        }
        let selector: LabelSelector
        do { selector = try LabelSelector(self.selector ?? "") } catch {
            throw CommandError.badArguments(error.message)
        }
        try await global.store(options) { store, _ in
            let resource = try await options.resolve(kind, store)
            let objects = store.objects(resource, codec: OpaqueCodec())
            let namespace = allNamespaces || !resource.isNamespaced ? nil : options.namespace ?? "default"
            var printer = ObjectPrinter(resource: resource, output: output, hasNamespace: allNamespaces)
            if !names.isEmpty {
                var found: [OpaqueObject] = []
                for name in names { found.append(try await objects.get(name, namespace: namespace)) }
                try printer.print(found, isList: names.count > 1)
                return
            }
            if watch { return try await follow(objects, namespace, selector, &printer) }
            var found: [OpaqueObject] = []
            var token: String?
            repeat {
                let page = try await objects.list(namespace: namespace, limit: chunkSize, continueToken: token)
                found += page.items.filter { selector.matches($0.header?.labels ?? [:]) }
                token = page.continueToken
            } while token != nil
            if found.isEmpty, output == .table || output == .wide {
                Output.error("No resources found\(namespace.map { " in \($0) namespace" } ?? "").")
                return
            }
            try printer.print(found, isList: true)
        }
    }

    /// What `-o` says, or else `-w` where that is a form of objects, too.
    private func chosenOutput(_ global: GlobalOptions) throws(CommandError) -> ObjectOutput {
        if let output { return output }
        switch global.writeOut {
        case "simple", "table": return .table
        case "json": return .json
        default:
            throw .badFeature("\(global.writeOut) is no form of objects: -o takes table, wide, name, yaml or json")
        }
    }

    /// Prints what exists, then each change. An object whose labels no longer match goes away, as a watch of the API
    /// server has it; one whose labels begin to match comes. Begins again when the history is gone.
    private func follow(
        _ objects: ObjectCollection<OpaqueCodec>, _ namespace: String?, _ selector: LabelSelector,
        _ printer: inout ObjectPrinter
    ) async throws {
        while true {
            // Identities without their versions: what is chosen now.
            var chosen: Set<[String?]> = []
            do {
                for try await event in objects.watch(namespace: namespace) {
                    guard let object = event.object else { continue }
                    let place = [object.identity.namespace, object.identity.name]
                    var isChosen = selector.matches(object.header?.labels ?? [:])
                    if case .deleted = event { isChosen = false }
                    let wasChosen = isChosen ? !chosen.insert(place).inserted : chosen.remove(place) != nil
                    switch (wasChosen, isChosen) {
                    case (false, true): try printer.print(object, event: "ADDED")
                    case (true, true): try printer.print(object, event: "MODIFIED")
                    case (true, false): try printer.print(object, event: "DELETED")
                    case (false, false): break
                    }
                }
                return
            } catch let error as ObjectStoreError where error.code == .expired {
                Output.error("the history has been compacted; beginning again")
            }
        }
    }
}

/// The words that name objects: `KIND`, `KIND NAME...` or `KIND/NAME`.
enum ObjectWords {
    static func parse(_ words: [String], resource: String?) throws(CommandError) -> (kind: String, names: [String]) {
        guard let first = words.first else { throw .badArguments("name a kind, such as configmaps") }
        if let slash = first.firstIndex(of: "/") {
            guard words.count == 1 else { throw .badArguments("KIND/NAME stands alone") }
            return (String(first[..<slash]), [String(first[first.index(after: slash)...])])
        }
        return (first, Array(words.dropFirst()))
    }

    /// How to read objects, for words that name no key but whose first is a kind; nil when it is not.
    static func advice(_ words: [String]) -> String? {
        guard let (kind, names) = try? parse(words, resource: nil), KubernetesKinds.kind(named: kind) != nil else {
            return nil
        }
        let command = (["martletctl resource get", kind] + names).joined(separator: " ")
        return "there is no such key; for objects: \(command)"
    }
}

/// Prints objects in the chosen form.
struct ObjectPrinter {
    let resource: Resource
    let output: ObjectOutput
    let hasNamespace: Bool
    private var hasHeadings = false
    private var widths: [Int] = []

    init(resource: Resource, output: ObjectOutput, hasNamespace: Bool) {
        self.resource = resource
        self.output = output
        self.hasNamespace = hasNamespace
    }

    func print(_ objects: [OpaqueObject], isList: Bool) throws(CommandError) {
        switch output {
        case .table, .wide:
            var table = ObjectTable(ObjectRow.headings(isWide: output == .wide, hasNamespace: hasNamespace))
            let now = ObjectRow.nowSeconds()
            for object in objects {
                table.append(
                    ObjectRow(object).cells(isWide: output == .wide, hasNamespace: hasNamespace, now: now))
            }
            Output.write(text: table.render())
        case .name: Output.write(text: objects.map { name($0) + "\n" }.joined())
        case .yaml, .json:
            var trees: [JSONValue] = []
            for object in objects { trees.append(try tree(object)) }
            let value: JSONValue =
                isList ? ["apiVersion": "v1", "kind": "List", "items": .array(trees)] : trees.first ?? .null
            Output.write(text: output == .yaml ? YAMLWriter.text(of: value) : value.prettyPrinted + "\n")
        }
    }

    /// One change of a watched object.
    mutating func print(_ object: OpaqueObject, event: String) throws(CommandError) {
        switch output {
        case .table, .wide:
            let isWide = output == .wide
            let headings = ["EVENT"] + ObjectRow.headings(isWide: isWide, hasNamespace: hasNamespace)
            let cells =
                [event]
                + ObjectRow(object).cells(isWide: isWide, hasNamespace: hasNamespace, now: ObjectRow.nowSeconds())
            if widths.isEmpty { widths = headings.map { $0 == "NAME" ? 24 : $0.count + 2 } }
            for (column, cell) in cells.enumerated() { widths[column] = max(widths[column], cell.count) }
            if !hasHeadings { Output.write(text: ObjectTable.line(headings, widths)) }
            hasHeadings = true
            Output.write(text: ObjectTable.line(cells, widths))
        case .name: Output.write(text: "\(event) \(name(object))\n")
        case .yaml: Output.write(text: "---\n# \(event)\n" + YAMLWriter.text(of: try tree(object)))
        case .json:
            let value: JSONValue = ["type": .string(event), "object": try tree(object)]
            Output.write(value.bytes + [0x0a])
        }
    }

    private func name(_ object: OpaqueObject) -> String {
        ApplyPlan.name(resource, object.header?.kind ?? resource.name, object.identity.name)
    }

    private func tree(_ object: OpaqueObject) throws(CommandError) -> JSONValue {
        guard object.header?.encoding != .protobuf else {
            throw .failure(
                "\(name(object)) is stored as protobuf, which cannot be shown as \(output.rawValue): use -o wide")
        }
        do {
            return try UnstructuredCodec().decode(object.bytes, at: object.identity).fields
        } catch {
            throw .failure("\(name(object)): \((error as? ObjectStoreError)?.message ?? "\(error)")")
        }
    }
}
