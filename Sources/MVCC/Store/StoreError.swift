package import Primitives

/// Why the store refused or failed. The first two are answers to a client; after any other the process must stop
/// serving (design rule 6): the data or the disk cannot be trusted.
package enum StoreError: Error, Hashable, Sendable {
    /// The revision asked for is below the compact revision, which is given.
    case compacted(compactRevision: Int64)
    /// The revision asked for is above the current one, which is given.
    case futureRevision(currentRevision: Int64)
    /// What is on disk is not what was written: a checksum, the order or the count of records is wrong. `key` is what the
    /// record itself says, for messages; `file` is the data file.
    case corrupted(revision: Revision?, detail: String, key: String? = nil, file: String? = nil)
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
        case .corrupted(let revision, let detail, let key, let file): Self.damage(revision, detail, key, file)
        case .noSpace: "no space left on the device of the store"
        case .mapFull: "the store has reached the size of its memory map"
        case .poisoned: "the store takes no more commits after one has failed"
        case .closed: "the store is closed"
        case .incompatible(let detail): "incompatible store file: \(detail)"
        case .system(let code, let operation): "\(operation) (error \(code))"
        }
    }
}

extension StoreError {
    /// What an operator can do about a damaged data file. Source: how members are replaced, for one of several; and how a
    /// backup is restored.
    static let remedy =
        "the disk or the memory of this machine is failing, or the file was changed: check the disk, then replace this "
        + "member (remove it from the cluster, delete its data directory, add it again), or restore the last snapshot if "
        + "it is the only one"

    private static func damage(_ revision: Revision?, _ detail: String, _ key: String?, _ file: String?) -> String {
        var text = "the data file" + (file.map { " \($0)" } ?? "") + " is damaged: "
        if let revision { text += "record of revision \(revision.main).\(revision.sub)" }
        if let key { text += ", key \(key)" }
        if revision != nil { text += ": " }
        return text + detail + "; " + remedy
    }

    /// The same error, which names the data file if it is about one and names none.
    func located(_ path: String) -> StoreError {
        guard case .corrupted(let revision, let detail, let key, nil) = self else { return self }
        return .corrupted(revision: revision, detail: detail, key: key, file: path)
    }

    /// A stored key as it goes into a message: in quotes, on one line, cut to 200 bytes.
    static func keyText(_ key: UnsafeRawBufferPointer) -> String {
        let digits = Array("0123456789abcdef".utf8)
        var text: [UInt8] = []
        for byte in key.prefix(200) {
            if byte >= 0x20, byte < 0x7f, byte != UInt8(ascii: "\""), byte != UInt8(ascii: "\\") {
                text.append(byte)
            } else {
                text += [UInt8(ascii: "\\"), UInt8(ascii: "x"), digits[Int(byte >> 4)], digits[Int(byte & 15)]]
            }
        }
        return "\"\(String(decoding: text, as: UTF8.self))\"" + (key.count > 200 ? "..." : "")
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
