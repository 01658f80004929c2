/// Encoded requests of the workloads. A load generator must not cost more than the server it measures, so these are
/// written directly and not through message types.
package enum RequestBytes {
    /// A `PutRequest`.
    package static func put(key: [UInt8], value: some Collection<UInt8>, lease: Int64 = 0) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(key.count + value.count + 24)
        append(1, key, to: &bytes)
        append(2, value, to: &bytes)
        append(3, varint: UInt64(bitPattern: lease), to: &bytes)
        return bytes
    }

    /// A `RangeRequest`. `limit` and `revision` 0 as in the protocol.
    package static func range(
        key: [UInt8], end: [UInt8] = [], limit: Int = 0, revision: Int64 = 0, isSerializable: Bool = false,
        isCountOnly: Bool = false
    ) -> [UInt8] {
        var bytes: [UInt8] = []
        append(1, key, to: &bytes)
        append(2, end, to: &bytes)
        append(3, varint: UInt64(limit), to: &bytes)
        append(4, varint: UInt64(bitPattern: revision), to: &bytes)
        append(7, varint: isSerializable ? 1 : 0, to: &bytes)
        append(9, varint: isCountOnly ? 1 : 0, to: &bytes)
        return bytes
    }

    /// A `TxnRequest` as the Kubernetes API server writes one: put when the key's mod revision is `expected` (0: the
    /// key does not exist), else, unless it is a creation, read the key.
    package static func optimisticPut(key: [UInt8], value: some Collection<UInt8>, expected: Int64) -> [UInt8] {
        txn(
            key: key, expected: expected, success: (2, put(key: key, value: value)),
            failure: expected == 0 ? nil : range(key: key))
    }

    /// A `TxnRequest` that deletes the key when its mod revision is `expected`, else reads it.
    package static func optimisticDelete(key: [UInt8], expected: Int64) -> [UInt8] {
        txn(key: key, expected: expected, success: (3, delete(key: key)), failure: range(key: key))
    }

    /// A `DeleteRangeRequest`.
    package static func delete(key: [UInt8], end: [UInt8] = []) -> [UInt8] {
        var bytes: [UInt8] = []
        append(1, key, to: &bytes)
        append(2, end, to: &bytes)
        return bytes
    }

    /// A `TxnRequest` without compares whose only operation is the encoded `RangeRequest`.
    package static func txn(range: [UInt8]) -> [UInt8] { unconditional(field: 1, range) }

    /// A `TxnRequest` without compares whose only operation is the encoded `PutRequest`.
    package static func txn(put: [UInt8]) -> [UInt8] { unconditional(field: 2, put) }

    private static func unconditional(field: UInt32, _ body: [UInt8]) -> [UInt8] {
        var operation: [UInt8] = []
        appendMessage(field, body, to: &operation)
        var bytes: [UInt8] = []
        appendMessage(2, operation, to: &bytes)
        return bytes
    }

    /// A `WatchRequest` that asks how far the watches of the stream are.
    package static func watchProgress() -> [UInt8] {
        var bytes: [UInt8] = []
        appendMessage(3, [], to: &bytes)
        return bytes
    }

    /// A `WatchRequest` that creates a watch.
    package static func watch(
        key: [UInt8], end: [UInt8], startRevision: Int64, withPrevious: Bool, progressNotify: Bool, watchID: Int64 = 0
    ) -> [UInt8] {
        var create: [UInt8] = []
        append(1, key, to: &create)
        append(2, end, to: &create)
        append(3, varint: UInt64(bitPattern: startRevision), to: &create)
        append(4, varint: progressNotify ? 1 : 0, to: &create)
        append(6, varint: withPrevious ? 1 : 0, to: &create)
        append(7, varint: UInt64(bitPattern: watchID), to: &create)
        var bytes: [UInt8] = []
        appendMessage(1, create, to: &bytes)
        return bytes
    }

    private static func txn(
        key: [UInt8], expected: Int64, success: (field: UInt32, body: [UInt8]), failure: [UInt8]?
    ) -> [UInt8] {
        var compare: [UInt8] = []
        append(2, varint: 2, to: &compare)  // target: MOD; the result EQUAL is 0
        append(3, key, to: &compare)
        appendVarint(6 << 3, to: &compare)  // a member of a oneof is written even when it is 0
        appendVarint(UInt64(bitPattern: expected), to: &compare)
        var bytes: [UInt8] = []
        bytes.reserveCapacity(compare.count + success.body.count + 64)
        appendMessage(1, compare, to: &bytes)
        var operation: [UInt8] = []
        appendMessage(success.field, success.body, to: &operation)
        appendMessage(2, operation, to: &bytes)
        if let failure {
            operation.removeAll()
            appendMessage(1, failure, to: &operation)
            appendMessage(3, operation, to: &bytes)
        }
        return bytes
    }

    private static func append(_ field: UInt32, _ value: some Collection<UInt8>, to bytes: inout [UInt8]) {
        if value.isEmpty { return }
        appendVarint(UInt64(field << 3 | 2), to: &bytes)
        appendVarint(UInt64(value.count), to: &bytes)
        bytes += value
    }

    private static func appendMessage(_ field: UInt32, _ value: [UInt8], to bytes: inout [UInt8]) {
        appendVarint(UInt64(field << 3 | 2), to: &bytes)
        appendVarint(UInt64(value.count), to: &bytes)
        bytes += value
    }

    private static func append(_ field: UInt32, varint value: UInt64, to bytes: inout [UInt8]) {
        if value == 0 { return }
        appendVarint(UInt64(field << 3), to: &bytes)
        appendVarint(value, to: &bytes)
    }

    private static func appendVarint(_ value: UInt64, to bytes: inout [UInt8]) {
        var rest = value
        while rest >= 0x80 {
            bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        bytes.append(UInt8(rest))
    }
}
