import NIOCore
import Primitives

/// What a request's headers said. Filled field by field as nghttp2 decodes them; the common ones cost no allocation.
/// A class of its own, because a struct inside the call would have every access checked for exclusivity at run time.
/// Owner: the call.
final class RequestHead {
    enum Encoding: UInt8 { case identity, gzip, unknown }

    /// Sum over the fields as RFC 9113, 6.5.2 counts it.
    var listBytes = 0
    var isOverLimit = false
    /// A field that RFC 9113, 8.2 and 8.3 forbid. Checked here and not by nghttp2, which also refuses the `:authority` that
    /// Go's gRPC sends when it is given a URL for an address.
    private(set) var isMalformed = false
    private var pseudoFields: UInt8 = 0
    private var hasPlainFields = false
    var isPost = false
    var isGRPC = false
    var hasMethodPath = false
    var encoding = Encoding.identity
    var acceptsGzip = false
    /// What `client-api-version` says, the header by which etcd's clients name the API they speak.
    private(set) var clientVersion = ClientVersion.unknown
    var hasTimeout = false
    var timeout: TimeAmount?
    /// `:method`, `:path` and `content-type`, kept only where they are not what a good call has.
    var methodName: [UInt8] = []
    var path: [UInt8] = []
    var contentType: [UInt8] = []
    var encodingName: [UInt8] = []
    var authority: [UInt8] = []
    /// Other fields: two bytes of name length, four of value length (native order), name, value.
    private var fields = RawBuffer()

    func clear() {
        listBytes = 0
        isOverLimit = false
        isMalformed = false
        pseudoFields = 0
        hasPlainFields = false
        isPost = false
        isGRPC = false
        hasMethodPath = false
        encoding = .identity
        acceptsGzip = false
        clientVersion = .unknown
        hasTimeout = false
        timeout = nil
        if !methodName.isEmpty { methodName = [] }
        if !path.isEmpty { path = [] }
        if !contentType.isEmpty { contentType = [] }
        if !encodingName.isEmpty { encodingName = [] }
        authority.removeAll(keepingCapacity: authority.capacity <= 256)
        fields.clear(capacityKept: 1024)
    }

    func append(name: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer) {
        let room = fields.reserve(6 + name.count + value.count)
        room.storeBytes(of: UInt16(truncatingIfNeeded: name.count), as: UInt16.self)
        room.storeBytes(of: UInt32(truncatingIfNeeded: value.count), toByteOffset: 2, as: UInt32.self)
        UnsafeMutableRawBufferPointer(rebasing: room[6...]).copyMemory(from: name)
        UnsafeMutableRawBufferPointer(rebasing: room[(6 + name.count)...]).copyMemory(from: value)
        fields.commit(6 + name.count + value.count)
    }

    func value(_ name: UnsafeRawBufferPointer) -> String? {
        var found: String?
        forEachField { field, value in
            guard compareBytes(field, name) == 0 else { return true }
            found = String(decoding: value, as: UTF8.self)
            return false
        }
        return found
    }

    /// All fields in order, as text.
    var fieldList: [(name: String, value: String)] {
        var list: [(name: String, value: String)] = []
        forEachField { name, value in
            list.append((String(decoding: name, as: UTF8.self), String(decoding: value, as: UTF8.self)))
            return true
        }
        return list
    }

    /// Stops when `body` returns false.
    private func forEachField(_ body: (UnsafeRawBufferPointer, UnsafeRawBufferPointer) -> Bool) {
        var rest = fields.readable
        while rest.count >= 6 {
            let nameCount = Int(rest.loadUnaligned(as: UInt16.self))
            let valueCount = Int(rest.loadUnaligned(fromByteOffset: 2, as: UInt32.self))
            let name = UnsafeRawBufferPointer(rebasing: rest[6..<6 + nameCount])
            let value = UnsafeRawBufferPointer(rebasing: rest[6 + nameCount..<6 + nameCount + valueCount])
            guard body(name, value) else { return }
            rest = UnsafeRawBufferPointer(rebasing: rest[(6 + nameCount + valueCount)...])
        }
    }

    // MARK: Decoding

