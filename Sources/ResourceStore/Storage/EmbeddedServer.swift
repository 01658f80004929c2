import Client
import Foundation
import Logging
import NIOCore
import Server

/// A member that runs in this process, and how to reach it.
///
/// Calls go through a unix socket in a folder that only this user can enter: there is no second way into the store that
/// could behave differently from the first.
final class EmbeddedServer: Sendable {
    /// The folder of the socket, and of the data of a store in memory. Removed by `stop`.
    let folder: String
    private let server: MartletServer
    private let logs: LogQueue
    let endpoint: Endpoint
    /// The further addresses that were asked for, as they were bound.
    let clientURLs: [String]

    private init(
        folder: String, server: MartletServer, logs: LogQueue, endpoint: Endpoint, clientURLs: [String]
    ) {
        self.folder = folder
        self.server = server
        self.logs = logs
        self.endpoint = endpoint
        self.clientURLs = clientURLs
    }

    static func start(_ options: EmbeddedOptions) async throws(ObjectStoreError) -> EmbeddedServer {
        let folder = try makeFolder(inMemory: options.storage == .memory)
        do {
            var configuration = ServerConfiguration()
            switch options.storage {
            case .memory:
                configuration.dataDirectory = folder + "/data"
                // Memory is not synced to anything.
                configuration.unsafeNoFsync = true
            case .directory(let path): configuration.dataDirectory = path
            }
            let socket = folder + "/client.sock"
            configuration.listenClientURLs = [try ListenURL(parsing: "unix://\(socket)")]
            for url in options.clientURLs { configuration.listenClientURLs.append(try ListenURL(parsing: url)) }
            configuration.advertiseClientURLs = configuration.listenClientURLs
            // A member without peers listens for none.
            configuration.listenPeerURLs = []
            if let bytes = options.quotaBytes { configuration.quotaBytes = bytes }
            try configuration.validate()
            guard let endpoint = Endpoint("unix://\(socket)") else {
                throw ObjectStoreError(.other, "no endpoint at \(socket)")
            }
            let logs = LogQueue(descriptors: [])
            let logger = options.logger ?? Logger(label: "martlet") { _ in SwiftLogNoOpLogHandler() }
            let server = try await MartletServer.start(configuration, logger: logger, logQueue: logs)
            let bound = zip(options.clientURLs, server.addresses.dropFirst())
            return EmbeddedServer(
                folder: folder, server: server, logs: logs, endpoint: endpoint,
                clientURLs: bound.map { url, address in Self.url(url, boundTo: address) })
        } catch {
            try? FileManager.default.removeItem(atPath: folder)
            throw (error as? ObjectStoreError) ?? ObjectStoreError(.unavailable, "the store does not start: \(error)")
        }
    }

    func stop() async {
        await server.stop()
        logs.close()
        try? FileManager.default.removeItem(atPath: folder)
    }

    /// The URL with the port that the kernel gave.
    private static func url(_ url: String, boundTo address: SocketAddress) -> String {
        guard let port = address.port, let colon = url.lastIndex(of: ":") else { return url }
        return url[...colon] + String(port)
    }

    /// A new folder for this process; below a file system in memory, where there is one, if the data lies in it.
    private static func makeFolder(inMemory: Bool) throws(ObjectStoreError) -> String {
        let memory = "/dev/shm"
        let isUsable = inMemory && FileManager.default.isWritableFile(atPath: memory)
        let base = isUsable ? memory : NSTemporaryDirectory()
        var template = Array((base + "/martlet-XXXXXX").utf8CString)
        guard let path = mkdtemp(&template) else {
            throw ObjectStoreError(.other, "no folder in \(base): \(String(cString: strerror(errno)))")
        }
        return String(cString: path)
    }
}
