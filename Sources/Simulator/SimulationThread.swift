import Glibc
import Primitives

/// Runs simulations each on a thread of its own, so that a trap of the program under test (an invariant, an overflow,
/// an index out of range) becomes a violation of that run instead of the end of the process: the thread is stopped
/// where it is and never goes on. What it holds is lost, which is some megabytes for each trap.
package enum SimulationThread {
    /// Runs one simulation to its end. Any thread; several may run at once.
    package static func run(_ options: SimulationOptions, print: ((String) -> Void)? = nil) -> SimulationReport {
        TrapTable.install()
        let job = Job(Simulation(options, print: print))
        guard let slot = TrapTable.take() else { return job.simulation.run() }
        job.slot = slot
        var thread = pthread_t()
        let context = Unmanaged.passRetained(job).toOpaque()
        let code = pthread_create(
            &thread, nil,
            { context in
                guard let context else { return nil }
                let job = Unmanaged<Job>.fromOpaque(context).takeUnretainedValue()
                TrapTable.slots[job.slot].thread = pthread_self()
                TrapTable.slots[job.slot].isActive = true
                job.report = job.simulation.run()
                TrapTable.slots[job.slot].isActive = false
                sem_post(TrapTable.slots[job.slot].done)
                return nil
            }, context)
        invariant(code == 0, "no thread for a simulation")
        pthread_detach(thread)
        while sem_wait(TrapTable.slots[slot].done) != 0 {}
        if let report = job.report {
            TrapTable.giveBack(slot)
            Unmanaged<Job>.fromOpaque(context).release()
            return report
        }
        // The thread stands still for ever: what it left can be read, and must not be freed.
        TrapTable.giveBack(slot)
        return job.simulation.report(
            Violation("trap", "the program stopped itself; its message is on the error output"))
    }

    private final class Job {
        let simulation: Simulation
        var slot = 0
        // Written by the thread before it posts, read after.
        nonisolated(unsafe) var report: SimulationReport?

        init(_ simulation: Simulation) { self.simulation = simulation }
    }
}

/// Which threads run a simulation, for the signal handler: plain memory.
private enum TrapTable {
    struct Slot {
        var thread = pthread_t()
        /// Set by the thread itself, read by a handler on the same thread.
        var isActive = false
        var isTaken = false
        let done: UnsafeMutablePointer<sem_t>
    }

    static let count = 64
    // `lock` guards `isTaken`; the rest of a slot belongs to its thread while that runs.
    nonisolated(unsafe) static let slots: UnsafeMutablePointer<Slot> = {
        let slots = UnsafeMutablePointer<Slot>.allocate(capacity: count)
        for index in 0..<count {
            let semaphore = UnsafeMutablePointer<sem_t>.allocate(capacity: 1)
            sem_init(semaphore, 0, 0)
            (slots + index).initialize(to: Slot(done: semaphore))
        }
        return slots
    }()
    nonisolated(unsafe) private static let lock: UnsafeMutablePointer<pthread_mutex_t> = {
        let lock = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
        pthread_mutex_init(lock, nil)
        return lock
    }()
    nonisolated(unsafe) private static var isInstalled = false

    static func take() -> Int? {
        pthread_mutex_lock(lock)
        defer { pthread_mutex_unlock(lock) }
        for index in 0..<count where !slots[index].isTaken {
            slots[index].isTaken = true
            return index
        }
        return nil
    }

    static func giveBack(_ index: Int) {
        pthread_mutex_lock(lock)
        slots[index].isTaken = false
        pthread_mutex_unlock(lock)
    }

    static func install() {
        pthread_mutex_lock(lock)
        defer { pthread_mutex_unlock(lock) }
        guard !isInstalled else { return }
        isInstalled = true
        _ = slots
        for signal in [SIGILL, SIGTRAP, SIGABRT] {
            var action = sigaction()
            action.__sigaction_handler.sa_handler = { signal in TrapTable.handle(signal) }
            sigaction(signal, &action, nil)
        }
    }

    /// On the thread that trapped. Calls nothing but what a handler may call.
    static func handle(_ number: Int32) {
        let thread = pthread_self()
        for index in 0..<count where slots[index].isActive && pthread_equal(slots[index].thread, thread) != 0 {
            slots[index].isActive = false
            sem_post(slots[index].done)
            while true { pause() }
        }
        // Somebody else's: as if there were no handler.
        signal(number, SIG_DFL)
        raise(number)
    }
}
