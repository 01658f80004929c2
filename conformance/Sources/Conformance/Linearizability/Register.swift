/// One operation on one key, as the client that made it saw it.
package struct RegisterOperation: Sendable {
    package enum Kind: Sendable, Hashable {
        /// Read this value; nil: the key was not there.
        case read(String?)
        case write(String)
        case delete
        /// Wrote `new` if the value was `expected`; `succeeded` is nil when the answer is not known.
        case compareAndSet(expected: String?, new: String, succeeded: Bool?)
    }

    package var kind: Kind
    /// When it was called, and when it was answered: nanoseconds of one clock. Nil: never; it may or may not have
    /// happened, at any time after `start`.
    package var start: UInt64
    package var end: UInt64?

    package init(_ kind: Kind, start: UInt64, end: UInt64?) {
        self.kind = kind
        self.start = start
        self.end = end
    }
}

/// Whether a history of one register could have come from a single copy, each operation taking effect at one instant
/// between its call and its answer. Source: Wing and Gong, "Testing and Verifying Concurrent Objects", 1993; the memory
/// of seen configurations is Lowe's.
package struct RegisterChecker {
    private let operations: [RegisterOperation]
    private var seen: Set<Configuration> = []

    private struct Configuration: Hashable {
        var done: [UInt64]
        var value: String?
    }

    private init(_ operations: [RegisterOperation]) {
        self.operations = operations.sorted { $0.start < $1.start }
    }

    /// `initial`: the value before the first operation.
    package static func isLinearizable(_ operations: [RegisterOperation], initial: String? = nil) -> Bool {
        var checker = RegisterChecker(operations)
        let words = (operations.count + 63) / 64
        return checker.search(Configuration(done: Array(repeating: 0, count: words), value: initial))
    }

    private mutating func search(_ start: Configuration) -> Bool {
        var stack = [start]
        seen.insert(start)
        while let here = stack.popLast() {
            var earliestEnd = UInt64.max
            var isComplete = true
            for (index, operation) in operations.enumerated() where !Self.isDone(index, here) {
                guard let end = operation.end else { continue }
                isComplete = false
                earliestEnd = min(earliestEnd, end)
            }
            if isComplete { return true }
            for (index, operation) in operations.enumerated() where !Self.isDone(index, here) {
                // Whatever was called after another had been answered comes after it.
                if operation.start > earliestEnd { break }
                for value in Self.effects(operation, here.value) {
                    var next = here
                    next.done[index / 64] |= 1 << UInt64(index % 64)
                    next.value = value
                    if seen.insert(next).inserted { stack.append(next) }
                }
            }
        }
        return false
    }

    private static func isDone(_ index: Int, _ configuration: Configuration) -> Bool {
        configuration.done[index / 64] & (1 << UInt64(index % 64)) != 0
    }

    /// The values that may be there after the operation; none when it cannot have happened with `value` there.
    private static func effects(_ operation: RegisterOperation, _ value: String?) -> [String?] {
        switch operation.kind {
        case .read(let seen): return operation.end == nil || seen == value ? [value] : []
        case .write(let new): return [new]
        case .delete: return [nil]
        case .compareAndSet(let expected, let new, let succeeded):
            switch succeeded {
            case true?: return value == expected ? [new] : []
            case false?: return value != expected ? [value] : []
            case nil: return value == expected ? [new] : [value]
            }
        }
    }
}
