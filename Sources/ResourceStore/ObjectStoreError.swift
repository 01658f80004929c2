import Client
import Transport

/// Why a call of the store failed.
///
/// ```swift
/// do {
///     try await widgets.create(widget)
/// } catch where error.code == .alreadyExists {
///     // somebody was faster
/// }
/// ```
public struct ObjectStoreError: Error, Sendable, Hashable, CustomStringConvertible {
    /// The kinds of failure that programs tell apart.
    public enum Code: String, Sendable, Hashable, CaseIterable {
        /// An object of this name exists already.
        case alreadyExists
        /// There is no object of this name.
        case notFound
        /// The object is not the one that was asked for: another uid, or another resource version.
        case conflict
        /// The history that was asked for has been compacted (HTTP 410 Gone): list again.
        case expired
        /// The store has not reached the resource version that was asked for.
        case tooLargeResourceVersion
        /// The call makes no sense: a bad name, a bad token, an object that cannot be encoded.
        case invalid
        /// What is stored cannot be decoded by this codec.
        case undecodable
        /// The object is larger than the store takes.
        case objectTooLarge
        /// The store is out of space, or has too much to do.
        case exhausted
        /// The store does not know, or does not trust, this client.
        case forbidden
        /// No endpoint answers. A write that failed so may have been carried out.
        case unavailable
        /// The store did not answer in time. A write that failed so may have been carried out.
        case timedOut
        /// The task was cancelled, or the store closed.
        case cancelled
        /// Anything else; a defect here or there.
        case other
    }

    /// What kind of failure this is.
    public let code: Code
    /// What happened, in one line.
    public let message: String
    /// The key of the object, where one is meant.
    public var key: String?
    /// After `conflict`, the version the object has; after `tooLargeResourceVersion`, the version the store is at.
    public var currentResourceVersion: ResourceVersion?
    /// After `expired` in the middle of a paged list: a token that goes on with the rest at a newer version. The pages
    /// before and after it are then not of one moment.
    public var inconsistentContinueToken: String?

    /// Makes an error; codecs of your own throw them, and tests.
    public init(_ code: Code, _ message: String, key: String? = nil) {
        self.code = code
        self.message = message
        self.key = key
    }

    /// Message and key.
    public var description: String { key.map { "\($0): \(message)" } ?? message }
}

extension ObjectStoreError {
    /// What the server's answer means to a storage client.
    init(_ error: ClientError, key: String? = nil) {
        let code: Code =
            switch error.code {
            case .outOfRange where error.message.contains("required revision has been compacted"): .expired
            case .outOfRange where error.message.contains("required revision is a future revision"):
                .tooLargeResourceVersion
            case .invalidArgument where error.message.contains("request is too large"): .objectTooLarge
            case .resourceExhausted: .exhausted
            case .permissionDenied, .unauthenticated: .forbidden
            case .unavailable: .unavailable
            case .deadlineExceeded: .timedOut
            case .cancelled: .cancelled
            default: .other
            }
        self.init(code, error.description, key: key)
    }

    static func invalid(_ message: String) -> ObjectStoreError { ObjectStoreError(.invalid, message) }
}
