import Foundation
import SwiftProtobuf
import Wire

// Random messages of the generated types, and their hot counterparts made from them field by field, by name.

extension RandomValues {
    mutating func header() -> Etcdserverpb_ResponseHeader {
        .with {
            $0.clusterID = uint64()
            $0.memberID = uint64()
            $0.revision = int64()
            $0.raftTerm = uint64()
        }
    }

    mutating func keyValue() -> Mvccpb_KeyValue {
        .with {
            $0.key = data()
            $0.createRevision = int64()
            $0.modRevision = int64()
            $0.version = int64()
            $0.value = data()
            $0.lease = int64()
        }
    }

    mutating func rangeRequest() -> Etcdserverpb_RangeRequest {
        .with {
            $0.key = data()
            $0.rangeEnd = data()
            $0.limit = int64()
            $0.revision = int64()
            $0.sortOrder = .init(rawValue: count(4))!
            $0.sortTarget = .init(rawValue: count(6))!
            $0.serializable = bool()
            $0.keysOnly = bool()
            $0.countOnly = bool()
            $0.minModRevision = int64()
            $0.maxModRevision = int64()
            $0.minCreateRevision = int64()
            $0.maxCreateRevision = int64()
        }
    }

    mutating func rangeResponse() -> Etcdserverpb_RangeResponse {
        .with {
            $0.header = header()
            $0.kvs = list(3) { $0.keyValue() }
            $0.more = bool()
            $0.count = int64()
        }
    }

    mutating func putRequest() -> Etcdserverpb_PutRequest {
        .with {
            $0.key = data()
            $0.value = data()
            $0.lease = int64()
            $0.prevKv = bool()
            $0.ignoreValue = bool()
            $0.ignoreLease = bool()
        }
    }

    mutating func putResponse() -> Etcdserverpb_PutResponse {
        .with {
            $0.header = header()
            if bool() { $0.prevKv = keyValue() }
        }
    }

    mutating func deleteRangeRequest() -> Etcdserverpb_DeleteRangeRequest {
        .with {
            $0.key = data()
            $0.rangeEnd = data()
            $0.prevKv = bool()
        }
    }

    mutating func deleteRangeResponse() -> Etcdserverpb_DeleteRangeResponse {
        .with {
            $0.header = header()
            $0.deleted = int64()
            $0.prevKvs = list(3) { $0.keyValue() }
        }
    }

    mutating func compare() -> Etcdserverpb_Compare {
        .with {
            $0.result = .init(rawValue: count(5))!
            $0.target = .init(rawValue: count(6))!
            $0.key = data()
            $0.rangeEnd = data()
            switch count(5) {
            case 0: $0.version = int64()
            case 1: $0.createRevision = int64()
            case 2: $0.modRevision = int64()
            case 3: $0.value = data()
            case 4: $0.lease = int64()
            default: break
            }
        }
    }

    mutating func requestOperation(depth: Int) -> Etcdserverpb_RequestOp {
        .with {
            switch count(depth > 0 ? 4 : 3) {
            case 0: $0.requestRange = rangeRequest()
            case 1: $0.requestPut = putRequest()
            case 2: $0.requestDeleteRange = deleteRangeRequest()
            case 3: break
            default: $0.requestTxn = txnRequest(depth: depth - 1)
            }
        }
    }

    mutating func txnRequest(depth: Int = 3) -> Etcdserverpb_TxnRequest {
        .with {
            $0.compare = list(2) { $0.compare() }
            $0.success = list(3) { $0.requestOperation(depth: depth) }
            $0.failure = list(2) { $0.requestOperation(depth: depth) }
        }
    }

    mutating func responseOperation(depth: Int) -> Etcdserverpb_ResponseOp {
        .with {
            switch count(depth > 0 ? 3 : 2) {
            case 0: $0.responseRange = rangeResponse()
            case 1: $0.responsePut = putResponse()
            case 2: $0.responseDeleteRange = deleteRangeResponse()
            default: $0.responseTxn = txnResponse(depth: depth - 1)
            }
        }
    }

    mutating func txnResponse(depth: Int = 3) -> Etcdserverpb_TxnResponse {
        .with {
            $0.header = header()
            $0.succeeded = bool()
            $0.responses = list(3) { $0.responseOperation(depth: depth) }
        }
    }

