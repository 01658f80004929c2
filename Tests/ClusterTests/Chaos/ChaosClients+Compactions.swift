import Client
import NIOConcurrencyHelpers
import NIOCore
import Primitives
import TestSupport
import Wire

/// The one who compacts, and looks at what that does to watches.
extension ChaosClients {
    /// Compactions trail the newest revision by so many at the most, where the watchers let them.
    static let compactionLag = 300

    /// Runs until the task is cancelled.
    func compact(_ generator: PRNG) async {
        var random = generator
        var last: Int64 = 1
        while !Task.isCancelled {
            try? await Task.sleep(for: .milliseconds(random.next(in: 100..<1200)))
            // Of the change at a watcher's position, the state before it is wanted too.
            let needed = positions.withLockedValue { $0.min() ?? 2 } - 2
            let revision = needed - Int64(random.next(in: 0..<Self.compactionLag))
            // Some are not new, and must be refused.
            guard revision > max(1, last - 20) else { continue }
            let members = cluster.members
            let member = members[random.next(in: 0..<members.count)]
            let client = client(member)
            if case .compacted = await call(.compact(revision), client, member) {
                last = max(last, revision)
                let probed = random.chance(oneIn: 2) ? member : members[random.next(in: 0..<members.count)]
                await probe(probed, floor: last, &random)
            }
            await client.close()
        }
    }

    /// A watch that starts near the compaction, at a member that is known to have carried it out: a linearizable read there
    /// came after it, and the process is the same as then.
    private func probe(_ member: TestMember, floor: Int64, _ random: inout PRNG) async {
        let start = max(2, floor + Int64(random.next(in: 0..<60)) - 40)
        let client = client(member)
        let pid = member.server.pid
        if case .read = await call(.read(from: Self.prefix, upTo: nil, isSerializable: false), client, member),
            let stream = try? await client.watch(EtcdClient.watchRequest(Self.prefix, from: start))
        {
            let limit = Task {
                try? await Task.sleep(for: .milliseconds(Self.patience.nanoseconds / 1_000_000))
                stream.cancel()
            }
            if let outcome = await beginning(of: stream, from: start, member), pid == member.server.pid {
                let end = NIODeadline.now().uptimeNanoseconds
                history.note(
                    WatchStart(
                        watcher: "a watch at \(member.name)", revision: start, floor: floor, end: end,
                        outcome: outcome))
            }
            limit.cancel()
            stream.cancel()
        }
        await client.close()
    }

    /// Nil when it ends without either.
    private func beginning(
        of stream: EtcdClient.WatchStream, from start: Int64, _ member: TestMember
    ) async -> WatchStart.Outcome? {
        var iterator = stream.makeAsyncIterator()
        while let response = try? await iterator.nextMessage() {
            if response.compactRevision != 0 {
                if !response.canceled { history.violation("compacted at \(member.name), but not cancelled") }
                return .compacted(response.compactRevision)
            }
            if response.canceled { return nil }
            if let first = response.events.first { return .events(first: first.kv.modRevision) }
        }
        return nil
    }
}
