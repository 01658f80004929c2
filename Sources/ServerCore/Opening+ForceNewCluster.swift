import MVCC
import Membership
import Primitives
import RaftCore
import StateMachine
import WriteAheadLog

extension Opening {
    /// Makes this member the only one, by entries at the end of its log, so that every replay finds the same: promotes it
    /// if it is a learner, and removes everybody else.
    ///
    /// All that the log holds is taken for committed. (etcd drops what its hard state does not know to be committed. The
    /// commit index on disk lags, so that would lose writes that were acknowledged; what was not acknowledged may count
    /// or not.)
    ///
    /// - Returns: who is removed.
    func forceNewCluster(
        _ store: Store, _ identity: StateMachine.Identity, _ log: WriteAheadLog, _ recovered: inout WALRecovered
    ) throws(StartError) -> [MemberID] {
        if store.appliedIndex == .zero {
            throw StartError("--force-new-cluster: \(options.dataDirectory) holds no data to make a cluster of")
        }
        let table = try finalTable(store, recovered.entries)
        guard let own = table[identity.memberID] else {
            throw StartError(
                "--force-new-cluster: member \(String(identity.memberID.rawValue, radix: 16)) has been removed from "
                    + "the cluster")
        }
        var changes: [MemberTable.Change] = own.isLearner ? [.promote(own.id)] : []
        let others = table.members.map(\.id).filter { $0 != own.id }
        changes += others.map { .remove($0) }
        guard !changes.isEmpty else { return [] }
        // A term of our own, so that these entries are like no others. A torn append may have lost the last entry's.
        let last = recovered.entries.last?.term ?? store.appliedTerm
        let term = Term(max(recovered.hardState.term, store.appliedTerm, last).rawValue + 1)
        var entries: [WALEntry] = []
        for change in changes {
            let index = log.lastIndex.advanced(by: entries.count + 1)
            entries.append(
                WALEntry(
                    index: index, term: term, kind: EntryKind.configurationChangeV2.rawValue,
                    payload: MemberChange(requestID: 0, change).encoded()))
        }
        let hardState = WALHardState(
            term: term, vote: own.id, commit: log.lastIndex.advanced(by: entries.count))
        try orStop { () throws(WALError) in
            try log.append(entries, hardState: hardState)
            try log.sync()
        }
        recovered.entries += entries
        recovered.hardState = hardState
        recovered.lastIndex = log.lastIndex
        return others
    }

    /// The members once all entries of the log are applied.
    private func finalTable(_ store: Store, _ entries: [WALEntry]) throws(StartError) -> MemberTable {
        var table: MemberTable
        do { table = try StateMachine.members(in: store) } catch { throw StartError("\(backend.path): \(error)") }
        for entry in entries where entry.kind == EntryKind.configurationChangeV2.rawValue {
            guard let request = entry.payload.withUnsafeBytes({ MemberChange(decoding: $0) }) else { continue }
            // What is refused now will be refused when it is applied.
            try? table.apply(request.change)
        }
        return table
    }
}
