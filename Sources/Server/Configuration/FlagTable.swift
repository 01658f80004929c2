/// One command-line flag: its name, how its text becomes configuration, and what `--help` says.
///
/// The environment variable of a flag is `ETCD_` and the name in capitals with `-` as `_`. Source: etcd's flags.
struct Flag: Sendable {
    enum Effect: Sendable {
        /// Parses the text into the configuration.
        case set(@Sendable (inout ServerConfiguration, String) throws(ConfigurationError) -> Void)
        /// Accepted because manifests carry it; has no effect here, for the reason given.
        case noEffect(String)
        /// Refused unless the value is one of these, because ignoring it would surprise.
        case only([String], instead: String)
    }

    let name: String
    let placeholder: String
    let help: String
    let isBoolean: Bool
    let effect: Effect

    var environmentName: String { "ETCD_" + name.uppercased().split(separator: "-").joined(separator: "_") }
}

/// Every flag the server knows, in the order of `--help`. The only place where flags are defined.
enum FlagTable {
    static let all: [Flag] =
        member + raft + limits + clientTLS + peerTLS + maintenance + observability + unsupported + legacy

    private static let member: [Flag] = [
        text("name", "NAME", "human-readable name of this member") { $0.name = $1 },
        text("data-dir", "DIR", "data directory (default NAME.martlet)") { $0.dataDirectory = $1 },
        text("wal-dir", "DIR", "directory of the write-ahead log (default inside the data directory)") {
            $0.walDirectory = $1
        },
        urls("listen-client-urls", "where clients connect", \.listenClientURLs),
        urls("advertise-client-urls", "client URLs told to the cluster", \.advertiseClientURLs),
        urls("listen-peer-urls", "where peers connect", \.listenPeerURLs),
        urls("initial-advertise-peer-urls", "peer URLs told to the cluster", \.initialAdvertisePeerURLs),
        urls("listen-metrics-urls", "metrics and health without gRPC", \.listenMetricsURLs),
        urls("listen-client-http-urls", "client HTTP/1.1 away from the gRPC port", \.listenClientHTTPURLs),
        text("initial-cluster", "NAME=URL,...", "members at first start") { $0.initialCluster = $1 },
        choice("initial-cluster-state", "new or existing", \.initialClusterState),
        text("initial-cluster-token", "TOKEN", "sets clusters apart; part of the cluster's identity") {
            $0.initialClusterToken = $1
        },
    ]

    private static let raft: [Flag] = [
        number("heartbeat-interval", "milliseconds between heartbeats", 1...10_000, \.heartbeatMilliseconds),
        number(
            "election-timeout", "milliseconds without a leader before an election", 1...1_000_000,
            \.electionMilliseconds),
        boolean("pre-vote", "ask before an election disturbs the cluster", \.preVote),
        number("snapshot-count", "accepted; the log is kept by bytes here", 0...Int.max, \.snapshotCount),
        noEffect("snapshot-catchup-entries", "the log is kept by bytes"),
        boolean(
            "initial-election-tick-advance", "a member that starts waits one heartbeat only, not an election timeout",
            \.initialElectionTickAdvance),
        noEffect("max-snapshots", "no snapshot files are kept"),
        noEffect("max-wals", "the log is kept by bytes"),
        noEffect("raft-read-timeout", "a silent peer is found by probes"),
        noEffect("raft-write-timeout", "a silent peer is found by probes"),
        boolean(
            "strict-reconfig-check", "refuse changes of membership that could lose the quorum", \.strictReconfigCheck),
        number("max-learners", "learners at a time; the same on every member", 1...7, \.learnersMax),
        boolean(
            "force-new-cluster", "begin anew as the only member, with the data of the old cluster", \.forceNewCluster),
    ]

