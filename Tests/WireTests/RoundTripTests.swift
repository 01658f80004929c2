import Foundation
import Primitives
import SwiftProtobuf
import Testing

@testable import Wire

/// Hot codecs against swift-protobuf, byte for byte, in both directions.
@Suite struct RoundTripTests {
    /// What swift-protobuf encodes, the hot decoder and encoder give back; and the hot encoder, filled by field name,
    /// encodes the same. Together: numbers, names, order and omissions agree in both directions.
    @Test(arguments: FuzzTarget.allCases.filter { $0.reference != nil })
    func messagesSurviveBothWays(_ target: FuzzTarget) throws {
        let reference = try #require(target.reference)
        var random = RandomValues(seed: 0x5eed)
        var distinct: Set<[UInt8]> = []
        for _ in 0..<400 {
            let bytes = try reference.sample(&random)
            distinct.insert(bytes)
            let again = try bytes.withUnsafeBytes { try target.roundTrip($0) }
            #expect(again.array == bytes)
            #expect(try reference.canonical(bytes).array == bytes)
        }
        // At least the scalars of the smallest message must have varied.
        #expect(distinct.count > 30)
    }

    @Test(arguments: [1, 2, 3] as [UInt64])
    func internalRequestsWrapBodiesUnchanged(seed: UInt64) throws {
        var random = RandomValues(seed: seed)
        for _ in 0..<300 {
            let put: [UInt8] = try random.putRequest().serializedBytes()
            let role = Etcdserverpb_AuthRoleAddRequest.with { $0.name = random.string() }
            let grant: [UInt8] = try role.serializedBytes()
            let header = Etcdserverpb_RequestHeader.with {
                $0.id = random.uint64()
                $0.username = random.string()
                $0.authRevision = random.uint64()
            }
            for (number, body) in [(InternalRaftRequest.FieldNumber.put, put), (1200, grant)] {
                let encoded = InternalRaftRequest.encode(
                    id: header.id, fieldNumber: number, body: Bytes(body), userName: header.username,
                    authRevision: header.authRevision)
                let expected = try Etcdserverpb_InternalRaftRequest.with {
                    $0.header = header
                    if number == 4 { $0.put = try Etcdserverpb_PutRequest(serializedBytes: body) }
                    if number == 1200 { $0.authRoleAdd = try Etcdserverpb_AuthRoleAddRequest(serializedBytes: body) }
                }
                #expect(encoded.array == (try expected.serializedBytes() as [UInt8]))
                try encoded.withUnsafeBytes {
                    let view = try InternalRaftRequestView(decoding: $0)
                    #expect(view.id == header.id)
                    #expect(view.userName.elementsEqual(header.username.utf8))
                    #expect(view.authRevision == header.authRevision)
                    switch view.body {
                    case .put(let slice): #expect(number == 4 && slice.elementsEqual(body))
                    case .other(let other, let slice): #expect(other == 1200 && slice.elementsEqual(body))
                    default: Issue.record("wrong body")
                    }
                }
            }
        }
    }

    /// `ID` (field 1) wins over `header.ID` where it is set, as in etcd's apply.
    @Test func internalRequestPrefersTheOuterID() throws {
        let both = Etcdserverpb_InternalRaftRequest.with {
            $0.id = 7
            $0.header = .with { $0.id = 9 }
        }
        let bytes: [UInt8] = try both.serializedBytes()
        #expect(try bytes.withUnsafeBytes { try InternalRaftRequestView(decoding: $0).id } == 7)
    }

    /// Every body has its number, checked against the generated message's.
    @Test func internalRequestBodiesAreNamedRight() throws {
        func body(_ fill: (inout Etcdserverpb_InternalRaftRequest) -> Void) throws -> String {
            try (Etcdserverpb_InternalRaftRequest.with(fill).serializedBytes() as [UInt8]).withUnsafeBytes {
                let text = "\(try InternalRaftRequestView(decoding: $0).body)"
                return String(text.prefix { $0 != "(" })
            }
        }
        #expect(try body { _ in } == "none")
        #expect(try body { $0.range = .init() } == "range")
        #expect(try body { $0.put = .init() } == "put")
        #expect(try body { $0.deleteRange = .init() } == "deleteRange")
        #expect(try body { $0.txn = .init() } == "txn")
        #expect(try body { $0.compaction = .init() } == "compaction")
        #expect(try body { $0.leaseGrant = .init() } == "leaseGrant")
        #expect(try body { $0.leaseRevoke = .init() } == "leaseRevoke")
        #expect(try body { $0.leaseCheckpoint = .init() } == "leaseCheckpoint")
        #expect(try body { $0.alarm = .init() } == "alarm")
        #expect(try body { $0.clusterVersionSet = .init() } == "clusterVersionSet")
        #expect(try body { $0.clusterMemberAttrSet = .init() } == "clusterMemberAttrSet")
        #expect(try body { $0.downgradeInfoSet = .init() } == "downgradeInfoSet")
        #expect(try body { $0.authEnable = .init() } == "other")
    }

