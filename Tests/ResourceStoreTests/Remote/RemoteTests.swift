import Foundation
import Testing

@testable import ResourceStore

extension ResourceStoreTests {
    /// What only a store in another process, or on disk, can show.
    @Suite("remote") struct Remote {
        @Test("a watch goes on when the server is killed and comes back")
        func restart() async throws {
            let folder = try TemporaryFolder()
            defer { folder.remove() }
            let server = try ServerProcess(.martlet, folder: folder)
            defer { server.kill() }
            try await using(ObjectStore.patient([server.endpoint])) { store in
                try await server.waitUntilServing(store)
                let start = try await store.fill(1)
                let watch = Task {
                    var sizes: [Int] = []
                    for try await event in store.widgets.watch(from: start) {
                        if let widget = event.object { sizes.append(widget.size) }
                        if sizes.count == 60 { break }
                    }
                    return sizes
                }
                for round in 0..<3 {
                    for _ in 0..<20 {
                        try await store.widgets.guaranteedUpdate("w000", namespace: "default") { $0.size += 1 }
                    }
                    if round == 2 { break }
                    server.kill()
                    try await Task.sleep(for: .milliseconds(200))
                    try server.start()
                    try await server.waitUntilServing(store)
                }
                #expect(try await watch.value == Array(1...60))
            }
        }

        @Test("a watch waits for a store that is not there yet, and ends when its history is compacted meanwhile")
        func lateStore() async throws {
            let folder = try TemporaryFolder()
            defer { folder.remove() }
            let server = try ServerProcess(.martlet, folder: folder)
            defer { server.kill() }
            try await using(ObjectStore.patient([server.endpoint])) { store in
                try await server.waitUntilServing(store)
                let start = try await store.fill(2)
                server.kill()
                // Several of its attempts end while nobody answers.
                var hurried = RemoteOptions(endpoints: [server.endpoint])
                hurried.requestTimeout = .milliseconds(500)
                let impatient = try ObjectStore.remote(hurried)
                let all = Task {
                    var names: [String] = []
                    for try await event in impatient.widgets.watch() {
                        guard let widget = event.object else { break }
                        names.append(widget.metadata.name)
                    }
                    return names
                }
                try await Task.sleep(for: .milliseconds(1200))
                try server.start()
                try await server.waitUntilServing(store)
                #expect(try await all.value == ["w000", "w001"])
                await impatient.close()

                var iterator = store.widgets.watch(from: start).makeAsyncIterator()
                let next = try await store.widgets.create(Widget("x"))
                #expect(try await iterator.next()?.object == next)
                server.kill()
                // Written and compacted while the watch cannot reach the store by its own connection.
                try server.start()
                try await using(ObjectStore.patient([server.endpoint])) { other in
                    try await server.waitUntilServing(other)
                    let version = try await other.fill(5, namespace: "other")
                    try await other.compact(version)
                }
                let error = await failure { while let _ = try await iterator.next() {} }
                #expect(error?.code == .expired)
            }
        }

        @Test("calls end in time when nobody answers")
        func unreachable() async throws {
            var options = RemoteOptions(endpoints: ["127.0.0.1:1", "127.0.0.1:2"])
            options.requestTimeout = .milliseconds(300)
            try await using(ObjectStore.remote(options)) { store in
                let started = ContinuousClock.now
                let error = await failure { _ = try await store.widgets.get("a", namespace: "default") }
                #expect([.timedOut, .unavailable].contains(error?.code))
                #expect(ContinuousClock.now - started < .seconds(60))
                let watch = Task { for try await _ in store.widgets.watch(from: 1) {} }
                try await Task.sleep(for: .milliseconds(100))
                watch.cancel()
                try await watch.value
            }
        }

