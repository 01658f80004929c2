import ArgumentParser
import Client
import Conformance
import Dispatch
import Foundation
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
        } catch let error as SuiteError {
            FileHandle.standardError.write(Data("martlet-conformance: \(error)\n".utf8))
            throw ExitCode(2)
        }
        if !isSuccess { throw ExitCode(1) }
    }

    private func check() async throws -> Bool {
        guard let format = ReportFormat(rawValue: format) else { throw SuiteError("\(format) is no format") }
        let cases = try casesOption.load()
        var options = try makeOptions()
        let launcher = try serverCommand.map { try ServerLauncher(command: $0) }
        options.launcher = launcher
        defer { launcher?.discard() }
        let signals = Self.endOnSignals(launcher)
        defer { for source in signals { source.cancel() } }
        let display = ProgressDisplay(isQuiet: quiet)
        let runner = Runner(cases, options: options) { display.show($0, $1, $2, $3) }
        let result = try await runner.run()
        display.finish()
        let text = result.text(format)
        if let report {
            try Data(text.utf8).write(to: URL(fileURLWithPath: report))
            FileHandle.standardError.write(Data((result.summary + "\n").utf8))
        } else {
            FileHandle.standardOutput.write(Data(text.utf8))
        }
        return result.isSuccess
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

    /// Takes the private servers along when the suite is interrupted.
    private static func endOnSignals(_ launcher: ServerLauncher?) -> [any DispatchSourceSignal] {
        [SIGINT, SIGTERM].map { number in
            signal(number, SIG_IGN)
            let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
            source.setEventHandler {
                ServerProcess.killAll()
                launcher?.discard()
                _exit(128 + number)
            }
            source.resume()
            return source
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
