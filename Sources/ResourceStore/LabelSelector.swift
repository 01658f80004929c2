/// Chooses objects by their labels, in Kubernetes' notation: `app=web,tier!=cache,env in (dev,test),!legacy`.
public struct LabelSelector: Sendable, Hashable {
    /// What is asked of one label.
    enum Requirement: Sendable, Hashable {
        case exists(String)
        case absent(String)
        /// The label is one of these.
        case among(String, Set<String>)
        /// The label is missing or none of these.
        case notAmong(String, Set<String>)
    }

    let requirements: [Requirement]

    /// Whether labels meet every requirement.
    public func matches(_ labels: [String: String]) -> Bool {
        requirements.allSatisfy { requirement in
            switch requirement {
            case .exists(let key): labels[key] != nil
            case .absent(let key): labels[key] == nil
            case .among(let key, let values): labels[key].map { values.contains($0) } ?? false
            case .notAmong(let key, let values): labels[key].map { !values.contains($0) } ?? true
            }
        }
    }

    /// Parses a selector; an empty one chooses everything. Throws `invalid`.
    public init(_ text: String) throws(ObjectStoreError) {
        var requirements: [Requirement] = []
        for part in Self.parts(of: text) {
            guard let requirement = Self.requirement(part) else {
                throw .invalid("\"\(part)\" in the selector \"\(text)\" is no requirement")
            }
            requirements.append(requirement)
        }
        self.requirements = requirements
    }

    /// The requirements between commas that are not in parentheses.
    private static func parts(of text: String) -> [String] {
        if text.allSatisfy({ $0 == " " }) { return [] }
        var parts = [""]
        var depth = 0
        for character in text {
            if character == "(" { depth += 1 }
            if character == ")" { depth -= 1 }
            if character == ",", depth == 0 { parts.append("") } else { parts[parts.count - 1].append(character) }
        }
        return parts.map { trimmed($0[...]) }
    }

    private static func requirement(_ text: String) -> Requirement? {
        if let (key, values) = set(text, operator: " notin ") { return .notAmong(key, values) }
        if let (key, values) = set(text, operator: " in ") { return .among(key, values) }
        for (sign, isEqual) in [("!=", false), ("==", true), ("=", true)] {
            guard let range = text.firstRange(of: sign) else { continue }
            let key = trimmed(text[..<range.lowerBound])
            let value = trimmed(text[range.upperBound...])
            guard isKey(key), isValue(value) else { return nil }
            return isEqual ? .among(key, [value]) : .notAmong(key, [value])
        }
        if text.hasPrefix("!") {
            let key = trimmed(text.dropFirst())
            return isKey(key) ? .absent(key) : nil
        }
        return isKey(text) ? .exists(text) : nil
    }

    private static func set(_ text: String, operator word: String) -> (String, Set<String>)? {
        guard let range = text.firstRange(of: word) else { return nil }
        let key = trimmed(text[..<range.lowerBound])
        let list = trimmed(text[range.upperBound...])
        guard isKey(key), list.hasPrefix("("), list.hasSuffix(")") else { return nil }
        let values = list.dropFirst().dropLast().split(separator: ",", omittingEmptySubsequences: false)
            .map { trimmed($0) }
        guard values.allSatisfy(isValue) else { return nil }
        return (key, Set(values))
    }

    private static func isKey(_ text: String) -> Bool {
        !text.isEmpty && text.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || "-_./".contains($0)) }
    }

    private static func isValue(_ text: String) -> Bool {
        text.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || "-_.".contains($0)) }
    }

    private static func trimmed(_ text: Substring) -> String {
        var text = text
        while text.first == " " { text = text.dropFirst() }
        while text.last == " " { text = text.dropLast() }
        return String(text)
    }
}
