import Foundation
import ResourceStore
import Testing

extension ResourceStoreTests {
    /// The worked example of the documentation: it runs, and the documentation shows what runs.
    @Suite("example") struct Example {
        @Test("the controller brings pages to what sites want", arguments: Backing.available)
        func controller(_ backing: Backing) async throws {
            try await withStore(backing) { store in
                let controller = SiteController(store: store)
                let (sites, pages) = (controller.sites, controller.pages)
                func site(_ name: String, _ title: String) -> Site {
                    Site(metadata: ObjectMetadata(name: name, namespace: "web"), spec: .init(title: title))
                }
                try await sites.create(site("old", "Here before"))
                let running = Task { try await controller.run() }
                try await sites.create(site("home", "Welcome"))
                try await sites.guaranteedUpdate("home", namespace: "web") { $0.spec.title = "Hello" }
                try await sites.create(site("gone", "Soon away"))
                try await sites.delete("gone", namespace: "web")
                let deadline = ContinuousClock.now + .seconds(10)
                var state: [String] = []
                while state != ["home <h1>Hello</h1>", "old <h1>Here before</h1>"] {
                    guard ContinuousClock.now < deadline else { throw TestFailure("pages stay at \(state)") }
                    try await Task.sleep(for: .milliseconds(20))
                    state = try await pages.list().items.map { "\($0.metadata.name) \($0.html)" }
                }
                running.cancel()
                // Cancelled within a request it ends with an error.
                _ = await running.result
                let home = try await sites.get("home", namespace: "web")
                #expect(home.status == Site.Status(page: "home"))
                let page = try await pages.get("home", namespace: "web")
                #expect(page.metadata.ownerReferences.map(\.uid) == [home.metadata.uid])
            }
        }

        @Test("the documentation shows this very code")
        func documentation() throws {
            let here = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            let source = try String(contentsOf: here.appending(path: "SiteController.swift"), encoding: .utf8)
            let article = try String(
                contentsOf: here.appending(path: "../../../Sources/ResourceStore/Documentation.docc/Controller.md"),
                encoding: .utf8)
            var isCode = false
            var lines = 0
            for line in article.split(separator: "\n", omittingEmptySubsequences: false) {
                if line.hasPrefix("```") {
                    isCode.toggle()
                } else if isCode, !line.allSatisfy({ $0 == " " }) {
                    lines += 1
                    #expect(source.contains("\n\(line)\n") || source.hasPrefix(line), "not in the source: \(line)")
                }
            }
            #expect(lines > 40)
        }
    }
}
