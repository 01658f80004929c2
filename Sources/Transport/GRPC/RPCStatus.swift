/// A gRPC status code; the numbers are on the wire.
package enum RPCCode: Int, Sendable, CaseIterable {
    case ok = 0
    case cancelled, unknown, invalidArgument, deadlineExceeded, notFound, alreadyExists, permissionDenied
    case resourceExhausted, failedPrecondition, aborted, outOfRange, unimplemented, `internal`, unavailable
    case dataLoss, unauthenticated
}

/// How a call ended: a code, and a text that etcd's clients compare to the letter.
package struct RPCStatus: Error, Sendable, Hashable, CustomStringConvertible {
    package var code: RPCCode
    package var message: String

    package init(_ code: RPCCode, _ message: String = "") {
        self.code = code
        self.message = message
    }

    package static let ok = RPCStatus(.ok)
    package var isOK: Bool { code == .ok }
    package var description: String { "\(code)(\(code.rawValue)): \(message)" }
}

/// `grpc-message` on the wire: bytes 0x20...0x7e but `%` stand for themselves, all others are `%XX` of the UTF-8.
enum PercentEncoding {
    static func encode(_ text: String) -> String {
        let plain = text.utf8.allSatisfy { $0 >= 0x20 && $0 <= 0x7e && $0 != UInt8(ascii: "%") }
        // nghttp2 refuses a field value that begins or ends with a space.
        if plain, text.utf8.first != 0x20, text.utf8.last != 0x20 { return text }
        let digits = Array("0123456789ABCDEF".utf8)
        var bytes: [UInt8] = []
        bytes.reserveCapacity(text.utf8.count + 16)
        for byte in text.utf8 {
            if byte > 0x20, byte <= 0x7e, byte != UInt8(ascii: "%") {
                bytes.append(byte)
            } else {
                bytes.append(UInt8(ascii: "%"))
                bytes.append(digits[Int(byte >> 4)])
                bytes.append(digits[Int(byte & 15)])
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    /// Never fails: what is not a good `%XX` stands for itself.
    static func decode(_ bytes: UnsafeRawBufferPointer) -> String {
        var decoded: [UInt8] = []
        decoded.reserveCapacity(bytes.count)
        var index = 0
        while index < bytes.count {
            if bytes[index] == UInt8(ascii: "%"), index + 2 < bytes.count,
                let high = hexDigit(bytes[index + 1]), let low = hexDigit(bytes[index + 2])
            {
                decoded.append(high << 4 | low)
                index += 3
            } else {
                decoded.append(bytes[index])
                index += 1
            }
        }
        return String(decoding: decoded, as: UTF8.self)
    }

    private static func hexDigit(_ byte: UInt8) -> UInt8? {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
        default: nil
        }
    }
}
