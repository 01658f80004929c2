import CNghttp2

/// A header list built once and sent many times: nghttp2 reads the bytes in place (`NO_COPY`), so they live as long as
/// the process does.
struct StaticHeaderBlock: @unchecked Sendable {
    // Written in init only; the memory is never freed and never changed again, so any thread may read it.
    let fields: UnsafeMutablePointer<nghttp2_nv>
    let count: Int

    init(_ list: [(name: String, value: String)]) {
        fields = .allocate(capacity: list.count)
        count = list.count
        for (index, field) in list.enumerated() {
            (fields + index).initialize(to: Self.field(Self.immortal(field.name), Self.immortal(field.value)))
        }
    }

    /// A field whose bytes outlive the session.
    static func field(
        _ name: UnsafeMutableBufferPointer<UInt8>, _ value: UnsafeMutableBufferPointer<UInt8>
    ) -> nghttp2_nv {
        nghttp2_nv(
            name: name.baseAddress, value: value.baseAddress, namelen: name.count, valuelen: value.count,
            flags: UInt8(NGHTTP2_NV_FLAG_NO_COPY_NAME.rawValue | NGHTTP2_NV_FLAG_NO_COPY_VALUE.rawValue))
    }

    /// `text` in memory that is never freed; never null, even when empty.
    static func immortal(_ text: String) -> UnsafeMutableBufferPointer<UInt8> {
        let bytes = Array(text.utf8)
        let memory = UnsafeMutablePointer<UInt8>.allocate(capacity: max(1, bytes.count))
        memory.initialize(from: bytes, count: bytes.count)
        return UnsafeMutableBufferPointer(start: memory, count: bytes.count)
    }
}

/// Calls `body` with nghttp2's form of a header list that is not known in advance; nghttp2 copies it.
func withHeaderFields<R>(
    _ list: [(name: String, value: String)], _ body: (UnsafeMutablePointer<nghttp2_nv>, Int) -> R
) -> R {
    var bytes: [UInt8] = []
    for field in list {
        bytes.append(contentsOf: field.name.utf8)
        bytes.append(contentsOf: field.value.utf8)
    }
    if bytes.isEmpty { bytes.append(0) }
    return bytes.withUnsafeMutableBufferPointer { storage in
        withUnsafeTemporaryAllocation(of: nghttp2_nv.self, capacity: max(1, list.count)) { fields in
            var position = storage.baseAddress!
            for (index, field) in list.enumerated() {
                let name = position
                let value = name + field.name.utf8.count
                position = value + field.value.utf8.count
                fields.initializeElement(
                    at: index,
                    to: nghttp2_nv(
                        name: name, value: value, namelen: field.name.utf8.count,
                        valuelen: field.value.utf8.count, flags: UInt8(NGHTTP2_NV_FLAG_NONE.rawValue)))
            }
            return body(fields.baseAddress!, list.count)
        }
    }
}
