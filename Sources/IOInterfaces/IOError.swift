internal import CPlatform

/// A failed file operation: what was tried, on which file, where, and what the operating system said.
///
/// `description` is one line in words, such as
/// `write default.martlet/wal/0000.wal at offset 4096: No space left on device`.
package struct IOError: Error, Hashable, Sendable, CustomStringConvertible {
    package enum Operation: String, CaseIterable, Sendable {
        case createDirectory = "create directory"
        case list
        case open
        case create
        case rename
        case remove
        case size = "size of"
        case exists = "look up"
        case syncDirectory = "sync directory"
        case lock
        case freeBytes = "free space at"
        case read
        case write
        case preallocate
        case truncate
        case sync
        case close
    }

    package var operation: Operation
    package var path: String
    /// The operating system's error number (`ENOSPC`, `EIO`...).
    package var errno: Int32
    /// Where in the file, in bytes, if the operation has a place.
    package var offset: Int?
    /// More in words: who holds a lock, the new name of a rename.
    package var detail: String?

    package init(_ operation: Operation, _ path: String, errno: Int32, offset: Int? = nil, detail: String? = nil) {
        self.operation = operation
        self.path = path
        self.errno = errno
        self.offset = offset
        self.detail = detail
    }

    package var description: String {
        var text = "\(operation.rawValue) \(path)"
        if let offset { text += " at offset \(offset)" }
        text += ": " + errorText(errno)
        if let detail { text += " (\(detail))" }
        return text
    }

    /// True when the volume (or the quota on it) is full, so that the same call can succeed once there is room.
    package var isNoSpace: Bool { errno == martlet_enospc() || errno == martlet_edquot() }
}

/// The operating system's words for an error number.
func errorText(_ errno: Int32) -> String {
    withUnsafeTemporaryAllocation(of: CChar.self, capacity: 256) { buffer in
        martlet_error_text(errno, buffer.baseAddress!, buffer.count)
        return String(cString: buffer.baseAddress!)
    }
}
