package import Primitives
import Synchronization

/// The state's hash after one entry.
package struct StateHashMark: Sendable, Hashable {
    package let index: LogIndex
    package let hash: UInt32

    package init(index: LogIndex, hash: UInt32) {
        self.index = index
        self.hash = hash
    }
}

/// The newest hashes of the state at indexes that all members share, so that two of them can compare. The hash
/// (`Store.stateHash`) is stored with the applied index and travels in snapshots: restarts and installed images do not
/// change it.
///
/// Threads: the apply thread notes, any thread reads.
package final class StateHashes: Sendable {
    /// Hashes are kept of applied indexes that are multiples of it.
    package static let strideDefault: UInt64 = 256
    /// Hashes kept; older ones go.
    package static let marksMax = 256

    private let ring = Mutex<[StateHashMark]>([])

    private let stride: UInt64

    /// - Parameter stride: the same on all members.
    package init(stride: UInt64 = StateHashes.strideDefault) { self.stride = stride }

    /// Notes the hash after the entry at `index`, if it is one of those that count.
    package func note(index: LogIndex, hash: UInt32) {
        guard index.rawValue % stride == 0 else { return }
        ring.withLock { ring in
            if ring.count == Self.marksMax { ring.removeFirst() }
            ring.append(StateHashMark(index: index, hash: hash))
        }
    }

    /// What is kept, in ascending order of index.
    package var marks: [StateHashMark] { ring.withLock { $0 } }

    /// The first index at which two members' hashes differ; nil when they agree wherever both have one.
    package static func firstDifference(_ a: [StateHashMark], _ b: [StateHashMark]) -> LogIndex? {
        var (i, j) = (0, 0)
        while i < a.count, j < b.count {
            if a[i].index == b[j].index {
                if a[i].hash != b[j].hash { return a[i].index }
                i += 1
                j += 1
            } else if a[i].index < b[j].index {
                i += 1
            } else {
                j += 1
            }
        }
        return nil
    }
}
