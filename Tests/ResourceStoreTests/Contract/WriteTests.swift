import Client
import Foundation
import Testing
import Wire

@testable import ResourceStore

extension ResourceStoreTests {
    /// Creating, changing and deleting. Source: kubernetes-contract, section 2, and the API server's storage tests.
    @Suite("writes") struct Writes {
        @Test("create gives identity and version, and refuses what exists", arguments: Backing.available)
        func create(_ backing: Backing) async throws {
            try await withStore(backing) { store in
                let widgets = store.widgets
                let before = try await store.currentResourceVersion()
                let created = try await widgets.create(Widget("a", size: 3))
                #expect(created.size == 3)
                #expect(created.metadata.resourceVersion?.rawValue == before.rawValue + 1)
                #expect(created.metadata.uid?.count == 36 && created.metadata.generation == 1)
                #expect(created.metadata.creationTimestamp?.hasSuffix("Z") == true)
                #expect(try await widgets.get("a", namespace: "default") == created)

                let again = await failure { try await widgets.create(Widget("a")) }
                #expect(again?.code == .alreadyExists && again?.key == "/registry/example.com/widgets/default/a")
                #expect(try await store.currentResourceVersion() == created.metadata.resourceVersion)
                let copy = await failure { try await widgets.create(created) }
                #expect(copy?.code == .invalid, "an object that was read cannot be created")
                // The name is free in another namespace.
                try await widgets.create(Widget("a", namespace: "other"))
            }
        }

        @Test("names that would leave their place are refused", arguments: ["", ".", "..", "a/b", "a%2fb"])
        func names(_ name: String) async throws {
            try await withStore(.memory) { store in
                #expect(await failure { try await store.widgets.create(Widget(name)) }?.code == .invalid)
                #expect(
                    await failure { try await store.widgets.create(Widget("x", namespace: name)) }?.code == .invalid)
                #expect(await failure { _ = try await store.widgets.get("x") }?.code == .invalid, "no namespace")
                let nodes = store.objects(Resource(name: "nodes"))
                #expect(await failure { _ = try await nodes.get("x", namespace: "default") }?.code == .invalid)
                let version = try await store.currentResourceVersion()
                #expect(version == 1, "nothing was written")
            }
        }

