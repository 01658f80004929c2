/// Checks one watch: events in the order of their revisions, none twice, each with the right previous record, and, at
/// the end, none missing. Owner: its stream's event loop, until the run is over.
final class WatchChecker {
    /// The revisions of all events, in the order of their arrival.
    private(set) var revisions: [Int64] = []
    /// The greatest revision that is known to have been delivered: that of an event, or of a progress answer.
    private(set) var deliveredRevision: Int64 = 0
    /// What was wrong, up to ten.
    private(set) var violations: [String] = []
    /// Whether the stream has ended, which it must not during a run.
    private(set) var isEnded = false
    private let name: String
    /// The mod revision of each key's last event; its key's last eight bytes are its number.
    private var lastRevisions: [UInt64: Int64] = [:]

    init(name: String) { self.name = name }

    func receive(_ message: UnsafeRawBufferPointer) {
        let reply = ReplyReader.watch(message) { event in check(event) }
        guard let reply else { return violation("malformed watch response") }
        if reply.isCanceled { return violation("the watch was cancelled") }
        guard reply.revision > 0, !reply.isCreated else { return }
        if reply.events == 0 {
            // A progress answer may not go back behind what was delivered.
            if reply.revision < deliveredRevision {
                violation("progress says \(reply.revision) after revision \(deliveredRevision)")
            }
            deliveredRevision = max(deliveredRevision, reply.revision)
        }
    }

    /// The stream is over.
    func ended(_ reason: String) {
        isEnded = true
        violation("the stream ended: \(reason)")
    }

    private func check(_ event: ReplyReader.Event) {
        let revision = event.modRevision
        if revision <= deliveredRevision {
            violation("revision \(revision) came after \(deliveredRevision)")
        }
        deliveredRevision = max(deliveredRevision, revision)
        revisions.append(revision)
        guard event.key.count >= 8 else { return }
        let number = event.key.loadUnaligned(fromByteOffset: event.key.count - 8, as: UInt64.self)
        let previous = lastRevisions[number] ?? 0
        let isCreation = !event.isDelete && event.createRevision == revision
        if isCreation, event.previousModRevision != 0 {
            violation("creation at \(revision) has a previous record")
        } else if !isCreation, event.previousModRevision == 0 {
            violation("event at \(revision) has no previous record")
        } else if previous != 0, event.previousModRevision != previous {
            violation("previous record at \(revision) is of \(event.previousModRevision), not \(previous)")
        }
        lastRevisions[number] = event.isDelete ? 0 : revision
    }

    private func violation(_ text: String) {
        if violations.count < 10 { violations.append("watch of \(name): \(text)") }
    }

    /// Compares with the revisions of the writes that were acknowledged; `unknown` writes may have been done too.
    func verify(acknowledged: [Int64], unknown: Int) -> [String] {
        var found = violations
        let expected = Set(acknowledged)
        let seen = Set(revisions)
        let missing = expected.subtracting(seen)
        if let first = missing.min() {
            found.append("watch of \(name): \(missing.count) events are missing, the first of revision \(first)")
        }
        let extra = seen.subtracting(expected)
        if extra.count > unknown, let first = extra.min() {
            found.append("watch of \(name): \(extra.count) events of no write, the first of revision \(first)")
        }
        return found
    }
}
