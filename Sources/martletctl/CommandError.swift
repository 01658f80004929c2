/// Why a command ends without success: one line for stderr and the exit code that etcdctl gives for it.
package struct CommandError: Error, Equatable {
    /// The exit codes of etcdctl.
    package enum Code: Int32, Sendable {
        /// The server refused, or the command could not be carried out.
        case failure = 1
        /// The connection, or a lease, is gone.
        case badConnection = 2
        /// Interactive input that cannot be read.
        case invalidInput = 3
        /// A flag's value, or an output format, that is not supported.
        case badFeature = 4
        /// The server ended a watch.
        case interrupted = 5
        /// A file could not be read or written.
        case io = 6
        /// Wrong arguments.
        case badArguments = 128
    }

    /// The exit code.
    package var code: Code
    /// What is wrong, in one line; printed after `Error: `. Empty when it was printed already.
    package var message: String

    package init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }

    /// Wrong arguments: exit code 128.
    package static func badArguments(_ message: String) -> CommandError { CommandError(.badArguments, message) }

    /// Input that cannot be read: exit code 3.
    package static func invalidInput(_ message: String) -> CommandError { CommandError(.invalidInput, message) }

    /// A format or flag value that is not supported: exit code 4.
    package static func badFeature(_ message: String) -> CommandError { CommandError(.badFeature, message) }

    /// The command failed: exit code 1.
    package static func failure(_ message: String) -> CommandError { CommandError(.failure, message) }
}
