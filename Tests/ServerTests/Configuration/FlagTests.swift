import Testing

@testable import Server

/// The flags of etcd's server, as manifests and scripts give them.
@Suite struct FlagTests {
    /// Every flag of etcd 3.7 but `version`, in alphabetical order. Source: etcd-behaviour, section 6.
    static let current = """
        advertise-client-urls auth-token auth-token-ttl auto-compaction-mode auto-compaction-retention auto-tls 
        backend-batch-interval backend-batch-limit backend-bbolt-freelist-type bcrypt-cost 
        bootstrap-defrag-threshold-megabytes cert-file cipher-suites client-cert-allowed-hostname client-cert-auth 
        client-cert-file client-crl-file client-key-file compact-hash-check-time compaction-batch-limit 
        compaction-sleep-interval config-file corrupt-check-time cors data-dir discovery-cacert discovery-cert 
        discovery-dial-timeout discovery-endpoints discovery-fallback discovery-insecure-skip-tls-verify 
        discovery-insecure-transport discovery-keepalive-time discovery-keepalive-timeout discovery-key 
        discovery-password discovery-request-timeout discovery-srv discovery-srv-name discovery-token discovery-user 
        distributed-tracing-address distributed-tracing-instance-id distributed-tracing-sampling-rate 
        distributed-tracing-service-name downgrade-check-time election-timeout enable-distributed-tracing 
        enable-grpc-gateway enable-log-rotation enable-pprof feature-gates force-new-cluster grpc-keepalive-interval 
        grpc-keepalive-min-time grpc-keepalive-timeout heartbeat-interval host-whitelist initial-advertise-peer-urls 
        initial-cluster initial-cluster-state initial-cluster-token initial-election-tick-advance key-file 
        listen-client-http-urls listen-client-urls listen-metrics-urls listen-peer-urls log-format log-level 
        log-outputs log-rotation-config-json logger max-concurrent-streams max-learners max-request-bytes 
        max-snapshots max-txn-ops max-wals memory-mlock metrics name peer-auto-tls peer-cert-allowed-cn 
        peer-cert-allowed-hostname peer-cert-file peer-client-cert-auth peer-client-cert-file peer-client-key-file 
        peer-crl-file peer-key-file peer-skip-client-san-verification peer-trusted-ca-file pre-vote 
        quota-backend-bytes raft-read-timeout raft-write-timeout self-signed-cert-validity snapshot-catchup-entries 
        snapshot-count socket-reuse-address socket-reuse-port strict-reconfig-check tls-max-version tls-min-version 
        trusted-ca-file unsafe-no-fsync v2-deprecation wal-dir warning-apply-duration warning-unary-request-duration 
        watch-progress-notify-interval 
        """.split(whereSeparator: \.isWhitespace).map(String.init)

    /// What 3.6 took besides, and what every version ignores.
    static let older =
        """
        discovery discovery-proxy
        experimental-bootstrap-defrag-threshold-megabytes experimental-compact-hash-check-enabled
        experimental-compact-hash-check-time experimental-compaction-batch-limit
        experimental-compaction-sleep-interval experimental-corrupt-check-time
        experimental-distributed-tracing-address experimental-distributed-tracing-instance-id
        experimental-distributed-tracing-sampling-rate experimental-distributed-tracing-service-name
        experimental-downgrade-check-time experimental-enable-distributed-tracing
        experimental-enable-lease-checkpoint experimental-enable-lease-checkpoint-persist
        experimental-initial-corrupt-check experimental-memory-mlock
        experimental-peer-skip-client-san-verification experimental-snapshot-catchup-entries
        experimental-stop-grpc-service-on-defrag experimental-txn-mode-write-with-shared-buffer
        experimental-warning-apply-duration experimental-warning-unary-request-duration
        experimental-watch-progress-notify-interval
        cluster-active-size cluster-remove-delay cluster-sync-interval config force max-result-buffer
        max-retry-attempts peer-heartbeat-interval peer-election-timeout retry-interval snapshot v vv
        """.split(whereSeparator: \.isWhitespace).map(String.init)

    /// Parses as the server does at its start, without a file.
    static func parse(
        _ arguments: [String], environment: [String: String] = [:]
    ) throws(ConfigurationError) -> ServerConfiguration {
        let command = try ServerCommand(arguments: arguments, environment: environment) {
            (path) throws(ConfigurationError) in
            throw ConfigurationError("\(path): no such file")
        }
        guard case .run(let configuration) = command else { throw ConfigurationError("not a run") }
        return configuration
    }

