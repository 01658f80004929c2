import CPlatform
import Glibc

/// A named operating-system thread that runs one function to its end.
package final class WorkerThread: @unchecked Sendable {
    // Written by `start` before any other thread sees this object, read by `join` once.
    private var handle = pthread_t()
    private let body: @Sendable () -> Void
    private let name: String

    /// Starts a thread; `name` (at most 15 characters) shows in `top -H` and `perf`.
    package static func start(_ name: String, _ body: @escaping @Sendable () -> Void) -> WorkerThread {
        let thread = WorkerThread(name: name, body: body)
        thread.start()
        return thread
    }

    private init(name: String, body: @escaping @Sendable () -> Void) {
        self.name = name
        self.body = body
    }

    private func start() {
        let context = Unmanaged.passRetained(self).toOpaque()
        let result = pthread_create(
            &handle, nil,
            { context in
                let thread = Unmanaged<WorkerThread>.fromOpaque(context!).takeRetainedValue()
                martlet_set_thread_name(thread.name)
                thread.body()
                return nil
            }, context)
        precondition(result == 0, "cannot start thread \(name): \(String(cString: strerror(result)))")
    }

    /// Waits for the function to return.
    package func join() { pthread_join(handle, nil) }
}
