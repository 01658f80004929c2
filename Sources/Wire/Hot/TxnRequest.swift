/// `etcdserverpb.Compare` over borrowed bytes: one condition of a transaction.
package struct CompareView: WireEncodable {
    /// The `target_union`: what the stored attribute is compared with.
    package enum Operand {
        case none
        case version(Int64)
        case createRevision(Int64)
        case modRevision(Int64)
        case value(UnsafeRawBufferPointer)
        case lease(Int64)
    }

    /// 0 equal, 1 greater, 2 less, 3 not equal.
    package var result: Int32 = 0
    /// 0 version, 1 create revision, 2 mod revision, 3 value, 4 lease.
    package var target: Int32 = 0
    package var key: UnsafeRawBufferPointer = .empty
    package var operand: Operand = .none
    /// When not empty, the condition must hold for every key from `key` up to this one.
    package var rangeEnd: UnsafeRawBufferPointer = .empty

    @inlinable
    package init(
        result: Int32 = 0, target: Int32 = 0, key: UnsafeRawBufferPointer = .empty, operand: Operand = .none,
        rangeEnd: UnsafeRawBufferPointer = .empty
    ) {
        self.result = result
        self.target = target
        self.key = key
        self.operand = operand
        self.rangeEnd = rangeEnd
    }

    @inlinable
    package init(decoding bytes: UnsafeRawBufferPointer) throws(WireError) {
        var reader = ProtoReader(bytes)
        while let tag = try reader.nextField() {
            switch tag {
            case .varint(1): result = try reader.int32()
            case .varint(2): target = try reader.int32()
            case .bytes(3): key = try reader.bytes()
            case .varint(4): operand = .version(try reader.int64())
            case .varint(5): operand = .createRevision(try reader.int64())
            case .varint(6): operand = .modRevision(try reader.int64())
            case .bytes(7): operand = .value(try reader.bytes())
            case .varint(8): operand = .lease(try reader.int64())
            case .bytes(64): rangeEnd = try reader.bytes()
            default: try reader.skip(tag)
            }
        }
    }

    /// The operand when it is a version, else 0: etcd compares with the zero value when target and operand differ.
    @inlinable
    package var version: Int64 { if case .version(let number) = operand { number } else { 0 } }

    /// The operand when it is a create revision, else 0.
    @inlinable
    package var createRevision: Int64 { if case .createRevision(let number) = operand { number } else { 0 } }

    /// The operand when it is a mod revision, else 0.
    @inlinable
    package var modRevision: Int64 { if case .modRevision(let number) = operand { number } else { 0 } }

    /// The operand when it is a lease, else 0.
    @inlinable
    package var lease: Int64 { if case .lease(let number) = operand { number } else { 0 } }

    /// The operand when it is a value, else nil (which etcd answers with "false", not with an empty value).
    @inlinable
    package var value: UnsafeRawBufferPointer? { if case .value(let bytes) = operand { bytes } else { nil } }

    package var encodedSize: Int {
        let fixed = ProtoSize.int32(1, result) + ProtoSize.int32(2, target) + ProtoSize.bytes(3, count: key.count)
        let end = ProtoSize.bytes(64, count: rangeEnd.count)
        return switch operand {
        case .none: fixed + end
        case .version(let number): fixed + end + ProtoSize.uint64Always(4, UInt64(bitPattern: number))
        case .createRevision(let number): fixed + end + ProtoSize.uint64Always(5, UInt64(bitPattern: number))
        case .modRevision(let number): fixed + end + ProtoSize.uint64Always(6, UInt64(bitPattern: number))
        case .value(let bytes): fixed + end + ProtoSize.message(7, count: bytes.count)
        case .lease(let number): fixed + end + ProtoSize.uint64Always(8, UInt64(bitPattern: number))
        }
    }

    package func write(to writer: inout ProtoWriter) {
        writer.int32(1, result)
        writer.int32(2, target)
        writer.bytes(3, key)
        switch operand {
        case .none: break
        case .version(let number): writer.uint64Always(4, UInt64(bitPattern: number))
        case .createRevision(let number): writer.uint64Always(5, UInt64(bitPattern: number))
        case .modRevision(let number): writer.uint64Always(6, UInt64(bitPattern: number))
        case .value(let bytes): writer.message(7, bytes)
        case .lease(let number): writer.uint64Always(8, UInt64(bitPattern: number))
        }
        writer.bytes(64, rangeEnd)
    }
}

