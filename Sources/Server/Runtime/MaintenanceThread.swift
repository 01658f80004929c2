import IOInterfaces
import MVCC
import Primitives

/// Work that may take long and so has no place on an event loop: hashing, snapshots.
package struct MaintenanceJob: Sendable {
    let run: @Sendable (StoreReader) throws(StoreError) -> Void

    init(_ run: @escaping @Sendable (StoreReader) throws(StoreError) -> Void) { self.run = run }
}

/// Runs long reads of the store, one after another, and in between verifies the stored records' checksums (`ScrubPacing`).
final class MaintenanceThread {
    private let context: ServerContext

    init(context: ServerContext) { self.context = context }

    /// Returns when the inbox is closed.
    func run() {
        do throws(StoreError) {
            let reader = try context.store.makeReader()
            var jobs: [MaintenanceJob] = []
            var pacing = ScrubPacing(now: context.clock.now())
            var scrubbed: Revision?
            while context.maintenanceInbox.takeAll(
                into: &jobs, waiting: max(1, pacing.patience(now: context.clock.now())))
            {
                for job in jobs { try job.run(reader) }
                if jobs.isEmpty, pacing.isDue(now: context.clock.now()) { try scrub(reader, &scrubbed, &pacing) }
            }
        } catch {
            context.stopProcess("reading the store: \(error)")
        }
    }

    private func scrub(
        _ reader: StoreReader, _ scrubbed: inout Revision?, _ pacing: inout ScrubPacing
    ) throws(StoreError) {
        let start = context.clock.now()
        let isFirst = scrubbed == nil
        var verified = 0
        scrubbed = try reader.scrub(
            after: scrubbed, maxRecords: ScrubPacing.stepRecordsMax, maxBytes: ScrubPacing.stepBytesMax,
            verified: &verified)
        context.metrics.scrubbedRecords.add(verified)
        pacing.stepped(from: start, to: context.clock.now(), isFirst: isFirst, isLast: scrubbed == nil)
    }
}