    /// The one line that a wrong command line gets.
    static func refusal(_ arguments: [String], environment: [String: String] = [:]) -> String {
        do throws(ConfigurationError) {
            try parse(arguments, environment: environment).validateFirstStart()
            return "accepted"
        } catch {
            return error.description
        }
    }

    @Test("Every flag of etcd is known", arguments: current + older)
    func known(name: String) throws {
        if name == "config-file" { return }
        let flag = try #require(FlagTable.all.first { $0.name == name })
        #expect(!flag.help.isEmpty)
        switch flag.effect {
        case .set: break
        case .noEffect(let reason):
            // Accepted in either form, with a note that is logged.
            let configuration = try Self.parse(["--\(name)=7"])
            #expect(configuration.notes == ["--\(name) has no effect: \(reason)"])
        case .only(let values, let instead):
            let value = try #require(values.first)
            #expect(try Self.parse(["--\(name)=\(value)"]).notes.isEmpty)
            #expect(Self.refusal(["--\(name)=elsewhere"]) == "--\(name)=elsewhere is not supported: \(instead)")
        }
    }

    @Test("No flag is defined twice")
    func unique() {
        let names = FlagTable.all.map(\.name)
        #expect(Set(names).count == names.count)
    }

    @Test("A kubeadm static pod's command line starts")
    func kubeadm() throws {
        let configuration = try Self.parse([
            "--advertise-client-urls=https://192.168.1.10:2379",
            "--cert-file=/etc/kubernetes/pki/etcd/server.crt",
            "--client-cert-auth=true",
            "--data-dir=/var/lib/etcd",
            "--feature-gates=InitialCorruptCheck=true",
            "--initial-advertise-peer-urls=https://192.168.1.10:2380",
            "--initial-cluster=node-1=https://192.168.1.10:2380",
            "--key-file=/etc/kubernetes/pki/etcd/server.key",
            "--listen-client-urls=https://127.0.0.1:2379,https://192.168.1.10:2379",
            "--listen-metrics-urls=http://127.0.0.1:2381",
            "--listen-peer-urls=https://192.168.1.10:2380",
            "--name=node-1",
            "--peer-cert-file=/etc/kubernetes/pki/etcd/peer.crt",
            "--peer-client-cert-auth=true",
            "--peer-key-file=/etc/kubernetes/pki/etcd/peer.key",
            "--peer-trusted-ca-file=/etc/kubernetes/pki/etcd/ca.crt",
            "--snapshot-count=10000",
            "--trusted-ca-file=/etc/kubernetes/pki/etcd/ca.crt",
            "--watch-progress-notify-interval=5s",
        ])
        #expect(configuration.name == "node-1")
        #expect(configuration.effectiveDataDirectory == "/var/lib/etcd")
        #expect(configuration.listenClientURLs.map(\.text) == ["https://127.0.0.1:2379", "https://192.168.1.10:2379"])
        #expect(configuration.listenMetricsURLs.map(\.text) == ["http://127.0.0.1:2381"])
        #expect(configuration.clientCertificateAuth)
        #expect(configuration.certificateFile == "/etc/kubernetes/pki/etcd/server.crt")
        #expect(configuration.watchProgressNotifySeconds == 5)
        #expect(configuration.peerTLS.certificateFile == "/etc/kubernetes/pki/etcd/peer.crt")
        #expect(configuration.peerTLS.clientCertificateAuth)
        // The feature gate.
        #expect(configuration.notes.count == 1)
    }

    @Test("A flag beats its variable, a variable beats the default")
    func precedence() throws {
        #expect(try Self.parse([]).maxTxnOperations == 128)
        #expect(try Self.parse([], environment: ["ETCD_MAX_TXN_OPS": "7"]).maxTxnOperations == 7)
        #expect(try Self.parse([], environment: ["ETCD_MAX_TXN_OPS": ""]).maxTxnOperations == 128)
        #expect(try Self.parse(["--max-txn-ops=9"], environment: ["ETCD_MAX_TXN_OPS": "7"]).maxTxnOperations == 9)
        // Even a wrong variable does not matter where there is a flag.
        #expect(try Self.parse(["--max-txn-ops=9"], environment: ["ETCD_MAX_TXN_OPS": "x"]).maxTxnOperations == 9)
        #expect(try Self.parse(["--max-txn-ops=9", "--max-txn-ops=10"]).maxTxnOperations == 10)
        let refusal = Self.refusal([], environment: ["ETCD_MAX_TXN_OPS": "x"])
        #expect(refusal == "ETCD_MAX_TXN_OPS: --max-txn-ops takes a whole number from 0 to 1000000, got \"x\"")
    }

