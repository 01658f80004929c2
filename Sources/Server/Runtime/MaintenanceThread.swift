import MVCC
import Primitives

/// Work that may take long and so has no place on an event loop: hashing, snapshots.
package struct MaintenanceJob: Sendable {
    let run: @Sendable (StoreReader) throws(StoreError) -> Void

    init(_ run: @escaping @Sendable (StoreReader) throws(StoreError) -> Void) { self.run = run }
}

/// Runs long reads of the store, one after another, and in between verifies the stored records' checksums.
final class MaintenanceThread {
    /// Records verified in one step, and the pause after it: about 1 % of a core.
    private static let scrubRecords = 1000
    private static let scrubPauseNanoseconds: UInt64 = 100_000_000

    private let context: ServerContext

    init(context: ServerContext) { self.context = context }

    /// Returns when the inbox is closed.
    func run() {
        do throws(StoreError) {
            let reader = try context.store.makeReader()
            var jobs: [MaintenanceJob] = []
            var scrubbed: Revision?
            while context.maintenanceInbox.takeAll(into: &jobs, waiting: Self.scrubPauseNanoseconds) {
                for job in jobs { try job.run(reader) }
                if jobs.isEmpty {
                    var verified = 0
                    scrubbed = try reader.scrub(
                        after: scrubbed, maxRecords: Self.scrubRecords, verified: &verified)
                    context.metrics.scrubbedRecords.add(verified)
                }
            }
        } catch {
            context.stopProcess("reading the store: \(error)")
        }
    }
}
