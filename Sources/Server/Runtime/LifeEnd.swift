package import Primitives

/// Why a running member has to be stopped.
package enum LifeEnd: Sendable {
    /// SIGTERM or SIGINT.
    case signal(Int32)
    /// A snapshot of another member's store has been received, complete and durable: it takes this one's place, and the
    /// member starts again. `index` is its applied index.
    case snapshotReceived(index: LogIndex)
    /// This member is no part of the cluster any more.
    case removed
}
