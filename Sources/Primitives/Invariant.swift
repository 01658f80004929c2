/// Stops the process when `condition` is false, in release builds too: the program is wrong and must not go on with
/// data it cannot trust. Operating errors (disk, network, input) are values, never invariants.
@inlinable
@inline(__always)
package func invariant(
    _ condition: @autoclosure () -> Bool,
    _ message: @autoclosure () -> String,
    file: StaticString = #fileID,
    line: UInt = #line
) {
    if _fastPath(condition()) { return }
    invariantFailed(message(), file: file, line: line)
}

/// Stops the process: code was reached that the design says cannot be.
@usableFromInline
@inline(never)
package func invariantFailed(_ message: String, file: StaticString = #fileID, line: UInt = #line) -> Never {
    fatalError("invariant: \(message)", file: file, line: line)
}
