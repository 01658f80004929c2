import Client
import Foundation
import Testing
import Wire

@testable import ResourceStore

extension ObjectStore {
    /// Drops the history before a version.
    func compact(_ version: ResourceVersion) async throws {
        var request = Etcdserverpb_CompactionRequest()
        request.revision = version.rawValue
        _ = try await storage.client.compact(request)
    }

    /// Stores widgets `w000`, `w001`, ... in a namespace.
    @discardableResult
    func fill(_ count: Int, namespace: String = "default") async throws -> ResourceVersion {
        for number in 0..<count {
            let name = "w" + String(String(number + 1000).dropFirst())
            try await widgets.create(Widget(name, namespace: namespace, size: number))
        }
        return try await currentResourceVersion()
    }
}

extension ResourceStoreTests {
    /// Reading at a version, lists in pages, counts. Source: the API server's storage interface.
    @Suite("reads") struct Reads {
        @Test("get at the versions that can be asked for", arguments: Backing.available)
        func versions(_ backing: Backing) async throws {
            try await withStore(backing) { store in
                let widgets = store.widgets
                let first = try await widgets.create(Widget("a", size: 1))
                let second = try await widgets.guaranteedUpdate("a", namespace: "default") { $0.size = 2 }
                let (old, new) = (first.metadata.resourceVersion ?? 0, second.metadata.resourceVersion ?? 0)
                #expect(try await widgets.get("a", namespace: "default", version: .exact(old)) == first)
                #expect(try await widgets.get("a", namespace: "default", version: .notOlderThan(old)) == second)
                #expect(try await widgets.get("a", namespace: "default", version: .notOlderThan(new)) == second)
                #expect(try await widgets.get("a", namespace: "default", version: .any) == second)

                let ahead = ResourceVersion(rawValue: new.rawValue + 100)
                let early = await failure {
                    _ = try await widgets.get("a", namespace: "default", version: .notOlderThan(ahead))
                }
                #expect(early?.code == .tooLargeResourceVersion && early?.currentResourceVersion == new)
                let future = await failure {
                    _ = try await widgets.get("a", namespace: "default", version: .exact(ahead))
                }
                #expect(future?.code == .tooLargeResourceVersion)
                let zero = await failure { _ = try await widgets.get("a", namespace: "default", version: .exact(0)) }
                #expect(zero?.code == .invalid)
                try await store.compact(new)
                let gone = await failure { _ = try await widgets.get("a", namespace: "default", version: .exact(old)) }
                #expect(gone?.code == .expired)
            }
        }

        @Test("lists by namespace, in order, at one version", arguments: Backing.available)
        func lists(_ backing: Backing) async throws {
            try await withStore(backing) { store in
                let widgets = store.widgets
                let empty = try await widgets.list()
                #expect(empty.items.isEmpty && empty.continueToken == nil && empty.resourceVersion >= 1)
                try await store.fill(3, namespace: "b")
                try await store.fill(2, namespace: "a")
                // A namespace whose name begins with another's is another.
                try await store.fill(1, namespace: "ab")
                let all = try await widgets.list()
                #expect(
                    all.items.map { "\($0.metadata.namespace ?? "")/\($0.metadata.name)" } == [
                        "a/w000", "a/w001", "ab/w000", "b/w000", "b/w001", "b/w002",
                    ])
                #expect(try await widgets.list(namespace: "a").items.count == 2)
                #expect(try await widgets.count() == 6)
                #expect(try await widgets.count(namespace: "b") == 3)
                #expect(try await widgets.count(namespace: "none") == 0)
                let stats = try await widgets.stats()
                #expect(stats.objectCount == 6 && 100..<1000 ~= stats.estimatedAverageBytes)
                for item in all.items { #expect(item.metadata.resourceVersion ?? 0 <= all.resourceVersion) }

                try await widgets.delete("w000", namespace: "a")
                let before = try await widgets.list(version: .exact(all.resourceVersion))
                #expect(before.items == all.items && before.resourceVersion == all.resourceVersion)
                #expect(try await widgets.list(version: .notOlderThan(all.resourceVersion)).items.count == 5)
                #expect(try await widgets.list(version: .any).items.count == 5)
                let ahead = ResourceVersion(rawValue: all.resourceVersion.rawValue + 100)
                let early = await failure { _ = try await widgets.list(version: .notOlderThan(ahead)) }
                #expect(early?.code == .tooLargeResourceVersion)
            }
        }

        @Test("pages show one moment while the store is written", arguments: Backing.available)
        func pages(_ backing: Backing) async throws {
            try await withStore(backing) { store in
                let widgets = store.widgets
                let version = try await store.fill(25)
                let writer = Task {
                    for number in 0..<100 where !Task.isCancelled {
                        let name = "w" + String(String(number % 40 + 1000).dropFirst())
                        _ = try? await widgets.createOrUpdate(name, namespace: "default") { stored in
                            var widget = stored ?? Widget(name)
                            widget.size = -1
                            return widget
                        }
                        _ = try? await widgets.delete("w007", namespace: "default")
                    }
                }
                var items: [Widget] = []
                var token: String?
                var first = true
                while first || token != nil {
                    // The first page is taken at the moment before the writer began.
                    let page = try await widgets.list(
                        limit: 10, continueToken: token, version: first ? .exact(version) : .mostRecent)
                    first = false
                    #expect(page.resourceVersion == version)
                    items += page.items
                    #expect(page.remainingItemCount == (items.count < 25 ? 25 - items.count : nil))
                    token = page.continueToken
                }
                #expect(items.map(\.size) == Array(0..<25))
                writer.cancel()
                await writer.value
            }
        }

