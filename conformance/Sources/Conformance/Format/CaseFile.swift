import Foundation

/// Reads case files.
///
/// File format (YAML): a map with `area` and `cases`, and defaults for all its cases (`level`, `needs`, `doc`). A case
/// is a map:
/// - `name`: short, of words joined by hyphens; with the area it is the case's identity;
/// - `doc`: the behaviour that is checked, and after a colon-free dash or in brackets its source;
/// - `level`, `until`: the API level since which, and the last at which, it holds;
/// - `needs`, `flags`, `required`, `timeout` (seconds): see `Case`;
/// - `vars`: variables; `rows`: a list of maps of variables, each of which makes a case of its own (`row` names it);
/// - `steps`: see `Step`.
enum CaseFile {
    /// All cases of the files under `folder`, in the order of file names.
    static func load(folder: String) throws -> [Case] {
        let root = URL(fileURLWithPath: folder)
        guard let files = FileManager.default.enumerator(at: root, includingPropertiesForKeys: nil) else {
            throw SuiteError("there is no folder \(folder)")
        }
        let paths = files.compactMap { ($0 as? URL)?.path }.filter { $0.hasSuffix(".yaml") }.sorted()
        if paths.isEmpty { throw SuiteError("there are no case files under \(folder)") }
        return try paths.flatMap { path in
            try parse(try String(contentsOfFile: path, encoding: .utf8), file: path)
        }
    }

    /// The cases of one file's text.
    static func parse(_ text: String, file: String) throws -> [Case] {
        let root = try Value(yaml: text, file: file)
        guard let area = root["area"]?.text, let items = root["cases"]?.list else {
            throw SuiteError("\(file): needs area and cases")
        }
        try check(root, ["area", "cases", "level", "needs", "doc", "flags"], file)
        let fileVariables = try variables(root["vars"], "\(file): vars")
        return try items.flatMap { item -> [Case] in
            guard let name = item["name"]?.text else { throw SuiteError("\(file): a case without a name") }
            let place = "\(file): \(name)"
            try check(
                item,
                ["name", "doc", "level", "until", "needs", "flags", "required", "timeout", "vars", "rows", "steps"],
                place)
            let known = fileVariables.merging(try variables(item["vars"], place)) { _, new in new }
            guard let rows = item["rows"] else { return [try make(item, root, area, name, known, place)] }
            guard let rows = rows.list else { throw SuiteError("\(place): rows is a list") }
            return try rows.enumerated().map { index, row in
                let values = known.merging(try variables(row, place)) { _, new in new }
                let label = values["row"]?.text ?? String(index + 1)
                return try make(item, root, area, "\(name)[\(label)]", values, place)
            }
        }
    }

    private static func make(
        _ item: Value, _ root: Value, _ area: String, _ name: String, _ variables: [String: Value], _ place: String
    ) throws -> Case {
        func inherited(_ field: String) -> Value? { item[field] ?? root[field] }
        guard let doc = inherited("doc")?.text else { throw SuiteError("\(place): needs doc") }
        guard let steps = item["steps"]?.list else { throw SuiteError("\(place): needs steps") }
        let parsed = try steps.enumerated().map { index, step in
            try Step(step, place: "\(place): step \(index + 1)")
        }
        let scope = Scope(prefix: "", variables: variables)
        // A row may set the level and the documentation of its own case.
        let level = try self.level(variables["level"] ?? inherited("level"), place)
        let until = try self.level(variables["until"] ?? inherited("until"), place)
        return Case(
            area, name, doc: try scope.evaluate(doc).text ?? doc, level: level ?? .v34, until: until,
            needs: try needs(inherited("needs"), place),
            serverFlags: (inherited("flags")?.list ?? []).compactMap(\.text),
            isRequired: inherited("required")?.bool ?? true,
            timeout: .seconds(Int64(inherited("timeout")?.integer ?? 60))
        ) { context in
            try await StepRunner(context, variables: variables).run(parsed)
        }
    }

    private static func level(_ value: Value?, _ place: String) throws -> Level? {
        guard let text = value?.text else { return nil }
        guard let level = Level(text) else { throw SuiteError("\(place): \(text) is no level") }
        return level
    }

    private static func needs(_ value: Value?, _ place: String) throws -> Set<Need> {
        let names = value?.list?.compactMap(\.text) ?? value?.text.map { [$0] } ?? []
        return Set(
            try names.map { name in
                guard let need = Need(rawValue: name) else { throw SuiteError("\(place): there is no need \(name)") }
                return need
            })
    }

    private static func variables(_ value: Value?, _ place: String) throws -> [String: Value] {
        guard let value else { return [:] }
        guard let fields = value.fields else { throw SuiteError("\(place): variables are a map") }
        return Dictionary(fields.map { ($0.name, $0.value) }) { _, new in new }
    }

    static func check(_ value: Value, _ names: Set<String>, _ place: String) throws {
        for field in value.fields ?? [] where !names.contains(field.name) && field.name != "vars" {
            throw SuiteError("\(place): \(field.name) is not known here")
        }
    }
}
