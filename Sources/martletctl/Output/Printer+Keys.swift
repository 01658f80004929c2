package import Wire

/// What `get` prints of each record in the simple format.
package enum RecordParts: Sendable {
    case keyAndValue
    /// `--print-value-only`
    case valueOnly
}

extension Printer {
    /// The answer of `get`.
    package func range(
        _ response: Etcdserverpb_RangeResponse, parts: RecordParts = .keyAndValue
    ) throws(CommandError) -> [UInt8] {
        try print(
            response, simple: { simpleRange(response, parts: parts, into: &$0) },
            json: { $0.range(response) }, fields: { fieldsRange(response, into: &$0) })
    }

    /// The answer of `put`.
    package func put(_ response: Etcdserverpb_PutResponse) throws(CommandError) -> [UInt8] {
        try print(
            response, simple: { simplePut(response, into: &$0) }, json: { $0.put(response) },
            fields: { fieldsPut(response, into: &$0) })
    }

    /// The answer of `del`.
    package func delete(_ response: Etcdserverpb_DeleteRangeResponse) throws(CommandError) -> [UInt8] {
        try print(
            response, simple: { simpleDelete(response, into: &$0) }, json: { $0.delete(response) },
            fields: { fieldsDelete(response, into: &$0) })
    }

    /// The answer of `txn`.
    package func txn(_ response: Etcdserverpb_TxnResponse) throws(CommandError) -> [UInt8] {
        try print(
            response, simple: { simpleTxn(response, into: &$0) }, json: { $0.txn(response) },
            fields: { fieldsTxn(response, into: &$0) })
    }

    /// One message of a watch. Each event begins with its kind; `simple` prints no line for a message without events.
    package func watch(_ response: Etcdserverpb_WatchResponse) throws(CommandError) -> [UInt8] {
        try print(
            response,
            simple: { text in
                for event in response.events {
                    text.line(Self.kind(event))
                    if event.hasPrevKv { simpleRecord(event.prevKv, into: &text) }
                    simpleRecord(event.kv, into: &text)
                }
            },
            json: { $0.watch(response) },
            fields: { text in
                text.header(response.header)
                for event in response.events {
                    text.field("Type", Self.kind(event))
                    if event.hasPrevKv { text.record(event.prevKv, prefix: "Prev") }
                    text.record(event.kv)
                }
            })
    }

    static func kind(_ event: Mvccpb_Event) -> String { event.type == .delete ? "DELETE" : "PUT" }

    // MARK: Simple

    private func simpleRecord(
        _ record: Mvccpb_KeyValue, parts: RecordParts = .keyAndValue, into text: inout Text
    ) {
        if parts != .valueOnly {
            if isHex { text.line(GoText.escapedHex(record.key)) } else { text.line(raw: record.key) }
        }
        if isHex { text.line(GoText.escapedHex(record.value)) } else { text.line(raw: record.value) }
    }

    private func simpleRange(
        _ response: Etcdserverpb_RangeResponse, parts: RecordParts = .keyAndValue, into text: inout Text
    ) {
        for record in response.kvs { simpleRecord(record, parts: parts, into: &text) }
    }

    private func simplePut(_ response: Etcdserverpb_PutResponse, into text: inout Text) {
        text.line("OK")
        if response.hasPrevKv { simpleRecord(response.prevKv, into: &text) }
    }

    private func simpleDelete(_ response: Etcdserverpb_DeleteRangeResponse, into text: inout Text) {
        text.line("\(response.deleted)")
        for record in response.prevKvs { simpleRecord(record, into: &text) }
    }

    private func simpleTxn(_ response: Etcdserverpb_TxnResponse, into text: inout Text) {
        text.line(response.succeeded ? "SUCCESS" : "FAILURE")
        for operation in response.responses {
            text.line()
            switch operation.response {
            case .responseRange(let range): simpleRange(range, into: &text)
            case .responsePut(let put): simplePut(put, into: &text)
            case .responseDeleteRange(let delete): simpleDelete(delete, into: &text)
            case .responseTxn(let txn): simpleTxn(txn, into: &text)
            case nil: break
            }
        }
    }