    private static let limits: [Flag] = [
        set("quota-backend-bytes", "BYTES", "limit on live bytes (0 = 2 GiB, negative = none)") {
            (c, t) throws(ConfigurationError) in
            let bytes = try integer(t, "quota-backend-bytes", Int.min...Int.max)
            c.quotaBytes = bytes == 0 ? 2 << 30 : Int64(bytes)
        },
        number("max-txn-ops", "operations in one transaction", 0...1_000_000, \.maxTxnOperations),
        set("max-request-bytes", "N", "bytes of one request, at most 64 MiB") { (c, t) throws(ConfigurationError) in
            let bytes = try integer(t, "max-request-bytes", 1...Int.max)
            c.maxRequestBytes = min(bytes, ServerConfiguration.requestBytesMax)
            if bytes > c.maxRequestBytes {
                c.notes.append("--max-request-bytes is taken as \(c.maxRequestBytes): members send each other no more")
            }
        },
        set("max-concurrent-streams", "N", "streams of one connection (default 4096)") {
            (c, t) throws(ConfigurationError) in
            c.maxConcurrentStreams = UInt32(try integer(t, "max-concurrent-streams", 1...Int(UInt32.max)))
        },
        duration("grpc-keepalive-min-time", "fastest client pings allowed", \.keepaliveMinSeconds),
        duration("grpc-keepalive-interval", "pings of the server on an idle connection", \.keepaliveIntervalSeconds),
        duration("grpc-keepalive-timeout", "wait for the answer to such a ping", \.keepaliveTimeoutSeconds),
        progressInterval("watch-progress-notify-interval", "between progress notifications of idle watches"),
        choice("auto-compaction-mode", "periodic or revision", \.autoCompactionMode),
        text("auto-compaction-retention", "N", "hours or duration, or revisions, to keep (0 = off)") {
            $0.autoCompactionRetention = $1
        },
    ]

    private static let clientTLS: [Flag] = [
        text("cert-file", "FILE", "server certificate for clients") { $0.certificateFile = $1 },
        text("key-file", "FILE", "its key") { $0.keyFile = $1 },
        text("trusted-ca-file", "FILE", "CA of client certificates; makes them required") { $0.trustedCAFile = $1 },
        boolean("client-cert-auth", "require client certificates", \.clientCertificateAuth),
        text("client-crl-file", "FILE", "revoked client certificates") { $0.clientCRLFile = $1 },
        list("client-cert-allowed-hostname", "names allowed in client certificates", \.clientAllowedHostnames),
        boolean("auto-tls", "make a self-signed certificate for clients", \.autoTLS),
        number(
            "self-signed-cert-validity", "years a self-signed certificate is valid", 1...100,
            \.selfSignedValidityYears),
        list("cipher-suites", "TLS 1.2 cipher suites by their Go names", \.cipherSuites),
        text("tls-min-version", "TLS1.2|TLS1.3", "lowest TLS version") { $0.tlsMinimumVersion = $1 },
        text("tls-max-version", "TLS1.2|TLS1.3", "highest TLS version") { $0.tlsMaximumVersion = $1 },
        noEffect("client-cert-file", "there is no gateway that dials the server"),
        noEffect("client-key-file", "there is no gateway that dials the server"),
    ]

    private static let peerTLS: [Flag] = [
        text("peer-cert-file", "FILE", "certificate for peers, as server and as client") {
            $0.peerTLS.certificateFile = $1
        },
        text("peer-key-file", "FILE", "its key") { $0.peerTLS.keyFile = $1 },
        text("peer-client-cert-file", "FILE", "another certificate to dial peers with") {
            $0.peerTLS.clientCertificateFile = $1
        },
        text("peer-client-key-file", "FILE", "its key") { $0.peerTLS.clientKeyFile = $1 },
        text("peer-trusted-ca-file", "FILE", "CA of peers' certificates; makes them required") {
            $0.peerTLS.trustedCAFile = $1
        },
        boolean("peer-client-cert-auth", "require certificates of peers", \.peerTLS.clientCertificateAuth),
        text("peer-crl-file", "FILE", "revoked certificates of peers") { $0.peerTLS.revocationListFile = $1 },
        boolean("peer-auto-tls", "make a self-signed certificate for peers", \.peerTLS.isAutomatic),
        list("peer-cert-allowed-cn", "common names allowed in peers' certificates", \.peerTLS.allowedCommonNames),
        list("peer-cert-allowed-hostname", "names allowed in peers' certificates", \.peerTLS.allowedHostnames),
        boolean(
            "peer-skip-client-san-verification", "do not look for a dialling peer's address in its certificate",
            \.peerTLS.skipsClientSANVerification),
        boolean(
            "experimental-peer-skip-client-san-verification", "older name, still in manifests",
            \.peerTLS.skipsClientSANVerification),
    ]

