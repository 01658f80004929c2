import Primitives
import Testing

@testable import Wire

/// Bytes worked out by hand from the encoding rules and, for raftpb, from what etcd's generated code writes.
@Suite struct GoldenTests {
    @Test func keyValueOmitsWhatIsZero() {
        let record = KeyValueCodec.encode(
            key: "foo", createRevision: 2, modRevision: 300, version: 1, value: "bar", lease: 0)
        #expect(
            record.array == [0x0a, 3, 0x66, 0x6f, 0x6f, 0x10, 2, 0x18, 0xac, 0x02, 0x20, 1, 0x2a, 3, 0x62, 0x61, 0x72])
        let tombstone = KeyValueCodec.encode(
            key: "k", createRevision: 0, modRevision: 5, version: 0, value: "", lease: 0)
        #expect(tombstone.array == [0x0a, 1, 0x6b, 0x18, 5])
    }

    @Test func negativeNumbersTakeTenBytes() {
        let record = KeyValueCodec.encode(
            key: "", createRevision: 0, modRevision: 0, version: 0, value: "", lease: -1)
        #expect(record.array == [0x30] + [UInt8](repeating: 0xff, count: 9) + [0x01])
    }

    @Test func keysOnlyRowsDropTheValue() throws {
        let record = KeyValueCodec.encode(key: "k", createRevision: 1, modRevision: 2, version: 3, value: "v", lease: 4)
        try record.withUnsafeBytes {
            let stripped = try KeyValueView(decoding: $0).withoutValue.encoded()
            #expect(
                stripped
                    == KeyValueCodec.encode(
                        key: "k", createRevision: 1, modRevision: 2, version: 3, value: "", lease: 4))
        }
    }

    /// etcd writes the scalars of raftpb messages although they are 0.
    @Test func raftMessagesWriteZeros() {
        #expect(RaftEntryRecord(type: 0, term: 1, index: 2, data: "").encoded().array == [8, 0, 0x10, 1, 0x18, 2])
        #expect(
            RaftEntryRecord(type: 2, term: 0, index: 0, data: "x").encoded().array
                == [8, 2, 0x10, 0, 0x18, 0, 0x22, 1, 0x78])
        #expect(RaftHardStateRecord().encoded().array == [8, 0, 0x10, 0, 0x18, 0])
        #expect(RaftConfStateRecord(voters: [1, 300]).encoded().array == [8, 1, 8, 0xac, 0x02, 0x28, 0])
        #expect(
            RaftMessageRecord(fields: RaftMessageFields(type: 8, to: 1, from: 2, term: 3)).encoded().array
                == [8, 8, 0x10, 1, 0x18, 2, 0x20, 3, 0x28, 0, 0x30, 0, 0x40, 0, 0x50, 0, 0x58, 0, 0x68, 0])
        #expect(RaftConfChangeRecord(id: 1, nodeID: 2).encoded().array == [8, 1, 0x10, 0, 0x18, 2])
        #expect(RaftConfChangeV2Record().encoded().array == [8, 0])
        #expect(
            RaftSnapshotRecord().encoded().array == [0x12, 8, 0x0a, 2, 0x28, 0, 0x10, 0, 0x18, 0])
    }

    /// The inner headers of a transaction: the revision alone, and an empty one for a nested transaction.
    @Test func txnResponseHeaders() {
        let response = TxnResponse(
            header: ResponseHeader(clusterID: 1, memberID: 2, revision: 7, raftTerm: 3), succeeded: true,
            responses: [
                .put(PutResponse(header: ResponseHeader(revision: 7))),
                .txn(TxnResponse(succeeded: false)),
            ])
        #expect(
            response.encoded().array
                == [0x0a, 8, 8, 1, 0x10, 2, 0x18, 7, 0x20, 3] + [0x10, 1]
                + [0x1a, 6, 0x12, 4, 0x0a, 2, 0x18, 7]
                + [0x1a, 4, 0x22, 2, 0x0a, 0])
    }

    @Test func rangePartsMakeTheWhole() {
        let header = ResponseHeader(clusterID: 9, memberID: 8, revision: 70_000, raftTerm: 2)
        let rows: [Bytes] = ["a", "", Bytes([UInt8](repeating: 7, count: 200))]
        let whole = RangeResponse(header: header, records: rows, more: true, count: 1 << 40).encoded()
        let size =
            RangeResponseCodec.prefixSize(header: header)
            + rows.reduce(0) { $0 + RangeResponseCodec.rowSize(recordCount: $1.count) }
            + RangeResponseCodec.trailerSize(more: true, count: 1 << 40)
        let parts = Bytes(count: size) { buffer in
            var writer = ProtoWriter(buffer)
            RangeResponseCodec.writePrefix(to: &writer, header: header)
            for row in rows { row.withUnsafeBytes { RangeResponseCodec.writeRow(to: &writer, record: $0) } }
            RangeResponseCodec.writeTrailer(to: &writer, more: true, count: 1 << 40)
            writer.finish()
        }
        #expect(parts == whole)
        let rowsSize = rows[1...].reduce(0) { $0 + RangeResponseCodec.rowSize(recordCount: $1.count) }
        let encodedRows = Bytes(count: rowsSize) { buffer in
            var writer = ProtoWriter(buffer)
            for row in rows[1...] { row.withUnsafeBytes { RangeResponseCodec.writeRow(to: &writer, record: $0) } }
            writer.finish()
        }
        let mixed = RangeResponse(
            header: header, records: [rows[0]], encodedRows: encodedRows, more: true, count: 1 << 40)
        #expect(mixed.encoded() == whole)
    }

    @Test func putEventsOmitTheirType() {
        let record: Bytes = "r"
        let event = Bytes(count: EventCodec.fieldSize(isDelete: false, recordCount: 1, previousCount: 0)) { buffer in
            var writer = ProtoWriter(buffer)
            record.withUnsafeBytes {
                EventCodec.writeField(to: &writer, isDelete: false, record: $0, previous: .empty)
            }
            writer.finish()
        }
        #expect(event.array == [0x5a, 3, 0x12, 1, 0x72])
    }

    @Test func raftMessageInThreeStepsIsTheWhole() {
        var fields = RaftMessageFields(type: 3, to: 1, from: 2, term: 3)
        fields.commit = 4
        fields.vote = 5
        let entry = RaftEntryRecord(type: 0, term: 3, index: 9, data: "payload")
        let whole = RaftMessageRecord(fields: fields, entries: [entry, entry], context: "c").encoded()
        let size =
            RaftMessageCodec.sizeWithoutEntries(fields, contextCount: 1, snapshot: nil)
            + 2 * ProtoSize.message(RaftMessageCodec.entryFieldNumber, entry)
        let steps = Bytes(count: size) { buffer in
            var writer = ProtoWriter(buffer)
            RaftMessageCodec.writeHead(to: &writer, fields)
            for _ in 0..<2 {
                writer.messageHeader(RaftMessageCodec.entryFieldNumber, count: entry.encodedSize)
                entry.write(to: &writer)
            }
            Bytes("c").withUnsafeBytes {
                RaftMessageCodec.writeTail(to: &writer, fields, context: $0, snapshot: nil)
            }
            writer.finish()
        }
        #expect(steps == whole)
    }

    /// Unknown enum numbers are kept, wrong wire types are skipped, the last of two scalars counts.
    @Test func oddButLegalBytes() throws {
        let bytes: [UInt8] = [0x28, 99, 0x18, 5, 0x18, 6, 0x1a, 1, 0xff, 0x08, 3, 0x0a, 1, 0x61]
        try bytes.withUnsafeBytes {
            let request = try RangeRequestView(decoding: $0)
            #expect(request.sortOrder == 99)
            #expect(request.limit == 6)
            #expect(request.key.elementsEqual([0x61]))
        }
        let packed: [UInt8] = [0x0a, 4, 0x2a, 2, 0, 1]
        let unpacked: [UInt8] = [0x0a, 4, 0x28, 0, 0x28, 1]
        for filters in [packed, unpacked] {
            try filters.withUnsafeBytes {
                guard case .create(let request) = try WatchRequestView(decoding: $0) else {
                    Issue.record("not a create request")
                    return
                }
                #expect(request.filtersPuts && request.filtersDeletes)
            }
        }
        let packedVoters: [UInt8] = [0x0a, 3, 1, 0xac, 0x02]
        #expect(try packedVoters.withUnsafeBytes { try RaftConfStateRecord(decoding: $0).voters } == [1, 300])
    }
}