    @Test("A configuration file replaces flags and variables")
    func file() throws {
        func parse(_ arguments: [String], _ environment: [String: String]) throws -> (ServerConfiguration, String) {
            var path = ""
            let command = try ServerCommand(arguments: arguments, environment: environment) {
                (name) throws(ConfigurationError) in
                path = name
                return [("name", "of-the-file")]
            }
            guard case .run(let configuration) = command else { throw ConfigurationError("not a run") }
            return (configuration, path)
        }
        let environment = ["ETCD_MAX_TXN_OPS": "7", "ETCD_CONFIG_FILE": "/e.yaml"]
        let (byFlag, flagPath) = try parse(["--max-txn-ops=9", "--config-file", "/f.yaml"], environment)
        #expect(byFlag.name == "of-the-file" && byFlag.maxTxnOperations == 128 && flagPath == "/f.yaml")
        #expect(try parse(["--max-txn-ops=9"], environment).1 == "/e.yaml")
        // Empty is not given: neither the flag nor the variable.
        #expect(try parse(["--config-file="], environment).1 == "/e.yaml")
        #expect(try parse(["--max-txn-ops=9"], ["ETCD_CONFIG_FILE": ""]).0.maxTxnOperations == 9)
    }

    @Test("Flags may be written as Go takes them")
    func forms() throws {
        #expect(try Self.parse(["-name", "a"]).name == "a")
        #expect(try Self.parse(["--name", "a"]).name == "a")
        #expect(try Self.parse(["--initial-cluster-token=a=b"]).initialClusterToken == "a=b")
        #expect(try Self.parse(["--pre-vote=false"]).preVote == false)
        #expect(try Self.parse(["--pre-vote=F", "--unsafe-no-fsync", "--name", "a"]).unsafeNoFsync)
        #expect(try Self.parse(["--max-wals", "5", "--name", "a"]).name == "a")
        #expect(Self.refusal(["--name"]) == "flag needs an argument: --name")
        #expect(Self.refusal(["name"]).hasPrefix("'name' is not a valid flag"))
        #expect(Self.refusal(["--pre-vote", "false"]).hasPrefix("'false' is not a valid flag"))
        #expect(Self.refusal(["--socket-reuse-port"]).hasPrefix("--socket-reuse-port=true is not supported"))
        #expect(
            Self.refusal(["--max-txn-opps=3"])
                == "flag provided but not defined: --max-txn-opps (did you mean --max-txn-ops?); see --help")
        guard
            case .printVersion = try ServerCommand(arguments: ["--version"], environment: [:], readFile: { _ in [] }),
            case .printHelp(let help) = try ServerCommand(arguments: ["-h"], environment: [:], readFile: { _ in [] })
        else {
            Issue.record("--version or -h does something else")
            return
        }
        for flag in FlagTable.all { #expect(help.contains("--\(flag.name)")) }
    }

