import ArgumentParser
import Client
import Glibc

/// The flags that every command takes: etcdctl's names, forms and defaults. This is the only place that names them.
///
/// A flag that is not given takes its value from the environment, `ETCDCTL_` and its name in capitals with `_` for
/// `-`.
package struct GlobalOptions: ParsableArguments {
    @Option(help: "Endpoints, separated by commas.")
    var endpoints = "127.0.0.1:2379"

    @Option(name: [.customShort("w"), .long], help: "Output format: simple, json, fields, table or protobuf.")
    var writeOut = "simple"

    @Flag(help: "Print keys and values as hexadecimal escapes.")
    var hex = false

    @Flag(help: "Say on stderr which connections fail and why.")
    var debug = false

    @Option(help: "How long a connection may take to be made.")
    var dialTimeout = GoDuration.seconds(2)

    @Option(help: "How long a command may take, without connecting.")
    var commandTimeout = GoDuration.seconds(5)

    @Option(help: "Send a ping after this much silence.")
    var keepaliveTime = GoDuration.seconds(2)

    @Option(help: "Close a connection whose ping was not answered for this long.")
    var keepaliveTimeout = GoDuration.seconds(6)

    @Option(help: "The client's TLS certificate, a PEM file.")
    var cert = ""

    @Option(help: "The client's TLS key, a PEM file.")
    var key = ""

    @Option(help: "Certificates of authorities that servers are verified with, a PEM file.")
    var cacert = ""

    @Flag(inversion: .prefixedNo, help: "Speak without TLS to endpoints that do not say https.")
    var insecureTransport = true

    @Flag(name: .customLong("insecure-skip-tls-verify"), help: "Do not verify the server's certificate.")
    var insecureSkipTLSVerify = false

    @Option(help: "Name, or name:password, to authenticate with.")
    var user = ""

    @Option(help: "The user's password.")
    var password = ""

    package init() {}

    /// The long names of the flags above that have a value, and those that have none.
    static let valueNames = [
        "endpoints", "write-out", "dial-timeout", "command-timeout", "keepalive-time", "keepalive-timeout", "cert",
        "key", "cacert", "user", "password",
    ]
    static let switchNames = ["hex", "debug", "insecure-transport", "insecure-skip-tls-verify"]

    /// The flags without a value of the single commands, which like those above may be written `--prefix=true`.
    private static let commandSwitchNames: Set<String> = [
        "prefix", "prev-kv", "from-key", "keys-only", "count-only", "print-value-only", "ignore-value",
        "ignore-lease", "interactive", "progress-notify", "physical", "once", "keys", "cluster", "learner", "range",
        "skip-hash-check", "mark-compacted",
    ]

    /// Those of all that have a form which says no: what they say is not the same as not being given.
    private static let invertedNames: Set<String> = ["insecure-transport", "mark-compacted"]

    /// Puts command-line arguments into the form that the parser takes: global flags, which may stand before the
    /// command, go behind it (but before `--`); `--flag=true` becomes `--flag`, `--flag=false` nothing; flags from
    /// the environment are added.
    package static func arrange(_ arguments: [String], environment: (String) -> String?) -> [String] {
        var own: [String] = []
        var global: [String] = []
        var given: Set<String> = []
        var rest = arguments[...]
        while let argument = rest.popFirst() {
            if argument == "--" {
                rest = [argument] + rest
                break
            }
            guard argument.hasPrefix("-") else {
                own.append(argument)
                continue
            }
            let parts = argument.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            let name = parts[0] == "-w" ? "write-out" : String(parts[0].drop { $0 == "-" })
            let value = parts.count == 2 ? String(parts[1]) : nil
            if parts[0].hasPrefix("--") || parts[0] == "-w", valueNames.contains(name) {
                given.insert(name)
                if let value = value ?? rest.popFirst() {
                    global.append("--\(name)=\(value)")
                } else {
                    own.append(argument)
                }
            } else if argument.hasPrefix("-w"), !argument.hasPrefix("--") {
                given.insert("write-out")
                global.append("--write-out=\(argument.dropFirst(2))")
            } else if parts[0].hasPrefix("--"), switchNames.contains(name) || commandSwitchNames.contains(name) {
                given.insert(name)
                let target = switchForm(name, value)
                if switchNames.contains(name) { global += target } else { own += target }
            } else {
                own.append(argument)
            }
        }
        for name in valueNames + switchNames where !given.contains(name) {
            let variable = "ETCDCTL_" + name.uppercased().map { $0 == "-" ? "_" : String($0) }.joined()
            guard let value = environment(variable), !value.isEmpty else { continue }
            global += switchNames.contains(name) ? switchForm(name, value) : ["--\(name)=\(value)"]
        }
        return own + global + rest
    }

    private static func switchForm(_ name: String, _ value: String?) -> [String] {
        switch value {
        case nil, "true", "1", "t", "T", "TRUE", "True": ["--\(name)"]
        case "false", "0", "f", "F", "FALSE", "False":
            invertedNames.contains(name) ? ["--no-\(name)"] : []
        case let value?: ["--\(name)=\(value)"]
        }
    }

    /// The printer for the chosen format.
    func printer() throws(CommandError) -> Printer {
        guard let format = OutputFormat(rawValue: writeOut) else {
            throw .badFeature("unsupported output format")
        }
        return Printer(format: format, isHex: hex)
    }

    /// The endpoints as they were given, in order.
    var endpointList: [String] {
        endpoints.split(separator: ",").map { String($0.drop { $0 == " " }) }.filter { !$0.isEmpty }
    }
}

extension GoDuration: ExpressibleByArgument {
    package init?(argument: String) { self.init(argument) }
    package var defaultValueDescription: String { description }
}
