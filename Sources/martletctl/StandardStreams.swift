import Glibc

/// Writes to the process's own output, at once and whole.
enum Output {
    /// Writes `bytes` to stdout; ends the process when nobody reads them any more.
    static func write(_ bytes: [UInt8]) { write(bytes, to: 1) }

    /// Writes a line to stderr.
    static func error(_ line: String) { write(Array((line + "\n").utf8), to: 2) }

    /// Writes `text` to stderr without a newline.
    static func progress(_ text: String) { write(Array(text.utf8), to: 2) }

    private static func write(_ bytes: [UInt8], to descriptor: Int32) {
        var rest = bytes[...]
        while !rest.isEmpty {
            let written = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if written > 0 {
                rest = rest.dropFirst(written)
            } else if errno != EINTR {
                exit(1)
            }
        }
    }
}

/// Reads the process's standard input, by lines or whole. One instance must read all lines, as it buffers.
struct StandardInput {
    private var buffer: [UInt8] = []
    private var isAtEnd = false

    /// The next line without its newline; nil at the end. A last line that has no newline is not a line, as in
    /// etcdctl.
    mutating func nextLine() -> [UInt8]? {
        while true {
            if let newline = buffer.firstIndex(of: UInt8(ascii: "\n")) {
                defer { buffer.removeSubrange(...newline) }
                return Array(buffer[..<newline])
            }
            if isAtEnd { return nil }
            let chunk = Self.readChunk()
            isAtEnd = chunk.isEmpty
            buffer += chunk
        }
    }

    /// Everything up to the end of input.
    static func readAll() -> [UInt8] {
        var bytes: [UInt8] = []
        while true {
            let chunk = readChunk()
            if chunk.isEmpty { return bytes }
            bytes += chunk
        }
    }

    private static func readChunk() -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: 65536) { buffer, count in
            var result: Int
            repeat { result = read(0, buffer.baseAddress, buffer.count) } while result < 0 && errno == EINTR
            count = max(0, result)
        }
    }
}
