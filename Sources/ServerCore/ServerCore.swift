// One member without threads, sockets or a clock: the replica, the log writer, the state machine and the backend writer,
// opened from a data directory. Production drives each part by a thread of its own; tests and the simulator drive all
// of them step by step. Both run this code.
//
// Files of a data directory:
//   lock        held while a process uses the directory
//   store/      the backend (LMDB: data.mdb), and the image that is being received (see SnapshotInstall)
//   wal/        the write-ahead log's segments
//
// The log says whose directory it is. The founders' log begins after entry 1 of term 1, where their common first state
// stands; a joiner's begins at 0 and its store holds nothing, so that it can only begin with an image.
//
// Invariant: the backend never holds the effect of an entry that the log has not made durable, because only committed
// entries are applied and a member commits only what its own log holds.

package import Leasing
package import MVCC
package import Membership
package import Primitives
import RaftCore
package import Replica
package import StateMachine
package import WriteAheadLog

/// What a member begins with at its first start; later its data directory counts.
package enum Founding: Sendable {
    /// All of `members`, this one among them, found the cluster, each on its own: the state that they agree on stands at
    /// entry 1 of term 1, which is nowhere in a log.
    case new(clusterID: UInt64, members: [Membership.Member])
    /// This member was added to a cluster that runs, and waits for a snapshot. `members` is whom to talk to until then;
    /// nothing of it is stored.
    case joining(clusterID: UInt64, members: [Membership.Member])

    package var clusterID: UInt64 {
        switch self {
        case .new(let clusterID, _), .joining(let clusterID, _): clusterID
        }
    }

    package var members: [Membership.Member] {
        switch self {
        case .new(_, let members), .joining(_, let members): members
        }
    }

    package var isNew: Bool { if case .new = self { true } else { false } }

    /// Where every founder's log begins.
    static let position = WALPosition(index: LogIndex(1), term: Term(1))
}

/// What a member is opened with.
package struct ServerCoreOptions: Sendable {
    package var dataDirectory: String
    /// Empty: `wal` inside the data directory.
    package var walDirectory = ""
    /// Used at the first start only, as is `memberID`; later the identity in the log counts.
    package var founding: Founding
    package var memberID: MemberID
    package var electionTicks = 10
    package var heartbeatTicks = 1
    package var preVote = true
    /// `--initial-election-tick-advance`: the first election may come all but one heartbeat of the election timeout
    /// earlier.
    package var advancesFirstElection = true
    /// `--force-new-cluster`: the other members are removed, and this one leads what it has.
    package var forceNewCluster = false
    package var replica = ReplicaOptions()
    package var leases = LessorConfiguration()
    package var store = StoreOptions()
    package var log = WALOptions()
    /// How many entries lie between two hashes of the state that members compare: the same on all of them.
    package var hashStride = StateHashes.strideDefault

    package init(dataDirectory: String, memberID: MemberID, founding: Founding) {
        self.dataDirectory = dataDirectory
        self.memberID = memberID
        self.founding = founding
    }
}

/// Why a member cannot start: one line that names the file.
package struct StartError: Error, CustomStringConvertible, Sendable {
    package let description: String
    package init(_ description: String) { self.description = description }
}

/// The parts of one member; see the head of this file.
package struct ServerCore {
    package let replica: Replica
    package let logWriter: LogWriter
    package let stateMachine: StateMachine
    package let backendWriter: BackendWriter
    package let store: Store
    package let lessor: Lessor
    package let identity: StateMachine.Identity
    /// What recovery found, for the log.
    package let recovery: Recovery

    package struct Recovery: Sendable {
        package var isFirstStart: Bool
        /// What the store had persisted.
        package var storedIndex: LogIndex
        /// Entries of the log that are applied again.
        package var replayedEntries: Int
        /// Bytes of a torn tail that were cut off.
        package var tornBytes: Int
        /// The log was begun anew behind an image that another member had sent.
        package var hasInstalledImage: Bool
        /// Members that `forceNewCluster` removes with entries of the log.
        package var membersForcedOut: [MemberID]
    }
}
