import Foundation
import NIOPosix

/// Runs other programs, for probes that must not use our own code.
package enum Shell {
    package struct Result: Sendable {
        package var status: Int32
        package var output: String
    }

    static func requireOpenSSL() throws {
        let paths = (ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin").split(separator: ":")
        guard paths.contains(where: { FileManager.default.isExecutableFile(atPath: $0 + "/openssl") }) else {
            throw CaseSkip("the openssl command is not installed")
        }
    }

    /// Runs a line of shell, with both outputs in one. Ended after `seconds`.
    package static func run(_ line: String, seconds: Int = 90) async throws -> Result {
        try await NIOThreadPool.singleton.runIfActive {
            guard let pipe = popen("timeout -k 1 \(seconds) /bin/sh -c '\(escaped(line))' 2>&1", "re") else {
                throw SuiteError("cannot run a shell")
            }
            var bytes: [UInt8] = []
            var buffer = [UInt8](repeating: 0, count: 64 * 1024)
            while true {
                let count = fread(&buffer, 1, buffer.count, pipe)
                if count == 0 { break }
                bytes += buffer[..<count]
            }
            let raw = pclose(pipe)
            return Result(status: (raw >> 8) & 0xff, output: String(decoding: bytes, as: UTF8.self))
        }
    }

    private static func escaped(_ line: String) -> String { line.replacingOccurrences(of: "'", with: "'\\''") }
}