    private static let maintenance: [Flag] = [
        noEffect("backend-batch-interval", "the store is persisted behind the log by bytes and time"),
        noEffect("backend-batch-limit", "the store is persisted behind the log by bytes and time"),
        noEffect("backend-bbolt-freelist-type", "there is no bbolt"),
        noEffect("bootstrap-defrag-threshold-megabytes", "space is reused while running"),
        noEffect("experimental-bootstrap-defrag-threshold-megabytes", "space is reused while running"),
        noEffect("compaction-batch-limit", "compaction runs in steps bounded by time"),
        noEffect("compaction-sleep-interval", "compaction runs in steps bounded by time"),
        noEffect("experimental-compaction-batch-limit", "compaction runs in steps bounded by time"),
        noEffect("corrupt-check-time", "members always compare their states"),
        noEffect("experimental-corrupt-check-time", "members always compare their states"),
        noEffect("experimental-initial-corrupt-check", "every record is checked at start"),
        noEffect("compact-hash-check-time", "members always compare their states"),
        noEffect("downgrade-check-time", "there is nothing to downgrade"),
        noEffect("memory-mlock", "the store is not locked in memory"),
        noEffect("socket-reuse-address", "addresses are always reused"),
        boolean("unsafe-no-fsync", "UNSAFE: do not sync the log", \.unsafeNoFsync),
        set("feature-gates", "GATE=BOOL,...", "etcd's feature gates; accepted by name") {
            (c, t) throws(ConfigurationError) in
            try checkFeatureGates(t)
            if !t.isEmpty { c.notes.append("--feature-gates has no effect: no gate changes anything here") }
        },
    ]

    private static let observability: [Flag] = [
        set("log-level", "LEVEL", "debug, info, warn, error, panic or fatal") { (c, t) throws(ConfigurationError) in
            guard ["debug", "info", "warn", "error", "panic", "fatal"].contains(t) else {
                throw ConfigurationError("--log-level takes debug, info, warn, error, panic or fatal, got \"\(t)\"")
            }
            c.logLevel = t
        },
        choice("log-format", "json or console", \.logFormat),
        set("log-outputs", "LIST", "default, stderr, stdout, or files") { (c, t) throws(ConfigurationError) in
            c.logOutputs = t.split(separator: ",").map(\.trimmed)
            if c.logOutputs.isEmpty { throw ConfigurationError("--log-outputs names no output") }
        },
        only("logger", ["zap"], "the log's format is chosen by --log-format"),
        choice("metrics", "basic or extensive", \.metricsLevel),
        noEffect("enable-grpc-gateway", "there is no JSON gateway yet"),
        noEffect("warning-apply-duration", "slow requests are counted in metrics"),
        noEffect("warning-unary-request-duration", "slow requests are counted in metrics"),
        noEffect("experimental-warning-apply-duration", "slow requests are counted in metrics"),
        progressInterval("experimental-watch-progress-notify-interval", "older name, still in manifests"),
        noEffect("enable-pprof", "profile with perf"),
        noEffect("debug", "say --log-level=debug"),
        only("enable-log-rotation", ["false"], "leave rotation to the service manager"),
        noEffect("log-rotation-config-json", "leave rotation to the service manager"),
        noEffect("cors", "there is no JSON gateway yet"),
        noEffect("host-whitelist", "there is no JSON gateway yet"),
        noEffect("v2-deprecation", "there is no v2 store"),
    ]

    private static let unsupported: [Flag] =
        [
            only("auth-token", ["simple"], "authentication of users is not there yet"),
            noEffect("auth-token-ttl", "authentication of users is not there yet"),
            noEffect("bcrypt-cost", "authentication of users is not there yet"),
            only("discovery", [""], "name the members by --initial-cluster"),
            only("discovery-proxy", [""], "name the members by --initial-cluster"),
            only("discovery-srv", [""], "name the members by --initial-cluster"),
            only("discovery-srv-name", [""], "name the members by --initial-cluster"),
            only("discovery-token", [""], "name the members by --initial-cluster"),
            only("discovery-endpoints", [""], "name the members by --initial-cluster"),
            only("discovery-fallback", ["exit", "proxy"], "there is no discovery to fall back from"),
            only("proxy", ["off"], "there is no proxy"),
            noEffect("enable-v2", "there is no v2 store"),
            noEffect("proxy-failure-wait", "there is no proxy"),
            noEffect("proxy-refresh-interval", "there is no proxy"),
            noEffect("proxy-dial-timeout", "there is no proxy"),
            noEffect("proxy-write-timeout", "there is no proxy"),
            noEffect("proxy-read-timeout", "there is no proxy"),
            only("enable-distributed-tracing", ["false"], "tracing is not there yet"),
            only("experimental-enable-distributed-tracing", ["false"], "tracing is not there yet"),
            only("socket-reuse-port", ["false"], "one server binds a port"),
        ]
        + [
            "discovery-dial-timeout", "discovery-request-timeout", "discovery-keepalive-time",
            "discovery-keepalive-timeout", "discovery-insecure-transport", "discovery-insecure-skip-tls-verify",
            "discovery-cert", "discovery-key", "discovery-cacert", "discovery-user", "discovery-password",
        ].map { noEffect($0, "members are named by --initial-cluster") }
        + ["address", "instance-id", "sampling-rate", "service-name"].flatMap {
            [
                noEffect("distributed-tracing-\($0)", "tracing is not there yet"),
                noEffect("experimental-distributed-tracing-\($0)", "tracing is not there yet"),
            ]
        }