    mutating func watchRequest() -> Etcdserverpb_WatchRequest {
        .with {
            switch count(3) {
            case 0:
                $0.createRequest = .with {
                    $0.key = data()
                    $0.rangeEnd = data()
                    $0.startRevision = int64()
                    $0.progressNotify = bool()
                    $0.filters = [[], [.noput], [.nodelete], [.noput, .nodelete]][count(3)]
                    $0.prevKv = bool()
                    $0.watchID = int64()
                    $0.fragment = bool()
                }
            case 1: $0.cancelRequest = .with { $0.watchID = int64() }
            case 2: $0.progressRequest = .init()
            default: break
            }
        }
    }

    mutating func watchResponse() -> Etcdserverpb_WatchResponse {
        .with {
            $0.header = header()
            $0.watchID = int64()
            $0.created = bool()
            $0.canceled = bool()
            $0.compactRevision = int64()
            $0.cancelReason = string()
            $0.fragment = bool()
            $0.events = list(3) { random in
                .with {
                    $0.type = random.bool() ? .put : .delete
                    $0.kv = random.keyValue()
                    if random.bool() {
                        $0.prevKv = random.keyValue()
                        $0.prevKv.version = 1
                    }
                }
            }
        }
    }

    mutating func member() -> Etcdserverpb_Member {
        .with {
            $0.id = uint64()
            $0.name = string()
            $0.peerUrls = list(2) { $0.string() }
            $0.clientUrls = list(2) { $0.string() }
            $0.isLearner = bool()
        }
    }

    mutating func alarmMember() -> Etcdserverpb_AlarmMember {
        .with {
            $0.memberID = uint64()
            $0.alarm = .init(rawValue: count(3))!
        }
    }

    mutating func statusResponse() -> Etcdserverpb_StatusResponse {
        .with {
            $0.header = header()
            $0.version = string()
            $0.dbSize = int64()
            $0.leader = uint64()
            $0.raftIndex = uint64()
            $0.raftTerm = uint64()
            $0.raftAppliedIndex = uint64()
            $0.errors = list(2) { $0.string() }
            $0.dbSizeInUse = int64()
            $0.isLearner = bool()
            $0.storageVersion = string()
            $0.dbSizeQuota = int64()
            if bool() {
                $0.downgradeInfo = .with {
                    $0.enabled = bool()
                    $0.targetVersion = string()
                }
            }
        }
    }

    // MARK: raftpb; every scalar is set, as etcd's code does

    mutating func raftEntry() -> Raftpb_Entry {
        .with {
            $0.type = .init(rawValue: count(2))!
            $0.term = uint64()
            $0.index = uint64()
            let bytes = data()
            if !bytes.isEmpty { $0.data = bytes }
        }
    }

    mutating func raftConfState() -> Raftpb_ConfState {
        .with {
            $0.voters = list(5) { $0.uint64() }
            $0.learners = list(2) { $0.uint64() }
            $0.votersOutgoing = list(3) { $0.uint64() }
            $0.learnersNext = list(2) { $0.uint64() }
            $0.autoLeave = bool()
        }
    }

    mutating func raftSnapshot() -> Raftpb_Snapshot {
        .with {
            let bytes = data()
            if !bytes.isEmpty { $0.data = bytes }
            $0.metadata = .with {
                $0.confState = raftConfState()
                $0.index = uint64()
                $0.term = uint64()
            }
        }
    }

    mutating func raftConfChangeV2() -> Raftpb_ConfChangeV2 {
        .with {
            $0.transition = .init(rawValue: count(2))!
            $0.changes = list(3) { random in
                .with {
                    $0.type = .init(rawValue: random.count(3))!
                    $0.nodeID = random.uint64()
                }
            }
            let bytes = data()
            if !bytes.isEmpty { $0.context = bytes }
        }
    }

    mutating func raftMessage(depth: Int = 2) -> Raftpb_Message {
        .with {
            $0.type = .init(rawValue: count(23))!
            $0.to = uint64()
            $0.from = uint64()
            $0.term = uint64()
            $0.logTerm = uint64()
            $0.index = uint64()
            $0.entries = list(4) { $0.raftEntry() }
            $0.commit = uint64()
            if bool() { $0.snapshot = raftSnapshot() }
            $0.reject = bool()
            $0.rejectHint = uint64()
            let bytes = data()
            if !bytes.isEmpty { $0.context = bytes }
            $0.vote = uint64()
            if depth > 0 { $0.responses = list(2) { $0.raftMessage(depth: depth - 1) } }
        }
    }
}
