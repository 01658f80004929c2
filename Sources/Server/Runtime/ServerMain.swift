import Glibc
import Logging
import Primitives
import ServerCore
import Synchronization
import Transport

/// The whole life of a server process.
package enum ServerMain {
    /// Runs until SIGTERM or SIGINT; never returns. On the main thread, before any other exists.
    package static func run(arguments: [String], environment: [String: String]) -> Never {
        let configuration: ServerConfiguration
        do {
            switch try ServerCommand(arguments: arguments, environment: environment, readFile: readFile) {
            case .printVersion:
                print("Martlet Version: \(ProductVersion.product)\nAPI Version: \(ProductVersion.api)")
                exit(0)
            case .printHelp(let text):
                print(text, terminator: "")
                exit(0)
            case .run(let parsed): configuration = parsed
            }
        } catch {
            ProcessControl.stop(reason: "\(error)")
        }
        DescriptorLimit.raise()
        let (ends, life) = AsyncStream<LifeEnd>.makeStream()
        let isServing = ServingFlag()
        Task {
            do { try await serve(configuration, ends, life, isServing) } catch {
                ProcessControl.stop(reason: "\(error)")
            }
        }
        // The main thread waits for signals: where Swift's runtime parks it otherwise, a signal would end the process.
        while true {
            let received = ProcessControl.waitForStop()
            // A member that does not serve yet has nothing to finish.
            if !isServing.value.load(ordering: .acquiring) { ProcessControl.end(after: received) }
            life.yield(.signal(received))
        }
    }

    private final class ServingFlag: Sendable { let value = Atomic<Bool>(false) }

    private static func serve(
        _ configuration: ServerConfiguration, _ ends: AsyncStream<LifeEnd>, _ life: AsyncStream<LifeEnd>.Continuation,
        _ isServing: ServingFlag
    ) async throws -> Never {
        let queue = LogQueue(descriptors: try LogQueue.descriptors(for: configuration.logOutputs))
        _ = WorkerThread.start("martlet-logs") { queue.run() }
        let handler = QueueLogHandler(queue: queue, level: configuration.logLevel, format: configuration.logFormat)
        let logger = Logger(label: "martlet") { _ in handler }
        logger.info(
            "starting Martlet",
            metadata: ["version": "\(ProductVersion.product)", "api-version": "\(ProductVersion.api)"])
        var iterator = ends.makeAsyncIterator()
        while true {
            let server = try await MartletServer.start(configuration, logger: logger, logQueue: queue) {
                life.yield($0)
            }
            isServing.value.store(true, ordering: .releasing)
            if server.context.isJoining {
                logger.info("ready to be let into the cluster")
            } else {
                logger.info("ready to serve client requests")
                ProcessControl.notifyReady()
            }
            switch await iterator.next() {
            case .snapshotReceived(let index):
                // A snapshot is installed as a restart, so that there is one way to begin with a store.
                logger.info("installing a snapshot", metadata: ["index": "\(index.rawValue)"])
                let applied = await server.stop(isRestart: true)
                isServing.value.store(false, ordering: .releasing)
                try StoreDirectory.install(snapshotAt: index, over: applied, configuration)
            case .signal(let received):
                logger.info("received signal; shutting down", metadata: ["signal": "\(received)"])
                await server.stop()
                end(queue)
                ProcessControl.end(after: received)
            case .removed, nil:
                logger.error(
                    "this member was removed from the cluster: its data directory is of no further use",
                    metadata: ["data-dir": "\(configuration.effectiveDataDirectory)"])
                await server.stop()
                end(queue)
                exit(0)
            }
        }
    }

    /// Writes what is left of the log lines, if anybody takes them.
    private static func end(_ queue: LogQueue) {
        queue.closeAndWait(milliseconds: ProcessControl.outputMillisecondsMax)
    }

    /// Reads a YAML or JSON configuration file: flag names as keys; TLS settings nested as etcd has them; durations also
    /// as integer nanoseconds.
    private static func readFile(_ path: String) throws(ConfigurationError) -> [(name: String, value: String)] {
        try ConfigurationFile.read(path)
    }
}
