import Glibc

/// What concerns the process as a whole: how it ends, and what the service manager hears.
package enum ProcessControl {
    /// How long the end of the process waits for whoever reads its standard error or its logs.
    package static let outputMillisecondsMax = 1000

    /// Ends the process with exit code 1 and the reason on standard error. Unlike a log line it is lost only if nobody
    /// takes it within a second: a full pipe must not keep a failed process alive.
    package static func stop(reason: String) -> Never {
        let line = "martlet: fatal: \(reason)\n"
        // write(2) on a pipe can block whatever poll(2) has promised, because the log's thread writes there too: it gets
        // a thread that may be left behind.
        let written = Latch()
        _ = WorkerThread.start("martlet-fatal") {
            line.withCString { text in _ = write(STDERR_FILENO, text, strlen(text)) }
            written.open()
        }
        written.wait(milliseconds: outputMillisecondsMax)
        _exit(1)
    }

    /// Keeps SIGTERM and SIGINT from ending the process and lets `waitForStop` take them. Before any thread starts.
    package static func blockStopSignals() {
        var set = stopSignals()
        pthread_sigmask(SIG_BLOCK, &set, nil)
        signal(SIGPIPE, SIG_IGN)
    }

    /// Waits for SIGTERM or SIGINT and returns which.
    package static func waitForStop() -> Int32 {
        var set = stopSignals()
        var received: Int32 = 0
        while sigwait(&set, &received) != 0 {}
        return received
    }

    /// Ends the process as the signal would have: what waits for it sees the cause. As process 1, where the kernel
    /// ignores that, with exit code 0. Source: etcd-behaviour, section 7.
    package static func end(after received: Int32) -> Never {
        guard getpid() != 1 else { exit(0) }
        signal(received, SIG_DFL)
        var set = stopSignals()
        pthread_sigmask(SIG_UNBLOCK, &set, nil)
        // To this thread: the main thread waits for signals to the process, and would take one.
        raise(received)
        _exit(128 + received)
    }

    /// Tells systemd, when it listens, that the server is ready. Source: sd_notify(3).
    package static func notifyReady() {
        guard let path = getenv("NOTIFY_SOCKET").map({ String(cString: $0) }), !path.isEmpty else { return }
        let descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { return }
        defer { close(descriptor) }
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        var name = Array(path.utf8)
        guard name.count < MemoryLayout.size(ofValue: address.sun_path) else { return }
        // A leading @ stands for the abstract namespace.
        if name[0] == UInt8(ascii: "@") { name[0] = 0 }
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: name) }
        let length = socklen_t(MemoryLayout<sa_family_t>.size + name.count)
        let message = Array("READY=1".utf8)
        _ = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                sendto(descriptor, message, message.count, Int32(MSG_NOSIGNAL), $0, length)
            }
        }
    }

    private static func stopSignals() -> sigset_t {
        var set = sigset_t()
        sigemptyset(&set)
        sigaddset(&set, SIGTERM)
        sigaddset(&set, SIGINT)
        return set
    }
}
