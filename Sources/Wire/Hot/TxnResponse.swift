/// `etcdserverpb.ResponseOp`: the answer to one operation of a transaction.
///
/// What etcd 3.5 and 3.6 put into the headers within (`server/etcdserver/txn/txn.go`), which clients can see:
/// - range, put and delete carry a header with the revision alone: the one the store had reached by then, that is the
///   transaction's own as soon as it has changed anything, else the one before;
/// - a nested transaction carries a header that is present but empty;
/// - only the outermost header is filled by the server.
package enum ResponseOpModel: WireEncodable, Equatable, Sendable {
    case range(RangeResponse)
    case put(PutResponse)
    case deleteRange(DeleteRangeResponse)
    case txn(TxnResponse)

    package var encodedSize: Int {
        switch self {
        case .range(let response): ProtoSize.message(1, response)
        case .put(let response): ProtoSize.message(2, response)
        case .deleteRange(let response): ProtoSize.message(3, response)
        case .txn(let response): ProtoSize.message(4, response)
        }
    }

    package func write(to writer: inout ProtoWriter) {
        switch self {
        case .range(let response): writer.message(1, response)
        case .put(let response): writer.message(2, response)
        case .deleteRange(let response): writer.message(3, response)
        case .txn(let response): writer.message(4, response)
        }
    }
}

/// `etcdserverpb.TxnResponse`. A nested one takes the default header (see `ResponseOpModel`).
///
/// Sizes of nested messages are computed anew at each level: the work is nodes x depth, and both are bounded by the
/// request (`ProtoLimits.txnDepthMax`).
package struct TxnResponse: WireEncodable, Equatable, Sendable {
    package var header: ResponseHeader
    /// Every compare held, so the success operations ran.
    package var succeeded: Bool
    package var responses: [ResponseOpModel]

    package init(header: ResponseHeader = ResponseHeader(), succeeded: Bool, responses: [ResponseOpModel] = []) {
        self.header = header
        self.succeeded = succeeded
        self.responses = responses
    }

    package var encodedSize: Int {
        var size = ProtoSize.message(1, header) + ProtoSize.bool(2, succeeded)
        for response in responses { size += ProtoSize.message(3, response) }
        return size
    }

    package func write(to writer: inout ProtoWriter) {
        writer.message(1, header)
        writer.bool(2, succeeded)
        for response in responses { writer.message(3, response) }
    }
}

/// `etcdserverpb.ResponseOp` over borrowed bytes, for clients.
package enum ResponseOpView {
    /// No member of the oneof that we know.
    case empty
    case range(RangeResponseView)
    case put(PutResponseView)
    case deleteRange(DeleteRangeResponseView)
    case txn(TxnResponseView)

    /// `depth` counts the `TxnResponse` messages around this one.
    init(decoding bytes: UnsafeRawBufferPointer, depth: Int) throws(WireError) {
        self = .empty
        var reader = ProtoReader(bytes)
        while let tag = try reader.nextField() {
            switch tag {
            case .bytes(1): self = .range(try RangeResponseView(decoding: try reader.bytes()))
            case .bytes(2): self = .put(try PutResponseView(decoding: try reader.bytes()))
            case .bytes(3): self = .deleteRange(try DeleteRangeResponseView(decoding: try reader.bytes()))
            case .bytes(4): self = .txn(try TxnResponseView(decoding: try reader.bytes(), depth: depth + 1))
            default: try reader.skip(tag)
            }
        }
    }
}

/// `etcdserverpb.TxnResponse` over borrowed bytes, for clients. At most `ProtoLimits.txnDepthMax` may be nested.
package struct TxnResponseView {
    package var header = ResponseHeader()
    package var succeeded = false
    package var responses: [ResponseOpView] = []

    package init(decoding bytes: UnsafeRawBufferPointer) throws(WireError) {
        try self.init(decoding: bytes, depth: 1)
    }

    init(decoding bytes: UnsafeRawBufferPointer, depth: Int) throws(WireError) {
        if depth > ProtoLimits.txnDepthMax { throw .nestingTooDeep(offset: 0) }
        var reader = ProtoReader(bytes)
        while let tag = try reader.nextField() {
            switch tag {
            case .bytes(1): header = try ResponseHeader(decoding: try reader.bytes())
            case .varint(2): succeeded = try reader.bool()
            case .bytes(3): responses.append(try ResponseOpView(decoding: try reader.bytes(), depth: depth))
            default: try reader.skip(tag)
            }
        }
    }
}
