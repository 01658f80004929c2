import Foundation
import Primitives
import SwiftProtobuf

@testable import Wire

extension FuzzTarget {
    /// The counterpart in swift-protobuf, or nil for `InternalRaftRequest`, whose bodies the hot codec does not decode.
    var reference: ReferenceCodec? {
        switch self {
        case .keyValue:
            .init {
                $0.keyValue()
            } hot: { m, _ in
                Verbatim(record(m))
            }
        case .responseHeader:
            .init {
                $0.header()
            } hot: { m, _ in
                ResponseHeader(m)
            }
        case .rangeRequest:
            .init {
                $0.rangeRequest()
            } hot: {
                RangeRequestView($0, $1)
            }
        case .rangeResponse:
            .init(.rangeResponse) {
                $0.rangeResponse()
            } hot: { m, _ in
                RangeResponse(m)
            }
        case .putRequest:
            .init {
                $0.putRequest()
            } hot: {
                PutRequestView($0, $1)
            }
        case .putResponse:
            .init(.putResponse) {
                $0.putResponse()
            } hot: { m, _ in
                PutResponse(m)
            }
        case .deleteRangeRequest:
            .init {
                $0.deleteRangeRequest()
            } hot: {
                DeleteRangeRequestView($0, $1)
            }
        case .deleteRangeResponse:
            .init(.deleteRangeResponse) {
                $0.deleteRangeResponse()
            } hot: { m, _ in
                DeleteRangeResponse(m)
            }
        case .compare:
            .init {
                $0.compare()
            } hot: {
                CompareView($0, $1)
            }
        case .txnRequest:
            .init(.txnRequest) {
                $0.txnRequest()
            } hot: {
                TxnRequestView($0, $1)
            }
        case .txnResponse:
            .init(.txnResponse) {
                $0.txnResponse()
            } hot: { m, _ in
                TxnResponse(m)
            }
        case .watchRequest:
            .init(.watchRequest) {
                $0.watchRequest()
            } hot: {
                WatchRequestView($0, $1)
            }
        case .watchResponse:
            .init(.watchResponse) {
                $0.watchResponse()
            } hot: { m, _ in
                WholeWatchResponse(m)
            }
        case .internalRaftRequest: nil
        default: leaseReference ?? maintenanceReference ?? raftReference
        }
    }

    private var leaseReference: ReferenceCodec? {
        switch self {
        case .leaseGrantRequest:
            .init { r in
                Etcdserverpb_LeaseGrantRequest.with { ($0.ttl, $0.id) = (r.int64(), r.int64()) }
            } hot: { m, _ in
                LeaseGrantRequest(timeToLiveSeconds: m.ttl, id: m.id)
            }
        case .leaseRevokeRequest:
            .init { r in
                Etcdserverpb_LeaseRevokeRequest.with { $0.id = r.int64() }
            } hot: { m, _ in
                LeaseRevokeRequest(id: m.id)
            }
        case .leaseKeepAliveRequest:
            .init { r in
                Etcdserverpb_LeaseKeepAliveRequest.with { $0.id = r.int64() }
            } hot: { m, _ in
                LeaseKeepAliveRequest(id: m.id)
            }
        case .leaseTimeToLiveRequest:
            .init { r in
                Etcdserverpb_LeaseTimeToLiveRequest.with { ($0.id, $0.keys) = (r.int64(), r.bool()) }
            } hot: { m, _ in
                LeaseTimeToLiveRequest(id: m.id, keys: m.keys)
            }
        case .leaseCheckpointRequest:
            .init(MessageShape(repeated: [1: MessageShape()])) { r in
                Etcdserverpb_LeaseCheckpointRequest.with {
                    $0.checkpoints = r.list(4) { r in .with { ($0.id, $0.remainingTtl) = (r.int64(), r.int64()) } }
                }
            } hot: { m, _ in
                LeaseCheckpointRequest(
                    checkpoints: m.checkpoints.map { LeaseCheckpoint(id: $0.id, remainingSeconds: $0.remainingTtl) })
            }
        default: nil
        }
    }

    private var maintenanceReference: ReferenceCodec? {
        switch self {
        case .compactionRequest:
            .init { r in
                Etcdserverpb_CompactionRequest.with { ($0.revision, $0.physical) = (r.int64(), r.bool()) }
            } hot: { m, _ in
                CompactionRequest(revision: m.revision, physical: m.physical)
            }
        case .alarmRequest:
            .init { r in
                Etcdserverpb_AlarmRequest.with {
                    $0.action = .init(rawValue: r.count(3))!
                    $0.memberID = r.uint64()
                    $0.alarm = .init(rawValue: r.count(3))!
                }
            } hot: { m, _ in
                AlarmRequest(
                    action: Int32(truncatingIfNeeded: m.action.rawValue), memberID: m.memberID,
                    alarm: Int32(truncatingIfNeeded: m.alarm.rawValue))
            }
        case .alarmMember:
            .init {
                $0.alarmMember()
            } hot: { m, _ in
                AlarmMember(memberID: m.memberID, alarm: Int32(truncatingIfNeeded: m.alarm.rawValue))
            }
        case .hashKVRequest:
            .init { r in
                Etcdserverpb_HashKVRequest.with { $0.revision = r.int64() }
            } hot: { m, _ in
                HashKVRequest(revision: m.revision)
            }
        default: nil
        }
    }

    private var raftReference: ReferenceCodec? {
        switch self {
        case .raftEntry:
            .init(.raftEntry) {
                $0.raftEntry()
            } hot: { m, _ in
                RaftEntryRecord(m)
            }
        case .raftHardState:
            .init { r in
                Raftpb_HardState.with { ($0.term, $0.vote, $0.commit) = (r.uint64(), r.uint64(), r.uint64()) }
            } hot: { m, _ in
                RaftHardStateRecord(term: m.term, vote: m.vote, commit: m.commit)
            }
        case .raftConfState:
            .init {
                $0.raftConfState()
            } hot: { m, _ in
                RaftConfStateRecord(m)
            }
        case .raftConfChange:
            .init(.raftConfChange) { r in
                Raftpb_ConfChange.with {
                    $0.id = r.uint64()
                    $0.type = .init(rawValue: r.count(3))!
                    $0.nodeID = r.uint64()
                    let bytes = r.data()
                    if !bytes.isEmpty { $0.context = bytes }
                }
            } hot: { m, _ in
                RaftConfChangeRecord(
                    id: m.id, type: Int32(m.type.rawValue), nodeID: m.nodeID, context: Bytes(m.context))
            }
        case .raftConfChangeV2:
            .init(.raftConfChangeV2) {
                $0.raftConfChangeV2()
            } hot: { m, _ in
                RaftConfChangeV2Record(m)
            }
        case .raftSnapshot:
            .init(.raftSnapshot) {
                $0.raftSnapshot()
            } hot: { m, _ in
                RaftSnapshotRecord(m)
            }
        case .raftMessage:
            .init(.raftMessage) {
                $0.raftMessage()
            } hot: { m, _ in
                RaftMessageRecord(m)
            }
        default: nil
        }
    }
}

/// Bytes that are an encoded message already.
struct Verbatim: WireEncodable {
    let bytes: Bytes
    init(_ bytes: Bytes) { self.bytes = bytes }
    var encodedSize: Int { bytes.count }
    func write(to writer: inout ProtoWriter) { bytes.withUnsafeBytes { writer.raw($0) } }
}
