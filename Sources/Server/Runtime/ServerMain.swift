import Glibc
import Logging
import ServerCore

/// The whole life of a server process.
package enum ServerMain {
    /// Runs until SIGTERM or SIGINT; never returns.
    package static func run(arguments: [String], environment: [String: String]) async -> Never {
        do {
            switch try ServerCommand(arguments: arguments, environment: environment, readFile: readFile) {
            case .printVersion:
                print("Martlet Version: \(ProductVersion.product)\nAPI Version: \(ProductVersion.api)")
                exit(0)
            case .printHelp(let text):
                print(text, terminator: "")
                exit(0)
            case .run(let configuration): try await serve(configuration)
            }
        } catch {
            ProcessControl.stop(reason: "\(error)")
        }
    }

    private static func serve(_ configuration: ServerConfiguration) async throws -> Never {
        let queue = LogQueue(descriptors: try LogQueue.descriptors(for: configuration.logOutputs))
        let writer = WorkerThread.start("martlet-logs") { queue.run() }
        let handler = QueueLogHandler(queue: queue, level: configuration.logLevel, format: configuration.logFormat)
        let logger = Logger(label: "martlet") { _ in handler }
        logger.info(
            "starting Martlet",
            metadata: ["version": "\(ProductVersion.product)", "api-version": "\(ProductVersion.api)"])
        let server = try await MartletServer.start(configuration, logger: logger, logQueue: queue)
        logger.info("ready to serve client requests")
        ProcessControl.notifyReady()
        let received = await withUnsafeContinuation { continuation in
            _ = WorkerThread.start("martlet-signals") { continuation.resume(returning: ProcessControl.waitForStop()) }
        }
        logger.info("received signal; shutting down", metadata: ["signal": "\(received)"])
        await server.stop()
        queue.close()
        writer.join()
        ProcessControl.end(after: received)
    }

    /// Reads a YAML or JSON configuration file: flag names as keys; TLS settings nested as etcd has them; durations also
    /// as integer nanoseconds.
    private static func readFile(_ path: String) throws(ConfigurationError) -> [(name: String, value: String)] {
        try ConfigurationFile.read(path)
    }
}
