import Foundation
import NIOCore
import Transport
import TransportSecurity
import Wire

/// TLS, probed with the `openssl` command so that nothing of our own stack judges itself.
/// Source: https://etcd.io/docs/v3.6/op-guide/security/.
enum TLSCases {
    static let all: [Case] = [
        probe("no-certificate", "A client without a certificate is refused when --client-cert-auth is set") { files in
            .refused(files.probe("-tls1_2"), files.probe("-tls1_3"))
        },
        probe("good-certificate", "A client with a certificate of the trusted CA is served, with TLS 1.2") { files in
            .served(files.probe("-tls1_2 \(files.client)"))
        },
        probe("tls-1.3", "TLS 1.3 is spoken", level: .v36) { files in
            .served(files.probe("-tls1_3 \(files.client)"))
        },
        probe("wrong-authority", "A client whose certificate another CA has signed is refused") { files in
            .refused(files.probe("-tls1_2 \(files.stranger)"), files.probe("-tls1_3 \(files.stranger)"))
        },
        probe("expired-certificate", "A client whose certificate has expired is refused") { files in
            .refused(files.probe("-tls1_2 \(files.expired)"), files.probe("-tls1_3 \(files.expired)"))
        },
        probe("tls-1.1", "TLS below 1.2 is refused") { files in
            .refused(files.probe("-tls1_1 \(files.client) -cipher ALL:@SECLEVEL=0"))
        },
        probe("plain-text-on-tls-port", "Plain text on a TLS port is not served") { files in
            .refused(files.plainText)
        },
        Case(
            "tls", "server-certificate", doc: "The server shows the certificate of --cert-file [op-guide/security]",
            needs: [.process, .single, .openssl]
        ) { context in
            try await with(context) { files, server in
                let shown = try await Shell.run(
                    "openssl s_client -connect 127.0.0.1:\(server.clientPort) -CAfile \(files.path("ca.crt")) "
                        + "\(files.client) </dev/null 2>/dev/null | openssl x509 -noout -fingerprint -sha256")
                let own = try await Shell.run(
                    "openssl x509 -noout -fingerprint -sha256 -in \(files.path("server.crt"))")
                try context.expect(
                    !own.output.isEmpty && shown.output == own.output, "shown \(shown.output), given \(own.output)")
            }
        },
        Case(
            "tls", "alpn", doc: "HTTP/2 is negotiated by ALPN [gRPC over HTTP/2; RFC 7301]",
            needs: [.process, .single, .openssl]
        ) { context in
            try await with(context) { files, server in
                let shown = try await Shell.run(
                    "openssl s_client -connect 127.0.0.1:\(server.clientPort) -alpn h2 \(files.client) </dev/null 2>&1")
                try context.expect(shown.output.contains("ALPN protocol: h2"), "no h2: \(shown.output.suffix(300))")
            }
        },
        Case(
            "tls", "client", doc: "Calls, streams and HTTP work over TLS with client certificates [op-guide/security]",
            needs: [.process, .single, .openssl]
        ) { context in
            try await with(context) { _, server in
                let inner = CaseContext(target: server.target, prefix: context.prefix, level: context.level)
                let watch = try await inner.watch("a")
                let revision = try await inner.put("a", "1")
                try context.expectEqual(try await watch.events(1).first?.kv.modRevision, revision, "revision over TLS")
                let large = Data(count: 1_000_000)
                try await inner.put("b", large)
                try context.expect(try await inner.get("b").kvs.first?.value == large, "1 MB over TLS")
                let health = try await HTTPClient.request(server.target, endpoint: 0, method: "GET", path: "/health")
                try context.expectEqual(health.status, 200, "status of /health over TLS")
                await inner.cleanUp()
            }
        },
        Case(
            "tls", "certificate-rotation",
            doc:
                "A certificate that is replaced on disk is shown without a restart [op-guide/security; etcd reads it "
                + "at each handshake]", needs: [.process, .single, .openssl], body: rotation),
        Case(
            "tls", "without-client-authentication",
            doc: "Without a trusted CA any client may come, with TLS [op-guide/security, example 1]",
            needs: [.process, .single, .openssl]
        ) { context in
            try await with(context, authenticatesClients: false) { files, server in
                let answer = try await Shell.run(files.probe("-tls1_2", port: server.clientPort))
                try context.expect(answer.output.contains("etcdserver"), "not served: \(answer.output.suffix(300))")
            }
        },
    ]

    private enum Expectation {
        case served([String])
        case refused([String])

        static func served(_ lines: String...) -> Expectation { .served(lines) }
        static func refused(_ lines: String...) -> Expectation { .refused(lines) }
    }

