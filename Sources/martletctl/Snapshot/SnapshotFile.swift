import COpenSSL
import Glibc

/// A snapshot being saved: `PATH.part`, readable by its owner alone, which becomes `PATH` once it is complete, its
/// SHA-256 (the last 32 bytes of the stream) is right, and it is on disk.
///
/// Owner: one task. Ends with `finish()` or `discard()`.
final class SnapshotFile {
    static let digestBytes = 32

    private let path: String
    private let partPath: String
    private let descriptor: Int32
    private let digest: OpaquePointer
    /// The last bytes that came, up to 32: not hashed yet, as they may be the digest.
    private var tail: [UInt8] = []
    private(set) var sizeBytes = 0

    /// Creates the part file; one that was left behind is written over.
    init(partOf path: String) throws(CommandError) {
        self.path = path
        partPath = path + ".part"
        descriptor = open(partPath, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else {
            throw .failure("could not open \(partPath) (open \(partPath): \(errorText().lowercased()))")
        }
        guard let digest = EVP_MD_CTX_new(), EVP_DigestInit_ex(digest, EVP_sha256(), nil) == 1 else {
            throw .failure("SHA-256 is not available")
        }
        self.digest = digest
    }

    deinit { EVP_MD_CTX_free(digest) }

    /// Writes the next part of the stream.
    func append(_ bytes: UnsafeRawBufferPointer) throws(CommandError) {
        var rest = bytes
        while rest.count > 0 {
            let written = write(descriptor, rest.baseAddress, rest.count)
            if written < 0, errno != EINTR { throw .failure("could not write \(partPath) (\(errorText()))") }
            rest = UnsafeRawBufferPointer(rebasing: rest.dropFirst(max(0, written)))
        }
        sizeBytes += bytes.count
        tail += bytes
        let settled = tail.count - Self.digestBytes
        if settled > 0 {
            _ = tail.withUnsafeBytes { EVP_DigestUpdate(digest, $0.baseAddress, settled) }
            tail.removeFirst(settled)
        }
    }

    /// Checks the digest, syncs, and gives the file its name. A digest is there when the size is 32 more than a
    /// multiple of 512, as etcd's tools decide it.
    func finish() throws(CommandError) {
        var expected = [UInt8](repeating: 0, count: Self.digestBytes)
        guard EVP_DigestFinal_ex(digest, &expected, nil) == 1 else { throw .failure("SHA-256 failed") }
        guard sizeBytes % 512 == Self.digestBytes else {
            throw .failure("sha256 checksum not found [bytes: \(sizeBytes)]")
        }
        guard tail == expected else { throw .failure("snapshot is damaged: its SHA-256 checksum does not match") }
        guard fsync(descriptor) == 0 else { throw .failure("could not sync \(partPath) (\(errorText()))") }
        close(descriptor)
        guard rename(partPath, path) == 0 else {
            throw .failure("could not rename \(partPath) to \(path) (\(errorText()))")
        }
        syncDirectory()
    }

    /// Removes the part file.
    func discard() {
        close(descriptor)
        unlink(partPath)
    }

    /// Makes the new name durable; some file systems cannot, and the snapshot is complete all the same.
    private func syncDirectory() {
        let directory = path.lastIndex(of: "/").map { String(path[...$0]) } ?? "."
        let handle = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard handle >= 0 else { return }
        fsync(handle)
        close(handle)
    }
}

/// The system's text for `errno`.
func errorText() -> String { String(cString: strerror(errno)) }
