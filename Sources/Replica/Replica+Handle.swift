import Primitives
import RaftCore

extension Replica {
    /// Takes one event in. Effects come with the next `collect`.
    package func handle(_ event: ReplicaEvent) {
        if case .propose(let proposal) = event {
            proposals.append(proposal)
            return
        }
        // Order between proposals and other events is kept: a transfer or a lost leadership concerns what came before.
        submitProposals()
        switch event {
        case .tick: timePasses()
        case .propose: break
        case .proposeChange(let id, let change, let kind, let payload):
            propose(HeldProposals.Change(id: id, change: change, kind: kind, payload: payload, tick: tick))
        case .changeApplied(let index, let change): changeApplied(index, change)
        case .appendDurable(let number): raft.appendDurable(through: number)
        case .applied(let index):
            invariant(index >= applied, "the applied index went from \(applied) to \(index)")
            applied = index
        case .persisted(let index):
            // The backend may be ahead of the word that the apply thread sends after each batch.
            persisted = max(persisted, index)
        case .logBegins(let index): logStart = max(logStart, index)
        case .logEntries(let entries):
            history.answer(entries)
            raft.retryReplication()
        case .logUnavailable: history.answer([])
        case .read(let context):
            if !reads.add(context: context, tick: tick, countMax: options.waitingReadsMax) {
                refusedReads.append(context)
            }
        case .message(let message): receive(message)
        case .transferLeadership(let member): raft.transferLeadership(to: member)
        case .unreachable(let member): raft.reportUnreachable(member)
        case .disconnected(let member):
            raft.reportUnreachable(member)
            raft.leaderIsGone(member)
        case .snapshotSent(let member, let succeeded): raft.reportSnapshot(to: member, succeeded: succeeded)
        case .abdicate: raft.abdicate()
        }
    }

    private func timePasses() {
        tick += 1
        raft.tick()
        history.tick()
        guard tick > UInt64(options.heldTicksMax) else { return }
        let past = tick - UInt64(options.heldTicksMax)
        if !held.isEmpty {
            let expired = held.expire(through: past)
            for case .proposal(let proposal) in expired.items { dropped.append((proposal.id, .noLeader)) }
            for change in expired.changes { dropped.append((change.id, change.reason)) }
        }
        refusedReads += reads.expire(through: past)
    }

    private func changeApplied(_ index: LogIndex, _ change: ConfigurationChange?) {
        invariant(index > raft.applied, "a membership change is reported after the entries behind it")
        guard let change else { return }
        do throws(ConfigurationChangeError) {
            changedConfiguration = try raft.applyConfigurationChange(change)
        } catch {
            invariantFailed("the state machine made a membership change that Raft refuses: \(error)")
        }
        configurationChanged()
        offerSnapshot()
    }

    private func receive(_ message: Message) {
        var message = message
        if message.type == .snapshot, let snapshot = message.snapshot, snapshot.index > raft.commit {
            // The image is installed by a restart; here it only tells that its sender leads. One that is no news goes to
            // Raft, whose answer tells the leader how far this member is.
            message = Message(type: .heartbeat, to: message.to, from: message.from, term: message.term)
        }
        do throws(RaftError) {
            try raft.step(message)
        } catch {
            // A message that makes no sense was sent by a peer, not by this program: it has no effect.
            switch error {
            case .proposalDropped(let reason) where reason.isTemporary:
                _ = held.hold(.forwarded(message), tick: tick, bytesMax: options.heldBytesMax)
            case .contradictsCommitted, .lostDurableEntries: if faults.count < 16 { faults.append(error) }
            case .proposalDropped, .unknownSender, .misaddressed, .malformed: break
            }
        }
    }

    // MARK: Effects

