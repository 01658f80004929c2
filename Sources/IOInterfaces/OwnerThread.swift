internal import CPlatform

/// Remembers which thread owns a piece of state, so that entry points can assert it (style.md, rule 6).
package struct OwnerThread: Sendable {
    private var thread: UInt

    /// Owned by the calling thread.
    package init() { thread = martlet_thread() }

    /// Hands the state to the calling thread. The caller sees to it that the former owner is done with it.
    package mutating func adopt() { thread = martlet_thread() }

    /// Whether the calling thread is the owner.
    package var isCurrent: Bool { thread == martlet_thread() }
}
