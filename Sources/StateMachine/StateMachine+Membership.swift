package import MVCC
package import Membership
package import Primitives
package import RaftCore
package import Wire

/// Members come and go through the log.
extension StateMachine {
    /// Applies one committed entry of a kind that changes the configuration; as `apply` otherwise.
    ///
    /// - Returns: the answer, and what Raft has to make of the entry (`ReplicaEvent.changeApplied`): nil when the change
    ///   is refused, which every member decides alike.
    /// - Throws: as `apply`.
    package func applyChange(
        index: LogIndex, term: Term, kind: EntryKind, payload: Bytes, now: UInt64
    ) throws(StoreError) -> (applied: Applied, change: ConfigurationChange?) {
        invariant(index.rawValue == store.appliedIndex.rawValue + 1, "entry \(index) after \(store.appliedIndex)")
        invariant(kind.changesConfiguration, "entry \(index) changes no configuration")
        self.term = term
        defer { close(index: index, term: term) }
        guard kind == .configurationChangeV2, !payload.isEmpty,
            let request = payload.withUnsafeBytes({ MemberChange(decoding: $0) })
        else { return (Applied(requestID: 0, outcome: .nothing), nil) }
        do throws(MembershipError) {
            try table.apply(request.change)
        } catch {
            return (Applied(requestID: request.requestID, outcome: .refused(.membership(error))), nil)
        }
        store(request.change)
        publish()
        let answer = Applied(requestID: request.requestID, outcome: .response(response(to: request.change)))
        return (answer, request.configurationChange)
    }

    /// Writes what a change made of the table.
    private func store(_ change: MemberTable.Change) {
        switch change {
        case .add(let member, _): store.setMeta(MetaKeys.member(member.id), MemberCodec.encode(member))
        case .promote(let id), .update(let id, _):
            guard let member = table[id] else { invariantFailed("a changed member is gone") }
            store.setMeta(MetaKeys.member(id), MemberCodec.encode(member))
        case .remove(let id):
            store.setMeta(MetaKeys.member(id), nil)
            store.setMeta(MetaKeys.removed(id), Bytes())
            // Nobody could clear them: NOSPACE is its own member's, and CORRUPT has led to this removal.
            alarms.forget(id, in: store)
        }
    }

    /// `MemberAddResponse`, or `MemberRemoveResponse`, `MemberUpdateResponse`, `MemberPromoteResponse`, which are alike.
    /// As in etcd their header tells no revision.
    private func response(to change: MemberTable.Change) -> Bytes {
        let header = header(revision: 0)
        let members = table.members.map(Wire.Member.init)
        guard case .add(let added, _) = change else {
            return MemberListResponse(header: header, members: members).encoded()
        }
        let member = Wire.Member(added)
        var size = ProtoSize.message(1, header) + ProtoSize.message(2, member)
        for member in members { size += ProtoSize.message(3, member) }
        return Bytes(count: size) { buffer in
            var writer = ProtoWriter(buffer)
            writer.message(1, header)
            writer.message(2, member)
            for member in members { writer.message(3, member) }
            writer.finish()
        }
    }
}

extension Wire.Member {
    /// A member as clients see it.
    package init(_ member: Membership.Member) {
        self.init(
            id: member.id.rawValue, name: member.name, peerURLs: member.peerURLs, clientURLs: member.clientURLs,
            isLearner: member.isLearner)
    }
}
