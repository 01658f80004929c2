import Foundation
import NIOConcurrencyHelpers

/// Ports on loopback that nobody listens on, below those the kernel gives to outgoing connections.
package enum Ports {
    private static let given = NIOLockedValueBox<Set<UInt16>>([])

    package static func free() throws -> Int {
        for _ in 0..<1000 {
            let port = UInt16.random(in: 20_000..<32_000)
            if given.withLockedValue({ $0.insert(port).inserted }), canBind(port) { return Int(port) }
        }
        throw TestFailure("no free port found between 20000 and 32000")
    }

    private static func canBind(_ port: UInt16) -> Bool {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { return false }
        defer { close(descriptor) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = INADDR_LOOPBACK.bigEndian
        return withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
            }
        }
    }
}
