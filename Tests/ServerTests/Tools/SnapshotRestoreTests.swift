import Client
import Foundation
import TestSupport
import Testing
import Transport
import Wire

extension ServerTests {
    @Suite("snapshots saved and restored") struct SnapshotRestoreTests {
        /// A saved snapshot of a member with some history, and what that was.
        private struct Saved {
            var path: String
            var revision: Int64
            var clusterID: UInt64
            var lease: Int64
        }

        private static let compacted = "etcdserver: mvcc: required revision has been compacted"

        private func save(into folder: TemporaryFolder) async throws -> Saved {
            try await withServer { server in
                let client = try server.client()
                var grant = Etcdserverpb_LeaseGrantRequest()
                grant.ttl = 3600
                let lease = try await client.leaseGrant(grant).id
                try await client.fill("/data/", count: 300, value: Data(repeating: 7, count: 500))
                try await client.put("/leased", Data("x".utf8), lease: lease)
                try await client.put("/old", "first")
                try await client.put("/old", "second")
                let revision = try await client.delete("/data/1000001")
                let clusterID = try await client.status().header.clusterID
                await client.close()
                let path = folder.path("snapshot")
                let endpoint = "127.0.0.1:\(server.clientPort)"
                try await Tool.succeed(["--endpoints", endpoint, "snapshot", "save", path])
                return Saved(path: path, revision: revision, clusterID: clusterID, lease: lease)
            }
        }

        /// Reads, history, lease and watches of a member that was restored with the revision bumped.
        private func check(_ server: TestServer, _ saved: Saved, revision: Int64) async throws {
            let client = try server.client()
            let all = try await client.list("/data/")
            #expect(all.count == 299)
            #expect(all.header.revision == revision)
            #expect(all.header.clusterID != saved.clusterID)
            #expect(try await client.get("/old").kvs.first?.value == Data("second".utf8))
            let refused = await failure { _ = try await client.get("/old", revision: saved.revision) }
            #expect(refused == ClientError(.outOfRange, Self.compacted))
            let leases = try await client.leaseLeases().leases.map(\.id)
            #expect(leases == [saved.lease])
            // One that followed the old cluster, and may have seen more of it than was saved.
            for start in [saved.revision - 1, saved.revision + 1000] {
                let stream = try await client.watch(EtcdClient.watchRequest("/data/", from: start))
                var end: Etcdserverpb_WatchResponse?
                for try await answer in stream where answer.canceled {
                    end = answer
                    break
                }
                stream.cancel()
                #expect(end?.compactRevision == revision)
            }
            await client.close()
        }

        @Test("one member goes on at a bumped revision, with everything before compacted")
        func single() async throws {
            let folder = try TemporaryFolder("restore")
            defer { folder.remove() }
            let saved = try await save(into: folder)
            let mode = try FileManager.default.attributesOfItem(atPath: saved.path)[.posixPermissions] as? Int
            #expect(mode == 0o600)
            #expect(!FileManager.default.fileExists(atPath: saved.path + ".part"))
            try await withPlanned(count: 1) { members in
                try await Tool.succeed(["snapshot", "restore", saved.path] + members.restoreFlags(0))
                try await members.start()
                let server = members.servers[0]
                let revision = saved.revision + 1_000_000_000
                try await check(server, saved, revision: revision)
                let client = try server.client()
                #expect(try await client.put("/new", "value") == revision + 1)
                await client.close()
                // What was swept away by now, and what was written, is so after a crash too.
                await server.killHard()
                try await server.start()
                let again = try server.client()
                #expect(try await again.list("/data/", countOnly: true).count == 299)
                #expect(try await again.get("/new").header.revision == revision + 1)
                await again.close()
            }
        }

        @Test("three members restored from one file are a cluster")
        func three() async throws {
            let folder = try TemporaryFolder("restore")
            defer { folder.remove() }
            let saved = try await save(into: folder)
            try await withPlanned(count: 3) { members in
                for place in 0..<3 {
                    try await Tool.succeed(
                        ["snapshot", "restore", saved.path, "--bump-revision", "5000", "--mark-compacted"]
                            + members.restoreFlags(place))
                }
                try await members.start()
                for server in members.servers { try await check(server, saved, revision: saved.revision + 5000) }
                let first = try members.servers[0].client()
                let revision = try await first.put("/new", "value")
                #expect(try await first.memberList().members.map(\.name).sorted() == ["m1", "m2", "m3"])
                await first.close()
                var hashes: Set<UInt32> = []
                for server in members.servers {
                    let client = try server.client()
                    #expect(try await client.get("/new").kvs.first?.value == Data("value".utf8))
                    hashes.insert(try await client.hashKV(revision: revision).hash)
                    await client.close()
                }
                #expect(hashes.count == 1)
            }
        }

