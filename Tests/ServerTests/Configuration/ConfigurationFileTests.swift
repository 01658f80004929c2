import Glibc
import Testing

@testable import Server

/// The YAML or JSON file that replaces the flags.
@Suite struct ConfigurationFileTests {
    private static func read(_ text: String) throws -> ServerConfiguration {
        var template = Array("/tmp/martlet-configuration-XXXXXX".utf8CString)
        let descriptor = mkstemp(&template)
        #expect(descriptor >= 0)
        let path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        defer {
            close(descriptor)
            unlink(path)
        }
        let bytes = Array(text.utf8)
        #expect(write(descriptor, bytes, bytes.count) == bytes.count)
        let command = try ServerCommand(
            arguments: ["--config-file", path], environment: [:], readFile: ConfigurationFile.read)
        guard case .run(let configuration) = command else { throw ConfigurationError("not a run") }
        return configuration
    }

    private static func refusal(_ text: String) -> String {
        do {
            _ = try read(text)
            return "accepted"
        } catch { return "\(error)" }
    }

    @Test("Flags are keys, TLS is nested, durations are text or nanoseconds, null is the default")
    func values() throws {
        let configuration = try Self.read(
            """
            name: 'infra'
            data-dir: /d
            listen-client-urls: https://127.0.0.1:2379,https://[::1]:2379
            advertise-client-urls: https://127.0.0.1:2379
            snapshot-count: 100
            quota-backend-bytes: 0
            pre-vote: false
            wal-dir:
            discovery: null
            cors:
            max-txn-ops: 64
            grpc-keepalive-interval: 7000000000
            watch-progress-notify-interval: 5s
            log-outputs: [stdout, /var/log/m.log]
            auto-compaction-retention: '1'
            client-transport-security:
              cert-file: /c
              key-file: /k
              client-cert-auth: true
              trusted-ca-file: /ca
            peer-transport-security:
              cert-file: /pc
              key-file: /pk
              allowed-cn: [a, b]
              auto-tls: false
            """)
        #expect(configuration.name == "infra")
        #expect(configuration.listenClientURLs.map(\.text) == ["https://127.0.0.1:2379", "https://[::1]:2379"])
        #expect(configuration.preVote == false)
        #expect(configuration.maxTxnOperations == 64)
        #expect(configuration.keepaliveIntervalSeconds == 7)
        #expect(configuration.watchProgressNotifySeconds == 5)
        #expect(configuration.logOutputs == ["stdout", "/var/log/m.log"])
        #expect(configuration.certificateFile == "/c" && configuration.keyFile == "/k")
        #expect(configuration.clientCertificateAuth && configuration.trustedCAFile == "/ca")
        #expect(configuration.peerTLS.certificateFile == "/pc" && configuration.peerTLS.keyFile == "/pk")
        #expect(configuration.peerTLS.allowedCommonNames == ["a", "b"])
        let json = try Self.read(#"{"name": "j", "max-request-bytes": 1000, "client-transport-security": null}"#)
        #expect(json.name == "j" && json.maxRequestBytes == 1000)
        #expect(try Self.read("").name == "default")
    }

    @Test(
        "What is wrong is named in one line",
        arguments: [
            ("no-such-flag: 1", "no-such-flag: no such flag"), ("name: [", ""), ("- name", "not a mapping of flags"),
            ("max-txn-ops: many", "max-txn-ops: --max-txn-ops takes a whole number"),
            ("client-transport-security: {allowed-cn: a}", "client-transport-security.allowed-cn: no such setting"),
            ("client-transport-security: foo", "client-transport-security: not a mapping of settings"),
            ("peer-transport-security: [a]", "peer-transport-security: not a mapping of settings"),
            ("proxy: 'on'", "there is no proxy"), ("name: {a: b}", "name: not a single value"), ("name: \"\\q\"", ""),
            ("listen-client-urls: http://localhost:1", "--advertise-client-urls is required"),
        ])
    func wrong(text: String, reason: String) {
        let refusal = Self.refusal(text)
        #expect(refusal != "accepted" && refusal.contains(reason), "\(refusal)")
        #expect(!refusal.contains("\n"), "\(refusal)")
    }

    /// The keys and values of the sample that comes with etcd 3.5.
    @Test("etcd's sample file loads")
    func sample() throws {
        let files = ["client-", "peer-"].map { prefix in
            "\(prefix)transport-security:\n"
                + ["cert-file", "key-file", "trusted-ca-file"].map { "  \($0):\n" }.joined()
                + "  client-cert-auth: false\n  auto-tls: false\n"
        }
        let null = ["data-dir", "wal-dir", "cors", "discovery", "discovery-proxy", "discovery-srv", "initial-cluster"]
        let configuration = try Self.read(
            files.joined() + null.map { "\($0):\n" }.joined() + """
                name: 'default'
                snapshot-count: 10000
                heartbeat-interval: 100
                election-timeout: 1000
                quota-backend-bytes: 0
                listen-peer-urls: http://localhost:2380
                listen-client-urls: http://localhost:2379
                max-snapshots: 5
                max-wals: 5
                initial-advertise-peer-urls: http://localhost:2380
                advertise-client-urls: http://localhost:2379
                discovery-fallback: 'proxy'
                initial-cluster-token: 'etcd-cluster'
                initial-cluster-state: 'new'
                strict-reconfig-check: false
                enable-v2: true
                enable-pprof: true
                debug: false
                proxy: 'off'
                proxy-failure-wait: 5000
                proxy-refresh-interval: 30000
                proxy-dial-timeout: 1000
                proxy-write-timeout: 5000
                proxy-read-timeout: 0
                self-signed-cert-validity: 1
                log-level: debug
                logger: zap
                log-outputs: [stderr]
                force-new-cluster: false
                auto-compaction-mode: periodic
                auto-compaction-retention: "1"
                cipher-suites: [
                  TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
                  TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384
                ]
                tls-min-version: 'TLS1.2'
                tls-max-version: 'TLS1.3'
                """)
        try configuration.validateFirstStart()
        #expect(configuration.cipherSuites.count == 2 && configuration.logOutputs == ["stderr"])
        #expect(configuration.notes.count == 10)
    }

    @Test("A file that is not there is named")
    func missing() {
        #expect(throws: ConfigurationError.self) { try ConfigurationFile.read("/no/such/file") }
    }
}
