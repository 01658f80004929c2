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
            try ObjectStore.patient(
                endpoints,
                tls: .init(
                    trustedCAFile: folder.path("ca.crt"), certificateFile: folder.path("client.crt"),
                    keyFile: folder.path("client.key")))
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
                for (number, endpoint) in endpoints.enumerated() {
                    try await using(Self.client(folder, [endpoint])) { member in
                        try await Self.waitUntilServing(member, folder.path("log-\(number)"))
                        let seen = try await member.widgets.get("a", namespace: "default")
                        #expect(seen == created)
                    }
                }
                try Self.checkMonitoring(try httpGet("http://127.0.0.1:\(ports[7])/metrics").body)
                // One member away, and a store that asks it first: calls go to the others.
                children[0].end()
                try await Self.waitUntilServing(store, folder.path("log-1"))
                try await store.widgets.guaranteedUpdate("a", namespace: "default") { $0.size = 1 }
                #expect(try await store.widgets.get("a", namespace: "default").size == 1)
                // The last one is alone: it cannot serve what is certain to be current, but must not be killed for it.
                children[1].end()
                let alone = "http://127.0.0.1:\(ports[8])"
                try await Self.waitFor(alone + "/readyz", status: 503)
                #expect(try httpGet(alone + "/livez").status == 200)
            }
        }

        private static func waitFor(_ url: String, status: Int) async throws {
            let deadline = ContinuousClock.now + .seconds(60)
            while ContinuousClock.now < deadline {
                if (try? httpGet(url).status) == status { return }
                try await Task.sleep(for: .milliseconds(100))
            }
            throw TestFailure("\(url) does not come to \(status)")
        }

        /// Rules and dashboard name what a member of a cluster exports, with its labels, and use it by its type.
        private static func checkMonitoring(_ page: String) throws {
            let exported = ExportedMetrics(page: page)
            var used: Set<String> = []
            for expression in try ManifestFiles.expressions() {
                #expect(exported.complaints(expression, used: &used) == [], "\(expression)")
            }
            #expect(used.count > 25)
        }

        @Test("the Job makes what is missing, by the same authority, and replaces nothing")
        func certificatesAgain() throws {
            let folder = try TemporaryFolder()
            defer { folder.remove() }
            // Secrets are folders here.
            let kubectl = """
                #!/bin/sh
                shift 2; verb=$1; shift; [ "$1" = secret ] && shift; [ "$1" = generic ] && shift
                at=\(folder.root)/secrets/$1; shift
                case $verb in
                get) [ -d $at ] || exit 1
                    case "${2:-}" in
                    "") ;;
                    *crt*) base64 < $at/tls.crt ;;
                    *key*) base64 < $at/tls.key ;;
                    esac ;;
                create) mkdir $at || exit 1
                    for file; do file=${file#--from-file=}; cp "${file#*=}" $at/${file%%=*}; done ;;
                *) exit 1 ;;
                esac
                """
            for name in ["bin", "secrets", "work"] {
                try FileManager.default.createDirectory(atPath: folder.path(name), withIntermediateDirectories: true)
            }
            try kubectl.write(toFile: folder.path("bin/kubectl"), atomically: true, encoding: .utf8)
            let objects = try ManifestFiles.documents("deploy/kubernetes/certificates-job.yaml")
            let scripts = objects.compactMap { $0["data"]?["make.sh"]?.string }
            let script = try #require(scripts.first)
            func make() throws {
                let path = folder.path("bin") + ":" + (environment("PATH") ?? "/usr/bin:/bin")
                let line = "chmod 755 \(folder.path("bin/kubectl")); rm -f $WORK/*; exec sh -s"
                let made = try Command.run(
                    ["sh", "-c", line], input: script, environment: ["WORK": folder.path("work"), "PATH": path])
                if made.status != 0 { throw TestFailure("the script fails: \(made.errors)") }
            }
            func file(_ name: String) -> Data? { FileManager.default.contents(atPath: folder.path("secrets/" + name)) }
            try make()
            let names = ["martlet-ca", "martlet-server-tls", "martlet-peer-tls", "martlet-client-tls"]
            let before = names.map { file("\($0)/tls.crt") }
            #expect(!before.contains(nil))
            try FileManager.default.removeItem(atPath: folder.path("secrets/martlet-server-tls"))
            try make()
            let after = names.map { file("\($0)/tls.crt") }
            #expect(after[0] == before[0] && after[1] != before[1] && after[2...] == before[2...])
            for name in names.dropFirst() {
                #expect(file("\(name)/ca.crt") == before[0])
                let verified = try Command.run([
                    "openssl", "verify", "-CAfile", folder.path("secrets/martlet-ca/tls.crt"),
                    folder.path("secrets/\(name)/tls.crt"),
                ])
                #expect(verified.status == 0, "\(name): \(verified.output) \(verified.errors)")
            }
        }

        @Test("both ways to certificates name every host that clients and members are told")
        func names() throws {
            let folder = try TemporaryFolder()
            defer { folder.remove() }
            try Self.certificates(folder)
            let managed = try ManifestFiles.documents("deploy/kubernetes/certificates-cert-manager.yaml").first {
                $0["metadata"]?["name"]?.string == "martlet-server"
            }
            let patterns = Set(managed?["spec"]?["dnsNames"]?.array?.compactMap(\.string) ?? [])
            for host in [
                "martlet-0.martlet.martlet.svc", "martlet-2.martlet.martlet.svc.cluster.local", "martlet.martlet.svc",
                "martlet-client.martlet.svc", "martlet-client.martlet.svc.cluster.local", "localhost",
            ] {
                let wildcard = "*" + host.drop { $0 != "." }
                #expect(patterns.contains(host) || patterns.contains(wildcard), "\(host)")
                let checked = try Command.run([
                    "openssl", "x509", "-noout", "-checkhost", host, "-in", folder.path("server.crt"),
                ])
                #expect(checked.output.contains("does match"), "\(host): \(checked.output)")
            }
        }

        @Test("the unit's notification comes when the server serves, with or without a leader", arguments: [1, 3])
        func notify(_ members: Int) async throws {
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
            let ports = try ServerProcess.freePorts(1 + members)
            let port = ports[0]
            let urls = ports.dropFirst().map { "http://127.0.0.1:\($0)" }
            let cluster = urls.enumerated().map { "m\($0)=\($1)" }.joined(separator: ",")
            let child = try Child.guarded(
                [
                    "env", "NOTIFY_SOCKET=\(folder.path("notify"))", try Binaries.program("martlet"), "--name=m0",
                    "--data-dir=\(folder.path("data"))", "--listen-client-urls=http://127.0.0.1:\(port)",
                    "--advertise-client-urls=http://127.0.0.1:\(port)", "--listen-peer-urls=\(urls[0])",
                    "--initial-advertise-peer-urls=\(urls[0])", "--initial-cluster=\(cluster)",
                ], log: folder.path("log"))
            var buffer = [UInt8](repeating: 0, count: 256)
            let count = recv(descriptor, &buffer, buffer.count, 0)
            #expect(String(decoding: buffer.prefix(max(0, count)), as: UTF8.self) == "READY=1")
            // Alone of three it lives, so that the unit of the next one can be started; it is not ready for requests.
            #expect(try httpGet("http://127.0.0.1:\(port)/livez").status == 200)
            try await Self.waitFor("http://127.0.0.1:\(port)/readyz", status: members == 1 ? 200 : 503)
            child.end()
        }
    }
}
