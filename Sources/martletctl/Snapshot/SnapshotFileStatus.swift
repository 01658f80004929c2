import Glibc
import Primitives
import Snapshots

/// What `snapshot status` says of a snapshot in Martlet's format (see the `Snapshots` module), or in etcd's own: a bbolt
/// database, in which every page refers to others by number.
///
/// File format (bbolt, as far as it is read here; all numbers little-endian):
/// - page: id u64, flags u16 (1 branch, 2 leaf, 4 meta, 16 freelist), count u16, overflow u32, then elements;
/// - meta page: magic 0xED0CDAED u32, version 2 u32, page size u32, flags u32, root bucket's page u64 and sequence
///   u64, freelist u64, high-water mark u64, transaction u64, FNV-1a checksum u64;
/// - leaf element: flags u32 (1: the value is a bucket), position u32 from the element, key size u32, value size u32;
/// - branch element: position u32, key size u32, page u64;
/// - bucket: root page u64 and sequence u64; root 0 means that its only page follows inline.
package struct SnapshotFileStatus: Sendable, Equatable {
    /// CRC-32C over the names, keys and values of all buckets, in order; in Martlet's format over all contents.
    package var hash: UInt32
    /// The greatest store revision in the `key` bucket; in Martlet's format the store's current one.
    package var revision: Int64
    /// How many keys all buckets have.
    package var keyCount: Int
    /// The size of the database, bytes, without the digest behind it.
    package var sizeBytes: Int

    package init(hash: UInt32, revision: Int64, keyCount: Int, sizeBytes: Int) {
        self.hash = hash
        self.revision = revision
        self.keyCount = keyCount
        self.sizeBytes = sizeBytes
    }

    /// Reads the file at `path`. Throws when it cannot be read or is no such snapshot; damage is found as a page or
    /// element that points outside of the file.
    package init(path: String) throws(CommandError) {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw .failure("stat \(path): \(errorText().lowercased())") }
        defer { close(descriptor) }
        var information = stat()
        guard fstat(descriptor, &information) == 0 else { throw .failure("stat \(path): \(errorText())") }
        let size = Int(information.st_size)
        guard size > 0, let map = mmap(nil, size, PROT_READ, MAP_PRIVATE, descriptor, 0), map != MAP_FAILED else {
            throw .failure("\(path) is not a snapshot")
        }
        defer { munmap(map, size) }
        let file = UnsafeRawBufferPointer(start: map, count: size)
        if SnapshotFormat.isSnapshot(file) {
            self = try SnapshotFileStatus(ownFormat: file, path: path)
            return
        }
        guard size >= BoltReader.pageBytesMin * 2 else { throw .failure("\(path) is not a snapshot") }
        do throws(BoltReader.Damage) {
            var reader = try BoltReader(file)
            self = try reader.status()
        } catch {
            throw .failure("\(path) is not an etcd snapshot: \(error.reason)")
        }
    }
}

/// Walks a bbolt database in memory. Never reads outside of it, whatever it says.
struct BoltReader {
    static let pageBytesMin = 1024
    private static let magic: UInt32 = 0xed0c_daed
    private static let depthMax = 64

    /// Why the bytes are not a database.
    struct Damage: Error {
        var reason: String
    }

    private let file: UnsafeRawBufferPointer
    private let pageBytes: Int
    private let root: UInt64
    private var result = SnapshotFileStatus(hash: 0, revision: 0, keyCount: 0, sizeBytes: 0)

    /// Finds the newer of the two meta pages.
    init(_ file: UnsafeRawBufferPointer) throws(Damage) {
        self.file = file
        // The first meta page gives the page size, with which the second is found.
        guard let first = Self.meta(file, at: 0) ?? Self.meta(file, at: 4096) else {
            throw Damage(reason: "no database header")
        }
        pageBytes = first.pageBytes
        let second = Self.meta(file, at: pageBytes)
        root = second.map { $0.transaction > first.transaction ? $0.root : first.root } ?? first.root
    }

