// The state machine: applies committed requests, one after another, to the store, the leases, the alarms and the
// members. Deterministic: the same entries give the same state and the same answers on every member.
//
// Owner: the apply thread. Event loops read the store and the lessor, which guard themselves, and `published`.
//
// Invariants: every change of leases, alarms and members goes into the same backend transaction as the entry that
// caused it; a refused request changes nothing; a request is refused before its first change or not at all.

package import Leasing
package import MVCC
package import Membership
package import Primitives
package import Synchronization
import Wire

/// What became of one request.
package enum ApplyOutcome: Sendable {
    /// The encoded response message.
    case response(Bytes)
    case refused(RequestError)
    /// Nobody waits for an answer (an entry without a request).
    case nothing
}

/// One applied entry, for whoever waits for it.
package struct Applied: Sendable {
    /// The request's identity, 0 when it had none.
    package let requestID: UInt64
    package let outcome: ApplyOutcome

    package init(requestID: UInt64, outcome: ApplyOutcome) {
        self.requestID = requestID
        self.outcome = outcome
    }
}

/// Why a request stops short: refused, or the store is broken and the process must stop.
enum ApplyFailure: StoreFailure {
    case refused(RequestError)
    case broken(StoreError)

    var breaksStore: Bool { if case .broken = self { true } else { false } }
}

/// What event loops may know of the state machine beside store and lessor.
package struct PublishedState: Sendable {
    package var alarms: [Alarm] = []
    /// In order of identity.
    package var members: [Membership.Member] = []
    /// Identities of members that were removed; they never come back. Ascending.
    package var removed: [MemberID] = []

    /// Whether an alarm CORRUPT names `member`: it then refuses its clients, and the others go on. An alarm that names
    /// nobody the cluster knows, as 0, concerns all.
    package func isCorrupt(_ member: MemberID) -> Bool {
        alarms.contains { $0.kind == .corrupt && ($0.member == member || isUnknown($0.member)) }
    }

    private func isUnknown(_ member: MemberID) -> Bool {
        !members.contains { $0.id == member } && !removed.contains(member)
    }
}

