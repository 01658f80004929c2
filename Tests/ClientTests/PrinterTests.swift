import Foundation
import SwiftProtobuf
import Testing
import Wire

@testable import martletctl

/// The bytes that etcdctl 3.5.1 printed for the same responses.
struct PrinterTests {
    private let header: Etcdserverpb_ResponseHeader = {
        var header = Etcdserverpb_ResponseHeader()
        header.clusterID = 324_952_591_200_643_719
        header.memberID = 3_319_814_642_761_637_952
        header.revision = 34
        header.raftTerm = 2
        return header
    }()

    private let jsonHeader =
        #"{"cluster_id":324952591200643719,"member_id":3319814642761637952,"revision":34,"raft_term":2}"#

    private let fieldsHeader = """
        "ClusterID" : 324952591200643719
        "MemberID" : 3319814642761637952
        "Revision" : 34
        "RaftTerm" : 2

        """

    private func record(
        _ key: String, _ value: [UInt8], create: Int64 = 2, mod: Int64 = 9, version: Int64 = 8
    ) -> Mvccpb_KeyValue {
        var record = Mvccpb_KeyValue()
        record.key = Data(key.utf8)
        record.value = Data(value)
        record.createRevision = create
        record.modRevision = mod
        record.version = version
        return record
    }

    private func text(
        _ format: OutputFormat, isHex: Bool = false, _ print: (Printer) throws -> [UInt8]
    ) throws -> String {
        String(decoding: try print(Printer(format: format, isHex: isHex)), as: UTF8.self)
    }