        @Test("guaranteed updates lose nobody's change", arguments: Backing.available)
        func counter(_ backing: Backing) async throws {
            try await withStore(backing) { store in
                let widgets = store.widgets
                let start = try await widgets.create(Widget("counter"))
                try await withThrowingTaskGroup(of: Void.self) { group in
                    for _ in 0..<8 {
                        group.addTask {
                            for _ in 0..<25 {
                                try await widgets.guaranteedUpdate("counter", namespace: "default") { $0.size += 1 }
                            }
                        }
                    }
                    try await group.waitForAll()
                }
                let end = try await widgets.get("counter", namespace: "default")
                #expect(end.size == 200)
                #expect(
                    end.metadata.resourceVersion?.rawValue == (start.metadata.resourceVersion?.rawValue ?? 0) + 200)
                #expect(end.metadata.uid == start.metadata.uid)
            }
        }

        @Test("a change that changes nothing is not written", arguments: Backing.available)
        func unchanged(_ backing: Backing) async throws {
            try await withStore(backing) { store in
                let created = try await store.widgets.create(Widget("a", size: 1))
                let same = try await store.widgets.guaranteedUpdate("a", namespace: "default") { $0.size = 1 }
                #expect(same == created)
                #expect(try await store.currentResourceVersion() == created.metadata.resourceVersion)
            }
        }

        @Test("an update keeps what tells the object from others", arguments: Backing.available)
        func identity(_ backing: Backing) async throws {
            try await withStore(backing) { store in
                let created = try await store.widgets.create(Widget("a")).metadata
                // As a program does that makes the object anew, or copies it from another.
                let made = try await store.widgets.createOrUpdate("a", namespace: "default") { _ in
                    var widget = Widget("a", size: 1)
                    widget.metadata.uid = "copied"
                    widget.metadata.creationTimestamp = "1970-01-01T00:00:00Z"
                    return widget
                }
                #expect(made.size == 1 && made.metadata.uid == created.uid)
                #expect(made.metadata.creationTimestamp == created.creationTimestamp)
                #expect(made.metadata.generation == 1)
                // An empty version is none, as in objects that others have written.
                let bytes =
                    Array(
                        #"{"metadata":{"name":"b","namespace":"default","resourceVersion":"","creationTimestamp":null},"#
                            .utf8) + Array(#""apiVersion":"example.com/v1","kind":"Widget","size":3}"#.utf8)
                try await store.objects(Widget.resource, codec: OpaqueCodec()).create(
                    OpaqueObject(name: "b", namespace: "default", bytes: bytes))
                #expect(try await store.widgets.get("b", namespace: "default").size == 3)
            }
        }

        @Test("preconditions, failures and errors of a change", arguments: Backing.available)
        func preconditions(_ backing: Backing) async throws {
            try await withStore(backing) { store in
                let widgets = store.widgets
                let first = try await widgets.create(Widget("a"))
                let second = try await widgets.guaranteedUpdate(
                    "a", namespace: "default",
                    preconditions: Preconditions(
                        uid: first.metadata.uid, resourceVersion: first.metadata.resourceVersion)
                ) { $0.size = 7 }
                #expect(second.size == 7)

                let stale = await failure {
                    try await widgets.guaranteedUpdate(
                        "a", namespace: "default",
                        preconditions: Preconditions(resourceVersion: first.metadata.resourceVersion)
                    ) { $0.size = 8 }
                }
                #expect(stale?.code == .conflict)
                #expect(stale?.currentResourceVersion == second.metadata.resourceVersion)
                let other = await failure {
                    try await widgets.guaranteedUpdate(
                        "a", namespace: "default", preconditions: Preconditions(uid: "another")
                    ) { $0.size = 8 }
                }
                #expect(other?.code == .conflict)
                let missing = await failure {
                    try await widgets.guaranteedUpdate("b", namespace: "default") { $0.size = 8 }
                }
                #expect(missing?.code == .notFound)
                let renamed = await failure {
                    try await widgets.guaranteedUpdate("a", namespace: "default") { $0.metadata.name = "b" }
                }
                #expect(renamed?.code == .invalid)
                await #expect(throws: TestFailure.self) {
                    try await widgets.guaranteedUpdate("a", namespace: "default") { _ in throw TestFailure("no") }
                }
                #expect(try await widgets.get("a", namespace: "default") == second)
            }
        }

        @Test("an update by version is a compare and swap", arguments: Backing.available)
        func update(_ backing: Backing) async throws {
            try await withStore(backing) { store in
                let widgets = store.widgets
                var mine = try await widgets.create(Widget("a"))
                var yours = mine
                mine.size = 1
                yours.size = 2
                mine = try await widgets.update(mine)
                let (stale, current) = (yours, mine)
                let conflict = await failure { try await widgets.update(stale) }
                #expect(conflict?.code == .conflict)
                #expect(conflict?.currentResourceVersion == current.metadata.resourceVersion)
                // Without a version it goes over whatever is there, and keeps identity.
                let forced = try await widgets.update(Widget("a", size: 9))
                #expect(forced.size == 9 && forced.metadata.uid == current.metadata.uid)
                #expect(await failure { try await widgets.update(Widget("b")) }?.code == .notFound)
            }
        }

        @Test("create or update sees nothing, then what it made", arguments: Backing.available)
        func createOrUpdate(_ backing: Backing) async throws {
            try await withStore(backing) { store in
                for round in 0..<3 {
                    let stored = try await store.widgets.createOrUpdate("a", namespace: "default") { existing in
                        #expect((existing == nil) == (round == 0))
                        var widget = existing ?? Widget("a")
                        widget.size = round
                        return widget
                    }
                    #expect(stored.size == round)
                }
                let missing = await failure {
                    try await store.widgets.createOrUpdate(
                        "b", namespace: "default", preconditions: Preconditions(uid: "x")
                    ) { _ in Widget("b") }
                }
                #expect(missing?.code == .notFound)
            }
        }

        @Test("delete returns the last state and checks what it deletes", arguments: Backing.available)
        func delete(_ backing: Backing) async throws {
            try await withStore(backing) { store in
                let widgets = store.widgets
                let created = try await widgets.create(Widget("a", size: 5))
                for preconditions in [
                    Preconditions(uid: "another"), Preconditions(resourceVersion: 1),
                ] {
                    let error = await failure {
                        try await widgets.delete("a", namespace: "default", preconditions: preconditions)
                    }
                    #expect(error?.code == .conflict)
                }
                await #expect(throws: TestFailure.self) {
                    try await widgets.delete("a", namespace: "default") { _ in throw TestFailure("keep it") }
                }
                let deleted = try await widgets.delete(
                    "a", namespace: "default", preconditions: Preconditions(uid: created.metadata.uid))
                #expect(deleted.size == 5 && deleted.metadata.uid == created.metadata.uid)
                #expect(try await store.currentResourceVersion() == deleted.metadata.resourceVersion)
                #expect(await failure { try await widgets.delete("a", namespace: "default") }?.code == .notFound)
                #expect(await failure { _ = try await widgets.get("a", namespace: "default") }?.code == .notFound)
                // The same name again is another object.
                let again = try await widgets.create(Widget("a"))
                #expect(again.metadata.uid != created.metadata.uid)
                let late = await failure {
                    try await widgets.delete(
                        "a", namespace: "default", preconditions: Preconditions(uid: created.metadata.uid))
                }
                #expect(late?.code == .conflict)
            }
        }

        @Test("deletes that race with changes see the newest state", arguments: Backing.available)
        func racingDelete(_ backing: Backing) async throws {
            try await withStore(backing) { store in
                let widgets = store.widgets
                try await widgets.create(Widget("a"))
                let (running, onRunning) = AsyncStream<Void>.makeStream()
                let changes = Task {
                    defer { onRunning.finish() }
                    var count = 0
                    while (try? await widgets.guaranteedUpdate("a", namespace: "default") { $0.size += 1 }) != nil {
                        count += 1
                        if count == 10 { onRunning.finish() }
                    }
                    return count
                }
                for await _ in running {}
                let last = try await widgets.delete("a", namespace: "default")
                #expect(await changes.value == last.size, "every change that was acknowledged is in the last state")
            }
        }

        @Test("objects with a time to live go by themselves", arguments: Backing.available)
        func timeToLive(_ backing: Backing) async throws {
            try await withStore(backing) { store in
                let widgets = store.widgets
                // Stored again without a time to live, an object stays when its lease ends, by time or otherwise.
                let keeps = try await widgets.create(Widget("keeps"), timeToLive: .seconds(3600))
                try await widgets.guaranteedUpdate("keeps", namespace: "default") { $0.size = 1 }
                for id in try await store.storage.client.leaseLeases().leases.map(\.id) {
                    var request = Etcdserverpb_LeaseRevokeRequest()
                    request.id = id
                    _ = try await store.storage.client.leaseRevoke(request)
                }
                try await widgets.create(Widget("goes"), timeToLive: .seconds(1))
                var events: [String] = []
                for try await event in widgets.watch(from: keeps.metadata.resourceVersion) {
                    guard case .deleted(let widget) = event else { continue }
                    events.append(widget.metadata.name)
                    break
                }
                #expect(events == ["goes"])
                #expect(try await widgets.get("keeps", namespace: "default").size == 1)
                // Given again, a time to live begins anew, though nothing else has changed.
                let short = try await widgets.create(Widget("renewed"), timeToLive: .seconds(1800))
                let renewed = try await widgets.guaranteedUpdate(
                    "renewed", namespace: "default", timeToLive: .seconds(3600)
                ) { _ in }
                #expect(renewed.metadata.resourceVersion ?? 0 > short.metadata.resourceVersion ?? 0)
                #expect(await failure { try await widgets.create(Widget("x"), timeToLive: .zero) }?.code == .invalid)
            }
        }

        @Test("a lease that others revoke takes its objects, and stands in nobody's way", arguments: Backing.available)
        func revokedLease(_ backing: Backing) async throws {
            try await withStore(backing) { store in
                try await store.widgets.create(Widget("a"), timeToLive: .seconds(3600))
                let known = try await store.storage.client.leaseLeases().leases.map(\.id)
                #expect(known.count == 1)
                for id in known {
                    var request = Etcdserverpb_LeaseRevokeRequest()
                    request.id = id
                    _ = try await store.storage.client.leaseRevoke(request)
                }
                #expect(try await store.widgets.count() == 0)
                try await store.widgets.create(Widget("b"), timeToLive: .seconds(3600))
                try await store.widgets.guaranteedUpdate("b", namespace: "default", timeToLive: .seconds(3600)) {
                    $0.size = 1
                }
                let now = try await store.storage.client.leaseLeases().leases.map(\.id)
                #expect(now.count == 1 && now != known)
            }
        }
    }
}
