import ArgumentParser
import Client
import Conformance
import Dispatch
import Foundation
import Glibc
import Synchronization
import TransportSecurity

/// `martlet-conformance run`, and what the program does without a subcommand.
struct RunCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "run", abstract: "Runs the cases.")

    @Option(help: ArgumentHelp("The server's or cluster's endpoints, separated by commas.", valueName: "url,..."))
    var endpoints: String?
    @Option(help: ArgumentHelp("CA certificates that may sign the server's, PEM.", valueName: "file"))
    var cacert: String?
    @Option(help: ArgumentHelp("The client's certificate, PEM.", valueName: "file"))
    var cert: String?
    @Option(help: ArgumentHelp("The client's key, PEM.", valueName: "file"))
    var key: String?
    @Option(help: "A shell command for a server with etcd's flags: starts private servers for cases that need one.")
    var serverCommand: String?
    @Option(help: "Members of a cluster that --server-command starts in place of --endpoints.")
    var members = 1
    @Flag(help: "The endpoints serve nothing else: run cases on them that disturb other users.")
    var exclusive = false
    @Option(help: "How to write the report: table, json, junit or markdown.")
    var format = "table"
    @Option(help: ArgumentHelp("Writes the report there; otherwise to the standard output.", valueName: "file"))
    var report: String?
    @Option(help: ArgumentHelp("Known deviations (YAML).", valueName: "file"))
    var deviations: String?
    @Option(help: "Whose deviations: the name of a server in that file.")
    var server: String?
    @Flag(help: "Stop at the first failure.")
    var failFast = false
    @Flag(help: "No progress display.")
    var quiet = false
    @OptionGroup var choice: ChoiceOptions
    @OptionGroup var casesOption: CasesOption

    func run() async throws {
        let isSuccess: Bool
        do {
            isSuccess = try await check()
        } catch let interruption as Interruption {
            throw ExitCode(128 + interruption.signal)
        } catch {
            let reason = (error as? SuiteError)?.description ?? error.localizedDescription
            FileHandle.standardError.write(Data("martlet-conformance: \(reason)\n".utf8))
            throw ExitCode(2)
        }
        if !isSuccess { throw ExitCode(1) }
    }

    private func check() async throws -> Bool {
        guard let format = ReportFormat(rawValue: format) else { throw SuiteError("\(format) is no format") }
        try checkReportFile()
        let cases = try casesOption.load()
        var options = try makeOptions()
        let launcher = try serverCommand.map { try ServerLauncher(command: $0) }
        options.launcher = launcher
        defer { launcher?.discard() }
        let running = Task { [options, quiet] in
            let display = ProgressDisplay(isQuiet: quiet)
            defer { display.finish() }
            return try await Runner(cases, options: options) { display.show($0, $1, $2, $3) }.run()
        }
        let signals = Interruption.Watch(launcher) { running.cancel() }
        defer { signals.end() }
        let result: RunReport
        do {
            result = try await running.value
        } catch {
            if let signal = signals.received { throw Interruption(signal: signal) }
            throw error
        }
        if let signal = signals.received {
            FileHandle.standardError.write(Data("interrupted; until then: \(result.summary)\n".utf8))
            throw Interruption(signal: signal)
        }
        let text = result.text(format)
        if let report {
            try Data(text.utf8).write(to: URL(fileURLWithPath: report))
            FileHandle.standardError.write(Data((result.summary + "\n").utf8))
        } else {
            FileHandle.standardOutput.write(Data(text.utf8))
        }
        return result.isSuccess
    }

    /// A report that cannot be written must not be found out about after the run.
    private func checkReportFile() throws {
        guard let report else { return }
        let files = FileManager.default
        var isFolder: ObjCBool = false
        let exists = files.fileExists(atPath: report, isDirectory: &isFolder)
        let folder = URL(fileURLWithPath: report).deletingLastPathComponent().path
        let isWritable =
            exists
            ? !isFolder.boolValue && files.isWritableFile(atPath: report)
            : files.isWritableFile(atPath: folder)
        if !isWritable { throw SuiteError("the report \(report) cannot be written") }
    }

    private func makeOptions() throws -> RunOptions {
        try choice.checkAreas()
        var options = RunOptions()
        options.isExclusive = exclusive
        guard 1...7 ~= members else { throw SuiteError("--members is from 1 to 7") }
        if members > 1, endpoints != nil || serverCommand == nil {
            throw SuiteError("--members needs --server-command, and no --endpoints")
        }
        options.memberCount = members
        options.level = try choice.parsedLevel()
        options.areas = Set(choice.areas)
        options.filters = choice.filters
        options.stopsAtFirstFailure = failFast
        if let deviations {
            guard let server else { throw SuiteError("--deviations needs --server: whose they are") }
            options.deviations = try Deviations(file: deviations, server: server)
        }
        guard let endpoints else { return options }
        let parsed = try endpoints.split(separator: ",").map { text in
            guard let endpoint = Endpoint(String(text)) else { throw SuiteError("\(text) is no endpoint") }
            return endpoint
        }
        if parsed.isEmpty { throw SuiteError("--endpoints is empty") }
        let usesTLS = cacert != nil || cert != nil || parsed.contains { $0.security == .tls }
        let tls = usesTLS ? TLSConfiguration.client(trustedCAFile: cacert, certificateFile: cert, keyFile: key) : nil
        options.target = Target(endpoints: parsed, tls: tls)
        return options
    }
}