    /// Names that etcd has given up and still takes, or took until 3.6: manifests carry them on.
    private static let legacy: [Flag] =
        [
            "cluster-active-size", "cluster-remove-delay", "cluster-sync-interval", "config", "force",
            "max-result-buffer", "max-retry-attempts", "peer-heartbeat-interval", "peer-election-timeout",
            "retry-interval", "snapshot", "v", "vv",
        ].map { noEffect($0, "etcd ignores it too") }
        + [
            noEffect("experimental-compact-hash-check-enabled", "members always compare their states"),
            noEffect("experimental-compact-hash-check-time", "members always compare their states"),
            noEffect("experimental-compaction-sleep-interval", "compaction runs in steps bounded by time"),
            noEffect("experimental-downgrade-check-time", "there is nothing to downgrade"),
            noEffect("experimental-enable-lease-checkpoint", "remaining times are always kept"),
            noEffect("experimental-enable-lease-checkpoint-persist", "remaining times are always kept"),
            noEffect("experimental-memory-mlock", "the store is not locked in memory"),
            noEffect("experimental-snapshot-catchup-entries", "the log is kept by bytes"),
            noEffect("experimental-stop-grpc-service-on-defrag", "nothing stops for defragmentation"),
            noEffect("experimental-txn-mode-write-with-shared-buffer", "reads never wait for writes"),
            noEffect("experimental-warning-unary-request-duration", "slow requests are counted in metrics"),
        ]

    private static let gates: Set<String> = [
        "StopGRPCServiceOnDefrag", "InitialCorruptCheck", "CompactHashCheck", "TxnModeWriteWithSharedBuffer",
        "LeaseCheckpoint", "LeaseCheckpointPersist", "SetMemberLocalAddr", "FastLeaseKeepAlive", "PriorityRequest",
        "AllAlpha", "AllBeta",
    ]

    private static func checkFeatureGates(_ text: String) throws(ConfigurationError) {
        for part in text.split(separator: ",") {
            let pieces = part.split(separator: "=", maxSplits: 1).map(\.trimmed)
            guard pieces.count == 2, let first = pieces.first else {
                throw ConfigurationError("--feature-gates takes GATE=true or GATE=false, got \"\(part)\"")
            }
            guard gates.contains(first) else { throw ConfigurationError("unrecognized feature gate: \(first)") }
            guard ["true", "false"].contains(pieces[1]) else {
                throw ConfigurationError("invalid value of \(first): \(pieces[1]), use true or false")
            }
        }
    }
}

extension FlagTable {
    private typealias Setter = @Sendable (inout ServerConfiguration, String) throws(ConfigurationError) -> Void

    private static func set(
        _ name: String, _ placeholder: String, _ help: String, boolean: Bool = false, _ setter: @escaping Setter
    ) -> Flag {
        Flag(name: name, placeholder: placeholder, help: help, isBoolean: boolean, effect: .set(setter))
    }

    private static func text(
        _ name: String, _ placeholder: String, _ help: String,
        _ setter: @escaping @Sendable (inout ServerConfiguration, String) -> Void
    ) -> Flag {
        set(name, placeholder, help) { (configuration, text) throws(ConfigurationError) in
            setter(&configuration, text)
        }
    }

