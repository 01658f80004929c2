/// What can be told of a stored object without knowing its kind: its type and metadata, from JSON or from the protobuf
/// envelope in which API servers store built-in kinds.
///
/// Source: Kubernetes' `runtime.Unknown` (fields: 1 type { 1 apiVersion, 2 kind }, 2 raw), whose raw message has its
/// `ObjectMeta` in field 1 (fields: 1 name, 3 namespace, 5 uid, 7 generation, 8 created { 1 seconds }, 11 labels,
/// 12 annotations).
public struct ObjectHeader: Sendable, Hashable {
    /// How the object is encoded.
    public enum Encoding: String, Sendable, Hashable {
        case json
        case protobuf
    }

    public let encoding: Encoding
    public private(set) var apiVersion = ""
    public private(set) var kind = ""
    public private(set) var name = ""
    public private(set) var namespace: String?
    public private(set) var uid: String?
    public private(set) var generation: Int64?
    /// Seconds since 1970, where the object says when it was created.
    public private(set) var creationSeconds: Int64?
    public private(set) var labels: [String: String] = [:]
    public private(set) var annotations: [String: String] = [:]

    /// The four bytes in front of an API server's protobuf.
    package static let protobufMagic: [UInt8] = [0x6b, 0x38, 0x73, 0]

    /// Whether bytes are an API server's protobuf.
    package static func isProtobuf(_ bytes: [UInt8]) -> Bool { bytes.starts(with: protobufMagic) }

    /// Nil where the bytes are neither an object in JSON nor an API server's protobuf.
    public init?(_ bytes: [UInt8]) {
        if Self.isProtobuf(bytes) {
            encoding = .protobuf
            guard readEnvelope(bytes[4...]) else { return nil }
        } else {
            guard let value = try? JSONValue(parsing: bytes), value.object != nil else { return nil }
            encoding = .json
            read(Unstructured(fields: value.object ?? [:]))
        }
    }

    private mutating func read(_ object: Unstructured) {
        apiVersion = object.apiVersion
        kind = object.kind
        name = object.name
        namespace = object.namespace
        uid = object.uid
        generation = object.generation
        labels = object.labels
        annotations = object.annotations
        creationSeconds = object.creationTimestamp.flatMap(Self.seconds(parsing:))
    }

    private mutating func readEnvelope(_ bytes: ArraySlice<UInt8>) -> Bool {
        var raw: ArraySlice<UInt8> = []
        let isWhole = ProtobufFields.forEach(in: bytes) { number, field in
            guard case .bytes(let content) = field else { return true }
            if number == 2 { raw = content }
            guard number == 1 else { return true }
            return ProtobufFields.forEach(in: content) { number, field in
                if number == 1 { apiVersion = field.text ?? apiVersion }
                if number == 2 { kind = field.text ?? kind }
                return true
            }
        }
        guard isWhole else { return false }
        return ProtobufFields.forEach(in: raw) { number, field in
            // Whatever has no metadata in field 1, such as a Status, simply shows none.
            if number == 1, case .bytes(let content) = field { _ = readMetadata(content) }
            return number != 1
        }
    }

    private mutating func readMetadata(_ bytes: ArraySlice<UInt8>) -> Bool {
        ProtobufFields.forEach(in: bytes) { number, field in
            switch (number, field) {
            case (1, .bytes): name = field.text ?? name
            case (3, .bytes): namespace = field.text.flatMap { $0.isEmpty ? nil : $0 }
            case (5, .bytes): uid = field.text.flatMap { $0.isEmpty ? nil : $0 }
            case (7, .number(let value)): generation = Int64(bitPattern: value)
            case (8, .bytes(let time)):
                _ = ProtobufFields.forEach(in: time) { number, field in
                    if number == 1, case .number(let value) = field { creationSeconds = Int64(bitPattern: value) }
                    return true
                }
            case (11, .bytes(let entry)): Self.readEntry(entry, into: &labels)
            case (12, .bytes(let entry)): Self.readEntry(entry, into: &annotations)
            default: break
            }
            return true
        }
    }

    private static func readEntry(_ bytes: ArraySlice<UInt8>, into map: inout [String: String]) {
        var key = ""
        var value = ""
        _ = ProtobufFields.forEach(in: bytes) { number, field in
            if number == 1 { key = field.text ?? "" }
            if number == 2 { value = field.text ?? "" }
            return true
        }
        map[key] = value
    }

    /// Seconds since 1970 of `2026-01-31T12:00:00Z`; nil for another form.
    private static func seconds(parsing text: String) -> Int64? {
        let parts = text.split { "-T:Z".contains($0) }.map { Int64($0.prefix { $0.isNumber }) }
        guard text.hasSuffix("Z"), parts.count == 6, let year = parts[0], let month = parts[1], let day = parts[2],
            let hour = parts[3], let minute = parts[4], let second = parts[5], 1...12 ~= month, 1...31 ~= day,
            0...9999 ~= year
        else { return nil }
        // Days since 1970 by years that begin in March, so that the day that leaps is a year's last.
        let shifted = month > 2 ? year : year - 1
        let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
        let days = 365 * shifted + shifted / 4 - shifted / 100 + shifted / 400 + dayOfYear - 719_468
        return days * 86_400 + hour * 3600 + minute * 60 + second
    }
}

/// The fields of a protobuf message. Source: the protobuf encoding.
enum ProtobufFields {
    enum Field {
        case number(UInt64)
        case bytes(ArraySlice<UInt8>)

        /// The bytes as text; nil for a number or what is not UTF-8.
        var text: String? {
            if case .bytes(let bytes) = self { return String(validating: bytes, as: UTF8.self) }
            return nil
        }
    }

    /// Hands over each field until `body` answers false. False when the message is malformed.
    static func forEach(in message: ArraySlice<UInt8>, _ body: (Int, Field) -> Bool) -> Bool {
        var rest = message
        while !rest.isEmpty {
            guard let tag = varint(&rest), tag >> 3 > 0, tag >> 3 < 1 << 29 else { return false }
            let field: Field
            switch tag & 7 {
            case 0:
                guard let value = varint(&rest) else { return false }
                field = .number(value)
            case 1, 5:
                let width = tag & 7 == 1 ? 8 : 4
                guard rest.count >= width else { return false }
                field = .number(rest.prefix(width).reversed().reduce(0) { $0 << 8 | UInt64($1) })
                rest = rest.dropFirst(width)
            case 2:
                guard let length = varint(&rest), length <= UInt64(rest.count) else { return false }
                field = .bytes(rest.prefix(Int(length)))
                rest = rest.dropFirst(Int(length))
            default: return false
            }
            if !body(Int(tag >> 3), field) { return true }
        }
        return true
    }

    private static func varint(_ bytes: inout ArraySlice<UInt8>) -> UInt64? {
        var value: UInt64 = 0
        for shift in stride(from: UInt64(0), through: 63, by: 7) {
            guard let byte = bytes.popFirst() else { return nil }
            value |= UInt64(byte & 0x7f) << shift
            if byte < 0x80 { return value }
        }
        return nil
    }
}
