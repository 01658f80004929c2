import Foundation
import Glibc

/// HTTP/1.1 by hand over a blocking socket, so that no client of ours hides what the server sends.
package enum HTTPProbe {
    package struct Answer: Sendable {
        package var status: Int
        package var head: String
        package var body: String
    }

    /// One GET on a connection of its own.
    package static func get(port: Int, _ target: String, timeoutSeconds: Int = 60) async throws -> Answer {
        let request = "GET \(target) HTTP/1.1\r\nHost: 127.0.0.1:\(port)\r\nConnection: close\r\n\r\n"
        let bytes = try await exchange(port: port, Array(request.utf8), timeoutSeconds: timeoutSeconds)
        let text = String(decoding: bytes, as: UTF8.self)
        guard let end = text.range(of: "\r\n\r\n"), text.hasPrefix("HTTP/1.1 "),
            let status = Int(text.dropFirst(9).prefix(3))
        else { throw TestFailure("no HTTP answer to \(target): \(text.prefix(200))") }
        return Answer(
            status: status, head: String(text[..<end.lowerBound]),
            body: dechunk(String(text[end.upperBound...]), head: text[..<end.lowerBound]))
    }

    /// Sends bytes and returns all that comes back until the server closes or the time is up.
    package static func exchange(port: Int, _ bytes: [UInt8], timeoutSeconds: Int = 60) async throws -> [UInt8] {
        try await onThread {
            let socket = try RawSocket(port: port, timeoutSeconds: timeoutSeconds)
            try socket.send(bytes)
            return socket.receiveUntilClosed()
        }
    }

    private static func dechunk(_ body: String, head: Substring) -> String {
        guard head.lowercased().contains("transfer-encoding: chunked") else { return body }
        var rest = body[...]
        var result = ""
        while let line = rest.range(of: "\r\n"), let size = Int(rest[..<line.lowerBound], radix: 16), size > 0 {
            let chunk = rest[line.upperBound...].utf8.prefix(size)
            result += String(decoding: chunk, as: UTF8.self)
            rest = rest[chunk.endIndex...].dropFirst(1)
        }
        return result
    }
}

/// A TCP connection to loopback. Blocking; used from one task at a time.
package final class RawSocket: Sendable {
    private let descriptor: Int32

    /// `receiveBufferBytes`: the kernel's buffer, small to make the peer feel a slow reader.
    package init(port: Int, timeoutSeconds: Int = 60, receiveBufferBytes: Int32? = nil) throws {
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw TestFailure("no socket: \(String(cString: strerror(errno)))") }
        if var size = receiveBufferBytes {
            setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &size, socklen_t(MemoryLayout<Int32>.size))
        }
        var timeout = timeval(tv_sec: timeoutSeconds, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &timeout, socklen_t(MemoryLayout<timeval>.size))
        setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &timeout, socklen_t(MemoryLayout<timeval>.size))
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = UInt16(port).bigEndian
        address.sin_addr.s_addr = INADDR_LOOPBACK.bigEndian
        let result = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        // The socket is closed by `deinit`, which runs when a complete object's initialiser throws.
        guard result == 0 else {
            throw TestFailure("cannot connect to port \(port): \(String(cString: strerror(errno)))")
        }
    }

    deinit { close(descriptor) }

    package func send(_ bytes: [UInt8]) throws {
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes {
                Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            guard count > 0 else { throw TestFailure("cannot send: \(String(cString: strerror(errno)))") }
            rest = rest.dropFirst(count)
        }
    }

    /// At most `limit` bytes; empty at the end of the stream, nil when nothing came in time.
    package func receive(atMost limit: Int = 64 << 10) -> [UInt8]? {
        var buffer = [UInt8](repeating: 0, count: limit)
        let count = recv(descriptor, &buffer, limit, 0)
        if count < 0 { return errno == EAGAIN ? nil : [] }
        return Array(buffer.prefix(count))
    }

    package func receiveUntilClosed() -> [UInt8] {
        var all: [UInt8] = []
        while let part = receive(), !part.isEmpty { all += part }
        return all
    }

    /// Sends no more; the other direction stays open.
    package func finishSending() { shutdown(descriptor, Int32(SHUT_WR)) }
}