    @Test(
        "A wrong value gets one line that says what is right",
        arguments: [
            ("--heartbeat-interval=0", "from 1 to 10000"), ("--heartbeat-interval=100ms", "a whole number"),
            ("--election-timeout=499", "at least as 5 times"), ("--election-timeout=50001", "less than 50000ms"),
            ("--max-request-bytes=0", "from 1"), ("--max-concurrent-streams=4294967296", "to 4294967295"),
            ("--quota-backend-bytes=2GiB", "a whole number"), ("--client-cert-auth=yes", "true or false"),
            ("--watch-progress-notify-interval=5", "a duration such as"),
            ("--grpc-keepalive-min-time=-5s", "a duration such as"),
            ("--grpc-keepalive-timeout=2562048h", "a duration such as"),
            ("--auto-compaction-mode=hourly", "periodic or revision"),
            ("--auto-compaction-retention=often", "hours or a duration"),
            ("--auto-compaction-retention=9999999999", "hours or a duration"),
            ("--auto-compaction-retention=-1", "hours or a duration"),
            ("--log-level=verbose", "debug, info, warn"), ("--log-format=text", "json or console"),
            ("--log-outputs=", "names no output"), ("--metrics=all", "basic or extensive"),
            ("--feature-gates=Nonsense=true", "unrecognized feature gate"),
            ("--feature-gates=InitialCorruptCheck=maybe", "true or false"),
            ("--feature-gates=InitialCorruptCheck", "GATE=true"),
            ("--initial-cluster-state=old", "new or existing"),
            ("--initial-cluster=default", "name=url"), ("--initial-cluster=other=http://localhost:2380", "local name"),
            ("--initial-cluster=default=http://elsewhere:2380", "--initial-advertise-peer-urls"),
            ("--initial-cluster=default=http://127.0.0.1", "--initial-cluster: URL address does not have"),
            ("--listen-metrics-urls=https://localhost:2381", "needs --cert-file and --key-file, or --auto-tls"),
            ("--listen-client-http-urls=unixs://m.sock", "needs --cert-file and --key-file, or --auto-tls"),
            ("--cipher-suites=NOPE", "--cipher-suites: unexpected TLS cipher suite \"NOPE\""),
            ("--proxy=on", "there is no proxy"),
            ("--listen-client-urls=http://localhost:2379", "--advertise-client-urls is required"),
            ("--listen-metrics-urls=ftp://localhost:2381", "http, https, unix, or unixs"),
            ("--cert-file=/c", "--key-file"), ("--key-file=/k", "--cert-file"),
            ("--client-cert-auth", "--trusted-ca-file"), ("--tls-min-version=TLS1.1", "TLS1.2 or TLS1.3"),
            ("--auth-token=jwt,pub-key=a", "not there yet"), ("--force-new-cluster=perhaps", "true or false"),
            ("--max-learners=0", "from 1 to 7"), ("--peer-cert-file=/c", "--peer-key-file"),
            ("--peer-client-cert-auth", "--peer-trusted-ca-file"),
            ("--peer-client-key-file=/k", "--peer-client-cert-file"),
            ("--logger=capnslog", "--log-format"), ("--self-signed-cert-validity=0", "from 1 to 100"),
        ])
    func wrongValues(flag: String, reason: String) {
        let refusal = Self.refusal([flag])
        #expect(refusal.contains(reason), "\(refusal)")
        #expect(!refusal.contains("\n"))
        #expect(refusal.utf8.count < 300)
    }

    @Test("What fits together is checked together")
    func validation() throws {
        let peers = "a=http://10.0.0.1:2380,b=http://10.0.0.2:2380,c=http://10.0.0.3:2380"
        let several = ["--name=a", "--initial-advertise-peer-urls=http://10.0.0.1:2380", "--initial-cluster=\(peers)"]
        #expect(try Self.parse(several).initialCluster == peers)
        #expect(Self.refusal(several + ["--name=d"]).contains("couldn't find local name \"d\""))
        let secure = ["--listen-peer-urls=https://10.0.0.1:2380"]
        #expect(Self.refusal(secure).contains("an https peer URL needs --peer-cert-file"))
        #expect(try Self.parse(secure + ["--peer-auto-tls"]).peerTLS.isAutomatic)
        let names = ["--peer-cert-allowed-cn=a,b", "--peer-cert-allowed-hostname=c"]
        #expect(Self.refusal(names).contains("exclude each other"))
        #expect(try Self.parse([names[0]]).peerTLS.allowedCommonNames == ["a", "b"])
        // One member with two URLs is one member.
        let twice = "a=http://10.0.0.1:2380,a=http://10.1.0.1:2380"
        _ = try Self.parse([
            "--name=a", "--initial-advertise-peer-urls=http://10.1.0.1:2380,http://10.0.0.1:2380",
            "--initial-cluster=\(twice)",
        ])
        let https = ["--listen-client-urls=https://localhost:2379", "--advertise-client-urls=https://localhost:2379"]
        #expect(Self.refusal(https).contains("needs --cert-file and --key-file, or --auto-tls"))
        _ = try Self.parse(https + ["--auto-tls"])
        #expect(Self.refusal(["--tls-min-version=TLS1.3", "--tls-max-version=TLS1.2"]).contains("not be higher"))
        let suites = ["--tls-min-version=TLS1.3", "--cipher-suites=TLS_AES_128_GCM_SHA256"]
        #expect(Self.refusal(suites).contains("cannot be chosen"))
        let mode = ["--auto-compaction-mode=revision", "--auto-compaction-retention=1h"]
        #expect(Self.refusal(mode).contains("a number of revisions"))
        #expect(try Self.parse(["--quota-backend-bytes=0"]).quotaBytes == 2 << 30)
        #expect(try Self.parse(["--quota-backend-bytes=-1"]).quotaBytes == -1)
        #expect(try Self.parse(["--name=n"]).effectiveDataDirectory == "n.martlet")
        #expect(try Self.parse(["--name=n"]).effectiveInitialCluster == "n=http://localhost:2380")
    }

