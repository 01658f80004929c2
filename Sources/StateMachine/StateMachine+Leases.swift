package import Leasing
import MVCC
import Primitives
import Wire

/// Leases: granted, revoked and checkpointed through the log. Keep-alives go to the lessor directly, on the leader.
extension StateMachine {
    func leaseGrant(_ bytes: UnsafeRawBufferPointer, now: UInt64) throws(ApplyFailure) -> Bytes {
        let request = try decoding { () throws(WireError) in try LeaseGrantRequest(decoding: bytes) }
        if alarms.contains(.noSpace) { throw .refused(.noSpace) }
        let record: LeaseRecord
        do throws(LeaseError) {
            record = try lessor.grant(id: LeaseID(request.id), ttlSeconds: request.timeToLiveSeconds, now: now)
        } catch {
            throw .refused(RequestError(error))
        }
        store.setMeta(MetaKeys.lease(record.id), record.encoded())
        return LeaseGrantResponse(
            header: header(revision: store.currentRevision), id: record.id.rawValue,
            timeToLiveSeconds: record.ttlSeconds
        ).encoded()
    }

    /// Removes a lease and all its keys in one revision.
    func leaseRevoke(_ bytes: UnsafeRawBufferPointer) throws(ApplyFailure) -> Bytes {
        let request = try decoding { () throws(WireError) in try LeaseRevokeRequest(decoding: bytes) }
        let id = LeaseID(request.id)
        let keys: [Bytes]
        do throws(LeaseError) { keys = try lessor.revoke(id: id) } catch { throw .refused(RequestError(error)) }
        store.setMeta(MetaKeys.lease(id), nil)
        let none = UnsafeRawBufferPointer(start: nil, count: 0)
        defer { closeTally() }
        tally.deletes += keys.count
        try store.write { (transaction) throws(ApplyFailure) in
            for key in keys {
                do throws(StoreError) {
                    _ = try key.withUnsafeBytes { (key) throws(StoreError) in
                        try transaction.deleteRange(key: key, end: none, wantPrevious: false)
                    }
                } catch { throw .broken(error) }
            }
        }
        return LeaseRevokeResponse(header: header(revision: store.currentRevision)).encoded()
    }

    func leaseCheckpoint(_ bytes: UnsafeRawBufferPointer) throws(ApplyFailure) -> Bytes {
        let request = try decoding { () throws(WireError) in try LeaseCheckpointRequest(decoding: bytes) }
        for checkpoint in request.checkpoints {
            let id = LeaseID(checkpoint.id)
            if let record = lessor.checkpoint(id: id, remainingSeconds: checkpoint.remainingSeconds) {
                store.setMeta(MetaKeys.lease(id), record.encoded())
            }
        }
        return Bytes()
    }
}

extension RequestError {
    package init(_ error: LeaseError) {
        switch error {
        case .notFound: self = .leaseNotFound
        case .exists: self = .leaseExists
        case .tooLarge: self = .leaseTTLTooLarge
        case .notPrimary: self = .notLeader
        case .malformed: self = .malformed
        }
    }
}