        @Test("without a bump, revision and history stay")
        func unchanged() async throws {
            let folder = try TemporaryFolder("restore")
            defer { folder.remove() }
            let saved = try await save(into: folder)
            try await withPlanned(count: 1) { members in
                let walDirectory = members.folder.path("deep/er/wal")
                try await Tool.succeed(
                    ["snapshot", "restore", saved.path, "--bump-revision", "0", "--wal-dir", walDirectory]
                        + members.restoreFlags(0))
                #expect(!FileManager.default.fileExists(atPath: members.dataDirectory(0) + "/wal"))
                try members.servers[0].launch(["--wal-dir", walDirectory])
                try await members.servers[0].waitUntilServing()
                let client = try members.servers[0].client()
                let old = try await client.get("/old", revision: saved.revision - 2)
                #expect(old.kvs.first?.value == Data("first".utf8))
                #expect(old.header.revision == saved.revision)
                await client.close()
            }
        }

        @Test("the identity of the new cluster tells images, revisions, tokens and members apart")
        func identities() async throws {
            let folder = try TemporaryFolder("restore")
            defer { folder.remove() }
            let saved = try await save(into: folder)
            let other = try TemporaryFolder("restore")
            defer { other.remove() }
            let otherImage = try await save(into: other)
            var seen: Set<String> = []
            let variants = [
                [saved.path], [saved.path, "--bump-revision", "0"], [saved.path, "--bump-revision", "7"],
                [saved.path, "--initial-cluster-token", "t"], [saved.path, "--name", "other"], [otherImage.path],
            ]
            for (number, variant) in variants.enumerated() {
                let directory = folder.path("d\(number)")
                let text = try await Tool.succeed(["snapshot", "restore", "--data-dir", directory] + variant)
                let words = text.split(separator: " ")
                seen.insert(String(words[words.firstIndex(of: "cluster").map { $0 + 1 } ?? 0]))
            }
            // A name alone is no part of an identity, as in etcd.
            #expect(seen.count == variants.count - 1)
        }

        @Test("a save that breaks off leaves the file that was there, and no other")
        func interruptedSave() async throws {
            let folder = try TemporaryFolder("restore")
            defer { folder.remove() }
            let path = folder.path("snapshot")
            try Data("the last backup".utf8).write(to: URL(fileURLWithPath: path))
            let megabytes = 48
            try await withServer { server in
                let client = try server.client()
                // What cannot be compressed, and more than the buffers on the way hold.
                let random = try #require(FileHandle(forReadingAtPath: "/dev/urandom"))
                for number in 0..<megabytes {
                    try await client.put("/\(number)", try #require(try random.read(upToCount: 1 << 20)))
                }
                await client.close()
                let save = try await stoppedSave(server, folder, path, bytesMax: megabytes << 19)
                let mode = try FileManager.default.attributesOfItem(atPath: path + ".part")[.posixPermissions] as? Int
                #expect(mode == 0o600)
                await server.killHard()
                save.signal(SIGCONT)
                #expect(await save.wait(atMost: .seconds(60)) == 5)
                #expect(Shell.read(folder.path("out")).hasPrefix("Error: "))
            }
            #expect(Shell.read(path) == "the last backup")
            #expect(!FileManager.default.fileExists(atPath: path + ".part"))
        }

        /// A save that has been stopped with a part of the file written, small enough; begun again when it was too quick.
        private func stoppedSave(
            _ server: TestServer, _ folder: TemporaryFolder, _ path: String, bytesMax: Int
        ) async throws -> ChildProcess {
            func size() -> Int {
                (try? FileManager.default.attributesOfItem(atPath: path + ".part")[.size] as? Int) ?? 0
            }
            for _ in 0..<100 {
                let save = try ChildProcess(
                    [
                        try Binaries.martlet() + "ctl", "--endpoints", "127.0.0.1:\(server.clientPort)", "snapshot",
                        "save", path,
                    ], output: folder.path("out"), errors: folder.path("out"))
                try await eventually("the part file grows") { size() > 0 || save.exitStatus != nil }
                save.signal(SIGSTOP)
                if (1...bytesMax).contains(size()), save.exitStatus == nil { return save }
                save.signal(SIGKILL)
                _ = await save.wait(atMost: .seconds(60))
                for file in [path + ".part", folder.path("out")] { try? FileManager.default.removeItem(atPath: file) }
                try Data("the last backup".utf8).write(to: URL(fileURLWithPath: path))
            }
            throw TestFailure("no save was stopped early enough")
        }

        @Test("what is damaged is refused, and leaves nothing behind")
        func damage() async throws {
            let folder = try TemporaryFolder("restore")
            defer { folder.remove() }
            let saved = try await save(into: folder)
            let whole = try Data(contentsOf: URL(fileURLWithPath: saved.path))
            var cases: [(name: String, bytes: Data, text: String)] = []
            for offset in stride(from: 0, to: whole.count - 32, by: max(1, whole.count / 23)) {
                var bytes = whole
                bytes[offset] ^= 0x10
                cases.append(("byte \(offset)", bytes, ""))
            }
            var digest = whole
            digest[whole.count - 1] ^= 1
            cases.append(("digest", digest, "Error: expected sha256 "))
            cases.append(
                ("no digest", whole.dropLast(32), "Error: snapshot missing hash but --skip-hash-check=false\n"))
            cases.append(("cut off", whole.prefix(whole.count / 2 / 512 * 512 + 32), "is cut off at offset"))
            cases.append(("empty", Data(), "is not a snapshot\n"))
            let directory = folder.path("data")
            for (name, bytes, text) in cases {
                let path = folder.path("damaged")
                try bytes.write(to: URL(fileURLWithPath: path))
                let result = try await Tool.run(["snapshot", "restore", path, "--data-dir", directory])
                #expect(result.exitStatus == 1, "\(name)")
                #expect(result.errors.hasPrefix("Error: "), "\(name)")
                #expect(text.isEmpty || result.errors.contains(text), "\(name): \(result.errors)")
                #expect(
                    try FileManager.default.contentsOfDirectory(atPath: folder.root).sorted() == [
                        "damaged", "snapshot",
                    ])
            }
            // What the format's own checksums vouch for needs no digest.
            for bytes in [digest, Data(whole.dropLast(32))] {
                let path = folder.path("skipped")
                try bytes.write(to: URL(fileURLWithPath: path))
                try await Tool.succeed(["snapshot", "restore", path, "--data-dir", directory, "--skip-hash-check"])
                try FileManager.default.removeItem(atPath: directory)
            }
        }

