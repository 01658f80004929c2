/// Messages written and read by hand, so that nothing of ours puts odd ones right.
enum RawMessage {
    static func varint(_ value: UInt64) -> [UInt8] {
        var bytes: [UInt8] = []
        var rest = value
        while rest > 0x7f {
            bytes.append(UInt8(rest & 0x7f) | 0x80)
            rest >>= 7
        }
        return bytes + [UInt8(rest)]
    }

    static func number(_ field: UInt64, _ value: Int64) -> [UInt8] {
        varint(field << 3) + varint(UInt64(bitPattern: value))
    }

    static func bytes(_ field: UInt64, _ body: [UInt8]) -> [UInt8] {
        varint(field << 3 | 2) + varint(UInt64(body.count)) + body
    }

    static func text(_ field: UInt64, _ text: String) -> [UInt8] { bytes(field, Array(text.utf8)) }

    /// Transactions in each other, `depth` of them, in field `branch`: 2 success, 3 failure. The innermost is `innermost`.
    static func nest(_ depth: Int, branch: UInt64 = 2, innermost: [UInt8] = []) -> [UInt8] {
        // From the inside out, at the end of a buffer that is turned round at last: no level is copied twice.
        var reversed = Array(innermost.reversed())
        for _ in 1..<depth {
            for field in [4, branch] as [UInt64] {
                reversed += (varint(field << 3 | 2) + varint(UInt64(reversed.count))).reversed()
            }
        }
        return reversed.reversed()
    }

    /// The fields of a message; nil when it is none.
    static func fields(_ message: [UInt8]) -> [(number: UInt64, value: Value)]? {
        var fields: [(number: UInt64, value: Value)] = []
        var rest = message[...]
        while !rest.isEmpty {
            guard let tag = takeVarint(&rest), let value = takeVarint(&rest) else { return nil }
            switch tag & 7 {
            case 0: fields.append((tag >> 3, .number(Int64(bitPattern: value))))
            case 2:
                guard value <= UInt64(rest.count) else { return nil }
                fields.append((tag >> 3, .bytes(Array(rest.prefix(Int(value))))))
                rest = rest.dropFirst(Int(value))
            default: return nil
            }
        }
        return fields
    }

    enum Value: CustomStringConvertible {
        case number(Int64)
        case bytes([UInt8])

        var description: String {
            switch self {
            case .number(let value): "\(value)"
            case .bytes(let bytes): bytes.count > 100 ? "\(bytes.count) bytes" : "\(bytes)"
            }
        }
    }

    private static func takeVarint(_ bytes: inout ArraySlice<UInt8>) -> UInt64? {
        var value: UInt64 = 0
        var shift: UInt64 = 0
        while let byte = bytes.popFirst() {
            value |= UInt64(byte & 0x7f) << shift
            if byte < 0x80 { return value }
            shift += 7
            if shift > 63 { return nil }
        }
        return nil
    }

    /// An answer as text: the header without what differs between two clusters, and without the fields in `masked`.
    static func describe(_ message: [UInt8], masked: Set<UInt64> = []) -> String {
        guard let fields = fields(message) else { return "no message: \(message)" }
        return fields.filter { !masked.contains($0.number) }.map { number, value in
            if number == 1, case .bytes(let body) = value, let header = self.fields(body) {
                let revision = header.first { $0.number == 3 }
                return "header(revision \(revision.map { "\($0.value)" } ?? "0"))"
            }
            return "\(number): \(value)"
        }.joined(separator: ", ")
    }
}
