import ArgumentParser
import Client
import Foundation
import NIOCore
import Wire

struct EndpointCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "endpoint", abstract: "Endpoint related commands",
        subcommands: [EndpointHealthCommand.self, EndpointStatusCommand.self, EndpointHashKVCommand.self])
}

/// Runs `body` for each endpoint with a client of its own, all at once; the results are in the endpoints' order, or,
/// `asTheyCome`, in the order of their arrival.
func forEachEndpoint<Result: Sendable>(
    _ global: GlobalOptions, _ endpoints: [String], asTheyCome: Bool = false,
    _ body: @escaping @Sendable (EtcdClient) async throws(ClientError) -> Result
) async throws -> [(endpoint: String, result: Swift.Result<Result, ClientError>)] {
    let configurations = try endpoints.map { (endpoint) throws(CommandError) in
        try global.clientConfiguration(endpoints: [endpoint])
    }
    return await withTaskGroup(of: (Int, Swift.Result<Result, ClientError>).self) { group in
        for (index, configuration) in configurations.enumerated() {
            group.addTask {
                let client = EtcdClient(configuration, group: global.eventLoops)
                let result: Swift.Result<Result, ClientError>
                do throws(ClientError) { result = .success(try await body(client)) } catch {
                    result = .failure(error)
                }
                await client.close()
                return (index, result)
            }
        }
        var results: [(Int, Swift.Result<Result, ClientError>)] = []
        for await result in group { results.append(result) }
        if !asTheyCome { results.sort { $0.0 < $1.0 } }
        return results.map { (endpoints[$0.0], $0.1) }
    }
}

/// The endpoints a command is about: those given, or with `--cluster` the client URLs of all members.
func selectedEndpoints(_ global: GlobalOptions, isCluster: Bool) async throws -> [String] {
    isCluster ? try await global.clusterEndpoints() : global.endpointList
}

struct EndpointHealthCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "health", abstract: "Checks the healthiness of endpoints specified in `--endpoints` flag")

    @Flag(help: "All members of the cluster.")
    var cluster = false

    @OptionGroup var global: GlobalOptions

    func run() async throws {
        let printer = try global.printer()
        let endpoints = try await selectedEndpoints(global, isCluster: cluster)
        let checks = try await forEachEndpoint(global, endpoints, asTheyCome: true) { (client) throws(ClientError) in
            await Self.check(client)
        }
        var results: [EndpointHealth] = []
        for (endpoint, result) in checks {
            guard case .success(let (took, error)) = result else { continue }
            results.append(EndpointHealth(endpoint: endpoint, isHealthy: error.isEmpty, took: took, error: error))
        }
        for line in printer.unhealthyLines(results) { Output.error(line) }
        Output.write(try printer.endpointHealth(results))
        if results.contains(where: { !$0.error.isEmpty }) { throw CommandError.failure("unhealthy cluster") }
    }

    /// A linearizable read of a key, which needs consensus, then the alarms. Without the right to read it the endpoint
    /// is healthy all the same.
    private static func check(_ client: EtcdClient) async -> (took: GoDuration, error: String) {
        let start = NIODeadline.now()
        var text = ""
        var request = Etcdserverpb_RangeRequest()
        request.key = Data("health".utf8)
        do throws(ClientError) { _ = try await client.range(request) } catch {
            if error.message != "etcdserver: permission denied" { text = error.description }
        }
        let took = GoDuration(nanoseconds: (NIODeadline.now() - start).nanoseconds)
        if !text.isEmpty { return (took, text) }
        do throws(ClientError) {
            let alarms = try await client.alarm(Etcdserverpb_AlarmRequest()).alarms
            if !alarms.isEmpty {
                text = "Active Alarm(s): " + alarms.map { Printer.name($0.alarm) + " " }.joined()
            }
        } catch {
            text = "Unable to fetch the alarm list"
        }
        return (took, text)
    }
}

struct EndpointStatusCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status", abstract: "Prints out the status of endpoints specified in `--endpoints` flag")

    @Flag(help: "All members of the cluster.")
    var cluster = false

    @OptionGroup var global: GlobalOptions

    func run() async throws {
        let printer = try global.printer()
        let endpoints = try await selectedEndpoints(global, isCluster: cluster)
        let answers = try await forEachEndpoint(global, endpoints) { (client) throws(ClientError) in
            try await client.status()
        }
        var results: [(endpoint: String, status: Etcdserverpb_StatusResponse)] = []
        var hasFailed = false
        for (endpoint, answer) in answers {
            switch answer {
            case .success(let status): results.append((endpoint, status))
            case .failure(let error):
                hasFailed = true
                Output.error("Failed to get the status of endpoint \(endpoint) (\(error))")
            }
        }
        Output.write(try printer.endpointStatus(results))
        if hasFailed { throw CommandError.failure("") }
    }
}

struct EndpointHashKVCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "hashkv", abstract: "Prints the KV history hash for each endpoint in --endpoints")

    @Flag(help: "All members of the cluster.")
    var cluster = false

    @Option(help: "The last revision to hash; 0 for all.")
    var rev: Int64 = 0

    @OptionGroup var global: GlobalOptions

    func run() async throws {
        let printer = try global.printer()
        let endpoints = try await selectedEndpoints(global, isCluster: cluster)
        let revision = rev
        let answers = try await forEachEndpoint(global, endpoints) { (client) throws(ClientError) in
            try await client.hashKV(revision: revision)
        }
        var results: [(endpoint: String, hash: Etcdserverpb_HashKVResponse)] = []
        var lastError: ClientError?
        for (endpoint, answer) in answers {
            switch answer {
            case .success(let hash): results.append((endpoint, hash))
            case .failure(let error):
                lastError = error
                Output.error("Failed to get the hash of endpoint \(endpoint) (\(error))")
            }
        }
        Output.write(try printer.endpointHashKV(results))
        if let lastError { throw CommandError.failure(lastError.description) }
    }
}
