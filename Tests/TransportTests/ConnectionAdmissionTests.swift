import Glibc
import NIOConcurrencyHelpers
import NIOCore
import NIOPosix
import Testing

@testable import Transport

/// More connections than a server takes.
struct ConnectionAdmissionTests {
    @Test(arguments: [
        (256, 106, 64), (1024, 874, 64), (4096, 3754, 256), (20_000, 18_890, 1024), (1 << 20, 20_000, 1024),
        (100, 16, 64), (0, 16, 64),
    ]) func connectionsLeaveDescriptorsForFiles(limit: Int, clients: Int, peers: Int) {
        #expect(DescriptorLimit.clientConnectionsMax(under: limit) == clients)
        #expect(DescriptorLimit.peerConnectionsMax(under: limit) == peers)
        #expect(limit < 256 || clients + peers + 64 <= limit)
    }

    @Test func theLimitOfOpenFilesCanBeRaised() {
        let before = DescriptorLimit.current
        #expect(DescriptorLimit.raise() >= before)
        #expect(DescriptorLimit.raise() == DescriptorLimit.current)
    }

    @Test func whatIsRefusedIsToldOnce() async throws {
        let told = NIOLockedValueBox<[ConnectionTrouble]>([])
        var configuration = ServerConfiguration()
        configuration.connectionsMax = 2
        configuration.onTrouble = { trouble in told.withLockedValue { $0.append(trouble) } }
        let group = MultiThreadedEventLoopGroup.singleton
        let server = try await GRPCServer.make(
            group: group, configuration: configuration, dispatcher: { _ in TestDispatcher() })
        let address = try await server.bind(.init(address: .tcp(host: "127.0.0.1", port: 0)))
        let sockets = try await withThrowingTaskGroup(of: (any Channel).self) { tasks in
            for _ in 0..<10 { tasks.addTask { try await ClientBootstrap(group: group).connect(to: address).get() } }
            var all: [any Channel] = []
            for try await socket in tasks { all.append(socket) }
            return all
        }
        // Eight are closed by the server; the others stay until they have been silent for too long.
        let deadline = NIODeadline.now() + .seconds(60)
        while await server.counters().connectionsRefused < 8, NIODeadline.now() < deadline {
            try await Task.sleep(nanoseconds: 5_000_000)
        }
        #expect(await server.counters().connectionsRefused == 8)
        let troubles = told.withLockedValue { $0 }
        // Eight refusals within ten seconds, unless the machine is very slow, are told once.
        #expect(troubles.first == .tooMany(connectionsMax: 2) && troubles.count < 8)
        for socket in sockets { try? await socket.close() }
        await server.shutdown(gracePeriod: .zero)
    }

    /// Without a pause the loop would be told of the waiting connection again and again.
    @Test(arguments: [TimeAmount.hours(1), .milliseconds(10)])
    func acceptingPausesWhenTheKernelGivesNoDescriptor(pause: TimeAmount) async throws {
        let told = NIOLockedValueBox<[ConnectionTrouble]>([])
        let reporter = TroubleReporter { trouble in told.withLockedValue { $0.append(trouble) } }
        let group = MultiThreadedEventLoopGroup.singleton
        let listening = try await ServerBootstrap(group: group).serverChannelInitializer { channel in
            channel.eventLoop.makeCompletedFuture {
                try channel.pipeline.syncOperations.addHandler(AcceptPause(reporter: reporter, pause: pause))
            }
        }.bind(host: "127.0.0.1", port: 0).get()
        func isReading() async throws -> Bool { try await listening.getOption(.autoRead).get() }
        #expect(try await isReading())
        listening.pipeline.fireErrorCaught(IOError(errnoCode: EMFILE, reason: "accept"))
        if pause > .seconds(1) {
            #expect(try await isReading() == false)
        } else {
            let deadline = NIODeadline.now() + .seconds(60)
            while try await isReading() == false, NIODeadline.now() < deadline {
                try await Task.sleep(nanoseconds: 5_000_000)
            }
            #expect(try await isReading())
            let client = try await ClientBootstrap(group: group).connect(to: #require(listening.localAddress)).get()
            try await client.close()
        }
        #expect(told.withLockedValue { $0 } == [.cannotAccept(errno: EMFILE)])
        try await listening.close()
    }
}
