/// Runs `body` for every item, `width` of them at once: for what mostly waits. Throws the first error.
package func forEach<Item: Sendable>(
    _ items: some Sequence<Item>, atOnce width: Int, _ body: @escaping @Sendable (Item) async throws -> Void
) async throws {
    try await withThrowingTaskGroup(of: Void.self) { group in
        for (index, item) in items.enumerated() {
            if index >= width { try await group.next() }
            group.addTask { try await body(item) }
        }
        try await group.waitForAll()
    }
}
