import COpenSSL
import Foundation
import Glibc
import IOInterfaces
import MVCC
import Primitives
import ServerCore
import Snapshots

/// Restores a snapshot file into the data directory of a new member: reads the file once, in pieces, checking everything
/// that the format and the SHA-256 behind it vouch for.
struct SnapshotRestoring {
    /// Bytes read at once.
    private static let pieceBytes = 1 << 20

    let path: String
    /// Take the file for right without a SHA-256; the format's own checksums are checked all the same.
    let skipsHashCheck: Bool
    private let descriptor: Int32
    private let sizeBytes: Int

    /// Opens the file, which `restore` reads and closes.
    init(path: String, skipsHashCheck: Bool) throws(CommandError) {
        self.path = path
        self.skipsHashCheck = skipsHashCheck
        descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw .failure("open \(path): \(errorText().lowercased())") }
        var information = stat()
        guard fstat(descriptor, &information) == 0 else { throw .failure("stat \(path): \(errorText().lowercased())") }
        sizeBytes = Int(information.st_size)
    }

    /// Makes the data directory; nothing of it is left when it fails.
    func restore(_ plan: DataDirectoryRestore.Plan) throws(CommandError) -> DataDirectoryRestore.Result {
        defer { close(descriptor) }
        let hadLog = !plan.walDirectory.isEmpty && exists(plan.walDirectory)
        let hadPart = exists(DataDirectoryRestore.partDirectory(plan))
        let header = try readHeader()
        if !skipsHashCheck, !hasDigest { throw .failure("snapshot missing hash but --skip-hash-check=false") }
        do throws(StartError) {
            return try DataDirectoryRestore.run(
                plan,
                image: DataDirectoryRestore.Image(
                    clusterID: header.clusterID, appliedIndex: header.appliedIndex, appliedTerm: header.appliedTerm,
                    currentRevision: header.currentRevision, compactRevision: header.compactRevision),
                fileSystem: SystemFileSystem(), sha1: InitialMembers.sha1
            ) { (backend, adjust) throws(StartError) in try fill(backend, adjust) }
        } catch {
            // What was there before is not ours to remove.
            if !hadPart { try? FileManager.default.removeItem(atPath: DataDirectoryRestore.partDirectory(plan)) }
            if !plan.walDirectory.isEmpty, !hadLog { try? FileManager.default.removeItem(atPath: plan.walDirectory) }
            throw .failure(error.description)
        }
    }

    private func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }

    /// A digest is there when the size is 32 more than a multiple of 512, as etcd's tools decide it.
    private var hasDigest: Bool { sizeBytes % SnapshotFormat.paddingBytes == SnapshotFormat.digestBytes }

    private func readHeader() throws(CommandError) -> SnapshotHeader {
        // Enough for the first pages of a bbolt database, whatever their size.
        let bytes = try read(count: 1 << 17, at: 0)
        let isOwn = bytes.withUnsafeBytes { SnapshotFormat.isSnapshot($0) }
        guard isOwn else {
            if bytes.withUnsafeBytes({ (try? BoltReader($0)) != nil }) {
                throw .failure(
                    "\(path) is a snapshot of etcd's own store (bbolt), which Martlet cannot restore: restore it with "
                        + "etcdutl, and copy the keys into a Martlet cluster with etcdctl make-mirror")
            }
            throw .failure("\(path) is not a snapshot")
        }
        do throws(SnapshotError) {
            let reader = SnapshotReader()
            bytes.withUnsafeBytes { reader.append($0) }
            guard case .header(let header) = try reader.next() else {
                throw .truncated(offset: UInt64(bytes.count))
            }
            return header
        } catch { throw .failure("\(path): \(error)") }
    }

    private func fill(_ backend: any Backend, _ adjust: DataDirectoryRestore.Adjustment) throws(StartError) {
        guard let digest = EVP_MD_CTX_new(), EVP_DigestInit_ex(digest, EVP_sha256(), nil) == 1 else {
            throw StartError("SHA-256 is not available")
        }
        defer { EVP_MD_CTX_free(digest) }
        let hashedBytes = sizeBytes - (hasDigest ? SnapshotFormat.digestBytes : 0)
        do {
            let restore = try SnapshotRestore(into: backend)
            var position = 0
            var trailer: [UInt8] = []
            while position < sizeBytes {
                let piece = try read(count: Self.pieceBytes, at: position)
                if piece.isEmpty { break }
                let hashed = min(piece.count, max(0, hashedBytes - position))
                EVP_DigestUpdate(digest, piece, hashed)
                trailer += piece[hashed...]
                try piece.withUnsafeBytes { try restore.append($0) }
                position += piece.count
            }
            // Before the digest, which does not say where the damage is. Nothing of it has its name yet.
            _ = try restore.finish(adjusting: adjust)
            var computed = [UInt8](repeating: 0, count: SnapshotFormat.digestBytes)
            guard EVP_DigestFinal_ex(digest, &computed, nil) == 1 else { throw StartError("SHA-256 failed") }
            if !skipsHashCheck, trailer != computed {
                throw StartError("expected sha256 \(hex(trailer)), got \(hex(computed))")
            }
        } catch let error as StartError {
            throw error
        } catch let error as CommandError {
            throw StartError(error.message)
        } catch { throw StartError("\(path): \(error)") }
    }

    private func hex(_ bytes: [UInt8]) -> String {
        bytes.map { GoText.hex(UInt64($0), width: 2) }.joined()
    }

    /// Up to `count` bytes; none at the end.
    private func read(count: Int, at offset: Int) throws(CommandError) -> [UInt8] {
        var failure: Int32 = 0
        let bytes = [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
            var result: Int
            repeat {
                result = pread(descriptor, buffer.baseAddress, count, off_t(offset))
            } while result < 0
                && errno == EINTR
            if result < 0 { failure = errno }
            initialized = max(0, result)
        }
        if failure != 0 { throw .failure("read \(path): \(String(cString: strerror(failure)))") }
        return bytes
    }
}
