import ArgumentParser
import Client
import Foundation
import Glibc
import Transport
import Wire

/// The arguments and flags of `watch`, on the command line and in interactive mode.
struct WatchArguments: ParsableArguments {
    @Argument(help: "The key.")
    var key: String?

    @Argument(help: "The end of the range (not included).")
    var end: String?

    @Option(help: "The revision to start at; 0 for now.")
    var rev: Int64 = 0

    @Flag(help: "All keys that begin with the key.")
    var prefix = false

    @Flag(help: "Also the record before each event.")
    var prevKv = false

    @Flag(help: "Have the server say from time to time how far it is.")
    var progressNotify = false

    @Argument(parsing: .postTerminator, help: "A command to run for each event.")
    var command: [String] = []

    /// The request that these arguments ask for; key and end come from `ETCDCTL_WATCH_KEY` and
    /// `ETCDCTL_WATCH_RANGE_END` when they have none.
    func request(environment: (String) -> String?) throws(CommandError) -> Etcdserverpb_WatchCreateRequest {
        var words = [key, end].compactMap { $0 }
        if words.isEmpty, let key = environment("ETCDCTL_WATCH_KEY"), !key.isEmpty {
            words = [key]
            if let end = environment("ETCDCTL_WATCH_RANGE_END"), !end.isEmpty { words.append(end) }
        }
        guard !words.isEmpty else { throw .badArguments("bad number of arguments") }
        if words.count > 1, prefix { throw .badArguments("`range_end` and `--prefix` are mutually exclusive") }
        var request = Etcdserverpb_WatchCreateRequest()
        (request.key, request.rangeEnd) = try keyRange(
            words, command: "watch", prefix: prefix, fromKey: false)
        request.startRevision = rev
        request.prevKv = prevKv
        request.progressNotify = progressNotify
        return request
    }
}

struct WatchCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "watch", abstract: "Watches events stream on keys or prefixes")

    @Flag(name: .shortAndLong, help: "Read watch and progress commands from standard input.")
    var interactive = false

    @OptionGroup var arguments: WatchArguments
    @OptionGroup var global: GlobalOptions

    func run() async throws {
        let printer = try global.printer()
        if printer.format == .table { throw printer.unsupported }
        if interactive {
            try await global.withClient { client in
                let watcher = Watcher(client: client, printer: printer)
                try await readCommands(watcher)
            }
            return
        }
        let request = try arguments.request(environment: Environment.value)
        let command = arguments.command
        try await global.withClient { client in
            let watcher = Watcher(client: client, printer: printer)
            await watcher.add(request, command: command)
            try await watcher.run()
        }
    }

    /// Reads `watch ...` and `progress` lines; ends, with exit code 3 as etcdctl, when there are no more.
    private func readCommands(_ watcher: Watcher) async throws {
        let running = Task {
            do { try await watcher.run() } catch let error as CommandError {
                // The input has ended: the main task says so.
                if Task.isCancelled { return }
                Output.error("Error: \(error.message)")
                Glibc.exit(error.code.rawValue)
            }
        }
        defer { running.cancel() }
        var input = StandardInput()
        while let line = input.nextLine() {
            let shown = String(decoding: line, as: UTF8.self)
            let words = (TxnGrammar.words(line) ?? []).map(RawText.string)
            switch words.first {
            case "watch":
                if words.count < 2, (Environment.value("ETCDCTL_WATCH_KEY") ?? "").isEmpty {
                    Output.error("Invalid command \(shown) (command type or key is not provided)")
                    continue
                }
                let form = GlobalOptions.arrange(Array(words.dropFirst()), environment: { _ in nil })
                do {
                    let parsed = try WatchArguments.parse(form)
                    await watcher.add(try parsed.request(environment: Environment.value), command: parsed.command)
                } catch let error as CommandError {
                    Output.error("Invalid command \(shown) (\(error.message))")
                } catch {
                    Output.error("Invalid command \(shown) (\(WatchArguments.message(for: error)))")
                }
            case "progress": await watcher.requestProgress()
            case nil: Output.error("Invalid command: \(shown) (watch and progress supported)")
            default: Output.error("Invalid command \(shown) (only support watch)")
            }
        }
        throw CommandError.invalidInput("error reading watch request line: EOF")
    }
}

