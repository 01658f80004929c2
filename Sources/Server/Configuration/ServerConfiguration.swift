import TransportSecurity

/// Everything an operator can decide, with etcd's defaults. Built by `FlagTable` from flags, environment or a file,
/// then checked by `validate()`; immutable while the server runs.
package struct ServerConfiguration: Sendable {
    package enum ClusterState: String, Sendable { case new, existing }
    package enum CompactionMode: String, Sendable { case periodic, revision }
    package enum LogFormat: String, Sendable { case json, console }
    package enum MetricsLevel: String, Sendable { case basic, extensive }

    // Member.
    package var name = "default"
    package var dataDirectory = ""
    package var walDirectory = ""
    package var listenClientURLs = [ListenURL.defaultClient]
    package var advertiseClientURLs = [ListenURL.defaultClient]
    package var listenPeerURLs = [ListenURL.defaultPeer]
    package var initialAdvertisePeerURLs = [ListenURL.defaultPeer]
    package var listenMetricsURLs: [ListenURL] = []
    package var listenClientHTTPURLs: [ListenURL] = []
    package var initialCluster = ""
    package var initialClusterState = ClusterState.new
    package var initialClusterToken = "etcd-cluster"

    // Raft.
    /// Milliseconds between two heartbeats of a leader; one Raft tick.
    package var heartbeatMilliseconds = 100
    /// Milliseconds without a leader before an election; at least five heartbeats, at most 50,000.
    package var electionMilliseconds = 1000
    package var preVote = true
    /// A member that starts waits for one heartbeat, and not for a whole election timeout, before it campaigns.
    package var initialElectionTickAdvance = true
    /// Whether changes of membership that could lose the quorum are refused.
    package var strictReconfigCheck = true
    /// Most learners at a time.
    package var learnersMax = 1
    /// Begin anew as the only member of the cluster, with its data.
    package var forceNewCluster = false
    /// Applied entries between two snapshots of etcd. Martlet keeps its log by bytes; the number is only checked.
    package var snapshotCount = 10_000

    // Limits.
    /// Live bytes the store may hold; negative is no limit. 0 on the command line means 2 GiB.
    package var quotaBytes: Int64 = 2 << 30
    package var maxTxnOperations = 128
    package var maxRequestBytes = 1_572_864
    /// Nil: as many as the transport grants.
    package var maxConcurrentStreams: UInt32?
    package var keepaliveMinSeconds = 5.0
    package var keepaliveIntervalSeconds = 7200.0
    package var keepaliveTimeoutSeconds = 20.0
    package var watchProgressNotifySeconds = 600.0

    // Compaction.
    package var autoCompactionMode = CompactionMode.periodic
    /// As given: a number of hours or a duration (periodic), or a number of revisions (revision). "0" is off.
    package var autoCompactionRetention = "0"

    // Client TLS.
    package var certificateFile = ""
    package var keyFile = ""
    package var trustedCAFile = ""
    package var clientCertificateAuth = false
    package var clientCRLFile = ""
    package var clientAllowedHostnames: [String] = []
    package var autoTLS = false
    package var selfSignedValidityYears = 1
    package var cipherSuites: [String] = []
    package var tlsMinimumVersion = "TLS1.2"
    package var tlsMaximumVersion = ""

    // Peer TLS; cipher suites and versions are those of clients.
    package var peerTLS = PeerTLSFlags()

    // Logs and metrics.
    package var logLevel = "info"
    package var logFormat = LogFormat.json
    package var logOutputs = ["default"]
    package var metricsLevel = MetricsLevel.basic

    // Unsafe.
    package var unsafeNoFsync = false

    /// Flags given that have no effect here, each with the reason; logged once at start.
    package var notes: [String] = []
    /// Names of the flags that were set, by whatever source.
    package var given: Set<String> = []

    package init() {}

    /// The data directory in effect: as given, or the member's name with `.martlet` behind it.
    package var effectiveDataDirectory: String {
        dataDirectory.isEmpty ? name + ".martlet" : dataDirectory
    }

    /// `initialCluster` as given, or this member alone.
    package var effectiveInitialCluster: String {
        if !initialCluster.isEmpty { return initialCluster }
        return initialAdvertisePeerURLs.map { "\(name)=\($0.text)" }.joined(separator: ",")
    }
}

