package import NIOCore

/// The frames of an end of a connection on which no session was begun.
package enum HTTP2Parting {
    /// What a server says to a client that it does not trust (RFC 9113, sections 3.4 and 6.8): empty SETTINGS and a GOAWAY
    /// with `reason`, of which a client is shown some 250 bytes.
    package static func insecure(_ reason: String) -> ByteBuffer {
        var buffer = ByteBuffer()
        writeHeader(&buffer, type: 4, length: 0)
        let text = reason.utf8.prefix(1024)
        writeHeader(&buffer, type: 7, length: 8 + text.count)
        // No stream was or will be looked at.
        buffer.writeInteger(UInt32(0))
        buffer.writeInteger(HTTP2ErrorCode.inadequateSecurity.rawValue)
        buffer.writeBytes(text)
        return buffer
    }

    private static func writeHeader(_ buffer: inout ByteBuffer, type: UInt8, length: Int) {
        buffer.writeInteger(UInt8(0))
        buffer.writeInteger(UInt16(length))
        buffer.writeInteger(type)
        buffer.writeInteger(UInt8(0))
        buffer.writeInteger(UInt32(0))
    }
}
