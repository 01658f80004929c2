package import MVCC
package import Primitives

/// Limits and times of a hub. A turn's limits keep it to about a millisecond.
package struct WatchConfiguration: Sendable {
    /// Events read from the tail or from history at once, in bytes; a single larger revision is read whole.
    package var batchBytesMax = 256 << 10
    /// Revisions read from history at once.
    package var historyRevisionsMax = 1000
    /// Reads for lagging watchers in one turn.
    package var turnScansMax = 4
    /// Lagging watchers looked at, from the first in line on, for others that a read can serve, too.
    package var lineLookMax = 4096
    /// Responses sent in one turn; watchers whose turn is over wait, as cursors, for the next.
    package var turnResponsesMax = 1024
    /// Bytes sent in one turn; the response that goes beyond is still sent.
    package var turnBytesMax = 2 << 20
    /// Where responses are split for watchers that asked for fragments: the greatest request and 512 KiB, as in etcd.
    package var fragmentBytesMax = (3 << 19) + (512 << 10)
    /// How long a watcher must be idle for a progress notification; at least 100 ms.
    package var progressIntervalNanoseconds: UInt64 = 600_000_000_000
    /// Watchers of one stream; more are created and canceled at once, with the reason `tooManyRequests`.
    package var streamWatchersMax = 65_536
    /// Replies to requests on a stream whose sink is not writable; at one more the stream is to be closed.
    package var stalledRepliesMax = 1024

    package init() {}
}

/// Texts of `cancel_reason`. Clients match on them. Source: etcd-behaviour.md, sections 1.2 and 2.
package enum WatchCancelReason {
    package static let emptyRange = "mvcc: watcher range is empty"
    package static let duplicateID = "mvcc: duplicate watch ID provided on the WatchStream"
    package static let compacted = "etcdserver: mvcc: required revision has been compacted"
    package static let permissionDenied = "etcdserver: permission denied"
    package static let tooManyRequests = "etcdserver: too many requests"
}

/// What a hub counts. Totals are since the hub was made.
package struct WatchCounters: Equatable, Sendable {
    package var streams = 0
    package var watchers = 0
    /// Watchers that lag. Source of the name: etcd's metric.
    package var slowWatchers = 0
    /// Revisions that lagging watchers have yet to go through, summed over them.
    package var pendingRevisions: Int64 = 0
    /// Events in sent responses, each counted once for each watcher.
    package var eventsSent: UInt64 = 0
    package var responsesSent: UInt64 = 0
    /// Reads of history, which cost more than those of the tail.
    package var historyScans: UInt64 = 0

    package init() {}
}

/// Where a stream's responses go: the event loop's gRPC stream.
package protocol WatchStreamSink: AnyObject {
    /// Takes one `WatchResponse` of `size` bytes, all of which `fill` writes. `fill` must be called once, before `send`
    /// returns. Messages leave in the order of the calls. Taken also when the sink is not writable. Nothing of the hub
    /// or its streams may be called from inside: a sink that fails says so later.
    func send(size: Int, _ fill: (UnsafeMutableRawBufferPointer) -> Void)

    /// Whether what is buffered is below the high mark. After it was false, `WatchStream.becameWritable()` must follow.
    var isWritable: Bool { get }
}

/// Who answers: goes into each response's header.
package struct WatchIdentity: Equatable, Sendable {
    package var clusterID: UInt64
    package var memberID: UInt64
    package var raftTerm: UInt64

    package init(clusterID: UInt64, memberID: UInt64, raftTerm: UInt64) {
        self.clusterID = clusterID
        self.memberID = memberID
        self.raftTerm = raftTerm
    }
}

/// What a hub reads: one store, as seen from the hub's thread. Called once for many events, never for each.
package protocol WatchSource: AnyObject {
    /// The newest published revision.
    var currentRevision: Int64 { get }
    /// Revisions before this one are gone; less than 1 when none is.
    var compactRevision: Int64 { get }
    var identity: WatchIdentity { get }

    /// Says that from now on some watcher wants previous values. Called often; events that lack theirs all the same (the
    /// tail may hold older ones) are completed by `record`.
    func wantPrevious()

    /// The revisions greater than `after` up to `through`, ascending, with previous values where they are known; cut off
    /// between revisions after about `maxBytes`, but never before the first. Nil when the tail begins later than that.
    func tailEvents(after: Int64, through: Int64, maxBytes: Int) -> [RevisionEvents]?

    /// The record that `key` had at `revision`; nil when it had none or when the revision has been compacted.
    func record(of key: UnsafeRawBufferPointer, at revision: Int64) throws(StoreError) -> Bytes?

    /// The same as `tailEvents` from the file. `through` is how far it has looked, at least `after + 1` when that is published and
    /// older than the tail.
    func historyEvents(
        after: Int64, maxRevisions: Int, maxBytes: Int, wantPrevious: Bool
    ) throws(StoreError) -> (events: [RevisionEvents], through: Int64)
}
