/// A deliberate mistake, to see that a checker finds it. Each is made in the simulator's own layers (the member's
/// driver, the network, the backend) in place of what production does there; the code of the server is the same in
/// every run.
package enum PlantedBug: String, CaseIterable, Sendable {
    /// The log's owner says "durable" when it has received a batch, and writes it later.
    case skipSync = "skip-fsync"
    /// A vote leaves before it is on disk.
    case voteBeforeSync = "vote-before-fsync"
    /// Whoever believes to lead answers linearizable reads by itself.
    case readWithoutQuorum = "read-without-quorum"
    /// A linearizable read is answered when its index is known, not when it is applied.
    case readBeforeApply = "read-before-apply"
    /// A follower answers linearizable reads from what it has.
    case staleRead = "stale-follower-read"
    /// Watch events come without their previous values.
    case dropPrevious = "drop-prev-kv"
    /// A response with events is lost on a stream that lives on.
    case loseEvents = "lose-watch-events"
    /// A response with events is sent twice.
    case repeatEvents = "repeat-watch-events"
    /// A progress request is answered with the store's revision, whatever the watchers have been sent.
    case earlyProgress = "early-progress"
    /// The applied index is stored one commit late.
    case lateAppliedIndex = "late-applied-index"
    /// Entries are applied when they are durable here, before a quorum has them.
    case applyUncommitted = "apply-uncommitted"
    /// A leader takes entries of earlier terms for committed because a quorum has them.
    case commitByCount = "commit-by-count"
    /// Members campaign without asking first.
    case ignorePreVote = "ignore-pre-vote"
    /// A forwarded proposal may arrive twice.
    case doubleProposal = "double-proposal"
    /// A new leader counts the TTL of leases from before it was elected.
    case shortLease = "short-lease"
    /// A change of term or vote is not written.
    case forgetVote = "forget-vote"
    /// A snapshot that was cut off is installed.
    case tornSnapshot = "torn-snapshot"
    /// A damaged record of the log is taken for the end of the log.
    case cutDamage = "cut-damage"
    /// Stored records are served without a look at their checksums.
    case trustRecords = "trust-records"
    /// Nobody compares the members' states.
    case ignoreDifferences = "ignore-differences"
    /// A member that an alarm CORRUPT names serves on.
    case serveCorrupt = "serve-corrupt"
    /// The alarm NOSPACE is not cleared when there is room again.
    case keepNoSpace = "keep-no-space"

    /// What the mistake is, in a line.
    package var summary: String {
        switch self {
        case .skipSync: "reports entries durable before they are written"
        case .voteBeforeSync: "sends votes before they are on disk"
        case .readWithoutQuorum: "answers linearizable reads at the leader without asking a quorum"
        case .readBeforeApply: "answers linearizable reads before their index is applied"
        case .staleRead: "answers linearizable reads at a follower from its own state"
        case .dropPrevious: "sends watch events without previous values"
        case .loseEvents: "loses a watch response now and then"
        case .repeatEvents: "sends a watch response twice now and then"
        case .earlyProgress: "answers progress requests at once with the newest revision"
        case .lateAppliedIndex: "stores the applied index one commit late"
        case .applyUncommitted: "applies entries that are durable on one member only"
        case .commitByCount: "commits entries of earlier terms by counting who has them"
        case .ignorePreVote: "campaigns without asking first"
        case .doubleProposal: "delivers forwarded proposals twice now and then"
        case .shortLease: "lets a new leader count leases from before its election"
        case .forgetVote: "does not write changes of term and vote"
        case .tornSnapshot: "installs snapshots that were cut off"
        case .cutDamage: "takes a damaged record of the log for its end"
        case .trustRecords: "serves stored records without looking at their checksums"
        case .ignoreDifferences: "does not compare the states of members"
        case .serveCorrupt: "serves on at a member that CORRUPT names"
        case .keepNoSpace: "does not clear NOSPACE when there is room again"
        }
    }

    /// The checkers that see it: by what it breaks, or by what breaks in consequence.
    package var checkers: [String] {
        switch self {
        case .skipSync: ["durability", "faults"]
        case .voteBeforeSync, .forgetVote: ["durability", "election", "faults", "trap"]
        case .readWithoutQuorum, .readBeforeApply, .staleRead: ["linearizability"]
        case .dropPrevious, .loseEvents, .repeatEvents, .earlyProgress: ["watch"]
        case .lateAppliedIndex: ["revisions", "state machine", "state hash", "start", "trap"]
        case .applyUncommitted: ["durability", "commit", "state machine"]
        case .commitByCount: ["commit", "leader completeness", "state machine"]
        case .ignorePreVote: ["election"]
        case .doubleProposal: ["state machine"]
        case .shortLease: ["leases"]
        case .cutDamage: ["damage", "durability", "faults", "start", "trap"]
        case .trustRecords: ["linearizability", "watch", "contents", "state machine", "damage"]
        case .ignoreDifferences, .serveCorrupt: ["consistency"]
        case .keepNoSpace: ["liveness"]
        case .tornSnapshot: ["start", "snapshot", "state hash", "contents", "trap"]
        }
    }

    /// Which faults there were when it was made: its seeds stay what they were (`SimulationOptions.generation`).
    var generation: Int {
        switch self {
        case .cutDamage, .trustRecords, .ignoreDifferences, .serveCorrupt, .keepNoSpace: 2
        default: 1
        }
    }

    /// How many seeds, from 1, find it at the latest: what the tests hold it to.
    package var seedsMax: UInt64 {
        switch self {
        case .readWithoutQuorum, .voteBeforeSync: 40
        default: 20
        }
    }
}
