import Client
import Foundation
import TestSupport
import Testing

extension ServerTests {
    /// How the process ends, and what must not keep it from ending.
    @Suite("ends") struct Ends {
        /// A pipe that is full, and stays so.
        private final class FullPipe {
            let path: String
            private let descriptor: Int32

            init(in folder: TemporaryFolder) throws {
                path = folder.path("full")
                guard mkfifo(path, 0o600) == 0 else { throw TestFailure("no pipe: \(errno)") }
                descriptor = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC)
                guard descriptor >= 0 else { throw TestFailure("no pipe: \(errno)") }
                let bytes = [UInt8](repeating: 0x2e, count: 4096)
                while write(descriptor, bytes, bytes.count) > 0 {}
                while write(descriptor, bytes, 1) > 0 {}
            }

            deinit { close(descriptor) }
        }

        @Test("by the signal that it was sent", arguments: [SIGTERM, SIGINT])
        func bySignal(_ signal: Int32) async throws {
            let server = try await TestServer.started()
            server.signal(signal)
            #expect(await server.waitForEnd(within: .seconds(60)) == 128 + signal)
            #expect(server.logText.contains("stopped"))
            await server.discard()
        }

        @Test("in time, though nobody reads what it says")
        func blockedLog() async throws {
            let server = try TestServer(.martlet, ["--log-level", "debug"])
            let pipe = try FullPipe(in: server.folder)
            try server.launch(errors: pipe.path)
            try await server.waitUntilServing()
            let client = try server.client()
            try await client.put("a", "b")
            await client.close()
            #expect(await server.terminate(within: .seconds(60)) == 128 + SIGTERM)
            // And a start that fails.
            try server.launch(["--max-txn-ops", "many"], errors: pipe.path)
            #expect(await server.waitForEnd(within: .seconds(60)) == 1)
            withExtendedLifetime(pipe) {}
            await server.discard()
        }
    }
}