/// A reason not to start: one line that says what would be right.
package struct ConfigurationError: Error, CustomStringConvertible {
    package let description: String
    package init(_ description: String) { self.description = description }
}

extension ServerConfiguration {
    /// The largest `--max-request-bytes`: members send each other no larger entries.
    package static let requestBytesMax = 64 << 20

    /// Checks what single flags cannot know of each other. Source: etcd's start-up checks.
    package func validate() throws(ConfigurationError) {
        if electionMilliseconds < 5 * heartbeatMilliseconds {
            throw ConfigurationError(
                "--election-timeout[\(electionMilliseconds)ms] should be at least as 5 times as "
                    + "--heartbeat-interval[\(heartbeatMilliseconds)ms]")
        }
        if electionMilliseconds > 50_000 {
            throw ConfigurationError(
                "--election-timeout[\(electionMilliseconds)ms] is too long, and should be set less than 50000ms")
        }
        if given.contains("listen-client-urls"), !given.contains("advertise-client-urls") {
            throw ConfigurationError("--advertise-client-urls is required when --listen-client-urls is set explicitly")
        }
        try validateTLS()
        try peerTLS.validate(isNeeded: (listenPeerURLs + initialAdvertisePeerURLs).contains { $0.isSecure })
        _ = try AutoCompaction(mode: autoCompactionMode, retention: autoCompactionRetention)
    }

    private func validateTLS() throws(ConfigurationError) {
        let secureURL = (listenClientURLs + listenClientHTTPURLs + listenMetricsURLs).first { $0.isSecure }
        if certificateFile.isEmpty != keyFile.isEmpty {
            throw ConfigurationError("--cert-file and --key-file go together: one of them is missing")
        }
        if let secureURL, certificateFile.isEmpty, !autoTLS {
            throw ConfigurationError(
                "an https client or metrics URL (\(secureURL.text)) needs --cert-file and --key-file, or --auto-tls")
        }
        if clientCertificateAuth, trustedCAFile.isEmpty {
            throw ConfigurationError("--client-cert-auth needs --trusted-ca-file")
        }
        let versions = ["", "TLS1.2", "TLS1.3"]
        guard versions.contains(tlsMinimumVersion), versions.contains(tlsMaximumVersion) else {
            throw ConfigurationError("--tls-min-version and --tls-max-version take TLS1.2 or TLS1.3")
        }
        if tlsMaximumVersion == "TLS1.2", tlsMinimumVersion == "TLS1.3" {
            throw ConfigurationError("--tls-min-version must not be higher than --tls-max-version")
        }
        if tlsMinimumVersion == "TLS1.3", !cipherSuites.isEmpty {
            throw ConfigurationError("--cipher-suites cannot be chosen when --tls-min-version is TLS1.3")
        }
        do throws(TLSError) { try TLSConfiguration.check(cipherSuites: cipherSuites) } catch {
            throw ConfigurationError("--cipher-suites: \(error.message)")
        }
    }

    /// Checks what a member is founded from or joins by. Only where there is no member yet: one that has data knows
    /// its cluster, and these flags are ignored, as in etcd.
    package func validateFirstStart() throws(ConfigurationError) {
        let members = try InitialCluster(parsing: effectiveInitialCluster)
        guard let own = members.urls(of: name) else {
            throw ConfigurationError("couldn't find local name \"\(name)\" in the initial cluster configuration")
        }
        if own.sorted() != initialAdvertisePeerURLs.map(\.text).sorted() {
            throw ConfigurationError(
                "--initial-cluster has \(name)=\(own.sorted().joined(separator: ",")) but "
                    + "--initial-advertise-peer-urls is "
                    + initialAdvertisePeerURLs.map(\.text).sorted().joined(separator: ","))
        }
    }
}
