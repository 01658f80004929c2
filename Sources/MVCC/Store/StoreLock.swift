import Primitives
import Synchronization

#if canImport(Musl)
import Musl
#else
import Glibc
#endif

/// The store's one lock. It is held for the time of one change, or one step of a read: a microsecond, never across a
/// disk access and never while a caller's code runs. A pthread mutex: where threads meet, glibc's wakes and spins less
/// than the priority-inheriting futex behind `Synchronization.Mutex`, and `perf` shows it by name.
final class StoreLock: @unchecked Sendable {
    // The mutex is what makes the object safe to share; it is never copied, hence the pointer.
    private let mutex: UnsafeMutablePointer<pthread_mutex_t>

    init() {
        mutex = .allocate(capacity: 1)
        mutex.initialize(to: pthread_mutex_t())
        let result = pthread_mutex_init(mutex, nil)
        invariant(result == 0, "pthread_mutex_init failed with \(result)")
    }

    deinit {
        pthread_mutex_destroy(mutex)
        mutex.deallocate()
    }

    @inline(__always)
    func lock() {
        let result = pthread_mutex_lock(mutex)
        invariant(result == 0, "pthread_mutex_lock failed with \(result)")
    }

    @inline(__always)
    func unlock() {
        let result = pthread_mutex_unlock(mutex)
        invariant(result == 0, "pthread_mutex_unlock failed with \(result)")
    }
}

/// Asserts that something is used by one thread at a time, its owner: the first to use it, or the last to `claim` it.
struct ThreadOwner: ~Copyable {
    private let owner = Atomic<UInt>(0)

    /// Makes the calling thread the owner.
    func claim() { owner.store(Self.current, ordering: .relaxed) }

    @inline(__always)
    func check(_ what: @autoclosure () -> String) {
        let known = owner.load(ordering: .relaxed)
        if _fastPath(known == Self.current) { return }
        invariant(known == 0, "\(what()) is used by a thread that does not own it")
        claim()
    }

    private static var current: UInt {
        #if canImport(Musl)
        UInt(bitPattern: pthread_self())
        #else
        UInt(pthread_self())
        #endif
    }
}

/// The oldest revision that one reader still needs. Raised and lowered by the reader's thread: lowered only under the
/// store's lock, so that a sweep, which reads it there, cannot pass it.
final class PinSlot: Sendable {
    /// `Int64.max`: none.
    let oldest = Atomic<Int64>(.max)
}

/// The revisions that one reader's open plans need, with how many plans need each. Few at a time.
struct PinSet {
    private var pins: [(revision: Int64, plans: Int)] = []

    /// `Int64.max`: none.
    var oldest: Int64 { pins.first?.revision ?? .max }

    mutating func add(_ revision: Int64) {
        // New plans are mostly at the newest revision: look from the end.
        var index = pins.count
        while index > 0, pins[index - 1].revision > revision { index -= 1 }
        if index > 0, pins[index - 1].revision == revision {
            pins[index - 1].plans += 1
        } else {
            pins.insert((revision, 1), at: index)
        }
    }

    mutating func remove(_ revision: Int64) {
        guard let index = pins.lastIndex(where: { $0.revision == revision }) else {
            invariantFailed("revision \(revision) is not pinned")
        }
        pins[index].plans -= 1
        if pins[index].plans == 0 { pins.remove(at: index) }
    }
}
