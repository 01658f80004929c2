import Client
import Foundation
import TestSupport
import Testing

extension ServerTests {
    /// A start that cannot work ends at once, says why, and harms nobody.
    @Suite("failing starts") struct FailingStarts {
        /// Starts a server on a data directory that may be in use or damaged; its exit status and what it said.
        private func start(onDataOf folder: TemporaryFolder) async throws -> (status: Int32?, log: String) {
            let server = try TestServer(.martlet, dataFolder: folder.root)
            try server.launch()
            let status = await server.waitForEnd(within: .seconds(10))
            let log = server.logText
            await server.discard()
            return (status, log)
        }

        @Test("a data directory in use is refused, its owner goes on")
        func locked() async throws {
            try await withServer { server in
                let client = try server.client()
                try await client.put("a", "b")
                let second = try await start(onDataOf: server.folder)
                #expect(second.status == 1)
                #expect(second.log.contains("pid \(server.pid)"), "\(second.log)")
                #expect(try await client.put("a", "c") == 3)
                await client.close()
            }
        }

        @Test("a damaged file is named", arguments: ["wal", "store"])
        func damaged(_ part: String) async throws {
            let server = try await TestServer.started()
            let client = try server.client()
            for number in 0..<100 { try await client.put("key\(number)", "value") }
            await client.close()
            await server.terminate()
            let folder = server.folder.path("data/" + part)
            let names = try FileManager.default.contentsOfDirectory(atPath: folder).sorted()
            let name = try #require(names.first { $0.hasSuffix(".wal") || $0.hasSuffix(".mdb") })
            let handle = try #require(FileHandle(forUpdatingAtPath: folder + "/" + name))
            // The head of the log's segment, or both of the store's meta pages.
            for offset in [40, 4096 + 40] as [UInt64] {
                try handle.seek(toOffset: offset)
                handle.write(Data(repeating: 0xff, count: 16))
            }
            try handle.close()
            let again = try await start(onDataOf: server.folder)
            #expect(again.status == 1)
            #expect(again.log.contains(name), "\(again.log)")
            await server.discard()
        }

        @Test("a port in use is refused")
        func port() async throws {
            try await withServer { server in
                let url = "http://127.0.0.1:\(server.clientPort)"
                let second = try TestServer(.martlet, ["--listen-metrics-urls", url])
                try second.launch()
                #expect(await second.waitForEnd(within: .seconds(10)) == 1)
                #expect(second.logText.contains("Address already in use"), "\(second.logText)")
                await second.discard()
            }
        }
    }
}
