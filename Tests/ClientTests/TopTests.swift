import Primitives
import Testing
import Wire

@testable import martletctl

struct TopTests {
    private static let page = """
        # TYPE etcd_disk_wal_fsync_duration_seconds histogram
        etcd_disk_wal_fsync_duration_seconds_bucket{le="0.001"} 50
        etcd_disk_wal_fsync_duration_seconds_bucket{le="0.002"} 90
        etcd_disk_wal_fsync_duration_seconds_bucket{le="0.004"} 100
        etcd_disk_wal_fsync_duration_seconds_bucket{le="+Inf"} 100
        etcd_disk_wal_fsync_duration_seconds_sum 0.1
        etcd_disk_wal_fsync_duration_seconds_count 100
        """

    @Test func quantiles() throws {
        let syncs = try #require(LatencyHistogram("etcd_disk_wal_fsync_duration_seconds", in: Self.page))
        #expect(syncs.quantile(0.5) == 0.001)
        #expect(syncs.quantile(0.7) == 0.0015)
        #expect(abs((syncs.quantile(0.99) ?? 0) - 0.0038) < 1e-9)
        #expect(syncs.since(syncs).quantile(0.99) == nil)
        #expect(LatencyHistogram("etcd_disk_wal_fsync_duration_seconds", in: "") == nil)
        #expect(LatencyHistogram("etcd_disk_wal_fsync", in: Self.page) == nil)
        // A member that was started again counts from nothing.
        let fresh = try #require(
            LatencyHistogram(
                "m",
                in:
                    "m_bucket{le=\"0.001\"} 1\nm_bucket{le=\"0.002\"} 1\nm_bucket{le=\"0.004\"} 1\nm_bucket{le=\"+Inf\"} 2"
            ))
        #expect(fresh.since(syncs) == fresh)
        // Above the last bound only that is known.
        #expect(fresh.quantile(0.99) == 0.004)
    }

    @Test func answers() {
        #expect(PageFetch.content(of: Array("HTTP/1.1 200 OK\r\nA: b\r\n\r\nbody".utf8)) == "body")
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n1;x=y\r\n!\r\n0\r\n\r\n"
        #expect(PageFetch.content(of: Array(chunked.utf8)) == "body!")
        #expect(PageFetch.content(of: Array(chunked.dropLast(8).utf8)) == nil)
        #expect(PageFetch.content(of: Array("HTTP/1.1 404 Not Found\r\n\r\nbody".utf8)) == nil)
        #expect(PageFetch.content(of: []) == nil)
    }

    private func sample(
        _ id: UInt64, _ name: String, leader: UInt64 = 1, index: UInt64 = 0, applied: UInt64 = 0, revision: Int64 = 0,
        time: UInt64 = 0, errors: [String] = []
    ) -> MemberSample {
        var member = Etcdserverpb_Member()
        member.id = id
        member.name = name
        var status = Etcdserverpb_StatusResponse()
        status.header.memberID = id
        status.header.clusterID = 0xabc
        status.header.revision = revision
        status.leader = leader
        status.raftTerm = 4
        status.raftIndex = index
        status.raftAppliedIndex = applied
        status.errors = errors
        return MemberSample(member: member, status: status, time: time)
    }

    @Test func screen() {
        let before = ClusterSample(members: [sample(1, "a", revision: 100), sample(2, "b", revision: 100)])
        var down = sample(3, "c")
        down.status = nil
        down.error = "no route"
        var unstarted = sample(4, "")
        unstarted.status = nil
        let now = ClusterSample(members: [
            unstarted, down,
            sample(
                2, "b", index: 90, applied: 80, revision: 102, time: 2_000_000_000,
                errors: [
                    "memberID:2 alarm:NOSPACE ", "memberID:1 alarm:CORRUPT ", "etcdserver: no leader",
                ]),
            sample(1, "a", index: 100, applied: 100, revision: 300, time: 2_000_000_000),
        ])
        let lines = TopView(now, before: before, base: before).lines()
        #expect(
            lines == [
                "cluster abc   4 members, 2 answering   leader a, term 4   revision 300   NO QUORUM ANSWERS", "",
                "MEMBER  ID  ROLE       TERM  INDEX  APPLIED  LAG  DB SIZE  IN USE  WRITES/S  FSYNC P99  RTT  NOTES",
                "a       1   leader        4    100      100    0      0 B     0 B       100          -    -",
                "b       2   follower      4     90       80   20      0 B     0 B       1.0          -    -  "
                    + "ALARM NOSPACE, etcdserver: no leader",
                "c       3   down          -      -        -    -        -       -         -          -    -  no route",
                "-       4   unstarted     -      -        -    -        -       -         -          -    -",
            ])
    }

    @Test func initialMembers() throws {
        let members = try InitialMembers("a=http://x:1,b=http://y:1,a=http://w:2")
        #expect(members.members.map(\.name) == ["a", "b"])
        #expect(members.members[0].urls == ["http://w:2", "http://x:1"])
        try members.check(name: "a", advertised: "http://x:1,http://w:2")
        #expect(throws: CommandError.self) { try members.check(name: "a", advertised: "http://x:1") }
        #expect(throws: CommandError.self) { try members.check(name: "b", advertised: "http://y:1,http://z:1") }
        // The identity that etcd derives for its default member.
        let single = try InitialMembers("default=http://localhost:2380").identified(token: "etcd-cluster")
        #expect("\(single)".contains("10276657743932975437"))
        for text in ["", "a", "=http://x:1", "a=x:1", "a=http://x", "a=http://x:99999", "a=http://x:1/y"] {
            #expect(throws: CommandError.self) { try InitialMembers(text) }
        }
    }
}