    @Test func range() throws {
        var response = Etcdserverpb_RangeResponse()
        response.header = header
        response.kvs = [record("foo", Array("b2".utf8))]
        response.count = 1
        #expect(try text(.simple) { try $0.range(response) } == "foo\nb2\n")
        #expect(try text(.simple) { try $0.range(response, parts: .valueOnly) } == "b2\n")
        #expect(try text(.simple, isHex: true) { try $0.range(response) } == "\\x66\\x6f\\x6f\n\\x62\\x32\n")
        #expect(
            try text(.json) { try $0.range(response) }
                == #"{"header":"# + jsonHeader
                + #","kvs":[{"key":"Zm9v","create_revision":2,"mod_revision":9,"version":8,"value":"YjI="}],"count":1}"#
                + "\n")
        #expect(
            try text(.fields) { try $0.range(response) } == fieldsHeader + """
                "Key" : "foo"
                "CreateRevision" : 2
                "ModRevision" : 9
                "Version" : 8
                "Value" : "b2"
                "Lease" : 0
                "More" : false
                "Count" : 1

                """)
        #expect(throws: CommandError(.badFeature, "table not supported as output format")) {
            try Printer(format: .table).range(response)
        }
    }

    @Test func bytesThatAreNotText() throws {
        var response = Etcdserverpb_RangeResponse()
        response.header = header
        response.kvs = [record("bin", [0xff, 0x01, 0x0a, 0x22, 0x71])]
        #expect(try Printer(format: .simple).range(response) == Array("bin\n".utf8) + [0xff, 1, 10, 0x22, 0x71, 10])
        #expect(try text(.fields) { try $0.range(response) }.contains(#""Value" : "\xff\x01\n\"q""#))
        let odd: [UInt8] =
            Array("é".utf8) + [0xe2, 0x80, 0xa8, 0x7f, 0xc2, 0xa0] + Array("😀".utf8) + [0, 7, 0x1b]
        #expect(GoText.quoted(odd) == #""é\u2028\u007f\u00a0😀\x00\a\x1b""#)
    }

    @Test func putAndDelete() throws {
        var put = Etcdserverpb_PutResponse()
        put.header = header
        #expect(try text(.simple) { try $0.put(put) } == "OK\n")
        #expect(try text(.json) { try $0.put(put) } == #"{"header":"# + jsonHeader + "}\n")
        put.prevKv = record("foo", Array("bar baz".utf8))
        #expect(try text(.simple) { try $0.put(put) } == "OK\nfoo\nbar baz\n")
        #expect(
            try text(.fields) { try $0.put(put) } == fieldsHeader + """
                "PrevKey" : "foo"
                "PrevCreateRevision" : 2
                "PrevModRevision" : 9
                "PrevVersion" : 8
                "PrevValue" : "bar baz"
                "PrevLease" : 0

                """)
        var delete = Etcdserverpb_DeleteRangeResponse()
        delete.header = header
        #expect(try text(.json) { try $0.delete(delete) } == #"{"header":"# + jsonHeader + "}\n")
        delete.deleted = 2
        delete.prevKvs = [record("foo", [0x62]), record("foo2", [0x62])]
        #expect(try text(.simple) { try $0.delete(delete) } == "2\nfoo\nb\nfoo2\nb\n")
    }

    @Test func txn() throws {
        var range = Etcdserverpb_RangeResponse()
        range.header.revision = 37
        range.kvs = [record("k1", Array("v1".utf8), create: 35, mod: 35, version: 1)]
        range.count = 1
        var put = Etcdserverpb_PutResponse()
        put.header.revision = 38
        var delete = Etcdserverpb_DeleteRangeResponse()
        delete.header.revision = 38
        delete.deleted = 1
        var response = Etcdserverpb_TxnResponse()
        response.header = header
        response.succeeded = true
        response.responses = [.init(), .init(), .init()]
        response.responses[0].responseRange = range
        response.responses[1].responsePut = put
        response.responses[2].responseDeleteRange = delete
        #expect(try text(.simple) { try $0.txn(response) } == "SUCCESS\n\nk1\nv1\n\nOK\n\n1\n")
        #expect(
            try text(.json) { try $0.txn(response) }
                == #"{"header":"# + jsonHeader + #","succeeded":true,"responses":[{"Response":{"response_range":"#
                + #"{"header":{"revision":37},"kvs":[{"key":"azE=","create_revision":35,"mod_revision":35,"version":1,"#
                + #""value":"djE="}],"count":1}}},{"Response":{"response_put":{"header":{"revision":38}}}},"#
                + #"{"Response":{"response_delete_range":{"header":{"revision":38},"deleted":1}}}]}"# + "\n")
        #expect(
            try text(.fields) { try $0.txn(response) }.hasPrefix(
                fieldsHeader + "\"Succeeded\" : true\n\"ClusterID\" : 0\n\"MemberID\" : 0\n\"Revision\" : 37\n"))
    }

    @Test func watch() throws {
        var event = Mvccpb_Event()
        event.type = .delete
        event.kv.key = Data("w1".utf8)
        event.kv.modRevision = 62
        event.prevKv = record("w1", Array("v2".utf8), create: 59, mod: 60, version: 2)
        var response = Etcdserverpb_WatchResponse()
        response.header = header
        response.events = [event]
        #expect(try text(.simple) { try $0.watch(response) } == "DELETE\nw1\nv2\nw1\n\n")
        #expect(
            try text(.json) { try $0.watch(response) }
                == #"{"Header":"# + jsonHeader + #","Events":[{"type":1,"kv":{"key":"dzE=","mod_revision":62},"#
                + #""prev_kv":{"key":"dzE=","create_revision":59,"mod_revision":60,"version":2,"value":"djI="}}],"#
                + #""CompactRevision":0,"Canceled":false,"Created":false}"# + "\n")
        let fields = try text(.fields) { try $0.watch(response) }
        #expect(fields.hasPrefix(fieldsHeader + "\"Type\" : DELETE\n\"PrevKey\" : \"w1\"\n"))
        #expect(fields.hasSuffix("\"Version\" : 0\n\"Value\" : \"\"\n\"Lease\" : 0\n"))
    }

    @Test func leases() throws {
        var grant = Etcdserverpb_LeaseGrantResponse()
        grant.header = header
        grant.id = 2_324_035_545_104_550_478
        grant.ttl = 100
        #expect(try text(.simple) { try $0.leaseGrant(grant) } == "lease 2040a203d7568a4e granted with TTL(100s)\n")
        #expect(
            try text(.json) { try $0.leaseGrant(grant) }
                == jsonHeader.dropLast() + #","ID":2324035545104550478,"TTL":100,"Error":""}"# + "\n")
        var time = Etcdserverpb_LeaseTimeToLiveResponse()
        time.header = header
        time.id = 0x1234
        time.ttl = -1
        #expect(
            try text(.simple) { try $0.leaseTimeToLive(time, withKeys: false) }
                == "lease 0000000000001234 already expired\n")
        #expect(
            try text(.json) { try $0.leaseTimeToLive(time, withKeys: false) }
                == jsonHeader.dropLast() + #","id":4660,"ttl":-1,"granted-ttl":0,"keys":null}"# + "\n")
        time.ttl = 999
        time.grantedTtl = 1000
        time.keys = [Data("lk".utf8), Data("lk2".utf8)]
        #expect(
            try text(.simple) { try $0.leaseTimeToLive(time, withKeys: true) }
                == "lease 0000000000001234 granted with TTL(1000s), remaining(999s), attached keys([lk lk2])\n")
        #expect(
            try text(.json) { try $0.leaseTimeToLive(time, withKeys: true) }.hasSuffix(
                #""granted-ttl":1000,"keys":["bGs=","bGsy"]}"# + "\n"))
        var list = Etcdserverpb_LeaseLeasesResponse()
        list.header = header
        list.leases = [.with { $0.id = 0x1234 }]
        #expect(try text(.simple) { try $0.leaseList(list) } == "found 1 leases\n0000000000001234\n")
        #expect(
            try text(.json) { try $0.leaseList(list) }
                == jsonHeader.dropLast() + #","leases":[{"id":4660}]}"# + "\n")
        var alive = Etcdserverpb_LeaseKeepAliveResponse()
        alive.id = 0x1234
        #expect(try text(.simple) { try $0.leaseKeepAlive(alive) } == "lease 0000000000001234 expired or revoked.\n")
    }

    @Test func endpointStatus() throws {
        var status = Etcdserverpb_StatusResponse()
        status.header = header
        status.version = "3.5.1"
        status.dbSize = 24576
        status.dbSizeInUse = 20480
        status.leader = header.memberID
        status.raftIndex = 68
        status.raftTerm = 2
        status.raftAppliedIndex = 68
        let results = [(endpoint: "127.0.0.1:23790", status: status)]
        #expect(
            try text(.simple) { try $0.endpointStatus(results) }
                == "127.0.0.1:23790, 2e1259d415f2a040, 3.5.1, 25 kB, true, false, 2, 68, 68, \n")
        #expect(
            try text(.json) { try $0.endpointStatus(results) }
                == #"[{"Endpoint":"127.0.0.1:23790","Status":{"header":"# + jsonHeader
                + #","version":"3.5.1","dbSize":24576,"leader":3319814642761637952,"raftIndex":68,"raftTerm":2,"#
                + #""raftAppliedIndex":68,"dbSizeInUse":20480}}]"# + "\n")
        #expect(
            try text(.table) { try $0.endpointStatus(results) } == """
                +-----------------+------------------+---------+---------+-----------\
                +------------+-----------+------------+--------------------+--------+
                |    ENDPOINT     |        ID        | VERSION | DB SIZE | IS LEADER \
                | IS LEARNER | RAFT TERM | RAFT INDEX | RAFT APPLIED INDEX | ERRORS |
                +-----------------+------------------+---------+---------+-----------\
                +------------+-----------+------------+--------------------+--------+
                | 127.0.0.1:23790 | 2e1259d415f2a040 |   3.5.1 |   25 kB |      true \
                |      false |         2 |         68 |                 68 |        |
                +-----------------+------------------+---------+---------+-----------\
                +------------+-----------+------------+--------------------+--------+

                """)
    }

    /// A cell wider than 30 columns is broken at a blank; the blank at its end stays.
    @Test func tableWithWrappedCell() {
        var table = TableWriter(headings: ["ERRORS"])
        table.append(["memberID:13668033151171901709 alarm:NOSPACE "])
        #expect(
            table.render() == """
                +--------------------------------+
                |             ERRORS             |
                +--------------------------------+
                |  memberID:13668033151171901709 |
                |                 alarm:NOSPACE  |
                +--------------------------------+

                """)
    }

    @Test func endpointHealth() throws {
        let results = [
            EndpointHealth(
                endpoint: "127.0.0.1:23790", isHealthy: true, took: GoDuration(nanoseconds: 1_401_751)),
            EndpointHealth(
                endpoint: "127.0.0.1:1", isHealthy: false, took: GoDuration(nanoseconds: 1_001_262_502),
                error: "context deadline exceeded"),
        ]
        #expect(
            try text(.simple) { try $0.endpointHealth(results) }
                == "127.0.0.1:23790 is healthy: successfully committed proposal: took = 1.401751ms\n")
        #expect(
            Printer(format: .simple).unhealthyLines(results)
                == ["127.0.0.1:1 is unhealthy: failed to commit proposal: context deadline exceeded"])
        #expect(
            try text(.json) { try $0.endpointHealth(results) }
                == #"[{"endpoint":"127.0.0.1:23790","health":true,"took":"1.401751ms"},"#
                + #"{"endpoint":"127.0.0.1:1","health":false,"took":"1.001262502s","#
                + #""error":"context deadline exceeded"}]"# + "\n")
    }

    @Test func alarmsAndHash() throws {
        var response = Etcdserverpb_AlarmResponse()
        #expect(try text(.json) { try $0.alarm(response) } == "{}\n")
        response.header = header
        response.alarms = [
            .with {
                $0.memberID = 13_668_033_151_171_901_709
                $0.alarm = .nospace
            }
        ]
        #expect(
            try text(.simple) { try $0.alarm(response) } == "memberID:13668033151171901709 alarm:NOSPACE \n")
        #expect(
            try text(.json) { try $0.alarm(response) }
                == #"{"header":"# + jsonHeader + #","alarms":[{"memberID":13668033151171901709,"alarm":1}]}"# + "\n")
        var hash = Etcdserverpb_HashKVResponse()
        hash.header = header
        hash.hash = 995_643_080
        hash.compactRevision = 12
        let results = [(endpoint: "127.0.0.1:23790", hash: hash)]
        #expect(try text(.simple) { try $0.endpointHashKV(results) } == "127.0.0.1:23790, 995643080\n")
        #expect(
            try text(.json) { try $0.endpointHashKV(results) }
                == #"[{"Endpoint":"127.0.0.1:23790","HashKV":{"header":"# + jsonHeader
                + #","hash":995643080,"compact_revision":12}}]"# + "\n")
    }

    @Test func members() throws {
        var response = Etcdserverpb_MemberListResponse()
        response.header = header
        response.header.revision = 0
        response.members = [
            .with {
                $0.id = header.memberID
                $0.name = "default"
                $0.peerUrls = ["http://127.0.0.1:23800"]
                $0.clientUrls = ["http://127.0.0.1:23790"]
            },
            .with {
                $0.id = 0x9a60_797b_313a_f4c1
                $0.peerUrls = ["http://127.0.0.1:23999"]
                $0.isLearner = true
            },
        ]
        #expect(
            try text(.simple) { try $0.memberList(response) } == """
                2e1259d415f2a040, started, default, http://127.0.0.1:23800, http://127.0.0.1:23790, false
                9a60797b313af4c1, unstarted, , http://127.0.0.1:23999, , true

                """)
        response.members.removeLast()
        #expect(
            try text(.json, isHex: true) { try $0.memberList(response) }
                == #"{"header":{"cluster_id":"48276a8f75b6a87","member_id":"2e1259d415f2a040","raft_term":2},"#
                + #""members":[{"ID":"2e1259d415f2a040","name":"default","peerURLs":["http://127.0.0.1:23800"],"#
                + #""clientURLS":["http://127.0.0.1:23790"]}]}"# + "\n")
        #expect(
            try text(.table) { try $0.memberList(response) } == """
                +------------------+---------+---------+------------------------+------------------------+------------+
                |        ID        | STATUS  |  NAME   |       PEER ADDRS       |      CLIENT ADDRS      | IS LEARNER |
                +------------------+---------+---------+------------------------+------------------------+------------+
                | 2e1259d415f2a040 | started | default | http://127.0.0.1:23800 | http://127.0.0.1:23790 |      false |
                +------------------+---------+---------+------------------------+------------------------+------------+

                """)
        #expect(
            try text(.simple) {
                try $0.memberChange(
                    Etcdserverpb_MemberUpdateResponse(), header, [], member: header.memberID, change: "updated in")
            }
                == "Member 2e1259d415f2a040 updated in cluster  48276a8f75b6a87\n")
    }

    @Test func snapshotStatus() throws {
        let status = SnapshotFileStatus(hash: 1_534_820_924, revision: 34, keyCount: 42, sizeBytes: 24576)
        #expect(try text(.simple) { try $0.snapshotStatus(status) } == "5b7b823c, 34, 42, 25 kB\n")
        #expect(
            try text(.json) { try $0.snapshotStatus(status) }
                == #"{"hash":1534820924,"revision":34,"totalKey":42,"totalSize":24576}"# + "\n")
    }

    @Test(
        arguments: [
            (0, "0 B"), (9, "9 B"), (999, "999 B"), (1000, "1.0 kB"), (9960, "10 kB"), (24576, "25 kB"),
            (188_416, "188 kB"), (2_147_483_648, "2.1 GB"), (37_000, "37 kB"),
        ] as [(UInt64, String)])
    func humanBytes(count: UInt64, expected: String) {
        #expect(GoText.humanBytes(count) == expected)
    }

    @Test(
        arguments: [
            (0, "0s"), (999, "999ns"), (996_346, "996.346µs"), (1_787_532, "1.787532ms"), (2_004_700, "2.0047ms"),
            (1_000_930_452, "1.000930452s"), (90_000_000_000, "1m30s"), (3_600_000_000_000, "1h0m0s"),
            (5_000_000_000, "5s"),
        ] as [(Int64, String)])
    func durations(nanoseconds: Int64, expected: String) {
        #expect(GoDuration(nanoseconds: nanoseconds).description == expected)
        #expect(GoDuration(expected)?.nanoseconds == nanoseconds)
    }

    @Test(arguments: ["", "5", "s", "5x", "1..5s", "-", "1m5"])
    func malformedDurations(text: String) {
        #expect(GoDuration(text) == nil)
    }

    @Test func jsonEscapes() {
        var json = JSONText()
        json.value("<a>&\"\u{2028}\n\u{1}")
        #expect(json.text == #""\u003ca\u003e\u0026\"\u2028\n\u0001""#)
        #expect(JSONText.base64([]) == "")
        #expect(JSONText.base64([0x66]) == "Zg==")
        #expect(JSONText.base64([0xff, 1, 10, 0x22, 0x71]) == "/wEKInE=")
    }
}
