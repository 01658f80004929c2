package import Transport

/// Why a call failed: a gRPC status code and its text. etcd's texts are part of its API; match on them.
package struct ClientError: Error, Sendable, Hashable, CustomStringConvertible {
    package var code: RPCCode
    package var message: String

    package init(_ code: RPCCode, _ message: String) {
        self.code = code
        self.message = message
    }

    package init(_ status: RPCStatus) { self.init(status.code, status.message) }

    /// The deadline passed, here or at the server; the text is the one Go programs print.
    package var isDeadlineExceeded: Bool { code == .deadlineExceeded }

    package var description: String { isDeadlineExceeded ? "context deadline exceeded" : message }
}