    /// All fields are in. False: a request that HTTP/2 does not know, to be reset.
    func isComplete() -> Bool {
        let needed = Pseudo.method | Pseudo.scheme | Pseudo.path
        return !isMalformed && pseudoFields & needed == needed
    }

    /// One bit for each pseudo-header field of a request.
    private enum Pseudo {
        static let method: UInt8 = 1
        static let scheme: UInt8 = 2
        static let path: UInt8 = 4
        static let authority: UInt8 = 8
    }

    /// Notes a pseudo-header field: each once, and before all others.
    private func note(_ field: UInt8) {
        if pseudoFields & field != 0 || hasPlainFields { isMalformed = true }
        pseudoFields |= field
    }

    /// A field that is none of the well-known ones: an unknown pseudo-header field, capitals, or one that belongs to
    /// HTTP/1.1 make the request malformed.
    private func checkOther(_ name: UnsafeRawBufferPointer) {
        let isCapital = name.contains { $0 >= UInt8(ascii: "A") && $0 <= UInt8(ascii: "Z") }
        if name.first == UInt8(ascii: ":") || name.count == 0 || isCapital || name.equals("connection")
            || name.equals("transfer-encoding") || name.equals("upgrade") || name.equals("keep-alive")
            || name.equals("proxy-connection")
        {
            isMalformed = true
        }
    }

    /// Takes one field of the request.
    func add(
        name: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer, listBytesMax: Int,
        resolve: (UnsafeRawBufferPointer) -> Bool
    ) {
        listBytes += name.count + value.count + 32
        guard listBytes <= listBytesMax, name.count < 65536 else {
            isOverLimit = true
            return
        }
        if name.first != UInt8(ascii: ":") { hasPlainFields = true }
        switch name.count {
        case 2 where name.equals("te"): break
        case 5 where name.equals(":path"):
            note(Pseudo.path)
            hasMethodPath = resolve(value)
            if !hasMethodPath { path = Array(value) }
        case 7 where name.equals(":method"):
            note(Pseudo.method)
            isPost = value.equals("POST")
            if !isPost { methodName = Array(value) }
        case 7 where name.equals(":scheme"): note(Pseudo.scheme)
        case 10 where name.equals(":authority"):
            note(Pseudo.authority)
            authority.append(contentsOf: value)
        case 12 where name.equals("content-type"):
            isGRPC = Self.isGRPCContentType(value)
            if !isGRPC {
                contentType = Array(value)
                append(name: name, value: value)
            }
        case 12 where name.equals("grpc-timeout"):
            hasTimeout = true
            timeout = GRPCTimeout.parse(value)
        case 13 where name.equals("grpc-encoding"):
            if value.equals("gzip") {
                encoding = .gzip
            } else if value.equals("identity") {
                encoding = .identity
            } else {
                encoding = .unknown
                encodingName = Array(value)
            }
        case 18 where name.equals("client-api-version"): clientVersion = ClientVersion(value)
        case 20 where name.equals("grpc-accept-encoding"): acceptsGzip = Self.lists("gzip", value)
        default:
            checkOther(name)
            append(name: name, value: value)
        }
    }

    private static func isGRPCContentType(_ value: UnsafeRawBufferPointer) -> Bool {
        guard value.count >= 16, UnsafeRawBufferPointer(rebasing: value[..<16]).equals("application/grpc") else {
            return false
        }
        return value.count == 16 || value[16] == UInt8(ascii: "+") || value[16] == UInt8(ascii: ";")
    }

    /// Whether a comma-separated list holds `word`.
    private static func lists(_ word: StaticString, _ value: UnsafeRawBufferPointer) -> Bool {
        for part in value.split(separator: UInt8(ascii: ",")) {
            var part = part
            while part.first == 0x20 { part = part.dropFirst() }
            while part.last == 0x20 { part = part.dropLast() }
            if UnsafeRawBufferPointer(rebasing: part).equals(word) { return true }
        }
        return false
    }
}

extension UnsafeRawBufferPointer {
    @inline(__always)
    func equals(_ text: StaticString) -> Bool {
        compareBytes(self, UnsafeRawBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount)) == 0
    }
}
