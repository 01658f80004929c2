package import Foundation

/// One gRPC call spoken frame by frame over a socket of its own, for clients that behave as no library would.
/// Blocking: use it from `onThread`.
package final class RawCall: Sendable {
    package let socket: RawSocket

    package static let preface = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8)
    /// The largest window HTTP/2 knows; the default is 65535.
    private static let windowMax: UInt32 = 0x7fff_ffff

    /// Opens the connection and the stream, with windows that never hold the server back.
    package init(port: Int, path: String, message: Data, timeoutSeconds: Int = 60, receiveBufferBytes: Int32? = nil)
        throws
    {
        socket = try RawSocket(port: port, timeoutSeconds: timeoutSeconds, receiveBufferBytes: receiveBufferBytes)
        var bytes = Self.preface
        // SETTINGS_INITIAL_WINDOW_SIZE (4)
        bytes += Self.frame(type: 4, flags: 0, stream: 0, [0, 4] + Self.bigEndian(Self.windowMax))
        bytes += Self.frame(type: 8, flags: 0, stream: 0, Self.bigEndian(Self.windowMax - 65_535))
        bytes += Self.frame(type: 1, flags: 4, stream: 1, Self.headers(path))
        bytes += Self.frame(
            type: 0, flags: 0, stream: 1, [0] + Self.bigEndian(UInt32(message.count)) + [UInt8](message))
        try socket.send(bytes)
    }

    /// Says that no more messages come; a unary call is answered after this.
    package func halfClose() throws { try socket.send(Self.frame(type: 0, flags: 1, stream: 1, [])) }

    /// Reads and drops everything until the stream ends; the bytes of DATA frames. Settings and pings are acknowledged.
    package func drain() throws -> Int {
        var pending: [UInt8] = []
        var position = 0
        var dataBytes = 0
        while true {
            while pending.count - position >= 9 {
                let length =
                    Int(pending[position]) << 16 | Int(pending[position + 1]) << 8 | Int(pending[position + 2])
                let (type, flags) = (pending[position + 3], pending[position + 4])
                guard pending.count - position >= 9 + length else { break }
                let payload = Array(pending[(position + 9)..<(position + 9 + min(length, 8))])
                position += 9 + length
                switch type {
                case 0: dataBytes += length
                case 4 where flags & 1 == 0: try socket.send(Self.frame(type: 4, flags: 1, stream: 0, []))
                case 6 where flags & 1 == 0: try socket.send(Self.frame(type: 6, flags: 1, stream: 0, payload))
                case 3, 7: throw TestFailure("the server ended the call with frame type \(type)")
                default: break
                }
                if type <= 1, flags & 1 == 1 { return dataBytes }
            }
            pending.removeFirst(position)
            position = 0
            guard let part = socket.receive(atMost: 256 << 10) else { throw TestFailure("nothing came for too long") }
            if part.isEmpty { throw TestFailure("the server closed the connection after \(dataBytes) bytes") }
            pending += part
        }
    }

    package static func frame(type: UInt8, flags: UInt8, stream: UInt32, _ payload: [UInt8]) -> [UInt8] {
        let length = UInt32(payload.count)
        return [UInt8(length >> 16 & 0xff), UInt8(length >> 8 & 0xff), UInt8(length & 0xff), type, flags]
            + bigEndian(stream) + payload
    }

    package static func bigEndian(_ value: UInt32) -> [UInt8] {
        [UInt8(value >> 24), UInt8(value >> 16 & 0xff), UInt8(value >> 8 & 0xff), UInt8(value & 0xff)]
    }

    /// A header block without Huffman codes and without the dynamic table. Source: RFC 7541, section 6.
    package static func headers(_ path: String) -> [UInt8] {
        // :method POST, :scheme http, then :path and :authority as literals with indexed names.
        [0x83, 0x86, 0x04] + literal(path) + [0x01] + literal("localhost")
            + [0x0f, 0x10] + literal("application/grpc") + [0x00] + literal("te") + literal("trailers")
    }

    private static func literal(_ text: String) -> [UInt8] { [UInt8(text.utf8.count)] + Array(text.utf8) }
}

/// Runs blocking work on a thread of its own, so that the pool of the tests' tasks stays free.
package func onThread<T: Sendable>(_ body: @escaping @Sendable () throws -> T) async throws -> T {
    try await withCheckedThrowingContinuation { continuation in
        Thread.detachNewThread { continuation.resume(with: Result { try body() }) }
    }
}
