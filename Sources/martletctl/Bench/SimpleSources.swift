import Client
import Primitives

/// W1: puts of values of one size.
final class PutSource: LoadSource {
    let operations = ["put"]
    private var keys: KeySpace
    private var values: ValuePool
    private let valueBytes: Int

    init(keys: KeySpace, valueBytes: Int, seed: UInt64) {
        self.keys = keys
        self.valueBytes = valueBytes
        values = ValuePool(sizeMax: valueBytes, seed: seed)
    }

    func next() -> LoadCall? {
        let message = RequestBytes.put(key: keys.key(keys.next()), value: values.next(size: valueBytes))
        return LoadCall(path: MethodPath.put, message: message, operation: 0)
    }

    func completed(_ call: LoadCall, reply: UnsafeRawBufferPointer) -> String? {
        ReplyReader.header(reply) == nil ? "malformed put response" : nil
    }
}

/// W2: reads of one key that exists.
final class RangeSource: LoadSource {
    let operations = ["range"]
    private var keys: KeySpace
    private let isSerializable: Bool

    init(keys: KeySpace, isSerializable: Bool) {
        self.keys = keys
        self.isSerializable = isSerializable
    }

    func next() -> LoadCall? {
        let message = RequestBytes.range(key: keys.key(keys.next()), isSerializable: isSerializable)
        return LoadCall(path: MethodPath.range, message: message, operation: 0)
    }

    func completed(_ call: LoadCall, reply: UnsafeRawBufferPointer) -> String? {
        guard let range = ReplyReader.range(reply) else { return "malformed range response" }
        return range.rows == 1 ? nil : "a key that was put is not there"
    }
}

/// Reads and writes in one stream, each in a transaction without compares, as the heat maps of etcd's own tools do:
/// ranges with a limit against puts.
final class MixedSource: LoadSource {
    let operations = ["txn-range", "txn-put"]
    private var keys: KeySpace
    private var values: ValuePool
    private let valueBytes: Int
    private let limit: Int
    private let isSerializable: Bool
    /// Reads for each write.
    private let readsPerWrite: Double
    private var generator: PRNG

    init(
        keys: KeySpace, valueBytes: Int, limit: Int, readsPerWrite: Double, isSerializable: Bool, seed: UInt64
    ) {
        self.keys = keys
        self.valueBytes = valueBytes
        self.limit = limit
        self.readsPerWrite = readsPerWrite
        self.isSerializable = isSerializable
        values = ValuePool(sizeMax: valueBytes, seed: seed)
        generator = PRNG(seed: seed ^ 0x5eed)
    }

    func next() -> LoadCall? {
        let isRead = Double.random(in: 0..<(readsPerWrite + 1), using: &generator) < readsPerWrite
        let key = keys.key(keys.next())
        if isRead {
            let range = RequestBytes.range(key: key, end: [0], limit: limit, isSerializable: isSerializable)
            return LoadCall(path: MethodPath.txn, message: RequestBytes.txn(range: range), operation: 0)
        }
        let put = RequestBytes.put(key: key, value: values.next(size: valueBytes))
        return LoadCall(path: MethodPath.txn, message: RequestBytes.txn(put: put), operation: 1)
    }

    func completed(_ call: LoadCall, reply: UnsafeRawBufferPointer) -> String? {
        ReplyReader.txn(reply)?.succeeded == true ? nil : "a transaction without compares did not succeed"
    }
}

/// W4: reads of a whole prefix in one answer.
final class ListSource: LoadSource {
    let operations = ["list"]
    private let message: [UInt8]
    private let rowsExpected: Int
    /// Bytes of all answers.
    private(set) var bytes = 0

    init(prefix: [UInt8], end: [UInt8], rowsExpected: Int, isSerializable: Bool) {
        message = RequestBytes.range(key: prefix, end: end, isSerializable: isSerializable)
        self.rowsExpected = rowsExpected
    }

    func next() -> LoadCall? { LoadCall(path: MethodPath.range, message: message, operation: 0) }

    func completed(_ call: LoadCall, reply: UnsafeRawBufferPointer) -> String? {
        bytes += reply.count
        guard let range = ReplyReader.range(reply) else { return "malformed range response" }
        if range.rows == rowsExpected, range.count == rowsExpected, !range.more { return nil }
        return "a list has \(range.rows) rows and counts \(range.count) instead of \(rowsExpected)"
    }
}

/// Fills a store: each of a sequence of keys once.
final class FillSource: LoadSource {
    let operations = ["put"]
    private let prefix: [UInt8]
    private let valueBytes: Int
    private var values: ValuePool
    private var numbers: Range<Int>

    /// Keys are `prefix` and eight digits for each of `numbers`.
    init(prefix: [UInt8], numbers: Range<Int>, valueBytes: Int, seed: UInt64) {
        self.prefix = prefix
        self.numbers = numbers
        self.valueBytes = valueBytes
        values = ValuePool(sizeMax: valueBytes, seed: seed)
    }

    func next() -> LoadCall? {
        guard let number = numbers.popFirst() else { return nil }
        let message = RequestBytes.put(key: Self.key(prefix, number), value: values.next(size: valueBytes))
        return LoadCall(path: MethodPath.put, message: message, operation: 0)
    }

    func completed(_ call: LoadCall, reply: UnsafeRawBufferPointer) -> String? {
        ReplyReader.header(reply) == nil ? "malformed put response" : nil
    }

    /// The key of one number.
    static func key(_ prefix: [UInt8], _ number: Int) -> [UInt8] {
        var key = prefix + [UInt8](repeating: 0, count: 8)
        key.withUnsafeMutableBytes { bytes in
            KeySpace.write(number, into: UnsafeMutableRawBufferPointer(rebasing: bytes[prefix.count...]))
        }
        return key
    }
}
