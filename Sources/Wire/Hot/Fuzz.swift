package import Primitives

/// Every hot decoder, for the tests and for a coverage-guided fuzzer: the same bytes must always either fail or decode
/// to something that encodes to a fixed point.
package enum FuzzTarget: CaseIterable, Sendable {
    case keyValue
    case responseHeader
    case rangeRequest
    case rangeResponse
    case putRequest
    case putResponse
    case deleteRangeRequest
    case deleteRangeResponse
    case compare
    case txnRequest
    case txnResponse
    case watchRequest
    case watchResponse
    case compactionRequest
    case leaseGrantRequest
    case leaseRevokeRequest
    case leaseKeepAliveRequest
    case leaseTimeToLiveRequest
    case leaseCheckpointRequest
    case alarmRequest
    case alarmMember
    case hashKVRequest
    case internalRaftRequest
    case raftEntry
    case raftHardState
    case raftConfState
    case raftConfChange
    case raftConfChangeV2
    case raftSnapshot
    case raftMessage

    /// Decodes `bytes` and encodes the outcome again. Unknown fields are gone then, and the order is canonical.
    package func roundTrip(_ bytes: UnsafeRawBufferPointer) throws(WireError) -> Bytes {
        switch self {
        case .keyValue: try KeyValueView(decoding: bytes).encoded()
        case .responseHeader: try ResponseHeader(decoding: bytes).encoded()
        case .rangeRequest: try RangeRequestView(decoding: bytes).encoded()
        case .rangeResponse: RangeResponse(try RangeResponseView(decoding: bytes)).encoded()
        case .putRequest: try PutRequestView(decoding: bytes).encoded()
        case .putResponse: PutResponse(try PutResponseView(decoding: bytes)).encoded()
        case .deleteRangeRequest: try DeleteRangeRequestView(decoding: bytes).encoded()
        case .deleteRangeResponse: DeleteRangeResponse(try DeleteRangeResponseView(decoding: bytes)).encoded()
        case .compare: try CompareView(decoding: bytes).encoded()
        case .txnRequest: try TxnRequestView(decoding: bytes).encoded()
        case .txnResponse: TxnResponse(try TxnResponseView(decoding: bytes)).encoded()
        case .watchRequest: try WatchRequestView(decoding: bytes).encoded()
        case .watchResponse: try WatchResponseView(decoding: bytes).reencoded()
        case .compactionRequest: try CompactionRequest(decoding: bytes).encoded()
        case .leaseGrantRequest: try LeaseGrantRequest(decoding: bytes).encoded()
        case .leaseRevokeRequest: try LeaseRevokeRequest(decoding: bytes).encoded()
        case .leaseKeepAliveRequest: try LeaseKeepAliveRequest(decoding: bytes).encoded()
        case .leaseTimeToLiveRequest: try LeaseTimeToLiveRequest(decoding: bytes).encoded()
        case .leaseCheckpointRequest: try LeaseCheckpointRequest(decoding: bytes).encoded()
        case .alarmRequest: try AlarmRequest(decoding: bytes).encoded()
        case .alarmMember: try AlarmMember(decoding: bytes).encoded()
        case .hashKVRequest: try HashKVRequest(decoding: bytes).encoded()
        case .internalRaftRequest: try InternalRaftRequestView(decoding: bytes).reencoded()
        case .raftEntry: RaftEntryRecord(try RaftEntryView(decoding: bytes)).encoded()
        case .raftHardState: try RaftHardStateRecord(decoding: bytes).encoded()
        case .raftConfState: try RaftConfStateRecord(decoding: bytes).encoded()
        case .raftConfChange: try RaftConfChangeRecord(decoding: bytes).encoded()
        case .raftConfChangeV2: try RaftConfChangeV2Record(decoding: bytes).encoded()
        case .raftSnapshot: try RaftSnapshotRecord(decoding: bytes).encoded()
        case .raftMessage: RaftMessageRecord(try RaftMessageView(decoding: bytes)).encoded()
        }
    }
}

