import Primitives
import ServerCore
import Synchronization

/// The threads of one member, each the owner of one part.
final class OwnerThreads: Sendable {
    private let context: ServerContext
    private let replica: WorkerThread
    private let logThread: LogThreadSlot
    private let apply: WorkerThread
    private let backend: WorkerThread
    private let maintenance: WorkerThread
    nonisolated(unsafe) private let backendThread: BackendThread

    /// Starts the threads.
    ///
    /// - Parameter onStarted: called once, on the replica's thread, when the member may serve.
    init(
        context: ServerContext, core: ServerCore, loopCount: Int, autoCompaction: AutoCompaction,
        onStarted: @escaping @Sendable () -> Void
    ) {
        self.context = context
        let driver = LogDriver(context: context, writer: core.logWriter)
        let logThread = LogThreadSlot(context: context)
        nonisolated(unsafe) let replicaThread = ReplicaThread(
            context: context, replica: core.replica, log: driver, autoCompaction: autoCompaction,
            startLogThread: { logThread.start($0) }, onStarted: onStarted)
        nonisolated(unsafe) let applyThread = ApplyThread(
            context: context, stateMachine: core.stateMachine, loopCount: loopCount)
        let backendThread = BackendThread(context: context, writer: core.backendWriter)
        self.backendThread = backendThread
        nonisolated(unsafe) let backendOwned = backendThread
        nonisolated(unsafe) let maintenanceThread = MaintenanceThread(context: context)
        self.logThread = logThread
        apply = WorkerThread.start("martlet-apply") { applyThread.run() }
        backend = WorkerThread.start("martlet-store") { backendOwned.run() }
        maintenance = WorkerThread.start("martlet-maint") { maintenanceThread.run() }
        replica = WorkerThread.start("martlet-replica") { replicaThread.run() }
    }

    /// Ends the threads from the front to the back, so that each finishes what it was handed.
    func stop() {
        context.replicaInbox.close()
        replica.join()
        context.logInbox.close()
        logThread.join()
        context.applyInbox.close()
        apply.join()
        context.maintenanceInbox.close()
        maintenance.join()
        context.backendSignal.raise()
        backend.join()
        backendThread.finish()
    }
}

/// The log's thread, once there is one.
private final class LogThreadSlot: Sendable {
    private let context: ServerContext
    private let thread = Mutex<WorkerThread?>(nil)

    init(context: ServerContext) { self.context = context }

    /// Moves the log to a thread of its own. Its owner so far does not touch it again.
    func start(_ driver: LogDriver) {
        nonisolated(unsafe) let logThread = LogThread(context: context, driver: driver)
        thread.withLock { $0 = WorkerThread.start("martlet-log") { logThread.run() } }
    }

    func join() { thread.withLock { $0 }?.join() }
}
