import Client
import Glibc
import NIOCore
import NIOPosix
import TransportSecurity
import Wire

/// How commands come to a client.
extension GlobalOptions {
    /// Runs `body` with a client of the endpoints in the options, and closes it. A `ClientError` becomes the command's
    /// error: exit code 1 and the server's text.
    func session<Result: Sendable>(
        endpoints: [String]? = nil, _ body: (EtcdClient) async throws -> Result
    ) async throws -> Result {
        try await withClient(endpoints: endpoints) { client in
            do { return try await body(client) } catch let error as ClientError {
                throw CommandError.failure(error.description)
            }
        }
    }

    /// The loops that commands' connections live on.
    var eventLoops: any EventLoopGroup { MultiThreadedEventLoopGroup.singleton }

    /// As `session`, but a `ClientError` goes through as it is.
    func withClient<Result: Sendable>(
        endpoints: [String]? = nil, _ body: (EtcdClient) async throws -> Result
    ) async throws -> Result {
        let client = EtcdClient(
            try clientConfiguration(endpoints: endpoints), group: eventLoops)
        do {
            let result = try await body(client)
            await client.close()
            return result
        } catch {
            await client.close()
            throw error
        }
    }

    /// The client that these options describe.
    func clientConfiguration(endpoints texts: [String]? = nil) throws(CommandError) -> EtcdClient.Configuration {
        try checkRefused()
        var endpoints: [Endpoint] = []
        for text in texts ?? endpointList {
            guard let endpoint = Endpoint(text) else { throw .badArguments("bad endpoint \(GoText.quoted(text))") }
            endpoints.append(endpoint)
        }
        guard !endpoints.isEmpty else { throw CommandError(.badConnection, "etcdclient: no available endpoints") }
        var configuration = EtcdClient.Configuration(endpoints: endpoints)
        configuration.tls = try tlsConfiguration(endpoints)
        configuration.dialTimeout = .nanoseconds(dialTimeout.nanoseconds)
        configuration.requestTimeout = .nanoseconds(commandTimeout.nanoseconds)
        configuration.credentials = try credentials()
        configuration.token = authJwtToken.isEmpty ? nil : authJwtToken
        if keepaliveTime.nanoseconds > 0 {
            // As Go's gRPC, and so etcdctl: servers close connections that ping much more often.
            configuration.keepaliveTime = max(TimeAmount.seconds(10), .nanoseconds(keepaliveTime.nanoseconds))
            configuration.keepaliveTimeout = .nanoseconds(max(1, keepaliveTimeout.nanoseconds))
        }
        let limit = Int(Int32.max)
        configuration.sentMessageBytesMax = maxRequestBytes == 0 ? limit : min(limit, maxRequestBytes)
        configuration.receivedMessageBytesMax = maxRecvBytes == 0 ? limit : min(limit, maxRecvBytes)
        let isVerbose = debug
        configuration.onConnectionFailure = { endpoint, error in
            if isVerbose {
                Output.error("cannot connect to \(endpoint): \(error.message)")
            } else {
                ConnectionFailures.note(endpoint, error)
            }
        }
        if let tls = configuration.tls {
            // Files that cannot be used fail every connection: say so now instead of trying until the time is over.
            do throws(ClientError) {
                _ = try Dialer(endpoints[0], tls: tls, timeout: configuration.dialTimeout)
            } catch { throw .badArguments(error.message) }
        }
        return configuration
    }

    /// TLS when a file of it is named, plain text is forbidden, or an endpoint says https.
    func tlsConfiguration(_ endpoints: [Endpoint]) throws(CommandError) -> TLSConfiguration? {
        let isAsked = !cert.isEmpty || !key.isEmpty || !cacert.isEmpty || !insecureTransport
        guard isAsked || endpoints.contains(where: { $0.security == .tls }) else { return nil }
        guard cert.isEmpty == key.isEmpty else {
            throw .badArguments("KeyFile and CertFile must both be present[key: \(key), cert: \(cert)]")
        }
        for path in [cacert, cert, key] where !path.isEmpty && access(path, R_OK) != 0 {
            throw .badArguments("open \(path): \(errorText().lowercased())")
        }
        var tls = TLSConfiguration.client(
            trustedCAFile: cacert.isEmpty ? nil : cacert, certificateFile: cert.isEmpty ? nil : cert,
            keyFile: key.isEmpty ? nil : key)
        tls.applicationProtocols = ["h2"]
        tls.insecureSkipVerify = insecureSkipTLSVerify
        return tls
    }

    /// The user and password of `--user` and `--password`; asked for on the terminal when the latter is missing.
    private func credentials() throws(CommandError) -> EtcdClient.Credentials? {
        if user.isEmpty { return nil }
        if !password.isEmpty { return .init(user: user, password: password) }
        if let colon = user.firstIndex(of: ":") {
            return .init(user: String(user[..<colon]), password: String(user[user.index(after: colon)...]))
        }
        guard let line = readPassword() else { throw .failure("failed to read the password") }
        return .init(user: user, password: String(decoding: line, as: UTF8.self))
    }

    /// The client URLs of all members, for `--cluster`.
    func clusterEndpoints() async throws -> [String] {
        do {
            let members = try await withClient { client in try await client.memberList() }.members
            return members.flatMap(\.clientUrls)
        } catch let error as ClientError {
            throw CommandError.failure("failed to fetch endpoints from etcd cluster member list: \(error)")
        }
    }
}

/// Reads a line from standard input, without showing it when that is a terminal; nil at the end of input.
private func readPassword() -> [UInt8]? {
    var before = termios()
    let isTerminal = tcgetattr(0, &before) == 0
    if isTerminal {
        Output.progress("Password: ")
        var silent = before
        silent.c_lflag &= ~tcflag_t(ECHO)
        tcsetattr(0, TCSAFLUSH, &silent)
    }
    defer {
        if isTerminal {
            tcsetattr(0, TCSAFLUSH, &before)
            Output.error("")
        }
    }
    var input = StandardInput()
    return input.nextLine()
}
