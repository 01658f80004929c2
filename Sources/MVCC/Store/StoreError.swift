package import Primitives

/// Why the store refused or failed. The first two are answers to a client; after any other the process must stop
/// serving (design rule 6): the data or the disk cannot be trusted.
package enum StoreError: Error, Hashable, Sendable {
    /// The revision asked for is below the compact revision, which is given.
    case compacted(compactRevision: Int64)
    /// The revision asked for is above the current one, which is given.
    case futureRevision(currentRevision: Int64)
    /// What is on disk is not what was written: a checksum, the order or the count of records is wrong.
    case corrupted(revision: Revision?, detail: String)
    /// The disk is full. Nothing of the batch that met it is stored.
    case noSpace
    /// The backend's address range is used up. Nothing of the batch that met it is stored.
    case mapFull
    /// An earlier commit failed; the backend takes no more.
    case poisoned
    /// The backend was closed.
    case closed
    /// The file was written by a version of this software that cannot be read.
    case incompatible(detail: String)
    /// Another failure of the operating system or of LMDB: its number and what was being done.
    case system(code: Int32, operation: String)
}

extension StoreError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .compacted(let revision): "the required revision has been compacted (compact revision \(revision))"
        case .futureRevision(let revision): "the required revision is a future one (current revision \(revision))"
        case .corrupted(let revision?, let detail): "corrupted record \(revision.main).\(revision.sub): \(detail)"
        case .corrupted(nil, let detail): "corrupted store: \(detail)"
        case .noSpace: "no space left on the device of the store"
        case .mapFull: "the store has reached the size of its memory map"
        case .poisoned: "the store takes no more commits after one has failed"
        case .closed: "the store is closed"
        case .incompatible(let detail): "incompatible store file: \(detail)"
        case .system(let code, let operation): "\(operation) (error \(code))"
        }
    }
}

/// An error that may end a write transaction.
package protocol StoreFailure: Error {
    /// The store cannot be read: the process is about to stop, and what the transaction has changed does not matter.
    /// Else a transaction may fail before its first change only.
    var breaksStore: Bool { get }
}

extension StoreError: StoreFailure {
    package var breaksStore: Bool {
        switch self {
        case .compacted, .futureRevision: false
        default: true
        }
    }
}
