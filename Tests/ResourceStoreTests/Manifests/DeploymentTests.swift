import Foundation
import Testing

@testable import ResourceStore

extension ResourceStoreTests {
    /// The deployments run, with their own flags and certificates, on ports and in folders of the test.
    @Suite("deployments") struct Deployments {
        /// The certificates that the Job makes, by its own script.
        private static func certificates(_ folder: TemporaryFolder) throws {
            let objects = try ManifestFiles.documents("deploy/kubernetes/certificates-job.yaml")
            let script = objects.compactMap { $0["data"]?["make.sh"]?.string }.first
            let made = try Command.run(
                ["sh", "-s", "files-only"], input: try #require(script), environment: ["WORK": folder.root])
            guard made.status == 0 else { throw TestFailure("the script fails: \(made.errors)") }
        }

        private static func client(_ folder: TemporaryFolder, _ endpoints: [String]) throws -> ObjectStore {
            try ObjectStore.remote(
                RemoteOptions(
                    endpoints: endpoints,
                    tls: .init(
                        trustedCAFile: folder.path("ca.crt"), certificateFile: folder.path("client.crt"),
                        keyFile: folder.path("client.key"))))
        }

        /// Starts a server with the flags of a manifest, after replacing what belongs to the cluster.
        private static func start(
            _ flags: [String], _ folder: TemporaryFolder, _ replacements: [(String, String)], log: String
        ) throws -> Child {
            let words = flags.map { flag in
                replacements.reduce(flag) { $0.replacingOccurrences(of: $1.0, with: $1.1) }
            }
            return try Child.guarded([try Binaries.program("martlet")] + words, log: folder.path(log))
        }

        private static func flags(of file: String) throws -> [String] {
            let containers = try ManifestFiles.documents(file).flatMap { ManifestFiles.containers(in: $0) }
            let words = containers.compactMap { $0["command"]?.array?.compactMap(\.string) }
            return Array(try #require(words.first { $0.first == "martlet" }).dropFirst())
        }

        private static func waitUntilServing(_ store: ObjectStore, _ log: String) async throws {
            let deadline = ContinuousClock.now + .seconds(60)
            while ContinuousClock.now < deadline {
                if (try? await store.currentResourceVersion()) != nil { return }
                try await Task.sleep(for: .milliseconds(50))
            }
            let text = (try? String(contentsOfFile: log, encoding: .utf8)) ?? ""
            throw TestFailure("no answer; the log:\n\(text.suffix(2000))")
        }

        @Test("the static pod's flags start a member that answers its probes and its clients")
        func kubeadm() async throws {
            let folder = try TemporaryFolder()
            defer { folder.remove() }
            try Self.certificates(folder)
            let ports = try ServerProcess.freePorts(3)
            let (client, peer, metrics) = (ports[0], ports[1], ports[2])
            let child = try Self.start(
                Self.flags(of: "deploy/kubeadm/etcd.yaml"), folder,
                [
                    (",https://NODE_IP:2379", ""), ("NODE_IP", "127.0.0.1"), ("NODE_NAME", "node"),
                    (":2379", ":\(client)"), (":2380", ":\(peer)"), (":2381", ":\(metrics)"),
                    ("/etc/kubernetes/pki/etcd", folder.root), ("/var/lib/etcd", folder.path("data")),
                ], log: "log")
            defer { withExtendedLifetime(child) {} }
            try await using(Self.client(folder, ["https://127.0.0.1:\(client)"])) { store in
                try await Self.waitUntilServing(store, folder.path("log"))
                try await store.widgets.create(Widget("a"))
                for path in ["/livez", "/readyz", "/health", "/metrics"] {
                    #expect(try httpGet("http://127.0.0.1:\(metrics)\(path)").status == 200)
                }
                #expect(try httpGet("http://127.0.0.1:\(metrics)/version").body.contains("\"etcdserver\":\"3."))
            }
        }

        @Test("the StatefulSet's flags and certificates make a cluster of three")
        func cluster() async throws {
            let folder = try TemporaryFolder()
            defer { folder.remove() }
            try Self.certificates(folder)
            let ports = try ServerProcess.freePorts(9)
            let flags = try Self.flags(of: "deploy/kubernetes/statefulset.yaml")
            var children: [Child] = []
            for member in 0..<3 {
                var replacements = [("$(POD_NAME)", "martlet-\(member)")]
                for other in 0..<3 {
                    let host = "martlet-\(other).martlet.martlet.svc"
                    replacements.append(("\(host):2380", "127.0.0.1:\(ports[3 + other])"))
                    replacements.append(("\(host):2379", "127.0.0.1:\(ports[other])"))
                }
                replacements += [
                    ("0.0.0.0:2379", "127.0.0.1:\(ports[member])"), ("0.0.0.0:2380", "127.0.0.1:\(ports[3 + member])"),
                    ("0.0.0.0:2381", "127.0.0.1:\(ports[6 + member])"),
                    ("/etc/martlet/server/ca", folder.path("ca")), ("/etc/martlet/peer/ca", folder.path("ca")),
                    ("/etc/martlet/server/tls", folder.path("server")), ("/etc/martlet/peer/tls", folder.path("peer")),
                    ("/var/lib/martlet", folder.path("data-\(member)")),
                ]
                // The volume.
                try FileManager.default.createDirectory(
                    atPath: folder.path("data-\(member)"), withIntermediateDirectories: true)
                children.append(try Self.start(flags, folder, replacements, log: "log-\(member)"))
            }
            defer { withExtendedLifetime(children) {} }
            let endpoints = (0..<3).map { "https://127.0.0.1:\(ports[$0])" }
            try await using(Self.client(folder, endpoints)) { store in
                try await Self.waitUntilServing(store, folder.path("log-0"))
                let created = try await store.widgets.create(Widget("a"))
                for endpoint in endpoints {
                    try await using(Self.client(folder, [endpoint])) { member in
                        let seen = try await member.widgets.get("a", namespace: "default")
                        #expect(seen == created)
                    }
                }
                // One member away, and a store that asks it first: calls go to the others.
                children[0].end()
                try await store.widgets.guaranteedUpdate("a", namespace: "default") { $0.size = 1 }
                #expect(try await store.widgets.get("a", namespace: "default").size == 1)
            }
        }

        @Test("the unit's notification comes, and only once the server serves")
        func notify() async throws {
            #expect(try ManifestFiles.text("deploy/systemd/martlet.service").contains("\nType=notify\n"))
            let folder = try TemporaryFolder()
            defer { folder.remove() }
            let descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue), 0)
            defer { close(descriptor) }
            var address = sockaddr_un()
            address.sun_family = sa_family_t(AF_UNIX)
            let path = Array(folder.path("notify").utf8)
            withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path) }
            let bound = withUnsafePointer(to: &address) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size)) == 0
                }
            }
            #expect(bound)
            var timeout = timeval(tv_sec: 60, tv_usec: 0)
            setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &timeout, socklen_t(MemoryLayout<timeval>.size))
            let port = try ServerProcess.freePorts(1)[0]
            let child = try Child.guarded(
                [
                    "env", "NOTIFY_SOCKET=\(folder.path("notify"))", try Binaries.program("martlet"),
                    "--data-dir=\(folder.path("data"))", "--listen-client-urls=http://127.0.0.1:\(port)",
                    "--advertise-client-urls=http://127.0.0.1:\(port)", "--listen-peer-urls=http://127.0.0.1:0",
                ], log: folder.path("log"))
            var buffer = [UInt8](repeating: 0, count: 256)
            let count = recv(descriptor, &buffer, buffer.count, 0)
            #expect(String(decoding: buffer.prefix(max(0, count)), as: UTF8.self) == "READY=1")
            #expect(try httpGet("http://127.0.0.1:\(port)/health").status == 200)
            child.end()
        }
    }
}
