import COpenSSL
import Primitives
import Snapshots

extension SnapshotFileStatus {
    /// Bytes given to the reader at once: what bounds its memory.
    private static let pieceBytes = 1 << 20

    /// Reads all of a snapshot in Martlet's format, checking everything, the SHA-256 behind it too if there is one.
    /// Throws with the offset of what is wrong.
    init(ownFormat file: UnsafeRawBufferPointer, path: String) throws(CommandError) {
        let status: SnapshotStatus
        do throws(SnapshotError) {
            let reader = SnapshotReader()
            var position = 0
            while position < file.count {
                let end = min(position + Self.pieceBytes, file.count)
                reader.append(UnsafeRawBufferPointer(rebasing: file[position..<end]))
                while try reader.next() != nil {}
                position = end
            }
            status = try reader.finish()
        } catch { throw .failure("\(path): \(error)") }
        let stream = UnsafeRawBufferPointer(rebasing: file[..<Int(status.streamBytes)])
        if let digest = status.digest, digest != Self.sha256(stream) {
            throw .failure("\(path): the snapshot's SHA-256 checksum does not match")
        }
        self.init(
            hash: status.hash, revision: status.revision, keyCount: Int(status.totalKeys),
            sizeBytes: Int(status.streamBytes))
    }

    private static func sha256(_ bytes: UnsafeRawBufferPointer) -> Bytes {
        var digest = [UInt8](repeating: 0, count: SnapshotFormat.digestBytes)
        var count: UInt32 = 0
        let result = EVP_Digest(bytes.baseAddress, bytes.count, &digest, &count, EVP_sha256(), nil)
        invariant(result == 1 && Int(count) == digest.count, "OpenSSL cannot compute SHA-256")
        return Bytes(digest)
    }
}
