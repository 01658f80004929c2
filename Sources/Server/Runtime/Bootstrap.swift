import Leasing
import Membership
import NIOCore
import Peers
import Primitives
import Replica
import ServerCore
import StateMachine
import Wire

/// What a member is opened with: its identity and the others', from the flags or from the members of a cluster that runs.
enum Bootstrap {
    /// How long each member is given to answer one who asks for the members.
    private static let fetchTimeout = TimeAmount.seconds(5)
    /// The same at the first start of a new cluster, where nobody may be there yet.
    private static let probeTimeout = TimeAmount.seconds(1)

    /// - Parameter isEmpty: nothing was ever applied in the data directory; else what it holds counts, and not the flags.
    /// - Throws: `StartError`, `ConfigurationError`.
    static func options(
        _ configuration: ServerConfiguration, isEmpty: Bool, tls: PeerTLS?, group: any EventLoopGroup
    ) async throws -> ServerCoreOptions {
        var options: ServerCoreOptions
        if isEmpty {
            options = try await firstStart(configuration, tls, group)
        } else {
            options = try founding(configuration, InitialCluster(alone: configuration))
        }
        options.walDirectory = configuration.walDirectory
        options.electionTicks = max(2, configuration.electionMilliseconds / configuration.heartbeatMilliseconds)
        options.preVote = configuration.preVote
        options.advancesFirstElection = configuration.initialElectionTickAdvance
        options.forceNewCluster = configuration.forceNewCluster
        options.replica.firstContext = WallClock.nanoseconds()
        // As long as a client's request waits.
        options.replica.heldTicksMax =
            (5000 + 2 * configuration.electionMilliseconds) / configuration.heartbeatMilliseconds
        // The shortest lease outlives one election and a half.
        options.leases.ttlSecondsMin = Int64((configuration.electionMilliseconds * 3 / 2 + 999) / 1000)
        return options
    }

    private static func firstStart(
        _ configuration: ServerConfiguration, _ tls: PeerTLS?, _ group: any EventLoopGroup
    ) async throws -> ServerCoreOptions {
        try configuration.validateFirstStart()
        let cluster = try InitialCluster(parsing: configuration.effectiveInitialCluster)
        let others = try cluster.names.filter { $0 != configuration.name }.flatMap { name in
            try (cluster.urls(of: name) ?? []).map { try PeerURL($0) }
        }
        if configuration.initialClusterState == .existing {
            return try await joining(configuration, others, tls, group)
        }
        let options = try founding(configuration, cluster)
        if !others.isEmpty { try await checkNotBootstrapped(options, others, tls, group) }
        return options
    }

    private static func founding(
        _ configuration: ServerConfiguration, _ cluster: InitialCluster
    ) throws(StartError) -> ServerCoreOptions {
        let isAlone = cluster.names.count == 1
        let members = cluster.names.map { name in
            let urls = cluster.urls(of: name) ?? []
            // Client URLs are known of this member only, and founders must agree: others are told through the log.
            return Membership.Member(
                id: ClusterIdentity.memberID(
                    peerURLs: urls, token: configuration.initialClusterToken, sha1: Digest.sha1),
                name: name, peerURLs: urls,
                clientURLs: isAlone ? configuration.advertiseClientURLs.map(\.text) : [])
        }
        guard let own = members.first(where: { $0.name == configuration.name }) else {
            throw StartError("--initial-cluster does not name \(configuration.name)")
        }
        let clusterID = ClusterIdentity.clusterID(members: members.map(\.id), sha1: Digest.sha1)
        return ServerCoreOptions(
            dataDirectory: configuration.effectiveDataDirectory, memberID: own.id,
            founding: .new(clusterID: clusterID, members: members))
    }

    private static func joining(
        _ configuration: ServerConfiguration, _ others: [PeerURL], _ tls: PeerTLS?, _ group: any EventLoopGroup
    ) async throws -> ServerCoreOptions {
        guard !others.isEmpty else {
            throw StartError("--initial-cluster-state existing: --initial-cluster names no other member to ask")
        }
        let fetched: FetchedMembers
        do {
            fetched = try await PeerNetwork.fetchMembers(from: others, tls: tls, timeout: fetchTimeout, group: group)
        } catch { throw StartError("--initial-cluster-state existing: no member of the cluster answers: \(error)") }
        guard let members = MemberList.decode(fetched.members) else {
            throw StartError("--initial-cluster-state existing: the answer of another member cannot be read")
        }
        let urls = Set(configuration.initialAdvertisePeerURLs.map(\.text))
        guard let own = members.first(where: { Set($0.peerURLs) == urls }) else {
            throw StartError(
                "--initial-cluster-state existing: the cluster has no member with the peer URLs "
                    + "\(urls.sorted().joined(separator: ",")); add it with member add first")
        }
        return ServerCoreOptions(
            dataDirectory: configuration.effectiveDataDirectory, memberID: own.id,
            founding: .joining(clusterID: fetched.clusterID, members: members))
    }

    /// Refuses to found anew a member that the cluster knows to have served: it has lost its data, and with it what it
    /// promised. Source: etcd-behaviour, section 9.
    private static func checkNotBootstrapped(
        _ options: ServerCoreOptions, _ others: [PeerURL], _ tls: PeerTLS?, _ group: any EventLoopGroup
    ) async throws {
        let fetched = try? await PeerNetwork.fetchMembers(from: others, tls: tls, timeout: probeTimeout, group: group)
        guard let fetched, fetched.clusterID == options.founding.clusterID,
            let own = MemberList.decode(fetched.members)?.first(where: { $0.id == options.memberID }),
            !own.clientURLs.isEmpty
        else { return }
        throw StartError(
            "member \(options.memberID.hex) has already been bootstrapped, and its data is gone: remove it from the "
                + "cluster, add it again, and start it with --initial-cluster-state existing")
    }
}

/// The members as one member tells another: a protobuf message whose field 1 repeats stored members (`MemberCodec`).
enum MemberList {
    static func encode(_ members: [Membership.Member]) -> Bytes {
        let records = members.map(MemberCodec.encode)
        let size = records.reduce(0) { $0 + ProtoSize.message(1, count: $1.count) }
        return Bytes(count: size) { buffer in
            var writer = ProtoWriter(buffer)
            for record in records { writer.message(1, record) }
            writer.finish()
        }
    }

    /// Nil for bytes that are no such list.
    static func decode(_ bytes: Bytes) -> [Membership.Member]? {
        try? bytes.withUnsafeBytes { (bytes) throws(WireError) in
            var members: [Membership.Member] = []
            var reader = ProtoReader(bytes)
            while let tag = try reader.nextField() {
                guard tag == .bytes(1) else {
                    try reader.skip(tag)
                    continue
                }
                members.append(try MemberCodec.decode(Bytes(copying: try reader.bytes())))
            }
            return members
        }
    }
}
