import Leasing
import MVCC
import Primitives
import Wire

/// Puts, deletes and compaction.
extension StateMachine {
    func put(_ bytes: UnsafeRawBufferPointer) throws(ApplyFailure) -> Bytes {
        let request = try decoding { () throws(WireError) in try PutRequestView(decoding: bytes) }
        if alarms.contains(.noSpace) { throw .refused(.noSpace) }
        defer { closeTally() }
        return try store.write { (transaction) throws(ApplyFailure) -> Bytes in
            do throws(ApplyFailure) { try check(request, in: &transaction) } catch {
                // To find that the key does not exist is a range, as in etcd.
                if case .refused(.keyNotFound) = error { tally.ranges += 1 }
                throw error
            }
            return try put(request, in: &transaction, header: header).encoded()
        }
    }

    /// What must hold before a put changes anything. Source: etcd 3.7's order of checks.
    func check(_ request: PutRequestView, in transaction: inout WriteTransaction) throws(ApplyFailure) {
        if request.lease != 0, lessor.record(of: LeaseID(request.lease)) == nil {
            throw .refused(.leaseNotFound)
        }
        guard request.ignoreValue || request.ignoreLease else { return }
        if transaction.current(request.key) == nil { throw .refused(.keyNotFound) }
    }

    /// Carries out a put that `check` has let pass. `header` makes the answer's header from a revision.
    func put(
        _ request: PutRequestView, in transaction: inout WriteTransaction, header: (Int64) -> ResponseHeader
    ) throws(ApplyFailure) -> PutResponse {
        // etcd reads the record before it is replaced, and counts that.
        if request.ignoreValue || request.ignoreLease || request.prevKv { tally.ranges += 1 }
        var lease = LeaseID(request.lease)
        let result: PutResult
        if request.ignoreValue || request.ignoreLease {
            // The record is read before it is replaced, so its parts are copied out.
            let kept = try storing { () throws(StoreError) in
                try transaction.withCurrentRecord(request.key) { (current) -> (Bytes, LeaseID) in
                    (current.map { Bytes(copying: $0.value) } ?? Bytes(), LeaseID(current?.lease ?? 0))
                }
            }
            if request.ignoreLease { lease = kept.1 }
            let value = request.ignoreValue ? kept.0 : Bytes(copying: request.value)
            result = try storing { () throws(StoreError) in
                try value.withUnsafeBytes { (value) throws(StoreError) in
                    try transaction.put(key: request.key, value: value, lease: lease, wantPrevious: request.prevKv)
                }
            }
        } else {
            result = try storing { () throws(StoreError) in
                try transaction.put(
                    key: request.key, value: request.value, lease: lease, wantPrevious: request.prevKv)
            }
        }
        if lease != result.previousLease {
            let key = Bytes(copying: request.key)
            if lease == .none {
                lessor.detach(key: key)
            } else {
                // `check` has seen the lease, and only this thread removes leases; a kept lease may be long gone.
                try? lessor.attach(key: key, to: lease)
            }
        }
        tally.puts += 1
        tally.putBytes += request.key.count + request.value.count
        return PutResponse(
            header: header(transaction.readRevision), previousRecord: request.prevKv ? result.previous : nil)
    }

    func deleteRange(_ bytes: UnsafeRawBufferPointer) throws(ApplyFailure) -> Bytes {
        let request = try decoding { () throws(WireError) in try DeleteRangeRequestView(decoding: bytes) }
        defer { closeTally() }
        return try store.write { (transaction) throws(ApplyFailure) -> Bytes in
            try deleteRange(request, in: &transaction, header: header).encoded()
        }
    }

    func deleteRange(
        _ request: DeleteRangeRequestView, in transaction: inout WriteTransaction, header: (Int64) -> ResponseHeader
    ) throws(ApplyFailure) -> DeleteRangeResponse {
        if request.prevKv { tally.ranges += 1 }
        tally.deletes += 1
        let result = try storing { () throws(StoreError) in
            try transaction.deleteRange(key: request.key, end: request.rangeEnd, wantPrevious: request.prevKv)
        }
        for (key, _) in result.detached { lessor.detach(key: key) }
        return DeleteRangeResponse(
            header: header(transaction.readRevision), deleted: Int64(result.deleted),
            previousRecords: request.prevKv ? result.previous : [])
    }

    func compact(_ bytes: UnsafeRawBufferPointer) throws(ApplyFailure) -> Bytes {
        let request = try decoding { () throws(WireError) in try CompactionRequest(decoding: bytes) }
        try storing { () throws(StoreError) in try store.compact(to: request.revision) }
        return CompactionResponse(header: header(revision: store.currentRevision)).encoded()
    }
}
