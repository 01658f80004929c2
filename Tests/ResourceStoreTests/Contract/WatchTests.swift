import Client
import Foundation
import Testing
import Wire

@testable import ResourceStore

extension ResourceStoreTests {
    /// Watches. Source: kubernetes-contract, sections 3 and 9.
    @Suite("watches") struct Watches {
        /// An event in short: `+name size`, `~name size`, `-name size`, `=` for a bookmark.
        private static func short(_ event: WatchEvent<Widget>) -> String {
            switch event {
            case .added(let widget): "+\(widget.metadata.name) \(widget.size)"
            case .modified(let widget): "~\(widget.metadata.name) \(widget.size)"
            case .deleted(let widget): "-\(widget.metadata.name) \(widget.size)"
            case .bookmark: "="
            }
        }

        /// The first events of a watch.
        private func take(
            _ count: Int, of watch: ObjectWatch<TypedCodec<Widget>>
        ) async throws -> [WatchEvent<Widget>] {
            var events: [WatchEvent<Widget>] = []
            for try await event in watch {
                events.append(event)
                if events.count == count { break }
            }
            return events
        }

        @Test("tells every change with its object and version", arguments: Backing.available)
        func changes(_ backing: Backing) async throws {
            try await withStore(backing) { store in
                let widgets = store.widgets
                try await widgets.create(Widget("before"))
                let list = try await widgets.list()
                let a = try await widgets.create(Widget("a", size: 1))
                try await widgets.guaranteedUpdate("a", namespace: "default") { $0.size = 2 }
                try await widgets.create(Widget("b", namespace: "other", size: 3))
                let gone = try await widgets.delete("a", namespace: "default")
                try await widgets.create(Widget("a", size: 4))
                // Another resource whose name begins like this one's.
                try await store.objects(Resource(group: "example.com", name: "widgetsets")).create(
                    Unstructured(apiVersion: "example.com/v1", kind: "WidgetSet", name: "s", namespace: "default"))

                let all = try await take(5, of: widgets.watch(from: list.resourceVersion))
                #expect(all.map(Self.short) == ["+a 1", "~a 2", "+b 3", "-a 2", "+a 4"])
                #expect(all[0].object == a && all[3].object == gone)
                let versions = all.compactMap { $0.object?.metadata.resourceVersion?.rawValue }
                #expect(versions == (1...5).map { list.resourceVersion.rawValue + $0 })
                let other = try await take(1, of: widgets.watch(namespace: "other", from: list.resourceVersion))
                #expect(other.map(Self.short) == ["+b 3"])
                let one = try await take(
                    4, of: widgets.watch(namespace: "default", name: "a", from: list.resourceVersion))
                #expect(one.map(Self.short) == ["+a 1", "~a 2", "-a 2", "+a 4"])
            }
        }

        @Test("without a version begins with what exists", arguments: Backing.available)
        func initial(_ backing: Backing) async throws {
            try await withStore(backing) { store in
                let version = try await store.fill(3)
                var events: [WatchEvent<Widget>] = []
                for try await event in store.widgets.watch() {
                    events.append(event)
                    if case .bookmark = event {
                        try await store.widgets.delete("w001", namespace: "default")
                        try await store.widgets.create(Widget("x", size: 9))
                    }
                    if events.count == 6 { break }
                }
                #expect(events.map(Self.short) == ["+w000 0", "+w001 1", "+w002 2", "=", "-w001 1", "+x 9"])
                guard case .bookmark(let bookmark) = events[3] else { return }
                #expect(bookmark == version)
                let one = try await take(2, of: store.widgets.watch(namespace: "default", name: "w002"))
                #expect(one.map(Self.short) == ["+w002 2", "="])
                let none = try await take(1, of: store.widgets.watch(namespace: "default", name: "none"))
                #expect(none.map(Self.short) == ["="])
            }
        }

        @Test("a large initial list comes in pages and whole", arguments: Backing.available)
        func manyInitial(_ backing: Backing) async throws {
            try await withStore(backing) { store in
                try await withThrowingTaskGroup(of: Void.self) { group in
                    for part in 0..<12 {
                        group.addTask { try await store.fill(100, namespace: "n\(part)") }
                    }
                    try await group.waitForAll()
                }
                let events = try await take(1201, of: store.widgets.watch())
                #expect(events.prefix(1200).allSatisfy { if case .added = $0 { true } else { false } })
                #expect(Set(events.compactMap(\.object?.metadata.uid)).count == 1200)
                guard case .bookmark? = events.last else { throw TestFailure("no bookmark ends the list") }
            }
        }

