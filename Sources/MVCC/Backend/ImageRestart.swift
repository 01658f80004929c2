package import Primitives

/// What a restored image says of itself, in place of what it said: the store's own meta entries that a restore changes.
package struct ImageRestart: Equatable, Sendable {
    /// The entry that the log of the new member begins after, and its term.
    package var appliedIndex: LogIndex
    package var appliedTerm: Term
    package var currentRevision: Int64
    /// -1: never compacted; at most `currentRevision`. Removing what it makes unreachable is left to the store's sweep.
    package var compactRevision: Int64

    package init(appliedIndex: LogIndex, appliedTerm: Term, currentRevision: Int64, compactRevision: Int64) {
        invariant(compactRevision <= currentRevision, "an image compacted past its revision")
        self.appliedIndex = appliedIndex
        self.appliedTerm = appliedTerm
        self.currentRevision = currentRevision
        self.compactRevision = compactRevision
    }

    /// Replaces the entries of an image that is being restored, before they are committed.
    package func apply(to meta: inout [MetaChange]) {
        let changes = [
            MetaChange(
                key: MetaKey.applied, value: MetaKey.encode(appliedIndex.rawValue, appliedTerm.rawValue)),
            MetaChange(key: MetaKey.revision, value: MetaKey.encode(UInt64(bitPattern: currentRevision))),
            MetaChange(key: MetaKey.compact, value: MetaKey.encode(UInt64(bitPattern: compactRevision))),
        ]
        meta.removeAll { entry in changes.contains { $0.key == entry.key } }
        meta += changes
    }
}
