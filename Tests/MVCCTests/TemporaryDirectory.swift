import MVCC

#if canImport(Musl)
import Musl
#else
import Glibc
#endif

/// The system's calls, where a method of the same name hides them.
private let systemRead = read
private let systemWrite = write

/// A directory that goes away with the object, with all files in it.
final class TemporaryDirectory {
    let path: String

    struct Failure: Error {
        var operation: String
        var code: Int32
    }

    init() throws {
        var template = Array("/tmp/mvcc-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw Failure(operation: "mkdtemp", code: errno) }
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    deinit {
        guard let stream = opendir(path) else { return }
        while let entry = readdir(stream) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            unlink(path + "/" + name)
        }
        closedir(stream)
        rmdir(path)
    }

    /// Copies a file within the directory, as a crash at this moment would leave it; returns the copy's path.
    func copy(_ name: String) throws -> String {
        let bytes = try read(name)
        let target = path + "/" + name + "-copy"
        try write(bytes, to: name + "-copy")
        return target
    }

    func read(_ name: String) throws -> [UInt8] {
        let descriptor = open(path + "/" + name, O_RDONLY)
        guard descriptor >= 0 else { throw Failure(operation: "open", code: errno) }
        defer { close(descriptor) }
        var result: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            let count = systemRead(descriptor, &buffer, buffer.count)
            if count < 0 { throw Failure(operation: "read", code: errno) }
            if count == 0 { return result }
            result += buffer[..<count]
        }
    }

    func write(_ bytes: [UInt8], to name: String) throws { try put(bytes, in: name, O_TRUNC) }

    func append(_ bytes: [UInt8], to name: String) throws { try put(bytes, in: name, O_APPEND) }

    private func put(_ bytes: [UInt8], in name: String, _ flag: Int32) throws {
        let descriptor = open(path + "/" + name, O_WRONLY | O_CREAT | flag, 0o600)
        guard descriptor >= 0 else { throw Failure(operation: "open", code: errno) }
        defer { close(descriptor) }
        var done = 0
        while done < bytes.count {
            let count = bytes[done...].withUnsafeBytes { systemWrite(descriptor, $0.baseAddress, $0.count) }
            guard count > 0 else { throw Failure(operation: "write", code: errno) }
            done += count
        }
    }
}

extension LMDBOptions {
    /// No waiting for the disk, and a small map.
    static var forTests: LMDBOptions {
        var options = LMDBOptions()
        options.mapBytes = 1 << 30
        options.isSyncOff = true
        return options
    }
}