    @Test("Values that etcd accepts, too, though they look wrong")
    func accepted() throws {
        #expect(try Self.parse(["--snapshot-count=0"]).snapshotCount == 0)
        #expect(try Self.parse(["--max-txn-ops=0"]).maxTxnOperations == 0)
        let retention = try Self.parse(["--auto-compaction-retention="]).autoCompactionRetention
        #expect(try AutoCompaction(mode: .periodic, retention: retention).policy == .off)
        #expect(try AutoCompaction(mode: .revision, retention: "").policy == .off)
        for name in ["watch-progress-notify-interval", "experimental-watch-progress-notify-interval"] {
            let short = try Self.parse(["--\(name)=99ms"])
            #expect(short.watchProgressNotifySeconds == 0.1)
            #expect(short.notes == ["--\(name) is taken as 100ms, the shortest"])
            let none = try Self.parse(["--\(name)=0s"])
            #expect(none.watchProgressNotifySeconds == 600 && none.notes.isEmpty)
        }
        let large = try Self.parse(["--max-request-bytes=100000000"])
        #expect(large.maxRequestBytes == 64 << 20 && large.notes.count == 1)
        #expect(try Self.parse(["--max-concurrent-streams=100000"]).maxConcurrentStreams == 100_000)
        #expect(try Self.parse([]).maxConcurrentStreams == nil)
        #expect(Self.refusal(["--listen-metrics-urls=https://localhost:2381", "--auto-tls"]) == "accepted")
        // What only a first start needs is looked at only there.
        #expect(try Self.parse(["--initial-cluster=nonsense"]).initialCluster == "nonsense")
    }

    @Test("Durations are Go's")
    func durations() {
        let good: [(String, Double)] = [
            ("0", 0), ("5s", 5), ("1h30m", 5400), ("300ms", 0.3), (".5s", 0.5), ("1.5h", 5400), ("2us", 2e-6),
            ("2\u{b5}s", 2e-6), ("2\u{3bc}s", 2e-6), ("10ns", 1e-8), ("1m0s", 60), ("2562047h", 9_223_369_200),
        ]
        for (text, value) in good {
            let parsed = seconds(parsingGoDuration: text)
            #expect(parsed.map { abs($0 - value) <= 1e-12 + value * 1e-12 } == true, "\(text)")
        }
        let bad = [
            "", "5", "s", "5 s", "1d", "-5s", "5s5", "1..5s", "0x5s", "1e3s", "inf", "nan", "2562048h", "5S",
            "\u{665}s",
        ]
        for text in bad {
            #expect(seconds(parsingGoDuration: text) == nil, "\(text)")
        }
    }

    @Test("URLs have a scheme, a host and a port")
    func urls() throws {
        let good: [(String, String, String, Int)] = [
            ("http://localhost:2379", "localhost", "http://localhost:2379", 2379),
            ("https://[::1]:2379/", "::1", "https://[::1]:2379", 2379),
            ("http://[2001:db8::1]:80", "2001:db8::1", "http://[2001:db8::1]:80", 80),
            ("HTTP://10.0.0.1:0", "10.0.0.1", "http://10.0.0.1:0", 0),
            ("http://:2379", "0.0.0.0", "http://0.0.0.0:2379", 2379),
            ("unix:///run/m.sock", "/run/m.sock", "unix:///run/m.sock", 0),
            ("unixs://m.sock:1", "m.sock:1", "unixs://m.sock:1", 0),
        ]
        for (text, host, advertised, port) in good {
            let url = try ListenURL(parsing: text)
            #expect(url.host == host && url.port == port && url.text == advertised, "\(text)")
        }
        let bad = [
            "", "localhost:2379", "http:/localhost:2379", "ftp://h:1", "http://h", "http://h:", "http://h:65536",
            "http://h:+80", "http://h:-1", "http://h:80/path", "http://[::1]", "http://::1:2379", "http://[::1:2379",
            "http://::1]:2379", "http://u@h:1", "http://h h:1", "unix://", "http://h:8o",
        ]
        for text in bad {
            #expect(throws: ConfigurationError.self, "\(text)") { try ListenURL(parsing: text) }
        }
        #expect(try ListenURL.list(parsing: "http://a:1, http://b:2,").map(\.text) == ["http://a:1", "http://b:2"])
    }
}