/// The body of a fuzzer: runs every hot decoder over `bytes`, and over what it encodes to. Stops the process when a
/// second trip changes anything.
package func fuzzHotCodecs(_ bytes: UnsafeRawBufferPointer) {
    for target in FuzzTarget.allCases {
        guard let once = try? target.roundTrip(bytes) else { continue }
        let twice = try? once.withUnsafeBytes { (encoded) throws(WireError) in try target.roundTrip(encoded) }
        invariant(once == twice, "\(target) is not a fixed point: \(once) became \(twice ?? "an error")")
    }
}

extension RangeResponse {
    fileprivate init(_ view: RangeResponseView) {
        self.init(
            header: view.header, records: view.keyValues.map { $0.encoded() }, more: view.more, count: view.count)
    }
}

extension PutResponse {
    fileprivate init(_ view: PutResponseView) {
        self.init(header: view.header, previousRecord: view.previous.map { $0.encoded() })
    }
}

extension DeleteRangeResponse {
    fileprivate init(_ view: DeleteRangeResponseView) {
        self.init(
            header: view.header, deleted: view.deleted, previousRecords: view.previous.map { $0.encoded() })
    }
}

extension TxnResponse {
    /// Responses of no known kind are left out: a server has none to send.
    fileprivate init(_ view: TxnResponseView) {
        self.init(
            header: view.header, succeeded: view.succeeded,
            responses: view.responses.compactMap { response -> ResponseOpModel? in
                switch response {
                case .empty: nil
                case .range(let view): .range(RangeResponse(view))
                case .put(let view): .put(PutResponse(view))
                case .deleteRange(let view): .deleteRange(DeleteRangeResponse(view))
                case .txn(let view): .txn(TxnResponse(view))
                }
            })
    }
}

extension WatchResponseView {
    fileprivate func reencoded() -> Bytes {
        let head = WatchResponse(
            header: header, watchID: watchID, created: created, canceled: canceled, compactRevision: compactRevision,
            cancelReason: cancelReason, fragment: fragment)
        let records = events.map { event in
            (event.isDelete, event.keyValue?.encoded() ?? Bytes(), event.previous?.encoded() ?? Bytes())
        }
        var size = head.encodedSize
        for (isDelete, record, previous) in records {
            size += EventCodec.fieldSize(
                isDelete: isDelete, recordCount: record.count, previousCount: previous.count)
        }
        return Bytes(count: size) { buffer in
            var writer = ProtoWriter(buffer)
            head.write(to: &writer)
            for (isDelete, record, previous) in records {
                record.withUnsafeBytes { record in
                    previous.withUnsafeBytes { previous in
                        EventCodec.writeField(to: &writer, isDelete: isDelete, record: record, previous: previous)
                    }
                }
            }
            writer.finish()
        }
    }
}

extension InternalRaftRequestView {
    /// Empty without a body: such an entry is never encoded.
    fileprivate func reencoded() -> Bytes {
        typealias Number = InternalRaftRequest.FieldNumber
        let (number, slice): (UInt32, UnsafeRawBufferPointer) =
            switch body {
            case .none: (0, .empty)
            case .range(let slice): (Number.range, slice)
            case .put(let slice): (Number.put, slice)
            case .deleteRange(let slice): (Number.deleteRange, slice)
            case .txn(let slice): (Number.txn, slice)
            case .compaction(let slice): (Number.compaction, slice)
            case .leaseGrant(let slice): (Number.leaseGrant, slice)
            case .leaseRevoke(let slice): (Number.leaseRevoke, slice)
            case .leaseCheckpoint(let slice): (Number.leaseCheckpoint, slice)
            case .alarm(let slice): (Number.alarm, slice)
            case .clusterVersionSet(let slice): (Number.clusterVersionSet, slice)
            case .clusterMemberAttrSet(let slice): (Number.clusterMemberAttrSet, slice)
            case .downgradeInfoSet(let slice): (Number.downgradeInfoSet, slice)
            case .other(let number, let slice): (number, slice)
            }
        guard number != 0 else { return Bytes() }
        return InternalRaftRequest.encode(
            id: id, fieldNumber: number, body: slice, userName: String(decoding: userName, as: UTF8.self),
            authRevision: authRevision)
    }
}
