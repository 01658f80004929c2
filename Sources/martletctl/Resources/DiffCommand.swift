import ArgumentParser
import ResourceStore

/// Shows what `apply` would change. Exit code 0 when that is nothing, 1 when it is something, more when it fails.
struct DiffCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "diff", abstract: "Shows what apply would change; exit code 1 if anything")

    @OptionGroup var manifests: ManifestOptions
    @OptionGroup var options: ResourceOptions
    @OptionGroup var global: GlobalOptions

    func run() async throws {
        let objects = try Manifests.read(manifests.filename, standardInput: { StandardInput.readAll() })
        let text = try await global.store(options) { store, _ in
            let resolver = try await options.resolver(for: objects, store)
            var planning = ApplyPlan.Options()
            planning.namespace = options.namespace
            planning.forcesConflicts = true
            let plan = try await ApplyPlan.make(objects, store: store, resolver: resolver, options: planning)
            guard plan.refusals.isEmpty else {
                throw CommandError.invalidInput(plan.refusals.joined(separator: "\n"))
            }
            return plan.steps.map(Self.difference).joined()
        }
        Output.write(text: text)
        if !text.isEmpty { throw CommandError.failure("") }
    }

    /// What one object changes, as a unified diff of YAML; empty when nothing does.
    private static func difference(_ step: ApplyPlan.Step) -> String {
        guard step.action != .unchanged else { return "" }
        let before = step.live.flatMap(ApplyPlan.decode).map { shown($0) } ?? ""
        var result = step.result
        if step.live == nil {
            // Made up when the object is really created.
            result["metadata"]?["uid"] = nil
            result["metadata"]?["creationTimestamp"] = nil
        }
        let after = shown(result)
        guard before != after else { return "" }
        return "--- stored \(step.key)\n+++ \(step.manifest.file) \(step.name)\n"
            + LineDiff.unified(from: before, to: after)
    }

    /// The object without the annotation that only says what was applied.
    private static func shown(_ object: Unstructured) -> String {
        var object = object
        object.annotations[ThreeWayMerge.annotation] = nil
        return YAMLWriter.text(of: object.fields)
    }
}

/// The difference of two texts by lines.
enum LineDiff {
    /// Equal lines shown around a change.
    private static let contextLines = 3

    /// The hunks of a unified diff; empty for equal texts.
    static func unified(from old: String, to new: String) -> String {
        let before = lines(old)
        let after = lines(new)
        let edits = script(before, after)
        var text = ""
        var index = 0
        while index < edits.count {
            guard edits[index].kind != .keep else {
                index += 1
                continue
            }
            let start = max(0, index - contextLines)
            var end = index
            var quiet = 0
            // A hunk goes on while changes are near enough for their contexts to meet.
            while end < edits.count, quiet <= 2 * contextLines {
                quiet = edits[end].kind == .keep ? quiet + 1 : 0
                end += 1
            }
            end -= max(0, quiet - contextLines)
            text += hunk(edits[start..<end], edits[..<start])
            index = end
        }
        return text
    }

    private enum Kind { case keep, delete, insert }
    private typealias Edit = (kind: Kind, line: Substring)

    private static func lines(_ text: String) -> [Substring] {
        var lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        if lines.last == "" { lines.removeLast() }
        return lines
    }

    private static func hunk(_ edits: ArraySlice<Edit>, _ earlier: ArraySlice<Edit>) -> String {
        func count(_ edits: ArraySlice<Edit>, without kind: Kind) -> Int { edits.count { $0.kind != kind } }
        let (old, new) = (count(edits, without: .insert), count(edits, without: .delete))
        let oldStart = count(earlier, without: .insert) + (old > 0 ? 1 : 0)
        let newStart = count(earlier, without: .delete) + (new > 0 ? 1 : 0)
        var text = "@@ -\(oldStart),\(old) +\(newStart),\(new) @@\n"
        for edit in edits {
            text += edit.kind == .keep ? " " : edit.kind == .delete ? "-" : "+"
            text += edit.line + "\n"
        }
        return text
    }

    /// The edits that make one list of lines of the other, deletions before insertions.
    private static func script(_ before: [Substring], _ after: [Substring]) -> [Edit] {
        let changes = after.difference(from: before)
        var removed: Set<Int> = []
        var inserted: Set<Int> = []
        for change in changes {
            switch change {
            case .remove(let offset, _, _): removed.insert(offset)
            case .insert(let offset, _, _): inserted.insert(offset)
            }
        }
        var edits: [Edit] = []
        var (old, new) = (0, 0)
        while old < before.count || new < after.count {
            if removed.contains(old) {
                edits.append((.delete, before[old]))
                old += 1
            } else if inserted.contains(new) {
                edits.append((.insert, after[new]))
                new += 1
            } else {
                edits.append((.keep, before[old]))
                old += 1
                new += 1
            }
        }
        return edits
    }
}