/// Applies requests: see the head of this file for owner and invariants.
package final class StateMachine: Sendable {
    package struct Identity: Sendable {
        package let clusterID: UInt64
        package let memberID: MemberID

        package init(clusterID: UInt64, memberID: MemberID) {
            self.clusterID = clusterID
            self.memberID = memberID
        }
    }

    package let store: Store
    package let lessor: Lessor
    package let identity: Identity
    /// A copy of alarms and members for other threads, replaced when they change.
    package let published: Mutex<PublishedState>
    /// Hashes of the state at some applied indexes, for comparing with other members'. Any thread.
    package let hashes: StateHashes
    /// Operations carried out. Any thread.
    package let operations = OperationCounts()
    // Touched by the apply thread only, which makes the unchecked access safe.
    nonisolated(unsafe) var alarms: AlarmTable
    nonisolated(unsafe) var table: MemberTable
    nonisolated(unsafe) var term = Term.zero
    /// Of the transaction that is being carried out.
    nonisolated(unsafe) var tally = OperationTally()
    /// What this member holds is not what the others hold, as an alarm CORRUPT says.
    nonisolated(unsafe) private var isCorrupt = false

    /// Restores leases, alarms and members from what the store holds.
    ///
    /// - Throws: `StateMachineError` when a stored record cannot be read.
    package init(
        store: Store, lessor: Lessor, identity: Identity, hashStride: UInt64 = StateHashes.strideDefault
    ) throws(StateMachineError) {
        hashes = StateHashes(stride: hashStride)
        self.store = store
        self.lessor = lessor
        self.identity = identity
        alarms = AlarmTable(store: store)
        table = try Self.members(in: store)
        do {
            try lessor.restore(store.metaEntries(prefix: MetaKeys.leasePrefix).map(\.value))
        } catch {
            throw .unreadable(key: MetaKeys.leasePrefix, detail: "\(error)")
        }
        let state = PublishedState(alarms: alarms.active, members: table.members, removed: table.removed)
        isCorrupt = state.isCorrupt(identity.memberID)
        published = Mutex(state)
        do {
            try store.forEachLeasedKey { key, lease in
                // A key may name a lease that is gone: it was put before the lease's revocation and never deleted
                // only if the store lost an entry, which recovery would have refused.
                try? lessor.attach(key: Bytes(copying: key), to: lease)
            }
        } catch {
            throw .store(error)
        }
    }

    /// The member table that the store holds.
    ///
    /// - Throws: `.unreadable`.
    package static func members(in store: Store) throws(StateMachineError) -> MemberTable {
        var members: [Membership.Member] = []
        for (key, value) in store.metaEntries(prefix: MetaKeys.memberPrefix) {
            do { members.append(try MemberCodec.decode(value)) } catch {
                throw .unreadable(key: key, detail: "\(error)")
            }
        }
        var removed: [MemberID] = []
        for (key, _) in store.metaEntries(prefix: MetaKeys.removedPrefix) {
            guard let id = MetaKeys.parseRemoved(key) else { throw .unreadable(key: key, detail: "no identity") }
            removed.append(id)
        }
        return MemberTable(members: members, removed: removed)
    }

    /// The header of an answer given now.
    func header(revision: Int64) -> ResponseHeader {
        ResponseHeader(
            clusterID: identity.clusterID, memberID: identity.memberID.rawValue, revision: revision,
            raftTerm: term.rawValue)
    }

    /// Applies one committed entry; entries come in log order, without gaps.
    ///
    /// - Parameter now: monotonic nanoseconds, for lease deadlines on the leader only.
    /// - Throws: when the store can no longer be trusted; the process must stop.
    package func apply(index: LogIndex, term: Term, payload: Bytes, now: UInt64) throws(StoreError) -> Applied {
        invariant(index.rawValue == store.appliedIndex.rawValue + 1, "entry \(index) after \(store.appliedIndex)")
        self.term = term
        let result = try apply(payload, now: now)
        // Not after a failure: the backend must not note as applied what was left half done.
        close(index: index, term: term)
        return result
    }

    /// Ends the effects of an entry.
    func close(index: LogIndex, term: Term) {
        store.entryApplied(index: index, term: term)
        hashes.note(index: index, hash: store.stateHash)
    }

    private func apply(_ payload: Bytes, now: UInt64) throws(StoreError) -> Applied {
        guard !payload.isEmpty else { return Applied(requestID: 0, outcome: .nothing) }
        return try payload.withUnsafeBytes { (bytes) throws(StoreError) -> Applied in
            var requestID: UInt64 = 0
            var isSecret = false
            do throws(ApplyFailure) {
                let request = try decoding { () throws(WireError) in try InternalRaftRequestView(decoding: bytes) }
                requestID = request.id
                // All members apply it. What a wrong state makes of it is told to nobody: its outcome stays unknown.
                isSecret = isCorrupt && request.body.tellsOfStore
                let response = try dispatch(request.body, now: now)
                return Applied(requestID: requestID, outcome: isSecret ? .refused(.timeout) : .response(response))
            } catch {
                switch error {
                case .refused(let reason):
                    return Applied(requestID: requestID, outcome: .refused(isSecret ? .timeout : reason))
                case .broken(let reason): throw reason
                }
            }
        }
    }

    /// Answers a transaction that writes nothing, at the state of this moment, without a log entry.
    package func readOnlyTxn(_ request: Bytes) throws(StoreError) -> ApplyOutcome {
        try request.withUnsafeBytes { (bytes) throws(StoreError) -> ApplyOutcome in
            do throws(ApplyFailure) {
                if isCorrupt { throw .refused(.corrupt) }
                return .response(try txn(bytes))
            } catch {
                switch error {
                case .refused(let reason): return .refused(reason)
                case .broken(let reason): throw reason
                }
            }
        }
    }

    private func dispatch(_ body: InternalRaftRequestView.Body, now: UInt64) throws(ApplyFailure) -> Bytes {
        switch body {
        case .put(let bytes): return try put(bytes)
        case .deleteRange(let bytes): return try deleteRange(bytes)
        case .txn(let bytes): return try txn(bytes)
        case .compaction(let bytes): return try compact(bytes)
        case .leaseGrant(let bytes): return try leaseGrant(bytes, now: now)
        case .leaseRevoke(let bytes): return try leaseRevoke(bytes)
        case .leaseCheckpoint(let bytes): return try leaseCheckpoint(bytes)
        case .alarm(let bytes): return try alarm(bytes)
        case .clusterMemberAttrSet(let bytes): return try memberAttributes(bytes)
        case .clusterVersionSet, .downgradeInfoSet: return Bytes()
        case .none, .range, .other: throw .refused(.malformed)
        }
    }

    /// Makes alarms and members visible to other threads.
    func publish() {
        let state = PublishedState(alarms: alarms.active, members: table.members, removed: table.removed)
        isCorrupt = state.isCorrupt(identity.memberID)
        published.withLock { $0 = state }
    }
}

extension InternalRaftRequestView.Body {
    /// Whether the answer depends on what the store or the lessor holds.
    fileprivate var tellsOfStore: Bool {
        switch self {
        case .put, .deleteRange, .txn, .compaction, .leaseGrant, .leaseRevoke: true
        default: false
        }
    }
}

/// Why the state machine cannot start.
package enum StateMachineError: Error, CustomStringConvertible {
    case unreadable(key: Bytes, detail: String)
    case store(StoreError)

    package var description: String {
        switch self {
        case .unreadable(let key, let detail): "the store's meta record \(key) cannot be read: \(detail)"
        case .store(let error): "\(error)"
        }
    }
}

/// Decodes bytes that admission has checked already: what fails here came from elsewhere and is refused.
func decoding<T>(_ body: () throws(WireError) -> T) throws(ApplyFailure) -> T {
    do throws(WireError) { return try body() } catch { throw .refused(.malformed) }
}

/// Runs a store call, sorting its errors into refusals and breakage.
func storing<T: ~Copyable>(_ body: () throws(StoreError) -> T) throws(ApplyFailure) -> T {
    do throws(StoreError) { return try body() } catch {
        switch error {
        case .compacted: throw .refused(.compacted)
        case .futureRevision: throw .refused(.futureRevision)
        default: throw .broken(error)
        }
    }
}