        @Test("an existing directory, and flags that contradict each other, are refused with etcdutl's texts")
        func refusals() async throws {
            let folder = try TemporaryFolder("restore")
            defer { folder.remove() }
            let saved = try await save(into: folder)
            let directory = folder.path("data")
            try await Tool.succeed(["snapshot", "restore", saved.path, "--data-dir", directory])
            // What a restore leaves that is killed: no data directory, so that no member starts with nothing by mistake.
            let part = folder.path("x.part")
            try FileManager.default.createDirectory(atPath: part + "/store", withIntermediateDirectories: true)
            let cases: [([String], Int32, String)] = [
                (
                    [saved.path, "--data-dir", folder.path("x/")], 1,
                    "\(part) is left of an interrupted restore: remove it"
                ),
                ([saved.path, "--data-dir", directory], 1, "data-dir \"\(directory)\" not empty or could not be read"),
                (
                    [saved.path, "--data-dir", folder.path("x"), "--wal-dir", directory], 1,
                    "wal-dir \"\(directory)\" not empty or could not be read"
                ),
                ([saved.path], 1, "required flag(s) \"data-dir\" not set"),
                ([], 128, "snapshot restore requires exactly one argument"),
                (
                    [saved.path, "--data-dir", "x", "--bump-revision", "0", "--mark-compacted"], 128,
                    "--mark-compacted required if --revision-bump > 0"
                ),
                (
                    [saved.path, "--data-dir", "x", "--mark-compacted=false"], 128,
                    "--mark-compacted required if --revision-bump > 0"
                ),
                (
                    [saved.path, "--data-dir", "x", "--name", "b", "--initial-cluster", "a=http://x:1"], 1,
                    "couldn't find local name \"b\" in the initial cluster configuration"
                ),
                (
                    [saved.path, "--data-dir", "x", "--initial-cluster", "default=http://x:1"], 1,
                    "--initial-cluster has default=http://x:1 but missing from "
                        + "--initial-advertise-peer-urls=http://localhost:2380"
                ),
                (
                    [saved.path, "--data-dir", "x", "--initial-cluster", "default=x:1"], 1,
                    "URL scheme must be http, https, unix, or unixs: x:1"
                ),
            ]
            for (arguments, status, text) in cases {
                let result = try await Tool.run(["snapshot", "restore"] + arguments)
                #expect(result.exitStatus == status, "\(arguments)")
                #expect(result.errors == "Error: \(text)\n")
            }
            #expect(FileManager.default.fileExists(atPath: part + "/store"))
        }

        @Test("a snapshot of etcd is saved and described, and refused with advice")
        func etcdSnapshot() async throws {
            let folder = try TemporaryFolder("restore")
            defer { folder.remove() }
            let path = folder.path("etcd")
            try await withServer(.etcd) { server in
                let client = try server.client()
                try await client.fill("/data/", count: 100, value: Data(repeating: 7, count: 500))
                await client.close()
                try await Tool.succeed(["--endpoints", "127.0.0.1:\(server.clientPort)", "snapshot", "save", path])
            }
            let expected = try await Shell.run(
                [try Binaries.referenceEtcdctl(), "snapshot", "status", path, "-w", "json"],
                environment: ["ETCDCTL_API": "3"])
            let status = try await Tool.succeed(["snapshot", "status", path, "-w", "json"])
            #expect(status == expected.output)
            let result = try await Tool.run(["snapshot", "restore", path, "--data-dir", folder.path("data")])
            #expect(result.exitStatus == 1)
            #expect(result.errors.contains("is a snapshot of etcd's own store (bbolt)"))
        }
    }
}
