import COpenSSL
import Glibc

/// Files of certificates and keys: read whole, and recognised when they change.
enum SecretFile {
    /// What tells one state of a file from another without reading it; follows symbolic links, since Kubernetes swaps
    /// mounted secrets by a link. All zero for a file that is not there.
    struct Signature: Sendable, Equatable {
        var device: UInt64 = 0
        var inode: UInt64 = 0
        var sizeBytes: Int64 = 0
        var modifiedSeconds: Int64 = 0
        var modifiedNanoseconds: Int64 = 0

        init(of path: String) {
            var status = stat()
            guard stat(path, &status) == 0 else { return }
            device = UInt64(status.st_dev)
            inode = UInt64(status.st_ino)
            sizeBytes = Int64(status.st_size)
            modifiedSeconds = Int64(status.st_mtim.tv_sec)
            modifiedNanoseconds = Int64(status.st_mtim.tv_nsec)
        }
    }

    /// The file's bytes. Throws `file` with its path when it cannot be read or exceeds `TLSLimits.fileBytesMax`.
    static func read(_ path: String) throws(TLSError) -> [UInt8] {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else { throw failure("cannot open", path) }
        defer { close(descriptor) }
        var content: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 16 << 10)
        while true {
            let count = Glibc.read(descriptor, &chunk, chunk.count)
            if count < 0 {
                if errno == EINTR { continue }
                throw failure("cannot read", path)
            }
            if count == 0 { return content }
            content.append(contentsOf: chunk[..<count])
            if content.count > TLSLimits.fileBytesMax {
                throw TLSError(.file, "\(path) is larger than \(TLSLimits.fileBytesMax) bytes")
            }
        }
    }

    /// Writes a file that appears whole or not at all, with `mode` from its first moment on. Throws `file`.
    static func write(_ content: [UInt8], to path: String, mode: mode_t) throws(TLSError) {
        let temporary = path + ".tmp\(getpid())"
        unlink(temporary)
        let descriptor = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode)
        guard descriptor >= 0 else { throw failure("cannot create", temporary) }
        var written = 0
        while written < content.count {
            let count = content[written...].withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if count < 0 {
                if errno == EINTR { continue }
                let error = failure("cannot write", temporary)
                close(descriptor)
                unlink(temporary)
                throw error
            }
            written += count
        }
        // The mode given to open is cut by the process's umask; a key must have exactly the mode asked for.
        let complete = fchmod(descriptor, mode) == 0 && fsync(descriptor) == 0
        close(descriptor)
        guard complete, rename(temporary, path) == 0 else {
            let error = failure("cannot complete", path)
            unlink(temporary)
            throw error
        }
    }

    static func failure(_ what: String, _ path: String) -> TLSError {
        TLSError(.file, "\(what) \(path): \(String(cString: strerror(errno)))")
    }

    /// Runs `body` with a BIO that reads `content`. Throws `library` when OpenSSL has no memory for it.
    static func withBIO<Result>(
        _ content: [UInt8], _ body: (OpaquePointer) throws(TLSError) -> Result
    ) throws(TLSError) -> Result {
        let outcome: Swift.Result<Result, TLSError> = content.withUnsafeBytes { bytes in
            guard let bio = martlet_bio_memory(bytes.baseAddress, bytes.count) else {
                return .failure(.fromLibrary(.library, "cannot make a BIO"))
            }
            defer { BIO_free(bio) }
            do throws(TLSError) {
                return .success(try body(bio))
            } catch {
                return .failure(error)
            }
        }
        return try outcome.get()
    }
}
