import ArgumentParser
import Client
import SwiftProtobuf

/// The flags that every command takes: etcdctl's names, forms and defaults. This is the only place that names them.
///
/// A flag that is not given takes its value from the environment, `ETCDCTL_` and its name in capitals with `_` for
/// `-`. Flags that etcdctl has and that cannot be honoured are refused with the reason, when a value is given that
/// would change something (`checkRefused`).
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

    @Option(help: "Send a ping after this much silence; less than 10s counts as 10s, 0 as never.")
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

    @Option(help: "A token of authentication, sent with every call.")
    var authJwtToken = ""

    @Option(
        name: [.customShort("d"), .customLong("discovery-srv")],
        help: "A domain whose SRV records name the endpoints; refused, use --endpoints.")
    var discoverySRV = ""

    @Option(name: .customLong("discovery-srv-name"), help: "The service's name in SRV records; goes with -d.")
    var discoverySRVName = ""

    @Flag(inversion: .prefixedNo, help: "Take SRV records that are not secured; goes with -d.")
    var insecureDiscovery = true

    @Option(help: "The longest request sent, bytes; 0 for no limit.")
    var maxRequestBytes = 0

    @Option(help: "The longest answer taken, bytes; 0 for 2147483647, the limit.")
    var maxRecvBytes = 0

    package init() {}

    /// The printer for the chosen format.
    func printer() throws(CommandError) -> Printer {
        guard let format = OutputFormat(rawValue: writeOut) else {
            throw .badFeature("unsupported output format")
        }
        return Printer(format: format, isHex: hex)
    }

    /// Throws the reason when a flag is used that only etcdctl can honour.
    func checkRefused() throws(CommandError) {
        if !discoverySRV.isEmpty {
            throw .failure("--discovery-srv: SRV records are not looked up; name the endpoints with --endpoints")
        }
        if maxRecvBytes < 0 { throw .badArguments("--max-recv-bytes must not be negative") }
        if maxRequestBytes < 0 { throw .badArguments("--max-request-bytes must not be negative") }
    }

    /// Throws what etcdctl says about a request longer than `--max-request-bytes`.
    func checkSize(_ request: some Message) throws(CommandError) {
        guard maxRequestBytes > 0, let bytes = try? request.serializedData().count, bytes > maxRequestBytes else {
            return
        }
        throw .failure("trying to send message larger than max (\(bytes) vs. \(maxRequestBytes))")
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