    private static func urls(
        _ name: String, _ help: String, _ path: any WritableKeyPath<ServerConfiguration, [ListenURL]> & Sendable
    ) -> Flag {
        set(name, "URL,...", help) { (configuration, text) throws(ConfigurationError) in
            configuration[keyPath: path] = try prefixed(name) { () throws(ConfigurationError) in
                try ListenURL.list(parsing: text)
            }
        }
    }

    private static func list(
        _ name: String, _ help: String, _ path: any WritableKeyPath<ServerConfiguration, [String]> & Sendable
    ) -> Flag {
        set(name, "NAME,...", help) { (configuration, text) throws(ConfigurationError) in
            configuration[keyPath: path] = text.split(separator: ",").map(\.trimmed)
        }
    }

    private static func number(
        _ name: String, _ help: String, _ range: ClosedRange<Int>,
        _ path: any WritableKeyPath<ServerConfiguration, Int> & Sendable
    ) -> Flag {
        set(name, "N", help) { (configuration, text) throws(ConfigurationError) in
            configuration[keyPath: path] = try integer(text, name, range)
        }
    }

    private static func boolean(
        _ name: String, _ help: String, _ path: any WritableKeyPath<ServerConfiguration, Bool> & Sendable
    ) -> Flag {
        set(name, "", help, boolean: true) { (configuration, text) throws(ConfigurationError) in
            switch text {
            case "true", "1", "t", "T", "TRUE", "True": configuration[keyPath: path] = true
            case "false", "0", "f", "F", "FALSE", "False": configuration[keyPath: path] = false
            default: throw ConfigurationError("--\(name) takes true or false, got \"\(text)\"")
            }
        }
    }

    private static func duration(
        _ name: String, _ help: String, _ path: any WritableKeyPath<ServerConfiguration, Double> & Sendable
    ) -> Flag {
        set(name, "DURATION", help) { (configuration, text) throws(ConfigurationError) in
            guard let value = seconds(parsingGoDuration: text), value >= 0 else {
                throw ConfigurationError("--\(name) takes a duration such as 30s or 5m, got \"\(text)\"")
            }
            configuration[keyPath: path] = value
        }
    }

    /// 0 is the default, and less than the shortest is the shortest. Source: etcd 3.5.1.
    private static func progressInterval(_ name: String, _ help: String) -> Flag {
        set(name, "DURATION", help) { (configuration, text) throws(ConfigurationError) in
            guard let value = seconds(parsingGoDuration: text) else {
                throw ConfigurationError("--\(name) takes a duration such as 30s or 5m, got \"\(text)\"")
            }
            configuration.watchProgressNotifySeconds = value == 0 ? 600 : max(value, 0.1)
            if value > 0, value < 0.1 { configuration.notes.append("--\(name) is taken as 100ms, the shortest") }
        }
    }

    private static func choice<C: RawRepresentable & Sendable>(
        _ name: String, _ help: String, _ path: any WritableKeyPath<ServerConfiguration, C> & Sendable
    ) -> Flag where C.RawValue == String {
        set(name, "WORD", help) { (configuration, text) throws(ConfigurationError) in
            guard let value = C(rawValue: text) else {
                throw ConfigurationError("--\(name) takes \(help), got \"\(text)\"")
            }
            configuration[keyPath: path] = value
        }
    }

    private static func noEffect(_ name: String, _ reason: String) -> Flag {
        Flag(
            name: name, placeholder: "...", help: "accepted, no effect: \(reason)", isBoolean: true,
            effect: .noEffect(reason))
    }

    private static func only(_ name: String, _ values: [String], _ instead: String) -> Flag {
        Flag(
            name: name, placeholder: "...", help: "only \(values.map { "\"\($0)\"" }.joined()): \(instead)",
            isBoolean: values == ["false"], effect: .only(values, instead: instead))
    }

    private static func integer(
        _ text: String, _ name: String, _ range: ClosedRange<Int>
    ) throws(ConfigurationError) -> Int {
        guard let value = Int(text), range.contains(value) else {
            let bounds = range == Int.min...Int.max ? "" : " from \(range.lowerBound) to \(range.upperBound)"
            throw ConfigurationError("--\(name) takes a whole number\(bounds), got \"\(text)\"")
        }
        return value
    }

    private static func prefixed<T>(
        _ name: String, _ body: () throws(ConfigurationError) -> T
    ) throws(ConfigurationError) -> T {
        do throws(ConfigurationError) { return try body() } catch {
            throw ConfigurationError("--\(name): \(error.description)")
        }
    }
}