        @Test("bookmarks come when asked for, never early", arguments: Backing.available)
        func bookmarks(_ backing: Backing) async throws {
            try await withStore(backing) { store in
                let start = try await store.fill(1)
                let writer = Task {
                    while !Task.isCancelled {
                        _ = try? await store.widgets.guaranteedUpdate("w000", namespace: "default") { $0.size += 1 }
                    }
                }
                var newest = start
                var bookmarks = 0
                for try await event in store.widgets.watch(from: start, bookmarkInterval: .milliseconds(20)) {
                    if case .bookmark(let version) = event {
                        #expect(version >= newest)
                        newest = version
                        bookmarks += 1
                        // Writes to other resources are seen by bookmarks alone.
                        if bookmarks == 5 {
                            writer.cancel()
                            await writer.value
                            try await store.objects(Resource(name: "nodes")).create(
                                Unstructured(apiVersion: "v1", kind: "Node", name: "n"))
                        }
                        if try await store.currentResourceVersion() == version, bookmarks > 5 { break }
                    } else if let version = event.object?.metadata.resourceVersion {
                        #expect(version > newest, "a change came after the bookmark that covers it")
                        newest = version
                    }
                }
                #expect(bookmarks > 5)
            }
        }

        @Test("a version that is compacted ends in 410", arguments: Backing.available)
        func expired(_ backing: Backing) async throws {
            try await withStore(backing) { store in
                let version = try await store.fill(10)
                try await store.compact(version)
                let error = await failure { _ = try await take(1, of: store.widgets.watch(from: 2)) }
                #expect(error?.code == .expired)
                // The version itself is still good, and an iterator that has ended stays so.
                let task = Task { try await take(1, of: store.widgets.watch(from: version)) }
                try await store.widgets.create(Widget("x"))
                #expect(try await task.value.count == 1)
                var iterator = store.widgets.watch(from: 2).makeAsyncIterator()
                await #expect(throws: ObjectStoreError.self) { _ = try await iterator.next() }
                #expect(try await iterator.next() == nil)
            }
        }

        @Test("what cannot be decoded ends the watch after all that came before", arguments: Backing.available)
        func undecodable(_ backing: Backing) async throws {
            try await withStore(backing) { store in
                let start = try await store.fill(2)
                let opaque = store.objects(Widget.resource, codec: OpaqueCodec())
                try await opaque.create(OpaqueObject(name: "p", namespace: "default", bytes: Array("]".utf8)))
                var seen = 0
                let error = await failure {
                    for try await _ in store.widgets.watch(from: ResourceVersion(rawValue: start.rawValue - 1)) {
                        seen += 1
                    }
                }
                #expect(seen == 1 && error?.code == .undecodable)
                var all: [[UInt8]] = []
                for try await event in opaque.watch(from: start) {
                    all.append(event.object?.bytes ?? [])
                    break
                }
                #expect(all == [Array("]".utf8)])
            }
        }

        @Test("cancelling the task ends the watch", arguments: Backing.available)
        func cancellation(_ backing: Backing) async throws {
            try await withStore(backing) { store in
                let start = try await store.fill(1)
                let (seen, onSeen) = AsyncStream<Void>.makeStream()
                let task = Task {
                    var count = 0
                    for try await _ in store.widgets.watch(from: start) {
                        count += 1
                        onSeen.finish()
                    }
                    return count
                }
                try await store.widgets.create(Widget("x"))
                for await _ in seen {}
                task.cancel()
                #expect(try await task.value == 1)
            }
        }

        @Test("many changes reach a slow reader in order, each once", arguments: Backing.available)
        func slowReader(_ backing: Backing) async throws {
            try await withStore(backing) { store in
                let start = try await store.widgets.create(Widget("w")).metadata.resourceVersion ?? 0
                let writes = Task {
                    for _ in 0..<1500 {
                        try await store.widgets.guaranteedUpdate("w", namespace: "default") { $0.size += 1 }
                    }
                }
                var sizes: [Int] = []
                for try await event in store.widgets.watch(from: start) {
                    guard let widget = event.object else { continue }
                    sizes.append(widget.size)
                    if sizes.count % 100 == 0 { try await Task.sleep(for: .milliseconds(10)) }
                    if sizes.count == 1500 { break }
                }
                try await writes.value
                #expect(sizes == Array(1...1500))
            }
        }
    }
}
