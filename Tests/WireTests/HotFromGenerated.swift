import Foundation
import Primitives

@testable import Wire

extension Bytes {
    init(_ data: Data) { self.init([UInt8](data)) }
}

extension ResponseHeader {
    init(_ m: Etcdserverpb_ResponseHeader) {
        self.init(clusterID: m.clusterID, memberID: m.memberID, revision: m.revision, raftTerm: m.raftTerm)
    }
}

/// A stored record, by `KeyValueCodec`.
func record(_ m: Mvccpb_KeyValue) -> Bytes {
    KeyValueCodec.encode(
        key: Bytes(m.key), createRevision: m.createRevision, modRevision: m.modRevision, version: m.version,
        value: Bytes(m.value), lease: m.lease)
}

extension RangeRequestView {
    init(_ m: Etcdserverpb_RangeRequest, _ arena: Arena) {
        self.init(
            key: arena.keep(m.key), rangeEnd: arena.keep(m.rangeEnd), limit: m.limit, revision: m.revision,
            sortOrder: Int32(truncatingIfNeeded: m.sortOrder.rawValue),
            sortTarget: Int32(truncatingIfNeeded: m.sortTarget.rawValue), serializable: m.serializable,
            keysOnly: m.keysOnly, countOnly: m.countOnly, minModRevision: m.minModRevision,
            maxModRevision: m.maxModRevision, minCreateRevision: m.minCreateRevision,
            maxCreateRevision: m.maxCreateRevision)
    }
}

extension RangeResponse {
    init(_ m: Etcdserverpb_RangeResponse) {
        self.init(header: ResponseHeader(m.header), records: m.kvs.map(record), more: m.more, count: m.count)
    }
}

extension PutRequestView {
    init(_ m: Etcdserverpb_PutRequest, _ arena: Arena) {
        self.init(
            key: arena.keep(m.key), value: arena.keep(m.value), lease: m.lease, prevKv: m.prevKv,
            ignoreValue: m.ignoreValue, ignoreLease: m.ignoreLease)
    }
}

extension PutResponse {
    init(_ m: Etcdserverpb_PutResponse) {
        self.init(header: ResponseHeader(m.header), previousRecord: m.hasPrevKv ? record(m.prevKv) : nil)
    }
}

extension DeleteRangeRequestView {
    init(_ m: Etcdserverpb_DeleteRangeRequest, _ arena: Arena) {
        self.init(key: arena.keep(m.key), rangeEnd: arena.keep(m.rangeEnd), prevKv: m.prevKv)
    }
}

extension DeleteRangeResponse {
    init(_ m: Etcdserverpb_DeleteRangeResponse) {
        self.init(header: ResponseHeader(m.header), deleted: m.deleted, previousRecords: m.prevKvs.map(record))
    }
}

extension CompareView {
    init(_ m: Etcdserverpb_Compare, _ arena: Arena) {
        let operand: Operand =
            switch m.targetUnion {
            case nil: .none
            case .version(let number): .version(number)
            case .createRevision(let number): .createRevision(number)
            case .modRevision(let number): .modRevision(number)
            case .value(let bytes): .value(arena.keep(bytes))
            case .lease(let number): .lease(number)
            }
        self.init(
            result: Int32(truncatingIfNeeded: m.result.rawValue), target: Int32(truncatingIfNeeded: m.target.rawValue),
            key: arena.keep(m.key), operand: operand, rangeEnd: arena.keep(m.rangeEnd))
    }
}

extension RequestOpView {
    init(_ m: Etcdserverpb_RequestOp, _ arena: Arena) {
        self =
            switch m.request {
            case nil: .empty
            case .requestRange(let request): .range(RangeRequestView(request, arena))
            case .requestPut(let request): .put(PutRequestView(request, arena))
            case .requestDeleteRange(let request): .deleteRange(DeleteRangeRequestView(request, arena))
            case .requestTxn(let request): .txn(TxnRequestView(request, arena))
            }
    }
}

extension TxnRequestView {
    init(_ m: Etcdserverpb_TxnRequest, _ arena: Arena) {
        self.init(
            compare: m.compare.map { CompareView($0, arena) }, success: m.success.map { RequestOpView($0, arena) },
            failure: m.failure.map { RequestOpView($0, arena) })
    }
}