    // MARK: Fields

    private func fieldsRange(_ response: Etcdserverpb_RangeResponse, into text: inout Text) {
        text.header(response.header)
        for record in response.kvs { text.record(record) }
        text.field("More", response.more)
        text.field("Count", response.count)
    }

    private func fieldsPut(_ response: Etcdserverpb_PutResponse, into text: inout Text) {
        text.header(response.header)
        if response.hasPrevKv { text.record(response.prevKv, prefix: "Prev") }
    }

    private func fieldsDelete(_ response: Etcdserverpb_DeleteRangeResponse, into text: inout Text) {
        text.header(response.header)
        text.field("Deleted", response.deleted)
        for record in response.prevKvs { text.record(record, prefix: "Prev") }
    }

    private func fieldsTxn(_ response: Etcdserverpb_TxnResponse, into text: inout Text) {
        text.header(response.header)
        text.field("Succeeded", response.succeeded)
        for operation in response.responses {
            switch operation.response {
            case .responseRange(let range): fieldsRange(range, into: &text)
            case .responsePut(let put): fieldsPut(put, into: &text)
            case .responseDeleteRange(let delete): fieldsDelete(delete, into: &text)
            case .responseTxn(let txn): fieldsTxn(txn, into: &text)
            case nil: break
            }
        }
    }
}

extension JSONText {
    fileprivate mutating func records(_ name: String, _ records: [Mvccpb_KeyValue]) {
        if records.isEmpty { return }
        field(name, array: { json in for record in records { json.record(record) } })
    }

    fileprivate mutating func range(_ response: Etcdserverpb_RangeResponse) {
        object { json in
            json.header(response.header, isPresent: response.hasHeader)
            json.records("kvs", response.kvs)
            json.field("more", unlessFalse: response.more)
            json.field("count", unlessZero: response.count)
        }
    }

    fileprivate mutating func put(_ response: Etcdserverpb_PutResponse) {
        object { json in
            json.header(response.header, isPresent: response.hasHeader)
            if response.hasPrevKv {
                json.name("prev_kv")
                json.record(response.prevKv)
            }
        }
    }

    fileprivate mutating func delete(_ response: Etcdserverpb_DeleteRangeResponse) {
        object { json in
            json.header(response.header, isPresent: response.hasHeader)
            json.field("deleted", unlessZero: response.deleted)
            json.records("prev_kvs", response.prevKvs)
        }
    }

    fileprivate mutating func txn(_ response: Etcdserverpb_TxnResponse) {
        object { json in
            json.header(response.header, isPresent: response.hasHeader)
            json.field("succeeded", unlessFalse: response.succeeded)
            if response.responses.isEmpty { return }
            json.field(
                "responses",
                array: { json in
                    for operation in response.responses {
                        json.object { $0.field("Response", object: { $0.operation(operation) }) }
                    }
                })
        }
    }

    private mutating func operation(_ operation: Etcdserverpb_ResponseOp) {
        switch operation.response {
        case .responseRange(let range):
            name("response_range")
            self.range(range)
        case .responsePut(let put):
            name("response_put")
            self.put(put)
        case .responseDeleteRange(let delete):
            name("response_delete_range")
            self.delete(delete)
        case .responseTxn(let txn):
            name("response_txn")
            self.txn(txn)
        case nil: break
        }
    }

    fileprivate mutating func watch(_ response: Etcdserverpb_WatchResponse) {
        object { json in
            json.field("Header", object: { $0.headerFields(response.header) })
            json.field(
                "Events",
                array: { json in
                    for event in response.events {
                        json.object { json in
                            json.field("type", unlessZero: event.type.rawValue)
                            json.name("kv")
                            json.record(event.kv)
                            if event.hasPrevKv {
                                json.name("prev_kv")
                                json.record(event.prevKv)
                            }
                        }
                    }
                })
            json.field("CompactRevision", response.compactRevision)
            json.field("Canceled", response.canceled)
            json.field("Created", response.created)
        }
    }
}