    @Test(arguments: [1, 2, 3, 4] as [UInt64])
    func responsesEqualTheGenerated(seed: UInt64) throws {
        var random = RandomValues(seed: seed)
        for _ in 0..<200 {
            for (hot, generated) in leaseResponses(&random) + maintenanceResponses(&random) {
                #expect(hot.encoded().array == (try generated.serializedBytes() as [UInt8]), "\(type(of: hot))")
            }
        }
    }

    private func leaseResponses(_ r: inout RandomValues) -> [(any WireEncodable, any Message)] {
        let m = r.header()
        let header = ResponseHeader(m)
        let (id, time, granted, text) = (r.int64(), r.int64(), r.int64(), r.string())
        let (keys, leases) = (r.list(3) { $0.data() }, r.list(3) { $0.int64() })
        return [
            (
                LeaseGrantResponse(header: header, id: id, timeToLiveSeconds: time, error: text),
                Etcdserverpb_LeaseGrantResponse.with { ($0.header, $0.id, $0.ttl, $0.error) = (m, id, time, text) }
            ),
            (LeaseRevokeResponse(header: header), Etcdserverpb_LeaseRevokeResponse.with { $0.header = m }),
            (
                LeaseKeepAliveResponse(header: header, id: id, timeToLiveSeconds: time),
                Etcdserverpb_LeaseKeepAliveResponse.with { ($0.header, $0.id, $0.ttl) = (m, id, time) }
            ),
            (
                LeaseTimeToLiveResponse(
                    header: header, id: id, timeToLiveSeconds: time, grantedSeconds: granted,
                    keys: keys.map { Bytes($0) }),
                Etcdserverpb_LeaseTimeToLiveResponse.with {
                    ($0.header, $0.id, $0.ttl, $0.grantedTtl, $0.keys) = (m, id, time, granted, keys)
                }
            ),
            (
                LeaseLeasesResponse(header: header, leases: leases),
                Etcdserverpb_LeaseLeasesResponse.with {
                    $0.header = m
                    $0.leases = leases.map { id in .with { $0.id = id } }
                }
            ),
        ]
    }

    private func maintenanceResponses(_ r: inout RandomValues) -> [(any WireEncodable, any Message)] {
        let m = r.header()
        let header = ResponseHeader(m)
        let (hash, compact, at, left) = (r.uint32(), r.int64(), r.int64(), r.uint64())
        let (blob, text, snapshotHasHeader) = (r.data(), r.string(), r.bool())
        let alarms = r.list(3) { $0.alarmMember() }
        let members = r.list(3) { $0.member() }
        let status = r.statusResponse()
        return [
            (CompactionResponse(header: header), Etcdserverpb_CompactionResponse.with { $0.header = m }),
            (DefragmentResponse(header: header), Etcdserverpb_DefragmentResponse.with { $0.header = m }),
            (
                AlarmResponse(
                    header: header,
                    alarms: alarms.map { AlarmMember(memberID: $0.memberID, alarm: Int32($0.alarm.rawValue)) }),
                Etcdserverpb_AlarmResponse.with { ($0.header, $0.alarms) = (m, alarms) }
            ),
            (
                HashResponse(header: header, hash: hash),
                Etcdserverpb_HashResponse.with { ($0.header, $0.hash) = (m, hash) }
            ),
            (
                HashKVResponse(header: header, hash: hash, compactRevision: compact, hashRevision: at),
                Etcdserverpb_HashKVResponse.with {
                    ($0.header, $0.hash, $0.compactRevision, $0.hashRevision) = (m, hash, compact, at)
                }
            ),
            (
                SnapshotResponse(
                    header: snapshotHasHeader ? header : nil, remainingBytes: left, blob: Bytes(blob), version: text),
                Etcdserverpb_SnapshotResponse.with {
                    if snapshotHasHeader { $0.header = m }
                    ($0.remainingBytes, $0.blob, $0.version) = (left, blob, text)
                }
            ),
            (
                MemberListResponse(header: header, members: members.map(hotMember)),
                Etcdserverpb_MemberListResponse.with { ($0.header, $0.members) = (m, members) }
            ),
            (hotStatus(status), status),
        ]
    }

    private func hotMember(_ m: Etcdserverpb_Member) -> Wire.Member {
        Member(id: m.id, name: m.name, peerURLs: m.peerUrls, clientURLs: m.clientUrls, isLearner: m.isLearner)
    }

    private func hotStatus(_ m: Etcdserverpb_StatusResponse) -> StatusResponse {
        StatusResponse(
            header: ResponseHeader(m.header), version: m.version, databaseSize: m.dbSize, leader: m.leader,
            raftIndex: m.raftIndex, raftTerm: m.raftTerm, raftAppliedIndex: m.raftAppliedIndex, errors: m.errors,
            databaseSizeInUse: m.dbSizeInUse, isLearner: m.isLearner, storageVersion: m.storageVersion,
            databaseSizeQuota: m.dbSizeQuota,
            downgradeInfo: m.hasDowngradeInfo
                ? DowngradeInfo(enabled: m.downgradeInfo.enabled, targetVersion: m.downgradeInfo.targetVersion) : nil)
    }
}
