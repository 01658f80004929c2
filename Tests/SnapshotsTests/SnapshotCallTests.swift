import Client
import Logging
import MVCC
import NIOCore
import NIOPosix
import Primitives
import StateMachine
import Testing
import Transport
import Wire

@testable import Server
@testable import Snapshots

/// A member in a directory of its own, with a client, and a listener more that serves snapshots alone, under limits of
/// the test's.
private final class Member {
    let directory: TemporaryDirectory
    let server: MartletServer
    let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    let client: EtcdClient

    init() async throws {
        directory = try TemporaryDirectory()
        var configuration = Server.ServerConfiguration()
        configuration.dataDirectory = directory.path + "/data"
        configuration.listenClientURLs = [try ListenURL(parsing: "http://127.0.0.1:0")]
        configuration.listenPeerURLs = []
        configuration.unsafeNoFsync = true
        server = try await MartletServer.start(
            configuration, logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() },
            logQueue: LogQueue(descriptors: []))
        let port = try #require(server.addresses.first?.port)
        client = Self.client(port: port, group)
    }

    static func client(port: Int, _ group: any EventLoopGroup) -> EtcdClient {
        EtcdClient(.init(endpoints: [Endpoint("http://127.0.0.1:\(port)")!]), group: group)
    }

    func put(_ key: String, bytes: Int, random: inout PRNG) async throws {
        var request = Etcdserverpb_PutRequest()
        request.key.append(contentsOf: key.utf8)
        request.value.append(contentsOf: (0..<bytes).map { _ in UInt8(random.next(in: 0..<256)) })
        _ = try await client.put(request)
    }

    /// A second listener for snapshots alone.
    func listen(limits: SnapshotCall.Limits) async throws -> (server: GRPCServer, port: Int) {
        let context = server.context
        let second = try await GRPCServer.make(
            group: group,
            dispatcher: { eventLoop in
                do {
                    let state = try LoopState(
                        context: context, inbox: LoopInbox(eventLoop: eventLoop), index: 200, random: PRNG(seed: 1),
                        startNumber: 0)
                    return SnapshotDispatcher(SnapshotService(state: state, limits: limits))
                } catch { invariantFailed("no reader: \(error)") }
            })
        let address = try await second.bind(
            GRPCServer.Listener(address: .tcp(host: "127.0.0.1", port: 0), name: "test", security: nil))
        return (second, try #require(address.port))
    }

    func stop() async throws {
        await client.close()
        await server.stop()
        try await group.shutdownGracefully()
    }
}

/// Knows one method.
private final class SnapshotDispatcher: RPCDispatcher {
    private static let table = RPCMethodTable([("/etcdserverpb.Maintenance/Snapshot", .serverStreaming)])
    private let service: SnapshotService

    init(_ service: SnapshotService) { self.service = service }

    var methodCount: Int { Self.table.count }
    func resolve(path: UnsafeRawBufferPointer) -> Transport.RPCMethod? { Self.table.find(path) }
    func hasService(_ service: String) -> Bool { Self.table.hasService(service) }
    func unary(_ call: RPCCall, message: UnsafeRawBufferPointer) { call.fail(RPCStatus(.unimplemented)) }
    func callStarted(_ call: RPCCall) -> (any RPCStreamHandler)? { service.open(call) }
}

@Suite(.serialized) struct SnapshotCallTests {
    @Test func givesEverythingAcknowledged() async throws {
        let member = try await Member()
        var random = PRNG(seed: 1)
        for round in 0..<5 {
            for number in 0..<20 {
                try await member.put("/r/\(round)/\(number)", bytes: random.next(in: 0..<30_000), random: &random)
            }
            let revision = member.server.context.store.currentRevision
            var bytes: [UInt8] = []
            var remaining: [UInt64] = []
            for try await part in try await member.client.snapshot() {
                #expect(part.blob.count <= 256 << 10 && part.version == "3.7.0")
                bytes += part.blob
                remaining.append(part.remainingBytes)
            }
            #expect(remaining.last == 0 && !remaining.dropLast().contains(0))
            #expect(bytes.count % 512 == 32)
            let target = MemoryBackend()
            let status = try restore(bytes, into: target, &random, piecesMax: 50_000)
            #expect(status.digest != nil && status.revision == revision)
            #expect(status.header.memberID == member.server.context.identity.memberID)
            let store = try Store.open(backend: target)
            #expect(store.currentRevision == revision)
            let restored = try store.makeReader().hashKV(revision: revision)
            #expect(try restored == member.server.context.store.makeReader().hashKV(revision: revision))
        }
        try await member.stop()
    }

    @Test func aClientThatDoesNotReadLosesTheImage() async throws {
        let member = try await Member()
        var random = PRNG(seed: 2)
        for number in 0..<60 { try await member.put("/r/\(number)", bytes: 1_000_000, random: &random) }
        var limits = SnapshotCall.Limits()
        limits.stallTimeout = .milliseconds(600)
        let (second, port) = try await member.listen(limits: limits)
        let client = Member.client(port: port, member.group)
        // The stream reads ahead only so many messages; then the window is held back.
        let stalled = try await client.snapshot()
        try await Task.sleep(for: .seconds(3))
        var count = 0
        await #expect(throws: ClientError.self) {
            for try await part in stalled { count += part.blob.count }
        }
        #expect(count > 1_000_000 && count < 60_000_000)
        // One that reads is served.
        count = 0
        for try await part in try await client.snapshot() { count += part.blob.count }
        #expect(count > 60_000_000)
        await client.close()
        await second.shutdown(gracePeriod: .seconds(1))
        try await member.stop()
    }

    @Test func callsAtTheSameTimeAreBoundedAndEachIsWhole() async throws {
        let member = try await Member()
        var random = PRNG(seed: 3)
        for number in 0..<40 { try await member.put("/r/\(number)", bytes: 500_000, random: &random) }
        let (second, port) = try await member.listen(limits: SnapshotCall.Limits())
        let client = Member.client(port: port, member.group)
        let results = await withTaskGroup(of: Int?.self) { tasks in
            for _ in 0..<7 {
                tasks.addTask {
                    do {
                        var bytes = 0
                        for try await part in try await client.snapshot() { bytes += part.blob.count }
                        return bytes
                    } catch { return nil }
                }
            }
            return await tasks.reduce(into: [Int?]()) { $0.append($1) }
        }
        let whole = results.compactMap(\.self)
        #expect(whole.count >= 4 && Set(whole).count == 1)
        // Cancelled calls make room again.
        for _ in 0..<6 {
            let stream = try await client.snapshot()
            for try await part in stream where !part.blob.isEmpty { break }
            stream.cancel()
            try await Task.sleep(for: .milliseconds(50))
        }
        var bytes = 0
        for try await part in try await client.snapshot() { bytes += part.blob.count }
        #expect(bytes == whole.first)
        await client.close()
        await second.shutdown(gracePeriod: .seconds(1))
        try await member.stop()
    }
}
