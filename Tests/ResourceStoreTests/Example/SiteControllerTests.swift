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
                let deadline = ContinuousClock.now + .seconds(60)
                var state: [String] = []
                // The status of a site is written after its page.
                while state != ["home <h1>Hello</h1>", "old <h1>Here before</h1>", "home", "old"] {
                    guard ContinuousClock.now < deadline else { throw TestFailure("it stays at \(state)") }
                    try await Task.sleep(for: .milliseconds(20))
                    state = try await pages.list().items.map { "\($0.metadata.name) \($0.html)" }
                    state += try await sites.list().items.compactMap(\.status?.page)
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

        @Test(
            "the documentation shows this very code",
            arguments: [
                ("Controller", "SiteController", 40), ("Documentation", "Snippets", 8),
                ("UseTheLibrary", "Snippets", 10),
            ])
        func documentation(_ article: String, _ file: String, _ linesMin: Int) throws {
            let here = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            func lines(_ path: String) throws -> [String] {
                try String(contentsOf: here.appending(path: path), encoding: .utf8)
                    .split(separator: "\n", omittingEmptySubsequences: false)
                    .map { $0.trimmingCharacters(in: .whitespaces) }
            }
            let source = Set(try lines("\(file).swift"))
            var isCode = false
            // How a package is declared is code of another file.
            var isPackage = false
            var count = 0
            for line in try lines("../../../Sources/ResourceStore/Documentation.docc/\(article).md") {
                if line.hasPrefix("```") {
                    isCode.toggle()
                    isPackage = false
                } else if isCode, !line.isEmpty {
                    isPackage = isPackage || line == "// Package.swift"
                    if isPackage { continue }
                    count += 1
                    #expect(source.contains(line), "not in the source: \(line)")
                }
            }
            #expect(count >= linesMin)
        }
    }
}
