/// A moment in the store's history: the revision of the write that made it. Every write anywhere in the store has a
/// greater one than those before.
///
/// Kubernetes writes it as a string; so does this type's coding.
public struct ResourceVersion: RawRepresentable, Sendable, Hashable, Comparable, CustomStringConvertible {
    /// The store's revision, from 1.
    public let rawValue: Int64

    public init(rawValue: Int64) { self.rawValue = rawValue }

    /// Reads the decimal form; nil for anything but a whole number that is not negative.
    public init?(_ text: some StringProtocol) {
        guard let value = Int64(text), value >= 0 else { return nil }
        rawValue = value
    }

    public var description: String { String(rawValue) }

    public static func < (left: ResourceVersion, right: ResourceVersion) -> Bool { left.rawValue < right.rawValue }
}

extension ResourceVersion: ExpressibleByIntegerLiteral {
    public init(integerLiteral value: Int64) { rawValue = value }
}

extension ResourceVersion: Codable {
    public init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        let text = try container.decode(String.self)
        guard let version = ResourceVersion(text) else {
            throw DecodingError.dataCorruptedError(
                in: container, debugDescription: "a resource version is a whole number, not \"\(text)\"")
        }
        self = version
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(description)
    }
}

/// How fresh the answer of a read must be.
public enum ReadVersion: Sendable, Hashable {
    /// Everything written before the call: a linearizable read.
    case mostRecent
    /// Whatever the endpoint has, which may be old: a read without a round of the cluster.
    case any
    /// Everything up to this version at least; fails with `tooLargeResourceVersion` where the store is not so far.
    case notOlderThan(ResourceVersion)
    /// The state at exactly this version; fails with `expired` where it has been compacted.
    case exact(ResourceVersion)
}
