import Client
import Foundation
import NIOCore
import Primitives
import TestSupport
import Wire

/// Holders of leases: keys hang on a lease that is renewed at any member, and left to itself, or revoked, after some time.
extension ChaosClients {
    static let noSuchLease = "etcdserver: requested lease not found"

    /// Runs until the task is cancelled.
    func holdLeases(_ number: Int, _ generator: PRNG) async {
        var random = generator
        while !Task.isCancelled {
            await holdLease(number, &random)
            // Often the next lease takes keys over before the end of the one before.
            try? await Task.sleep(for: .milliseconds(random.next(in: 0..<1500)))
        }
    }

    /// One lease from its grant to its last renewal.
    private func holdLease(_ number: Int, _ random: inout PRNG) async {
        let id = history.newLease()
        let seconds = Int64(random.next(in: 2..<4))
        guard await grant(id, seconds, &random) else { return }
        var keys = (0..<3).map { Self.prefix + "z\(number)-\($0)" }
        if random.chance(oneIn: 2) { keys.removeLast(random.next(in: 1..<3)) }
        guard await attach(keys, to: id, number, &random) else { return }
        let renewals = random.next(in: 0..<12)
        for _ in 0..<renewals where !Task.isCancelled {
            try? await Task.sleep(for: .milliseconds(random.next(in: 50..<700)))
            guard await renew(id, &random) else { return }
            switch random.next(in: 0..<8) {
            case 0: if await !attach([keys[0]], to: id, number, &random) { return }
            case 1: _ = await attach([keys[0]], to: 0, number, &random)
            default: break
            }
        }
        if random.chance(oneIn: 4) { await revoke(id, &random) }
    }

    private func note(_ id: Int64, since begin: UInt64, _ kind: LeaseStep.Kind) {
        history.note(LeaseStep(id: id, begin: begin, end: NIODeadline.now().uptimeNanoseconds, kind: kind))
    }

    /// Calls some member, for once.
    private func atSomeMember<T: Sendable>(
        _ random: inout PRNG, _ body: (EtcdClient, TestMember) async throws -> T
    ) async throws -> T {
        let members = cluster.members
        let member = members[random.next(in: 0..<members.count)]
        let client = client(member)
        do {
            let result = try await body(client, member)
            await client.close()
            return result
        } catch {
            await client.close()
            throw error
        }
    }

    private func grant(_ id: Int64, _ seconds: Int64, _ random: inout PRNG) async -> Bool {
        var grant = Etcdserverpb_LeaseGrantRequest()
        grant.id = id
        grant.ttl = seconds
        let request = grant
        let begin = NIODeadline.now().uptimeNanoseconds
        note(id, since: begin, .asked)
        guard let granted = try? await atSomeMember(&random, { client, _ in try await client.leaseGrant(request) })
        else { return false }
        if granted.id != id || granted.ttl < seconds {
            history.violation("lease \(id) for \(seconds) s was granted as \(granted.id) for \(granted.ttl) s")
        }
        note(id, since: begin, .alive(seconds: granted.ttl))
        return true
    }

    /// Hangs the keys on the lease, or on none; false when there is no such lease any more.
    private func attach(_ keys: [String], to id: Int64, _ number: Int, _ random: inout PRNG) async -> Bool {
        let changes = keys.map { Change(key: $0, value: history.newValue(client: 100 + number), lease: id) }
        let begin = NIODeadline.now().uptimeNanoseconds
        let outcome = try? await atSomeMember(&random) { client, member in
            await call(.put(changes), client, member)
        }
        guard case .refused(let text)? = outcome else { return true }
        note(id, since: begin, .missing("a write to it was refused: \(text)"))
        return false
    }

    /// False when there is no such lease any more.
    private func renew(_ id: Int64, _ random: inout PRNG) async -> Bool {
        let begin = NIODeadline.now().uptimeNanoseconds
        let answer = try? await atSomeMember(&random) { client, member in
            (member.name, try await Self.renew(id, client))
        }
        // It was not answered; whether it is alive will be seen.
        guard let (member, seconds) = answer else { return true }
        note(id, since: begin, seconds > 0 ? .alive(seconds: seconds) : .missing("\(member) knows nothing of it"))
        return seconds > 0
    }

    /// The seconds that the lease has from now on.
    private static func renew(_ id: Int64, _ client: EtcdClient) async throws -> Int64 {
        let stream = try await client.leaseKeepAliveStream()
        let limit = Task {
            try? await Task.sleep(for: .milliseconds(patience.nanoseconds / 1_000_000))
            stream.cancel()
        }
        defer {
            limit.cancel()
            stream.cancel()
        }
        var request = Etcdserverpb_LeaseKeepAliveRequest()
        request.id = id
        try await stream.send(request)
        var iterator = stream.makeAsyncIterator()
        guard let answer = try await iterator.nextMessage(), answer.id == id else {
            throw TestFailure("no answer to a renewal")
        }
        return answer.ttl
    }

    private func revoke(_ id: Int64, _ random: inout PRNG) async {
        var revoke = Etcdserverpb_LeaseRevokeRequest()
        revoke.id = id
        let request = revoke
        let begin = NIODeadline.now().uptimeNanoseconds
        note(id, since: begin, .revoking)
        _ = try? await atSomeMember(&random) { client, _ in try await client.leaseRevoke(request) }
    }
}