/// The run was broken off by a signal.
private struct Interruption: Error {
    let signal: Int32

    /// Watches for signals: the first lets the run clean up after the case that it is in, the second ends the program at
    /// once, as does a clean-up that takes too long; either way no private server is left.
    struct Watch {
        private static let secondsMax = 15
        private let first = Received()
        private let sources: [any DispatchSourceSignal]

        private final class Received: Sendable { let signal = Mutex<Int32?>(nil) }

        /// The signal that came, if one did.
        var received: Int32? { first.signal.withLock { $0 } }

        init(_ launcher: ServerLauncher?, cancel: @escaping @Sendable () -> Void) {
            let kill: @Sendable (Int32) -> Void = { number in
                ServerProcess.killAll()
                launcher?.discard()
                _exit(128 + number)
            }
            sources = [SIGINT, SIGTERM].map { [first] number in
                Glibc.signal(number, SIG_IGN)
                let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
                source.setEventHandler {
                    let isFirst = first.signal.withLock { known in
                        defer { known = known ?? number }
                        return known == nil
                    }
                    guard isFirst else { return kill(number) }
                    cancel()
                    DispatchQueue.global().asyncAfter(deadline: .now() + .seconds(Self.secondsMax)) { kill(number) }
                }
                source.resume()
                return source
            }
        }

        func end() {
            for source in sources { source.cancel() }
        }
    }
}

/// One line on the standard error that says how far the run is; on a terminal it is overwritten, elsewhere there is
/// a line for each failure and each hundredth case.
final class ProgressDisplay {
    private let isQuiet: Bool
    private let isTerminal = isatty(2) == 1
    private var shown = 0
    private var failed = 0

    init(isQuiet: Bool) { self.isQuiet = isQuiet }

    func show(_ done: Int, _ all: Int, _ last: CaseResult?, _ next: Case) {
        guard !isQuiet else { return }
        if let last, done > shown {
            shown = done
            if case .failed(let message) = last.outcome {
                failed += 1
                write((isTerminal ? "\r\u{1b}[K" : "") + "FAIL \(last.id): \(message.prefix(600))\n")
            }
        }
        if isTerminal {
            write("\r\u{1b}[K[\(done)/\(all)] \(failed) failed  \(next.id)")
        } else if done % 100 == 0 {
            write("[\(done)/\(all)] \(failed) failed\n")
        }
    }

    func finish() {
        if !isQuiet, isTerminal { write("\r\u{1b}[K") }
    }

    private func write(_ text: String) { FileHandle.standardError.write(Data(text.utf8)) }
}