    private static func meta(
        _ file: UnsafeRawBufferPointer, at start: Int
    ) -> (pageBytes: Int, root: UInt64, transaction: UInt64)? {
        guard start + 80 <= file.count, file.loadUnaligned(fromByteOffset: start + 16, as: UInt32.self) == magic else {
            return nil
        }
        let body = start + 16
        let checksum = file[body..<body + 56].reduce(0xcbf2_9ce4_8422_2325 as UInt64) {
            ($0 ^ UInt64($1)) &* 0x100_0000_01b3
        }
        guard checksum == file.loadUnaligned(fromByteOffset: body + 56, as: UInt64.self) else { return nil }
        let pageBytes = Int(file.loadUnaligned(fromByteOffset: body + 8, as: UInt32.self))
        guard pageBytes >= pageBytesMin, pageBytes <= 65536 else { return nil }
        return (
            pageBytes, file.loadUnaligned(fromByteOffset: body + 16, as: UInt64.self),
            file.loadUnaligned(fromByteOffset: body + 48, as: UInt64.self)
        )
    }

    /// Counts and hashes all buckets.
    mutating func status() throws(Damage) -> SnapshotFileStatus {
        let hasDigest = file.count % 512 == SnapshotFile.digestBytes
        result.sizeBytes = file.count - (hasDigest ? SnapshotFile.digestBytes : 0)
        try walk(try page(root), depth: 0, bucket: nil)
        return result
    }

    private func page(_ number: UInt64) throws(Damage) -> UnsafeRawBufferPointer {
        guard number < UInt64(file.count / pageBytes) else { throw Damage(reason: "page \(number) is missing") }
        return UnsafeRawBufferPointer(rebasing: file[(Int(number) * pageBytes)...])
    }

    /// Visits the elements of a page and of those below it; `bucket` is nil for the root, whose elements are buckets.
    private mutating func walk(
        _ page: UnsafeRawBufferPointer, depth: Int, bucket: UnsafeRawBufferPointer?
    ) throws(Damage) {
        guard depth < Self.depthMax, page.count >= 16 else { throw Damage(reason: "pages are nested too deep") }
        let flags = page.loadUnaligned(fromByteOffset: 8, as: UInt16.self)
        let count = Int(page.loadUnaligned(fromByteOffset: 10, as: UInt16.self))
        for index in 0..<count {
            let element = 16 + index * 16
            guard element + 16 <= page.count else { throw Damage(reason: "a page ends early") }
            if flags & 1 != 0 {
                let child = page.loadUnaligned(fromByteOffset: element + 8, as: UInt64.self)
                try walk(try self.page(child), depth: depth + 1, bucket: bucket)
            } else if flags & 2 != 0 {
                try visit(page, element: element, depth: depth, bucket: bucket)
            } else {
                throw Damage(reason: "a page is neither branch nor leaf")
            }
        }
    }

    private mutating func visit(
        _ page: UnsafeRawBufferPointer, element: Int, depth: Int, bucket: UnsafeRawBufferPointer?
    ) throws(Damage) {
        let start = element + Int(page.loadUnaligned(fromByteOffset: element + 4, as: UInt32.self))
        let keyEnd = start + Int(page.loadUnaligned(fromByteOffset: element + 8, as: UInt32.self))
        let valueEnd = keyEnd + Int(page.loadUnaligned(fromByteOffset: element + 12, as: UInt32.self))
        guard valueEnd <= page.count else { throw Damage(reason: "an element ends outside of the file") }
        let key = UnsafeRawBufferPointer(rebasing: page[start..<keyEnd])
        let value = UnsafeRawBufferPointer(rebasing: page[keyEnd..<valueEnd])
        let isBucket = page.loadUnaligned(fromByteOffset: element, as: UInt32.self) & 1 != 0
        if isBucket {
            guard bucket == nil else { throw Damage(reason: "a bucket inside of a bucket") }
            result.hash = CRC32C.checksum(key, continuing: result.hash)
            guard value.count >= 16 else { throw Damage(reason: "a bucket without header") }
            let root = value.loadUnaligned(as: UInt64.self)
            let body = root == 0 ? UnsafeRawBufferPointer(rebasing: value.dropFirst(16)) : try self.page(root)
            try walk(body, depth: depth + 1, bucket: key)
            return
        }
        guard let bucket else { throw Damage(reason: "a key outside of the buckets") }
        result.hash = CRC32C.checksum(key, continuing: result.hash)
        result.hash = CRC32C.checksum(value, continuing: result.hash)
        result.keyCount += 1
        if bucket.elementsEqual("key".utf8), key.count >= 17 {
            result.revision = max(result.revision, Int64(bigEndian: key.loadUnaligned(as: Int64.self)))
        }
    }
}
