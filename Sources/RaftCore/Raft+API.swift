// SIGNATURES (draft for readers while the bodies are being written)
// extension Raft {
//   mutating func tick()
//   mutating func step(_ message: consuming Message) throws(RaftError)
//   enum ProposalOutcome { case appended(first: LogIndex, term: Term); case forwarded(to: MemberID) }
//   mutating func propose(_ payloads: [Bytes]) throws(ProposalError) -> ProposalOutcome      // one entry per payload
//   mutating func proposeConfigurationChange(_ change: ConfigurationChange, kind: EntryKind, payload: Bytes)
//       throws(ProposalError) -> ProposalOutcome          // payload: the encoded raftpb.ConfChange(V2) of `change`
//   mutating func applyConfigurationChange(_ change: ConfigurationChange) throws(ConfigurationChangeError)
//       -> ConfigurationState                             // call when applying each configuration change entry,
//                                                         // before applied(through: its index); error = no-op entry
//   mutating func readIndex(context: UInt64) throws(ReadIndexError)   // answer: Ready.readStates / .abortedReads
//   mutating func transferLeadership(to: MemberID) ; mutating func campaign() ; mutating func forgetLeader()
//   mutating func reportUnreachable(_ member: MemberID) ; mutating func reportSnapshot(to: MemberID, succeeded: Bool)
//   mutating func retryReplication(to: MemberID)          // after LogStorage was .temporarilyUnavailable
//   var hasReady: Bool ; mutating func ready() -> Ready
//   mutating func appendDurable(through number: UInt64)   // Ready.number; covers that Ready and all before
//   mutating func applied(through index: LogIndex)
//   mutating func evict(through index: LogIndex)          // drop from memory; still readable through LogStorage
//   mutating func compactLog(through index: LogIndex)     // gone: members that need it get a snapshot
// }
