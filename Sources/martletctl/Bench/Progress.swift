import Glibc
import NIOConcurrencyHelpers
import NIOCore

/// Says on stderr what a run does and how far it is: on a terminal a line that is redrawn ten times a second, elsewhere
/// a line every five seconds. May be told from any thread.
struct Progress: Sendable {
    private enum Form: Sendable {
        case bar
        case lines

        var interval: Duration { self == .bar ? .milliseconds(100) : .seconds(5) }
    }

    private struct Run {
        var title = ""
        var total: Int?
        var duration: TimeAmount?
        var done = 0
        var start = NIODeadline.now()
        var ticker: Task<Void, Never>?
    }

    private final class State: Sendable {
        let form: Form
        /// Nil between runs.
        let run = NIOLockedValueBox<Run?>(nil)

        init(_ form: Form) { self.form = form }
    }

    private let state: State?

    /// `form` nil: every call does nothing.
    private init(_ form: Form?) { state = form.map(State.init) }

    /// Says nothing.
    static let none = Progress(nil)

    /// Shown when stderr is a terminal.
    static func onTerminal() -> Progress { Progress(isatty(2) == 1 ? .bar : nil) }

    /// Shown in any case.
    static func onStandardError() -> Progress { Progress(isatty(2) == 1 ? .bar : .lines) }

    /// A run begins, with a bound in calls or in time, or without any.
    func begin(_ title: String, total: Int? = nil, duration: TimeAmount? = nil) {
        guard let state else { return }
        end()
        let ticker = Task {
            while true {
                do { try await Task.sleep(for: state.form.interval) } catch { return }
                // Under the lock, so that nothing is drawn after the end.
                state.run.withLockedValue { run in
                    if let run { Self.draw(run, state.form) }
                }
            }
        }
        state.run.withLockedValue { $0 = Run(title: title, total: total, duration: duration, ticker: ticker) }
    }

    /// `count` more calls are done.
    func advance(_ count: Int) { state?.run.withLockedValue { $0?.done += count } }

    /// The run is over: wipes the line.
    func end() {
        guard let state else { return }
        state.run.withLockedValue { run in
            guard let ended = run else { return }
            ended.ticker?.cancel()
            run = nil
            if state.form == .bar { Output.progress("\r" + String(repeating: " ", count: 78) + "\r") }
        }
    }

    private static func draw(_ run: Run, _ form: Form) {
        let elapsed = (NIODeadline.now() - run.start).nanoseconds
        let fraction =
            run.total.map { Double(run.done) / Double(max(1, $0)) }
            ?? run.duration.map { Double(elapsed) / Double(max(1, $0.nanoseconds)) }
        let percent = fraction.map { " \(Int(min(1, $0) * 100))%" } ?? ""
        let calls = run.done > 0 || fraction != nil ? " \(run.done) calls" : ""
        let seconds = " \(elapsed / 1_000_000_000) s"
        switch form {
        case .lines: Output.error("\(run.title):\(percent)\(calls)\(seconds)")
        case .bar:
            let cells = Int((min(1, fraction ?? 0) * 30).rounded())
            let bar = String(repeating: "#", count: cells) + String(repeating: ".", count: 30 - cells)
            Output.progress("\r\(run.title)\(fraction == nil ? "" : " [\(bar)]")\(percent)\(calls)\(seconds)  ")
        }
    }
}