        @Test("endpoints and TLS files that make no sense are refused")
        func options() throws {
            for endpoints in [[], ["::1:2379"], ["http://"], ["http://host:x"]] {
                #expect(throws: ObjectStoreError.self) {
                    try ObjectStore.remote(RemoteOptions(endpoints: endpoints))
                }
            }
            let half = RemoteOptions.TLSOptions(certificateFile: "/a.crt")
            #expect(throws: ObjectStoreError.self) {
                try ObjectStore.remote(RemoteOptions(endpoints: ["https://127.0.0.1:1"], tls: half))
            }
        }

        @Test("mutual TLS: the right certificate and no other")
        func tls() async throws {
            let folder = try TemporaryFolder()
            defer { folder.remove() }
            let script = """
                set -e; cd \(folder.root)
                printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\\nextendedKeyUsage=serverAuth,clientAuth\\n' > ext
                for ca in ca other; do
                  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 \
                    -keyout $ca.key -out $ca.crt -subj /CN=$ca
                done
                for name in server client; do
                  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout $name.key -out $name.csr \
                    -subj /CN=$name
                  openssl x509 -req -in $name.csr -CA ca.crt -CAkey ca.key -set_serial 7 -days 2 -extfile ext \
                    -out $name.crt
                done
                """
            let made = try Command.run(["sh", "-c", script])
            #expect(made.status == 0, "\(made.errors)")
            let server = try ServerProcess(
                .martlet, folder: folder, scheme: "https",
                [
                    "--cert-file", folder.path("server.crt"), "--key-file", folder.path("server.key"),
                    "--trusted-ca-file", folder.path("ca.crt"), "--client-cert-auth",
                ])
            defer { server.kill() }
            let good = RemoteOptions.TLSOptions(
                trustedCAFile: folder.path("ca.crt"), certificateFile: folder.path("client.crt"),
                keyFile: folder.path("client.key"))
            try await using(ObjectStore.patient([server.endpoint], tls: good)) { store in
                try await server.waitUntilServing(store)
                try await store.widgets.create(Widget("a"))
                #expect(try await store.widgets.count() == 1)
            }
            var wrongCA = good
            wrongCA.trustedCAFile = folder.path("other.crt")
            var nameless = good
            nameless.certificateFile = nil
            nameless.keyFile = nil
            for tls in [wrongCA, nameless] {
                var options = RemoteOptions(endpoints: [server.endpoint], tls: tls)
                options.requestTimeout = .milliseconds(500)
                try await using(ObjectStore.remote(options)) { store in
                    let error = await failure { _ = try await store.widgets.count() }
                    #expect(error != nil)
                }
            }
        }

        @Test("an embedded store on disk keeps its objects and its directory to itself")
        func disk() async throws {
            let folder = try TemporaryFolder()
            defer { folder.remove() }
            let options = EmbeddedOptions(storage: .directory(folder.path("data")))
            let created = try await using(ObjectStore.embedded(options)) { store in
                let widget = try await store.widgets.create(Widget("a", size: 4))
                let second = await failure { _ = try await ObjectStore.embedded(options) }
                #expect(second?.code == .unavailable)
                return widget
            }
            try await using(ObjectStore.embedded(options)) { store in
                #expect(try await store.widgets.get("a", namespace: "default") == created)
                let stats = try await store.stats()
                #expect(stats.resourceVersion >= created.metadata.resourceVersion ?? .init(rawValue: .max))
                #expect(stats.usedBytes > 0 && stats.fileBytes >= stats.usedBytes && !stats.serverVersion.isEmpty)
            }
        }

        @Test("many stores in memory live side by side and leave nothing behind")
        func memory() async throws {
            try await withThrowingTaskGroup(of: (count: Int, folder: String).self) { group in
                for number in 1...4 {
                    group.addTask {
                        try await using(ObjectStore.embedded()) { store in
                            try await store.fill(number)
                            let folder = try #require(store.server?.folder)
                            #expect(FileManager.default.fileExists(atPath: folder))
                            return (try await store.widgets.count(), folder)
                        }
                    }
                }
                var counts: Set<Int> = []
                for try await (count, folder) in group {
                    counts.insert(count)
                    #expect(!FileManager.default.fileExists(atPath: folder), "it has left something")
                }
                #expect(counts == [1, 2, 3, 4])
            }
        }

        @Test("a closed store answers nothing")
        func closed() async throws {
            let store = try await ObjectStore.embedded()
            let watch = Task { for try await _ in store.widgets.watch(from: 1) {} }
            try await Task.sleep(for: .milliseconds(50))
            await store.close()
            #expect(await failure { _ = try await store.widgets.count() }?.code == .cancelled)
            let ended = await failure { try await watch.value }
            #expect(ended?.code == .cancelled, "a watch of a closed store ends with an error")
        }
    }
}
