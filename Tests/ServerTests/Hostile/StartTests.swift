import Client
import Foundation
import TestSupport
import Testing
import Wire

extension ServerTests {
    /// A start that cannot work ends at once, says why, and harms nobody.
    @Suite("failing starts") struct FailingStarts {
        /// Starts a server on a data directory that may be in use or damaged; its exit status and what it said.
        private func start(onDataOf folder: TemporaryFolder) async throws -> (status: Int32?, log: String) {
            let server = try TestServer(.martlet, dataFolder: folder.root)
            try server.launch()
            let status = await server.waitForEnd(within: .seconds(60))
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

        @Test("a port in use is refused", arguments: ["--listen-metrics-urls", "--listen-peer-urls"])
        func port(_ flag: String) async throws {
            try await withServer { server in
                let url = "http://127.0.0.1:\(server.clientPort)"
                let second = try TestServer(.martlet, [flag, url])
                try second.launch()
                #expect(await second.waitForEnd(within: .seconds(60)) == 1)
                #expect(second.logText.contains("listening on \(url): address already in use"), "\(second.logText)")
                await second.discard()
            }
        }

        @Test(
            "TLS without a certificate is refused", arguments: ["--listen-metrics-urls", "--listen-client-http-urls"])
        func certificate(_ flag: String) async throws {
            let server = try TestServer(.martlet, [flag, "https://127.0.0.1:\(try Ports.free())"])
            try server.launch()
            #expect(await server.waitForEnd(within: .seconds(60)) == 1)
            #expect(server.logText.contains("needs --cert-file and --key-file"), "\(server.logText)")
            await server.discard()
        }

        @Test("etcd's own data is named, and not served as an empty store", arguments: ["wal", "snap"])
        func foreignData(_ part: String) async throws {
            let folder = try TemporaryFolder("foreign")
            let member = folder.path("data/member/" + part)
            try FileManager.default.createDirectory(atPath: member, withIntermediateDirectories: true)
            let (status, log) = try await start(onDataOf: folder)
            #expect(status == 1)
            #expect(log.contains("holds the data of etcd itself") && log.contains("make-mirror"), "\(log)")
            #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path("data")) == ["member"])
            folder.remove()
        }
    }

    /// Starts that work, though they look odd.
    @Suite("unusual starts") struct UnusualStarts {
        @Test("a member with data ignores the flags of its first start, as etcd does")
        func otherFlags() async throws {
            let server = try await TestServer.started()
            let client = try server.client()
            try await client.put("a", "b")
            await client.close()
            await server.terminate()
            try server.launch([
                "--name", "other", "--initial-advertise-peer-urls", "http://127.0.0.1:1",
                "--initial-cluster", "x=http://127.0.0.1:2,y=nonsense", "--initial-cluster-token", "z",
            ])
            try await server.waitUntilServing()
            let again = try server.client()
            #expect(try await again.get("a").kvs.first?.value == Data("b".utf8))
            await again.close()
            await server.discard()
        }

        @Test("a data directory is created with its parents, and closed to others")
        func directories() async throws {
            let folder = try TemporaryFolder("parents")
            let server = try TestServer(.martlet, dataFolder: folder.path("a/b"))
            try await server.start(within: .seconds(60))
            await server.terminate()
            let data = folder.path("a/b/data")
            try FileManager.default.setAttributes([.posixPermissions: 0o777], ofItemAtPath: data)
            try await server.start(within: .seconds(60))
            let mode = try FileManager.default.attributesOfItem(atPath: data)[.posixPermissions] as? NSNumber
            #expect(mode?.intValue == 0o700)
            #expect(server.logText.contains("had mode 777"), "\(server.logText)")
            await server.discard()
            folder.remove()
        }

        @Test("a request as large as the flag allows goes through")
        func largeRequest() async throws {
            let server = try await TestServer.started(.martlet, ["--max-request-bytes", "\(48 << 20)"])
            let client = try server.client(timeoutSeconds: 60)
            try await client.put("large", Data(repeating: 7, count: 40 << 20))
            #expect(try await client.get("large").kvs.first?.value.count == 40 << 20)
            await client.close()
            await server.discard()
        }
    }
}