/// `etcdserverpb.RequestOp` over borrowed bytes: one operation of a transaction.
package enum RequestOpView: WireEncodable {
    /// No member of the oneof that we know; etcd refuses such a transaction.
    case empty
    case range(RangeRequestView)
    case put(PutRequestView)
    case deleteRange(DeleteRangeRequestView)
    case txn(TxnRequestView)

    /// `depth` counts the `TxnRequest` messages around this one.
    @usableFromInline
    init(decoding bytes: UnsafeRawBufferPointer, depth: Int) throws(WireError) {
        self = .empty
        var reader = ProtoReader(bytes)
        while let tag = try reader.nextField() {
            switch tag {
            case .bytes(1): self = .range(try RangeRequestView(decoding: try reader.bytes()))
            case .bytes(2): self = .put(try PutRequestView(decoding: try reader.bytes()))
            case .bytes(3): self = .deleteRange(try DeleteRangeRequestView(decoding: try reader.bytes()))
            case .bytes(4): self = .txn(try TxnRequestView(decoding: try reader.bytes(), depth: depth + 1))
            default: try reader.skip(tag)
            }
        }
    }

    package var encodedSize: Int {
        switch self {
        case .empty: 0
        case .range(let request): ProtoSize.message(1, request)
        case .put(let request): ProtoSize.message(2, request)
        case .deleteRange(let request): ProtoSize.message(3, request)
        case .txn(let request): ProtoSize.message(4, request)
        }
    }

    package func write(to writer: inout ProtoWriter) {
        switch self {
        case .empty: break
        case .range(let request): writer.message(1, request)
        case .put(let request): writer.message(2, request)
        case .deleteRange(let request): writer.message(3, request)
        case .txn(let request): writer.message(4, request)
        }
    }
}

/// `etcdserverpb.TxnRequest` over borrowed bytes. At most `ProtoLimits.txnDepthMax` may be nested.
package struct TxnRequestView: WireEncodable {
    package var compare: [CompareView] = []
    /// Run when every compare holds.
    package var success: [RequestOpView] = []
    /// Run otherwise.
    package var failure: [RequestOpView] = []

    package init(compare: [CompareView] = [], success: [RequestOpView] = [], failure: [RequestOpView] = []) {
        self.compare = compare
        self.success = success
        self.failure = failure
    }

    @inlinable
    package init(decoding bytes: UnsafeRawBufferPointer) throws(WireError) {
        try self.init(decoding: bytes, depth: 1)
    }

    @usableFromInline
    init(decoding bytes: UnsafeRawBufferPointer, depth: Int) throws(WireError) {
        if depth > ProtoLimits.txnDepthMax { throw .nestingTooDeep(offset: 0) }
        var reader = ProtoReader(bytes)
        while let tag = try reader.nextField() {
            switch tag {
            case .bytes(1): compare.append(try CompareView(decoding: try reader.bytes()))
            case .bytes(2): success.append(try RequestOpView(decoding: try reader.bytes(), depth: depth))
            case .bytes(3): failure.append(try RequestOpView(decoding: try reader.bytes(), depth: depth))
            default: try reader.skip(tag)
            }
        }
    }

    package var encodedSize: Int {
        var size = 0
        for one in compare { size += ProtoSize.message(1, one) }
        for one in success { size += ProtoSize.message(2, one) }
        for one in failure { size += ProtoSize.message(3, one) }
        return size
    }

    package func write(to writer: inout ProtoWriter) {
        for one in compare { writer.message(1, one) }
        for one in success { writer.message(2, one) }
        for one in failure { writer.message(3, one) }
    }
}