    /// A case that runs `openssl` against a server that demands client certificates.
    private static func probe(
        _ name: String, _ doc: String, level: Level = .v34, _ lines: @escaping @Sendable (TLSFiles) -> Expectation
    ) -> Case {
        Case("tls", name, doc: doc + " [op-guide/security]", level: level, needs: [.process, .single, .openssl]) {
            context in
            try await with(context) { files, server in
                let expectation = lines(files)
                let (wanted, all) =
                    switch expectation {
                    case .served(let lines): (true, lines)
                    case .refused(let lines): (false, lines)
                    }
                for line in all {
                    let line = line.replacingOccurrences(of: "PORT", with: String(server.clientPort))
                    let answer = try await Shell.run(line)
                    let isServed = answer.output.contains("etcdserver")
                    try context.expect(
                        isServed == wanted, "\(wanted ? "not served" : "served"): \(line): \(answer.output.suffix(300))"
                    )
                }
                // Whoever may come still can.
                let inner = CaseContext(target: server.target, prefix: context.prefix, level: context.level)
                _ = try await inner.revision()
            }
        }
    }

    private static func with(
        _ context: CaseContext, authenticatesClients: Bool = true,
        _ body: (TLSFiles, ServerProcess) async throws -> Void
    ) async throws {
        guard let launcher = context.launcher else {
            throw CaseSkip("starts a server of its own: needs --server-command")
        }
        let files = try await TLSFiles(folder: try launcher.makeFolder("tls-\(UInt32.random(in: 0 ... .max))"))
        var flags = ["--cert-file", files.path("server.crt"), "--key-file", files.path("server.key")]
        if authenticatesClients { flags += ["--client-cert-auth", "--trusted-ca-file", files.path("ca.crt")] }
        let client = TLSConfiguration.client(
            trustedCAFile: files.path("ca.crt"), certificateFile: files.path("client.crt"),
            keyFile: files.path("client.key"))
        let server = try await launcher.start(tls: ServerTLS(flags: flags, client: client))
        do {
            try await body(files, server)
            await server.discard()
        } catch {
            await server.discard()
            throw error
        }
    }

    private static let rotation: @Sendable (CaseContext) async throws -> Void = { context in
        try await with(context) { files, server in
            let line =
                "openssl s_client -connect 127.0.0.1:\(server.clientPort) \(files.client) </dev/null 2>/dev/null "
                + "| openssl x509 -noout -serial"
            let before = try await Shell.run(line).output
            try await files.issue("new", serial: 99)
            _ = try await Shell.run(
                "mv \(files.path("new.key")) \(files.path("server.key")) && "
                    + "mv \(files.path("new.crt")) \(files.path("server.crt"))")
            let deadline = ContinuousClock.now + Duration.seconds(10).patient
            while true {
                let shown = try await Shell.run(line).output
                if shown != before, shown.contains("63") { return }
                try context.expect(ContinuousClock.now < deadline, "still shown: \(shown)")
                try await Task.sleep(for: .milliseconds(200))
            }
        }
    }
}

/// A CA and what it signed, made by `openssl` in a folder.
struct TLSFiles: Sendable {
    let folder: String

    func path(_ name: String) -> String { folder + "/" + name }
    var client: String { pair("client") }
    var stranger: String { pair("stranger") }
    var expired: String { pair("expired") }
    var plainText: String {
        "bash -c \"exec 3<>/dev/tcp/127.0.0.1/PORT; printf \\\"GET /version HTTP/1.0\\\\r\\\\n\\\\r\\\\n\\\" >&3; "
            + "timeout 2 cat <&3\""
    }

    private func pair(_ name: String) -> String { "-cert \(path(name + ".crt")) -key \(path(name + ".key"))" }

    /// A shell line that asks for /version over TLS; PORT stands for the server's port.
    func probe(_ options: String, port: Int? = nil) -> String {
        let request =
            "(printf \"GET /version HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n\"; sleep 0.4)"
        return "\(request) | timeout 60 openssl s_client -quiet -connect 127.0.0.1:\(port.map(String.init) ?? "PORT") "
            + "-CAfile \(path("ca.crt")) \(options) 2>&1"
    }

    init(folder: String) async throws {
        self.folder = folder
        try await authority("ca")
        try await authority("other")
        try await issue("server", serial: 2)
        try await issue("client", serial: 3)
        try await issue("stranger", serial: 4, authority: "other")
        try await issue("expired", serial: 5, days: -1)
    }

    private func authority(_ name: String) async throws {
        try await openssl(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -keyout \(path(name + ".key")) "
                + "-out \(path(name + ".crt")) -subj /CN=\(name)")
    }

    /// Makes NAME.crt and NAME.key for 127.0.0.1; with negative days one that has expired.
    func issue(_ name: String, serial: Int, authority: String = "ca", days: Int = 2) async throws {
        let text = "subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n"
        try text.write(toFile: path(name + ".ext"), atomically: true, encoding: .utf8)
        try await openssl(
            "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout \(path(name + ".key")) "
                + "-out \(path(name + ".csr")) -subj /CN=localhost")
        try await openssl(
            "x509 -req -in \(path(name + ".csr")) -CA \(path(authority + ".crt")) -CAkey \(path(authority + ".key")) "
                + "-set_serial \(serial) -days \(days) -extfile \(path(name + ".ext")) -out \(path(name + ".crt"))")
    }

    private func openssl(_ arguments: String) async throws {
        let result = try await Shell.run("openssl \(arguments)")
        guard result.status == 0 else { throw SuiteError("openssl \(arguments): \(result.output)") }
    }
}
