import Client
import NIOConcurrencyHelpers
import NIOCore
import Wire

/// Asks all members of a cluster how they are, over connections that stay open. Owner: one task.
final class ClusterSampler {
    /// A member that is down must not hold up the others.
    private static let answerTimeout = TimeAmount.seconds(1)
    static let syncsMetric = "etcd_disk_wal_fsync_duration_seconds"

    private let global: GlobalOptions
    private let seed: EtcdClient
    private var members: [Etcdserverpb_Member] = []
    private var clients: [UInt64: (urls: [String], client: EtcdClient)] = [:]
    /// Why each member could not be connected to, the last time: says more than that it did not answer in time.
    private let reasons = NIOLockedValueBox<[UInt64: String]>([:])

    init(_ global: GlobalOptions) throws(CommandError) {
        self.global = global
        seed = EtcdClient(try global.clientConfiguration(), group: global.eventLoops)
    }

    func close() async {
        await seed.close()
        for (_, client) in clients.values { await client.close() }
    }

    /// Asks everybody, all at once.
    ///
    /// - Throws: when no endpoint tells the members, and never did.
    func sample() async throws(CommandError) -> ClusterSample {
        // Not linearizable: it must work when there is no leader.
        do throws(ClientError) { members = try await seed.memberList(isLinearizable: false).members } catch {
            if members.isEmpty { throw .failure("failed to fetch the member list: \(error)") }
        }
        var asked: [(Etcdserverpb_Member, EtcdClient?, Bool)] = []
        for member in members {
            let isNew = clients[member.id]?.urls != member.clientUrls
            asked.append((member, await client(of: member), isNew))
        }
        let global = global
        let samples = await withTaskGroup(of: MemberSample.self) { group in
            for (member, client, isNew) in asked {
                group.addTask { await Self.ask(member, client, isNew: isNew, global) }
            }
            var samples: [MemberSample] = []
            for await sample in group { samples.append(sample) }
            return samples
        }
        let reasons = reasons.withLockedValue { reasons in
            defer { reasons = [:] }
            return reasons
        }
        return ClusterSample(
            members: samples.map { sample in
                var sample = sample
                if !sample.error.isEmpty, let reason = reasons[sample.member.id] { sample.error = reason }
                return sample
            })
    }

    /// The client for a member, nil when it has not said where it listens.
    private func client(of member: Etcdserverpb_Member) async -> EtcdClient? {
        if let known = clients[member.id] {
            if known.urls == member.clientUrls { return known.client }
            await known.client.close()
            clients[member.id] = nil
        }
        guard !member.clientUrls.isEmpty,
            var configuration = try? global.clientConfiguration(endpoints: member.clientUrls)
        else { return nil }
        configuration.requestTimeout = min(Self.answerTimeout, .nanoseconds(global.commandTimeout.nanoseconds))
        configuration.dialTimeout = min(configuration.dialTimeout, configuration.requestTimeout)
        let (id, reasons) = (member.id, reasons)
        configuration.onConnectionFailure = { _, error in
            reasons.withLockedValue { $0[id] = error.message }
        }
        let client = EtcdClient(configuration, group: global.eventLoops)
        clients[member.id] = (member.clientUrls, client)
        return client
    }

    private static func ask(
        _ member: Etcdserverpb_Member, _ client: EtcdClient?, isNew: Bool, _ global: GlobalOptions
    ) async -> MemberSample {
        var sample = MemberSample(member: member, status: nil, time: 0)
        guard let client else {
            sample.error = member.name.isEmpty ? "" : "no client URL is known"
            sample.time = NIODeadline.now().uptimeNanoseconds
            return sample
        }
        async let page = metrics(of: client, global)
        do throws(ClientError) {
            // The first call also makes the connection, which is no part of the round trip.
            if isNew { _ = try await client.status() }
            let start = NIODeadline.now()
            sample.status = try await client.status()
            sample.roundTripNanoseconds = (NIODeadline.now() - start).nanoseconds
        } catch { sample.error = error.description }
        sample.time = NIODeadline.now().uptimeNanoseconds
        sample.syncs = (await page).flatMap { LatencyHistogram(syncsMetric, in: $0) }
        return sample
    }

    private static func metrics(of client: EtcdClient, _ global: GlobalOptions) async -> String? {
        guard let endpoint = client.configuration.endpoints.first else { return nil }
        return await PageFetch.body(
            of: "/metrics", at: endpoint, tls: client.configuration.tls, timeout: answerTimeout,
            group: global.eventLoops)
    }
}
