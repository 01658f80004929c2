import COpenSSL
import Primitives

/// Message digests by OpenSSL.
enum Digest {
    /// SHA-1, which etcd derives identities from; not used where security rests on it.
    static func sha1(_ bytes: [UInt8]) -> [UInt8] {
        var digest = [UInt8](repeating: 0, count: 20)
        var count: UInt32 = 0
        let result = EVP_Digest(bytes, bytes.count, &digest, &count, EVP_sha1(), nil)
        invariant(result == 1 && count == 20, "OpenSSL cannot compute SHA-1")
        return digest
    }
}
