import Foundation
import Transport
import Wire

/// Cases of the cluster area that need several members.
enum ClusterCases {
    static let all: [Case] = [
        Case(
            "cluster", "one-leader",
            doc: "All members name the same leader, which is one of them, in the same term "
                + "[rpc.proto, StatusResponse.leader]", needs: [.cluster]
        ) { context in
            let (leaders, members) = try await settledLead(context)
            try context.expectEqual(leaders.count, 1, "leaders")
            try context.expectEqual(members.count, context.target.endpoints.count, "members behind the endpoints")
            try context.expect(leaders.isSubset(of: members), "the leader is none of the members")
        },
        Case(
            "cluster", "not-leader",
            doc: "Only the leader can be asked to hand over, FAILED_PRECONDITION \"not leader\" "
                + "[rpctypes ErrGRPCNotLeader]", needs: [.cluster]
        ) { context in
            for endpoint in context.target.endpoints.indices {
                let status = try await context.status(endpoint: endpoint)
                if status.leader == status.header.memberID { continue }
                var request = Etcdserverpb_MoveLeaderRequest()
                request.targetID = status.header.memberID
                try await context.expectError(.failedPrecondition, "etcdserver: not leader", "MoveLeader at a follower")
                {
                    let _: Etcdserverpb_MoveLeaderResponse = try await context.call(
                        Paths.moveLeader, request, endpoint: endpoint)
                }
                return
            }
        },
        Case(
            "cluster", "move-leader",
            doc: "MoveLeader hands the lead to the member named, and nothing acknowledged is lost "
                + "[rpc.proto, Maintenance.MoveLeader]", needs: [.cluster], body: moveLeader),
        Case(
            "cluster", "members-agree",
            doc: "Every member lists the same members [rpc.proto, Cluster.MemberList]", needs: [.cluster]
        ) { context in
            var lists: Set<Set<UInt64>> = []
            for endpoint in context.target.endpoints.indices {
                let answer: Etcdserverpb_MemberListResponse = try await context.call(
                    Paths.memberList, Etcdserverpb_MemberListRequest(), endpoint: endpoint)
                lists.insert(Set(answer.members.map(\.id)))
            }
            try context.expectEqual(lists.count, 1, "different lists of members")
        },
        Case(
            "cluster", "serializable-read-anywhere",
            doc: "Every member answers serializable reads, and comes to what was written "
                + "[rpc.proto, RangeRequest.serializable]", needs: [.cluster]
        ) { context in
            let revision = try await context.put("a", "1")
            for endpoint in context.target.endpoints.indices {
                var seen: Int64 = 0
                for _ in 0..<100 where seen < revision {
                    seen = try await context.get("a", serializable: true, endpoint: endpoint).header.revision
                    if seen < revision { try await Task.sleep(for: .milliseconds(20)) }
                }
                try context.expect(seen >= revision, "member \(endpoint) does not come to revision \(revision)")
            }
        },
    ]

    /// Who leads, as all endpoints tell, and who they are. The lead may just be changing: asked again for a while.
    private static func settledLead(_ context: CaseContext) async throws -> (leaders: Set<UInt64>, members: Set<UInt64>)
    {
        let deadline = ContinuousClock.now + Duration.seconds(5).patient
        while true {
            let (leaders, members) = try await lead(context)
            if leaders.count == 1, !leaders.contains(0) { return (leaders, members) }
            if ContinuousClock.now >= deadline { return (leaders, members) }
        }
    }

    private static func lead(_ context: CaseContext) async throws -> (leaders: Set<UInt64>, members: Set<UInt64>) {
        var leaders: Set<UInt64> = []
        var members: Set<UInt64> = []
        for endpoint in context.target.endpoints.indices {
            let status = try await context.status(endpoint: endpoint)
            leaders.insert(status.leader)
            members.insert(status.header.memberID)
        }
        return (leaders, members)
    }

    private static let moveLeader: @Sendable (CaseContext) async throws -> Void = { context in
        let watch = try await context.watch("load/")
        let load = WriteLoad(context)
        let writing = Task { await load.run(writers: 3) }
        defer { load.stop() }
        let endpoints = Array(context.target.endpoints.indices)
        for round in 0..<2 {
            var leaderEndpoint = 0
            var others: [UInt64] = []
            for endpoint in endpoints {
                let status = try await context.status(endpoint: endpoint)
                if status.leader == status.header.memberID {
                    leaderEndpoint = endpoint
                } else {
                    others.append(status.header.memberID)
                }
            }
            guard !others.isEmpty else { throw CaseFailure("no member but the leader") }
            var request = Etcdserverpb_MoveLeaderRequest()
            request.targetID = others[round % others.count]
            let _: Etcdserverpb_MoveLeaderResponse = try await context.call(
                Paths.moveLeader, request, endpoint: leaderEndpoint)
            let status = try await context.status(endpoint: leaderEndpoint)
            try context.expectEqual(status.leader, request.targetID, "leader afterwards")
            try await Task.sleep(for: .milliseconds(200))
        }
        load.stop()
        await writing.value
        let last = try await context.put("load/last", "x")
        var log = WatchLog()
        while log.lastRevision < last { try log.take(try await watch.answer()) }
        try log.checkComplete(load.acknowledged)
    }
}
