import Glibc
package import Logging
import Synchronization

/// The bounded queue between whoever logs and the thread that writes: a blocked sink (full pipe, stuck journal) costs
/// log lines, counted, and never a request. Source: etcd#22214.
///
/// Any thread may `push`; one background thread writes.
package final class LogQueue: Sendable {
    /// Lines held while the sink is slow; further ones are dropped and counted.
    package static let linesMax = 4096

    private struct State {
        var lines: [String] = []
        var dropped = 0
        var closed = false
    }

    private let state = Mutex(State())
    private let wakeUp = Signal()
    private let written = Latch()
    private let droppedTotal = Atomic<Int>(0)
    private let descriptors: [Int32]

    /// Lines lost since the start because the queue was full.
    package var droppedCount: Int { droppedTotal.load(ordering: .relaxed) }

    /// - Parameter descriptors: open files that every line goes to.
    package init(descriptors: [Int32]) {
        self.descriptors = descriptors
    }

    /// Opens the sinks that `--log-outputs` names.
    package static func descriptors(for outputs: [String]) throws(ConfigurationError) -> [Int32] {
        var result: [Int32] = []
        for output in outputs {
            switch output {
            case "default", "stderr": result.append(STDERR_FILENO)
            case "stdout": result.append(STDOUT_FILENO)
            case "systemd/journal":
                throw ConfigurationError("--log-outputs: systemd/journal is not supported; the journal takes stderr")
            default:
                let descriptor = open(output, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0o600)
                if descriptor < 0 {
                    throw ConfigurationError("--log-outputs: \(output): \(String(cString: strerror(errno)))")
                }
                result.append(descriptor)
            }
        }
        return result
    }

    /// Hands a line over; drops it when the queue is full.
    package func push(_ line: String) {
        let accepted = state.withLock { state in
            guard state.lines.count < Self.linesMax, !state.closed else {
                state.dropped += 1
                return false
            }
            state.lines.append(line)
            return true
        }
        if accepted { wakeUp.raise() } else { droppedTotal.add(1, ordering: .relaxed) }
    }

    /// The writer's loop; returns after `close()` when everything has been written. Owner: the log thread.
    package func run() {
        while true {
            wakeUp.wait(milliseconds: 1000)
            let (lines, dropped, closed) = state.withLock { state in
                defer {
                    state.lines.removeAll(keepingCapacity: true)
                    state.dropped = 0
                }
                return (state.lines, state.dropped, state.closed)
            }
            var text = lines.joined()
            if dropped > 0 { text += "{\"level\":\"warn\",\"msg\":\"log lines dropped\",\"count\":\(dropped)}\n" }
            if !text.isEmpty { emit(text) }
            if closed { return written.open() }
        }
    }

    /// Ends the writer after what is queued.
    package func close() {
        state.withLock { $0.closed = true }
        wakeUp.raise()
    }

    /// Closes and waits until everything is written, for at most so long: a sink that takes nothing must not keep the
    /// process alive. Once; on any thread but the writer's.
    package func closeAndWait(milliseconds: Int) {
        close()
        written.wait(milliseconds: milliseconds)
    }

    private func emit(_ text: String) {
        var text = text
        text.withUTF8 { bytes in
            for descriptor in descriptors {
                var written = 0
                while written < bytes.count {
                    let count = write(descriptor, bytes.baseAddress! + written, bytes.count - written)
                    if count < 0, errno == EINTR { continue }
                    if count <= 0 { break }
                    written += count
                }
            }
        }
    }
}

/// A swift-log handler that writes etcd's line formats to a `LogQueue`.
package struct QueueLogHandler: LogHandler {
    package var metadata: Logger.Metadata = [:]
    package var logLevel: Logger.Level
    private let queue: LogQueue
    private let format: ServerConfiguration.LogFormat

    package init(queue: LogQueue, level: String, format: ServerConfiguration.LogFormat) {
        self.queue = queue
        self.format = format
        switch level {
        case "debug": logLevel = .debug
        case "info": logLevel = .info
        case "warn": logLevel = .warning
        case "error": logLevel = .error
        default: logLevel = .critical
        }
    }

    package subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    package func log(event: LogEvent) {
        let all = metadata.merging(event.metadata ?? [:]) { $1 }
        let pairs = all.sorted { $0.key < $1.key }
        let level = Self.name(of: event.level)
        let time = Self.timestamp()
        switch format {
        case .json:
            var line = "{\"level\":\"\(level)\",\"ts\":\"\(time)\",\"msg\":\(Self.quoted(event.message.description))"
            for (key, value) in pairs { line += ",\(Self.quoted(key)):\(Self.quoted(value.description))" }
            queue.push(line + "}\n")
        case .console:
            var line = "\(time)\t\(level)\t\(event.message)"
            for (key, value) in pairs { line += "\t\(key)=\(value)" }
            queue.push(line + "\n")
        }
    }

    private static func name(of level: Logger.Level) -> String {
        switch level {
        case .trace, .debug: "debug"
        case .info, .notice: "info"
        case .warning: "warn"
        case .error: "error"
        case .critical: "fatal"
        }
    }

    /// The time now in UTC with milliseconds, as RFC 3339 writes it.
    private static func timestamp() -> String {
        var now = timespec()
        clock_gettime(CLOCK_REALTIME, &now)
        var parts = tm()
        gmtime_r(&now.tv_sec, &parts)
        func padded(_ value: Int, _ width: Int) -> String {
            let digits = String(value)
            return String(repeating: "0", count: max(0, width - digits.count)) + digits
        }
        let date = [(Int(parts.tm_year) + 1900, 4), (Int(parts.tm_mon) + 1, 2), (Int(parts.tm_mday), 2)]
        let clock = [Int(parts.tm_hour), Int(parts.tm_min), Int(parts.tm_sec)]
        return date.map { padded($0.0, $0.1) }.joined(separator: "-") + "T"
            + clock.map { padded($0, 2) }.joined(separator: ":") + "." + padded(now.tv_nsec / 1_000_000, 3) + "Z"
    }

    /// The text as a JSON string.
    private static func quoted(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case "\n": result += "\\n"
            case "\t": result += "\\t"
            case "\u{0}"..<"\u{20}":
                let digits = String(scalar.value, radix: 16)
                result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }
}