        @Test("a token that has expired says how to go on", arguments: Backing.available)
        func expiredToken(_ backing: Backing) async throws {
            try await withStore(backing) { store in
                let widgets = store.widgets
                try await store.fill(10)
                let page = try await widgets.list(namespace: "default", limit: 4)
                try await widgets.delete("w004", namespace: "default")
                let last = try await widgets.guaranteedUpdate("w005", namespace: "default") { $0.size = 50 }
                try await store.compact(last.metadata.resourceVersion ?? 0)
                let error = await failure {
                    _ = try await widgets.list(namespace: "default", limit: 4, continueToken: page.continueToken)
                }
                #expect(error?.code == .expired)
                let token = try #require(error?.inconsistentContinueToken)
                let next = try await widgets.list(namespace: "default", limit: 4, continueToken: token)
                #expect(next.items.map(\.size) == [50, 6, 7, 8])
                #expect(next.resourceVersion == last.metadata.resourceVersion)
                let rest = try await widgets.list(namespace: "default", limit: 4, continueToken: next.continueToken)
                #expect(rest.items.map(\.size) == [9] && rest.continueToken == nil)
            }
        }

        @Test("tokens that were tampered with are refused")
        func badTokens() async throws {
            try await withStore(.memory) { store in
                let good = ContinueToken(revision: 1, start: "a/b\0").text
                for token in [
                    "", "x", "e30", String(good.dropLast(3)), ContinueToken(revision: 5, start: "").text,
                    ContinueToken(revision: 5, start: "../secrets/x").text,
                    ContinueToken(revision: -5, start: "x").text,
                ] {
                    let error = await failure { _ = try await store.widgets.list(continueToken: token) }
                    #expect(error?.code == .invalid, "\(token)")
                }
                let both = await failure { _ = try await store.widgets.list(continueToken: good, version: .any) }
                #expect(both?.code == .invalid)
                #expect(await failure { _ = try await store.widgets.list(limit: 0) }?.code == .invalid)
                let parsed = try ContinueToken(good)
                #expect(parsed == ContinueToken(revision: 1, start: "a/b\0"))
            }
        }

        @Test("what another codec wrote is told, not guessed", arguments: Backing.available)
        func undecodable(_ backing: Backing) async throws {
            try await withStore(backing) { store in
                let opaque = store.objects(Widget.resource, codec: OpaqueCodec())
                let bytes = ObjectHeader.protobufMagic + [0x0a, 0x00, 0xff, 0x80, 0x00]
                let stored = try await opaque.create(OpaqueObject(name: "p", namespace: "default", bytes: bytes))
                #expect(stored.bytes == bytes && stored.identity.resourceVersion != nil)
                let error = await failure { _ = try await store.widgets.get("p", namespace: "default") }
                #expect(error?.code == .undecodable && error?.message.contains("protobuf") == true)
                #expect(await failure { _ = try await store.widgets.list() }?.code == .undecodable)
                let update = await failure {
                    try await store.widgets.guaranteedUpdate("p", namespace: "default") { $0.size = 1 }
                }
                #expect(update?.code == .undecodable)
                #expect(try await opaque.get("p", namespace: "default").bytes == bytes, "it is untouched")
                let changed = try await opaque.guaranteedUpdate("p", namespace: "default") { $0.bytes.append(1) }
                #expect(changed.bytes == bytes + [1])
                #expect(try await opaque.delete("p", namespace: "default").bytes == bytes + [1])
            }
        }

        @Test("YAML objects are stored as YAML and read by either codec", arguments: Backing.available)
        func yaml(_ backing: Backing) async throws {
            try await withStore(backing) { store in
                let written = try await store.objects(of: Widget.self, format: .yaml).create(Widget("y", size: 4))
                let raw = try await store.objects(Widget.resource, codec: OpaqueCodec()).get("y", namespace: "default")
                #expect(String(decoding: raw.bytes, as: UTF8.self).contains("\nkind: Widget\n"))
                #expect(try await store.widgets.get("y", namespace: "default") == written)
                let tree = try await store.objects(Widget.resource).get("y", namespace: "default")
                #expect(tree["size"] == 4 && tree.uid == written.metadata.uid)
            }
        }

        @Test("the tree keeps fields that the program does not know", arguments: Backing.available)
        func unstructured(_ backing: Backing) async throws {
            try await withStore(backing) { store in
                let collection = store.objects(Resource(apiVersion: "v1", kind: "ConfigMap"))
                var map = Unstructured(apiVersion: "v1", kind: "ConfigMap", name: "c", namespace: "default")
                map["data"] = ["big": 9_007_199_254_740_993, "half": 0.5, "text": "a\u{0}\u{1F426}\n", "none": nil]
                let created = try await collection.create(map)
                #expect(created["data"] == map["data"])
                let changed = try await collection.guaranteedUpdate("c", namespace: "default") {
                    $0["extra"] = [1, "x"]
                }
                #expect(changed["data"] == map["data"] && changed.generation == 2)
                let labelled = try await collection.guaranteedUpdate("c", namespace: "default") {
                    $0.labels["a"] = "b"
                    $0["status"] = ["ready": true]
                }
                #expect(labelled.generation == 2, "metadata and status are not what is wanted of the object")
                #expect(labelled.labels == ["a": "b"] && labelled.uid == created.uid)
                let raw = try await store.storage.get("/registry/configmaps/default/c").record
                #expect(String(decoding: raw?.value ?? [], as: UTF8.self).contains("resourceVersion") == false)
            }
        }
    }
}