extension TxnResponse {
    init(_ m: Etcdserverpb_TxnResponse) {
        self.init(
            header: ResponseHeader(m.header), succeeded: m.succeeded,
            responses: m.responses.compactMap { response -> ResponseOpModel? in
                switch response.response {
                case nil: nil
                case .responseRange(let response): .range(RangeResponse(response))
                case .responsePut(let response): .put(PutResponse(response))
                case .responseDeleteRange(let response): .deleteRange(DeleteRangeResponse(response))
                case .responseTxn(let response): .txn(TxnResponse(response))
                }
            })
    }
}

extension WatchRequestView {
    init(_ m: Etcdserverpb_WatchRequest, _ arena: Arena) {
        switch m.requestUnion {
        case nil: self = .empty
        case .createRequest(let request):
            var view = WatchCreateRequestView()
            view.key = arena.keep(request.key)
            view.rangeEnd = arena.keep(request.rangeEnd)
            view.startRevision = request.startRevision
            view.progressNotify = request.progressNotify
            view.filtersPuts = request.filters.contains(.noput)
            view.filtersDeletes = request.filters.contains(.nodelete)
            view.prevKv = request.prevKv
            view.watchID = request.watchID
            view.fragment = request.fragment
            self = .create(view)
        case .cancelRequest(let request): self = .cancel(watchID: request.watchID)
        case .progressRequest: self = .progress
        }
    }
}

/// A whole `WatchResponse`, put together as the watch hub does.
struct WholeWatchResponse: WireEncodable {
    let head: WatchResponse
    let events: [(isDelete: Bool, record: Bytes, previous: Bytes)]

    init(_ m: Etcdserverpb_WatchResponse) {
        head = WatchResponse(
            header: ResponseHeader(m.header), watchID: m.watchID, created: m.created, canceled: m.canceled,
            compactRevision: m.compactRevision, cancelReason: m.cancelReason, fragment: m.fragment)
        events = m.events.map { ($0.type == .delete, record($0.kv), $0.hasPrevKv ? record($0.prevKv) : Bytes()) }
    }

    var encodedSize: Int {
        events.reduce(head.encodedSize) {
            $0
                + EventCodec.fieldSize(
                    isDelete: $1.isDelete, recordCount: $1.record.count, previousCount: $1.previous.count)
        }
    }

    func write(to writer: inout ProtoWriter) {
        head.write(to: &writer)
        for event in events {
            event.record.withUnsafeBytes { record in
                event.previous.withUnsafeBytes {
                    EventCodec.writeField(to: &writer, isDelete: event.isDelete, record: record, previous: $0)
                }
            }
        }
    }
}

extension RaftEntryRecord {
    init(_ m: Raftpb_Entry) {
        self.init(type: Int32(m.type.rawValue), term: m.term, index: m.index, data: Bytes(m.data))
    }
}

extension RaftConfStateRecord {
    init(_ m: Raftpb_ConfState) {
        self.init(
            voters: m.voters, learners: m.learners, votersOutgoing: m.votersOutgoing, learnersNext: m.learnersNext,
            autoLeave: m.autoLeave)
    }
}

extension RaftSnapshotRecord {
    init(_ m: Raftpb_Snapshot) {
        self.init(
            data: Bytes(m.data),
            metadata: RaftSnapshotMetadataRecord(
                configuration: RaftConfStateRecord(m.metadata.confState), index: m.metadata.index,
                term: m.metadata.term))
    }
}

extension RaftConfChangeV2Record {
    init(_ m: Raftpb_ConfChangeV2) {
        self.init(
            transition: Int32(m.transition.rawValue),
            changes: m.changes.map { RaftConfChangeSingleRecord(type: Int32($0.type.rawValue), nodeID: $0.nodeID) },
            context: Bytes(m.context))
    }
}

extension RaftMessageRecord {
    init(_ m: Raftpb_Message) {
        var fields = RaftMessageFields(type: Int32(m.type.rawValue), to: m.to, from: m.from, term: m.term)
        fields.logTerm = m.logTerm
        fields.index = m.index
        fields.commit = m.commit
        fields.reject = m.reject
        fields.rejectHint = m.rejectHint
        fields.vote = m.vote
        self.init(
            fields: fields, entries: m.entries.map { RaftEntryRecord($0) },
            snapshot: m.hasSnapshot ? RaftSnapshotRecord(m.snapshot) : nil, context: Bytes(m.context),
            responses: m.responses.map { RaftMessageRecord($0) })
    }
}
