import Glibc
import NIOConcurrencyHelpers
import NIOCore

/// A line on stderr that says how far a run is, redrawn at most ten times a second; nothing when stderr is no terminal.
/// May be told from any thread.
struct Progress: Sendable {
    private final class State: Sendable {
        struct Run {
            var title = ""
            var total: Int?
            var duration: TimeAmount?
            var done = 0
            var start = NIODeadline.now()
            var drawn = NIODeadline.now()
        }
        let run = NIOLockedValueBox(Run())
    }

    private let state: State?

    /// `isShown` false: every call does nothing.
    init(isShown: Bool) { state = isShown ? State() : nil }

    /// Shown when stderr is a terminal.
    static func onTerminal() -> Progress { Progress(isShown: isatty(2) == 1) }

    /// A run with a bound in calls or in time begins.
    func begin(_ title: String, total: Int?, duration: TimeAmount?) {
        state?.run.withLockedValue { $0 = State.Run(title: title, total: total, duration: duration) }
    }

    /// `count` more calls are done.
    func advance(_ count: Int) {
        guard let state else { return }
        let line: String? = state.run.withLockedValue { run in
            run.done += count
            let now = NIODeadline.now()
            guard now - run.drawn >= .milliseconds(100) else { return nil }
            run.drawn = now
            let elapsed = Double((now - run.start).nanoseconds)
            let fraction =
                run.total.map { Double(run.done) / Double(max(1, $0)) }
                ?? run.duration.map { elapsed / Double(max(1, $0.nanoseconds)) } ?? 0
            let cells = Int((min(1, fraction) * 30).rounded())
            let bar = String(repeating: "#", count: cells) + String(repeating: ".", count: 30 - cells)
            return "\r\(run.title) [\(bar)] \(Int(min(1, fraction) * 100))% \(run.done) calls  "
        }
        if let line { Output.progress(line) }
    }

    /// Wipes the line.
    func end() {
        if state != nil { Output.progress("\r" + String(repeating: " ", count: 78) + "\r") }
    }
}