/// Runs any number of watches on one stream, prints what comes, and goes on from the next revision on another
/// connection when one breaks. Owner: its actor.
private actor Watcher {
    private struct Watch {
        var request: Etcdserverpb_WatchCreateRequest
        var command: [String]
    }

    private static let refusals: Set<RPCCode> = [
        .permissionDenied, .unauthenticated, .invalidArgument, .unimplemented, .failedPrecondition, .cancelled,
    ]

    private let client: EtcdClient
    private let printer: Printer
    private var watches: [Watch] = []
    /// Watches in the order of their creation on the present stream, whose `created` has not come yet.
    private var pending: [Int] = []
    /// The server's number of a watch on the present stream, to our own.
    private var numbers: [Int64: Int] = [:]
    private var stream: EtcdClient.WatchStream?
    private var waiter: CheckedContinuation<Void, Never>?

    init(client: EtcdClient, printer: Printer) {
        self.client = client
        self.printer = printer
    }

    /// Adds a watch, at once when the stream is open.
    func add(_ request: Etcdserverpb_WatchCreateRequest, command: [String]) async {
        watches.append(Watch(request: request, command: command))
        waiter?.resume()
        waiter = nil
        if let stream { await create(watches.count - 1, on: stream) }
    }

    /// Asks how far the watches are.
    func requestProgress() async {
        guard let stream else { return }
        var request = Etcdserverpb_WatchRequest()
        request.progressRequest = Etcdserverpb_WatchProgressRequest()
        try? await stream.send(request)
    }

    /// Prints until the server cancels a watch, which is exit code 5, or the call fails for good.
    func run() async throws {
        if watches.isEmpty { await withCheckedContinuation { waiter = $0 } }
        while true {
            do {
                let stream = try await client.watchStream()
                self.stream = stream
                (pending, numbers) = ([], [:])
                for index in watches.indices { await create(index, on: stream) }
                for try await response in stream { try handle(response) }
            } catch let error as ClientError {
                // A server that stops, or a connection that breaks, ends a stream in many ways; only a refusal of
                // the request itself will be the same on the next connection.
                if Self.refusals.contains(error.code) { throw CommandError.failure(error.description) }
            }
            stream = nil
            try await Task.sleep(for: .milliseconds(200))
        }
    }

    private func create(_ index: Int, on stream: EtcdClient.WatchStream) async {
        pending.append(index)
        var request = Etcdserverpb_WatchRequest()
        request.createRequest = watches[index].request
        // When this fails the stream is broken, which the reader notices.
        try? await stream.send(request)
    }

    private func handle(_ response: Etcdserverpb_WatchResponse) throws {
        if response.created, !pending.isEmpty {
            let index = pending.removeFirst()
            numbers[response.watchID] = index
            if watches[index].request.startRevision == 0 {
                watches[index].request.startRevision = response.header.revision + 1
            }
            if !response.canceled { return }
        }
        if response.canceled {
            Output.error("watch was canceled (\(Self.reason(response)))")
            if printer.format != .simple { Output.write(try printer.watch(response)) }
            throw CommandError(.interrupted, "watch is canceled by the server")
        }
        let index = numbers[response.watchID]
        if let index, response.header.revision >= watches[index].request.startRevision, !response.fragment {
            watches[index].request.startRevision = response.header.revision + 1
        }
        let isProgress = response.events.isEmpty && response.header.revision != 0
        // A progress response is for every watch of the stream.
        for _ in 0..<(isProgress && index == nil ? numbers.count : 1) {
            if isProgress { Output.write(Array("progress notify: \(response.header.revision)\n".utf8)) }
            Output.write(try printer.watch(response))
        }
        guard let index, !watches[index].command.isEmpty else { return }
        for event in response.events {
            try EventCommand.run(watches[index].command, event: event, revision: response.header.revision)
        }
    }

    private static func reason(_ response: Etcdserverpb_WatchResponse) -> String {
        if response.compactRevision != 0 { return "etcdserver: mvcc: required revision has been compacted" }
        if !response.cancelReason.isEmpty { return response.cancelReason }
        return "etcdserver: mvcc: required revision is a future revision"
    }
}

/// Runs the command of `watch ... -- command` for one event.
private enum EventCommand {
    /// Runs `command`, found along `PATH`, with the event in its environment, and waits for it. Throws when it cannot
    /// be started or does not end with 0.
    static func run(_ command: [String], event: Mvccpb_Event, revision: Int64) throws(CommandError) {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = command
        var environment = ProcessInfo.processInfo.environment
        environment["ETCD_WATCH_REVISION"] = "\(revision)"
        environment["ETCD_WATCH_EVENT_TYPE"] = "\"\(Printer.kind(event))\""
        environment["ETCD_WATCH_KEY"] = GoText.quoted(event.kv.key)
        environment["ETCD_WATCH_VALUE"] = GoText.quoted(event.kv.value)
        process.environment = environment
        let failure: String?
        do {
            try process.run()
            process.waitUntilExit()
            failure = process.terminationStatus == 0 ? nil : "exit status \(process.terminationStatus)"
        } catch {
            failure = error.localizedDescription
        }
        if let failure {
            Output.error("command \(GoText.quoted(command.joined(separator: " "))) error (\(failure))")
            throw .failure("")
        }
    }
}

/// The process's environment.
enum Environment {
    /// The value of a variable; nil when it is not set.
    static func value(_ name: String) -> String? { getenv(name).map { String(cString: $0) } }
}
