import Primitives

/// One watch of one stream. Owner: the hub's event loop.
final class Watcher {
    enum State {
        /// Sent everything up to the hub's position; in its variant's list.
        case synced
        /// Lags; in the hub's line.
        case queued
        /// Lags; waits until its stream has room.
        case parked
        /// Canceled, or its stream is closed.
        case closed
    }

    /// The stream outlives every watcher that is not closed; a closed one's must not be touched.
    unowned(unsafe) let stream: WatchStream
    let variant: WatcherVariant
    let id: Int64
    let isFragmented: Bool
    let notifiesProgress: Bool
    /// As requested: 0 for "from now on".
    let startRevision: Int64

    var state = State.closed
    /// Lagging: the next revision it needs. Synced: the first it may be sent; it may lie in the future, and is not kept
    /// up to date behind the position.
    var next: Int64
    /// Its place in its variant's list of synced watchers.
    var variantIndex = 0
    /// Its place in its stream's list.
    var streamIndex = 0
    /// Whether events were sent to it since its stream's last progress notification.
    var hasSentEvents = false
    /// A progress notification came due when it could not be given.
    var isOwedProgress = false
    /// In a scan: whether it has what the scan found.
    var isServed = false

    init(
        stream: WatchStream, variant: WatcherVariant, id: Int64, isFragmented: Bool, notifiesProgress: Bool,
        startRevision: Int64, next: Int64
    ) {
        self.stream = stream
        self.variant = variant
        self.id = id
        self.isFragmented = isFragmented
        self.notifiesProgress = notifiesProgress
        self.startRevision = startRevision
        self.next = next
    }

    var wantsPrevious: Bool { variant.options.contains(.previous) }

    /// The least revision at which progress may be said to it. A watcher from a given revision on hears nothing before
    /// that revision (etcd#20221); one from now on has heard its creation's revision already.
    var progressFloor: Int64 { startRevision > 0 ? startRevision : next - 1 }
}

/// What makes the encoded events of two watchers of the same keys differ.
struct EventOptions: OptionSet, Hashable {
    let rawValue: UInt8
    static let previous = EventOptions(rawValue: 1)
    static let withoutPuts = EventOptions(rawValue: 2)
    static let withoutDeletes = EventOptions(rawValue: 4)

    func excludes(isDelete: Bool) -> Bool { contains(isDelete ? .withoutDeletes : .withoutPuts) }
}

/// The watchers that are sent the same bytes for the same events. Owner: the hub's event loop.
final class WatcherVariant {
    unowned let group: WatcherGroup
    let options: EventOptions
    private(set) var synced: [Watcher] = []
    /// In a scan: the lagging watchers that take part.
    var participants: [Watcher] = []

    init(group: WatcherGroup, options: EventOptions) {
        self.group = group
        self.options = options
    }

    func add(_ watcher: Watcher) {
        watcher.variantIndex = synced.count
        synced.append(watcher)
        group.syncedCount += 1
    }

    /// Removes a synced watcher; the last of the list takes its place.
    func remove(_ watcher: Watcher) {
        let last = synced.removeLast()
        if last !== watcher {
            synced[watcher.variantIndex] = last
            last.variantIndex = watcher.variantIndex
        }
        group.syncedCount -= 1
    }
}

/// The keys of a watcher: one key (`end` nil), all keys from `key` on (`end` empty), or those before `end`.
struct WatchRange: Hashable {
    let key: Bytes
    let end: Bytes?
}

/// All watchers of the same keys, so that an event is matched once for all of them. Owner: the hub's event loop.
final class WatcherGroup {
    let range: WatchRange
    /// At most one for each combination of options.
    private(set) var variants: [WatcherVariant] = []
    /// Watchers in any state.
    var watcherCount = 0
    var syncedCount = 0
    /// Where the matcher has it: a place among its sorted intervals, or -1.
    var slot = -1
    /// In a distribution: which of the batch's events are of its keys. Empty between distributions.
    var pending: [Int] = []
    /// In a scan: whether some of its watchers take part.
    var hasParticipants = false

    init(range: WatchRange) { self.range = range }

    var participantsWantPrevious: Bool {
        variants.contains { $0.options.contains(.previous) && !$0.participants.isEmpty }
    }

    func variant(_ options: EventOptions) -> WatcherVariant {
        if let known = variants.first(where: { $0.options == options }) { return known }
        let variant = WatcherVariant(group: self, options: options)
        variants.append(variant)
        return variant
    }
}
