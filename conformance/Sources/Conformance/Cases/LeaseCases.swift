import Foundation
import NIOCore
import SwiftProtobuf
import Transport
import Wire

/// Cases of the lease area that data cannot express.
enum LeaseCases {
    static let all: [Case] = [
        Case(
            "lease", "many-expire",
            doc: "Hundreds of leases that end together all expire, each with its keys in one revision "
                + "[learning/api, lease API]", timeout: .seconds(60)
        ) { context in
            var leases: [Int64: Set<Data>] = [:]
            let watch = try await context.watch("k")
            for number in 0..<200 {
                let lease = try await context.grant(ttl: 2)
                for index in 0..<2 { try await context.put("k\(number)/\(index)", "v", lease: lease) }
                leases[lease] = [context.key("k\(number)/0"), context.key("k\(number)/1")]
            }
            var deleted: [Int64: Set<Data>] = [:]
            var count = 0
            while count < 400 {
                for event in try await watch.answer(within: .seconds(20)).events where event.type == .delete {
                    deleted[event.kv.modRevision, default: []].insert(event.kv.key)
                    count += 1
                }
            }
            try context.expectEqual(Set(deleted.values), Set(leases.values), "keys deleted by revision")
        },
        Case(
            "lease", "not-before-its-time",
            doc: "No lease ends before its TTL, however busy the server is [api_guarantees, lease]"
        ) { context in
            let load = WriteLoad(context)
            let writing = Task { await load.run(writers: 4) }
            defer { load.stop() }
            let watch = try await context.watch("k")
            let start = ContinuousClock.now
            let lease = try await context.grant(ttl: 3)
            try await context.put("k", "v", lease: lease)
            _ = try await watch.events(2, within: .seconds(15))
            let seconds = (ContinuousClock.now - start) / .seconds(1)
            try context.expect(seconds >= 2.9, "a lease of 3 s ended after \(seconds) s")
            load.stop()
            await writing.value
        },
        Case(
            "lease", "keep-alive-by-any-member",
            doc: "A lease can be kept and asked for on any member [rpc.proto, Lease.LeaseKeepAlive]"
        ) { context in
            let lease = try await context.grant(ttl: 20)
            for endpoint in 0..<max(3, context.target.endpoints.count) {
                let stream = try await context.open(Paths.leaseKeepAlive, endpoint: endpoint)
                var request = Etcdserverpb_LeaseKeepAliveRequest()
                request.id = lease
                try await stream.send(try request.serializedBytes())
                guard case .message(let bytes)? = await stream.next(within: .seconds(5).patient) else {
                    throw CaseFailure("no answer to a keep-alive on member \(endpoint)")
                }
                let answer = try Etcdserverpb_LeaseKeepAliveResponse(serializedBytes: bytes)
                try context.expectEqual(answer.ttl, 20, "TTL answered")
                stream.cancel()
            }
        },
        Case(
            "lease", "survives-restart",
            doc: "Leases and what is attached to them outlive a restart of the server [api_guarantees, durability]",
            needs: [.process]
        ) { context in
            guard let server = context.server else { throw CaseSkip("no server of our own") }
            let lease = try await context.grant(ttl: 60)
            try await context.put("a", "1", lease: lease)
            await server.end(SIGKILL)
            try await server.start()
            var request = Etcdserverpb_LeaseTimeToLiveRequest()
            request.id = lease
            request.keys = true
            let answer: Etcdserverpb_LeaseTimeToLiveResponse = try await context.call(Paths.leaseTimeToLive, request)
            try context.expect(answer.ttl > 0 && answer.ttl <= 61, "TTL after the restart: \(answer.ttl)")
            try context.expectEqual(answer.keys, [context.key("a")], "keys after the restart")
            let revision = try await context.revoke(lease)
            try context.expectEqual(try await context.get("a").count, 0, "keys after the revoke at \(revision)")
        },
    ]
}