    /// Adds everything that is to be done now to `effects`.
    package func collect(into effects: inout ReplicaEffects) {
        submitProposals()
        repeat {
            while hasReady { take(raft.ready(), into: &effects) }
            // The state machine may be ahead of what Raft has given out: entries reach it from the log's owner too.
            let known = min(applied, offered)
            if known > raft.applied {
                raft.applied(through: known)
                forgetEntries()
            }
            if campaignsWhenSole { campaignIfSole() }
            if !held.isEmpty { handOver() }
            if reads.hasWaiting || reads.isAsking { askForReads() }
        } while hasReady
        if !dropped.isEmpty {
            effects.dropped.append(contentsOf: dropped)
            dropped.removeAll(keepingCapacity: true)
        }
        if !refusedReads.isEmpty {
            effects.refusedReads.append(contentsOf: refusedReads)
            refusedReads.removeAll(keepingCapacity: true)
        }
        if !faults.isEmpty {
            effects.faults.append(contentsOf: faults)
            faults.removeAll()
        }
        if let changedConfiguration {
            effects.configuration = changedConfiguration
            self.changedConfiguration = nil
        }
        if logStart > raft.firstIndex { raft.compactLog(through: logStart.advanced(by: -1)) }
        let unneeded = min(persisted, applied)
        if unneeded > cut {
            cut = unneeded
            effects.logCut = unneeded
            if hasPeers { offerSnapshot() }
        }
        if let read = history.nextRead() { effects.logRead = read }
    }

    /// A function of its own, never inlined: in release builds Swift 6.3's optimizer merged this look at `raft` with the
    /// change that follows it in the loop, which is an overlapping access and ends the process.
    private var hasReady: Bool {
        @inline(never) get { raft.hasReady }
    }

    /// Lets applied entries go: all of them, or those beyond what followers that lag a little are served from.
    private func forgetEntries() {
        if hasPeers {
            raft.evict(keepingBytes: options.recentEntriesBytesMax)
        } else {
            raft.evict(through: raft.applied)
        }
    }

    private func campaignIfSole() {
        guard isSoleVoter else { return }
        if raft.role == .follower, raft.leader == .none { raft.campaign() }
        // Entries of the log that are not applied yet may change the membership: once more then.
        if raft.role != .follower { campaignsWhenSole = false }
    }

    private func take(_ ready: Ready, into effects: inout ReplicaEffects) {
        invariant(ready.snapshot == nil, "Raft installs a snapshot that no message brought")
        if let last = ready.committed.last { offered = last.index }
        for entry in ready.committed where entry.index > handedOut {
            effects.committed.append(entry)
            handedOut = entry.index
        }
        append(ready, to: &effects)
        if !ready.messages.isEmpty { effects.messages.append(contentsOf: ready.messages) }
        for state in ready.readStates {
            for read in reads.answer(state.context) {
                effects.reads.append(ReadState(context: read.context, index: state.index))
            }
        }
        for number in ready.abortedReads { reads.takeBack(number) }
        if let softState = ready.softState {
            effects.softState = softState
            if softState.role == .leader {
                if readyIndex == nil { readyIndex = raft.lastIndex }
            } else {
                readyIndex = nil
                history.forget()
            }
        }
    }

    /// Adds what a Ready wants to be durable. A commit index alone waits for company: it may lag on disk.
    private func append(_ ready: Ready, to effects: inout ReplicaEffects) {
        if let hardState = ready.hardState { waitingHardState = hardState }
        guard ready.mustSync || !ready.appends.isEmpty || !ready.messagesAfterAppend.isEmpty else { return }
        // A member that is alone commits what is durable, unless a membership change is among it or before it and not
        // applied: the quorum that counts for these entries is then not known yet. And the state machine must have been
        // given everything before. (Beside learners a sole voter could too, but they are to be told of the commit.)
        var isOwnWord = false
        if let first = ready.appends.first, let last = ready.appends.last, isSoleVoterLeader, !hasPeers,
            first.index == handedOut.advanced(by: 1), !raft.hasUnappliedChange,
            ready.appends.allSatisfy({ $0.kind == .normal })
        {
            isOwnWord = true
            handedOut = last.index
        }
        effects.appends.append(
            AppendBatch(
                number: ready.number, hardState: waitingHardState, entries: ready.appends, mustSync: ready.mustSync,
                messagesAfterAppend: ready.messagesAfterAppend, commitsWhenDurable: isOwnWord))
        waitingHardState = nil
    }
}
