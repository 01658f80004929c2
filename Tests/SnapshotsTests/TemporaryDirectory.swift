#if canImport(Musl)
import Musl
#else
import Glibc
#endif

/// A directory that goes away with the object, with all files in it.
final class TemporaryDirectory {
    let path: String

    struct Failure: Error {
        var code: Int32
    }

    init() throws {
        var template = Array("/tmp/snapshots-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw Failure(code: errno) }
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
}
