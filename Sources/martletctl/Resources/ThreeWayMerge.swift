import ResourceStore

/// Brings an object that is stored to what a manifest wants, and keeps what others have set: from what was applied
/// last, what is wanted now, and what there is.
///
/// - A field that the manifest has is set; one that it had last time, and has no more, is removed; all others stay. Null
///   asks for a field to be away, and is never stored.
/// - Lists of Kubernetes' own kinds whose elements have a name of their own are merged by it; other lists are replaced.
/// - A field that somebody else has changed since it was applied is a conflict, unless it is already as wanted.
struct ThreeWayMerge: Sendable {
    /// A field that somebody else has changed.
    struct Conflict: Sendable, Hashable {
        let field: String
        let message: String
    }

    /// The annotation that holds what was applied last. Source: kubectl.
    static let annotation = "kubectl.kubernetes.io/last-applied-configuration"

    private(set) var result: JSONValue
    private(set) var conflicts: [Conflict] = []
    /// Lists are merged by their elements' names.
    private let mergesLists: Bool
    /// Nothing is known of what was applied last: every difference may be somebody's.
    private let isFirst: Bool

    /// - Parameters:
    ///   - last: what was applied last; nil when that is not known.
    ///   - wanted: what the manifest says.
    ///   - live: what is stored.
    ///   - mergesLists: for Kubernetes' own kinds, whose lists are known.
    init(last: JSONValue?, wanted: JSONValue, live: JSONValue, mergesLists: Bool) {
        self.mergesLists = mergesLists
        isFirst = last == nil
        result = live
        // Nulls are not stored, so none was in what was applied last; those of the manifest stay until they are met.
        result = merge(last: last?.withoutNulls, wanted: wanted, live: live, path: "")
    }

    private mutating func merge(last: JSONValue?, wanted: JSONValue, live: JSONValue?, path: String) -> JSONValue {
        switch (wanted, live) {
        case (.object(let wanted), .object(let live)?):
            return .object(merge(last: last?.object, wanted: wanted, live: live, path: path))
        case (.array(let elements), .array(let current)?):
            guard let key = listKey(path, [elements, current, last?.array ?? []]) else { break }
            return .array(merge(last: last?.array ?? [], elements, current, by: key, path: path))
        default: break
        }
        let wanted = wanted.withoutNulls
        if let live, live.withoutNulls != wanted, isFirst || last != live.withoutNulls {
            note(path, last, live, "the manifest wants", wanted)
        }
        return wanted
    }

    private mutating func merge(
        last: [String: JSONValue]?, wanted: [String: JSONValue], live: [String: JSONValue], path: String
    ) -> [String: JSONValue] {
        var result = live
        for (key, value) in wanted.sorted(by: { $0.key < $1.key }) {
            let field = path.isEmpty ? key : "\(path).\(key)"
            if value == .null {
                if let current = live[key] { noteUnknown(field, last?[key], current) }
                result[key] = nil
            } else if let current = live[key] {
                result[key] = merge(last: last?[key], wanted: value, live: current, path: field)
            } else {
                if let last = last?[key] { noteRemoved(field, last, value) }
                result[key] = value.withoutNulls
            }
        }
        for (key, value) in (last ?? [:]).sorted(by: { $0.key < $1.key }) where wanted[key] == nil {
            let field = path.isEmpty ? key : "\(path).\(key)"
            guard let current = live[key] else { continue }
            result[key] = remove(value, from: current, path: field)
        }
        return result
    }

    /// Takes out what was applied and is wanted no more; what others have put beside it stays.
    private mutating func remove(_ last: JSONValue, from live: JSONValue, path: String) -> JSONValue? {
        if case .object(let applied) = last, case .object(var current) = live {
            for (key, value) in applied.sorted(by: { $0.key < $1.key }) {
                guard let inner = current[key] else { continue }
                current[key] = remove(value, from: inner, path: "\(path).\(key)")
            }
            return current.isEmpty ? nil : .object(current)
        }
        noteUnknown(path, last, live)
        return nil
    }

    private mutating func merge(
        last: [JSONValue], _ wanted: [JSONValue], _ live: [JSONValue], by key: String, path: String
    ) -> [JSONValue] {
        func element(_ list: [JSONValue], _ name: JSONValue) -> JSONValue? { list.first { $0[key] == name } }
        var result: [JSONValue] = []
        for item in wanted {
            guard let name = item[key] else { continue }
            let field = "\(path)[\(key)=\(name.short)]"
            if let current = element(live, name) {
                result.append(merge(last: element(last, name), wanted: item, live: current, path: field))
            } else {
                if let applied = element(last, name) { noteRemoved(field, applied, item) }
                result.append(item.withoutNulls)
            }
        }
        // What others have added stays, behind what the manifest has. What it had goes as a whole: an element is not
        // kept for what others have put into it, but what they have changed in it is a conflict.
        for item in live {
            guard let name = item[key], element(wanted, name) == nil else { continue }
            if let applied = element(last, name) {
                _ = remove(applied, from: item, path: "\(path)[\(key)=\(name.short)]")
            } else {
                result.append(item)
            }
        }
        return result
    }

    private mutating func note(
        _ field: String, _ last: JSONValue?, _ live: JSONValue, _ reason: String, _ wanted: JSONValue?
    ) {
        let before = isFirst ? "not applied before" : "applied \(last?.short ?? "nothing")"
        let now = wanted.map { "\(reason) \($0.short)" } ?? reason
        conflicts.append(Conflict(field: field, message: "\(before), stored is \(live.short), \(now)"))
    }

    /// A conflict where a field that is to go is not as it was applied.
    private mutating func noteUnknown(_ field: String, _ last: JSONValue?, _ live: JSONValue) {
        if live != .null, last != live.withoutNulls { note(field, last, live, "the manifest wants it away", nil) }
    }

    private mutating func noteRemoved(_ field: String, _ last: JSONValue, _ wanted: JSONValue) {
        conflicts.append(
            Conflict(
                field: field, message: "applied \(last.short), removed since, the manifest wants \(wanted.short)"))
    }

    /// The field that names the elements of all these lists, each differently.
    private func listKey(_ path: String, _ lists: [[JSONValue]]) -> String? {
        guard mergesLists else { return nil }
        let name = path.split(separator: ".").last.map { $0.prefix { $0 != "[" } } ?? ""
        return Self.listKeys[String(name)]?.first { key in
            lists.allSatisfy { list in Set(list.compactMap { $0[key] }).count == list.count }
        }
    }

    /// Source: the merge keys in Kubernetes' API types.
    private static let listKeys: [String: [String]] = [
        "containers": ["name"], "initContainers": ["name"], "ephemeralContainers": ["name"], "env": ["name"],
        "volumes": ["name"], "volumeMounts": ["mountPath"], "volumeDevices": ["devicePath"],
        "imagePullSecrets": ["name"], "secrets": ["name"], "hostAliases": ["ip"], "ports": ["containerPort", "port"],
        "ownerReferences": ["uid"], "conditions": ["type"], "topologySpreadConstraints": ["topologyKey"],
    ]
}

extension JSONValue {
    /// The value in a few characters, for messages.
    var short: String {
        let text = String(decoding: bytes, as: UTF8.self)
        return text.count > 60 ? text.prefix(57) + "..." : text
    }

    /// Without members that are null, at any depth. Elements of lists stay, even if they are null.
    var withoutNulls: JSONValue {
        switch self {
        case .object(let members): .object(members.filter { $0.value != .null }.mapValues(\.withoutNulls))
        case .array(let elements): .array(elements.map(\.withoutNulls))
        default: self
        }
    }
}
