import Glibc
import Logging
import NIOConcurrencyHelpers
import NIOCore
import NIOPosix
import Primitives
import RaftCore
import Testing
import Transport
import Wire

@testable import Peers

/// Whoever can reach the port, and members that do not keep to the protocol.
@Suite(.timeLimit(.minutes(5))) struct HostileTests {
    /// A connection that says it is member 1's, for tests to misuse.
    private func connect(to b: TestMember) async throws -> PeerConnection {
        let dialer = PeerDialer(security: try PeerSecurity(nil, logger: .init(label: "")), limits: PeerLimits())
        return try await dialer.connect(PeerURL(b.url), on: group.next())
    }

    private func metadata(to b: TestMember) -> [(name: String, value: String)] {
        PeerProtocol.metadata(cluster: 0xc1, from: MemberID(1), to: b.id)
    }

    /// Members still talk to `b`.
    private func expectWell(_ b: TestMember) async throws {
        let a = try await TestMember(7)
        TestMember.introduce(a, b)
        // What is sent on a connection that `b` has no room for yet is lost: connected is who has had an answer.
        #expect(try await eventually { a.isConnected(to: b) && b.isConnected(to: a) })
        a.network.send([a.heartbeat(to: b, 1)])
        #expect(try await eventually { b.received(from: a).count == 1 })
        await a.network.stop()
    }

    @Test func garbage() async throws {
        let b = try await TestMember(2)
        var random = PRNG(seed: 1)
        let preface = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8)
        for attempt in 0..<60 {
            let channel = try await ClientBootstrap(group: group).connect(host: "127.0.0.1", port: b.port).get()
            var bytes = attempt % 2 == 0 ? preface : []
            bytes += (0..<random.next(in: 1..<3000)).map { _ in UInt8(random.next(in: 0..<256)) }
            try? await channel.writeAndFlush(ByteBuffer(bytes: bytes)).get()
            if attempt % 3 == 0 { try? await channel.close() }
        }
        try await expectWell(b)
        await b.network.stop()
    }

    @Test func tooManyConnections() async throws {
        let b = try await TestMember(2) { $0.limits.connectionsMax = 20 }
        var channels: [any Channel] = []
        for _ in 0..<100 {
            channels.append(try await ClientBootstrap(group: group).connect(host: "127.0.0.1", port: b.port).get())
        }
        let open = channels
        #expect(try await eventually { open.count(where: \.isActive) <= 20 })
        for channel in channels { try? await channel.close() }
        try await expectWell(b)
        await b.network.stop()
    }

    /// Nothing is kept for a call that will be refused, and no more than a method may have.
    @Test func messagesThatAreTooLarge() async throws {
        let b = try await TestMember(2) { $0.limits.callBytesMax = 1 << 20 }
        let connection = try await connect(to: b)
        let large = [UInt8](repeating: 1, count: 2 << 20)
        for (path, headers, code) in [
            (PeerProtocol.membersPath, [], RPCCode.resourceExhausted),
            (PeerProtocol.callPath, [], .invalidArgument),
            (PeerProtocol.callPath, metadata(to: b), .resourceExhausted),
            (PeerProtocol.probePath, metadata(to: b), .resourceExhausted),
            (PeerProtocol.snapshotPath, metadata(to: b), .resourceExhausted),
        ] {
            let status = await #expect(throws: RPCStatus.self) {
                try await connection.channel.unary(path, large, metadata: headers)
            }
            #expect(status?.code == code, "\(String(describing: status))")
        }
        connection.close()
        try await expectWell(b)
        await b.network.stop()
    }

    @Test(arguments: 0..<15 as Range<UInt64>)
    func malformedBatches(seed: UInt64) async throws {
        let b = try await TestMember(2)
        let connection = try await connect(to: b)
        let stream = connection.channel.stream(PeerProtocol.messagesPath, metadata: metadata(to: b))
        var random = PRNG(seed: seed)
        var good = Message(type: .append, to: b.id, from: MemberID(1), term: Term(1))
        good.entries = [Entry(term: Term(1), index: LogIndex(1), payload: "abc")]
        let messages = [TestCodec.encode(good)]
        var bytes = Bytes(count: PeerProtocol.batchSize(messages)) { PeerProtocol.writeBatch(messages, to: $0) }.array
        bytes.removeLast(random.next(in: 1..<bytes.count))
        if random.chance(oneIn: 2) { bytes[random.next(in: 0..<bytes.count)] = UInt8(random.next(in: 0..<256)) }
        // The first may end the call before the second is sent.
        try await stream.send(bytes)
        try? await stream.send([0x0f, 0xff])
        await #expect(throws: RPCStatus(.invalidArgument, "malformed messages")) { try await stream.next() }
        #expect(b.log.lines("refused a peer", "peer=1", "malformed messages").count == 1)
        connection.close()
        await b.network.stop()
    }

    @Test func aNewerStreamReplacesAnOlder() async throws {
        let b = try await TestMember(2)
        let connection = try await connect(to: b)
        let first = connection.channel.stream(PeerProtocol.messagesPath, metadata: metadata(to: b))
        try await first.send([])
        let second = connection.channel.stream(PeerProtocol.messagesPath, metadata: metadata(to: b))
        try await second.send([])
        await #expect(throws: PeerProtocol.replaced) { try await first.next() }
        second.finishSending()
        #expect(try await second.next() == [])
        connection.close()
        await b.network.stop()
    }

    // MARK: Snapshots

    private func part(_ change: (inout SnapshotPart) -> Void) -> [UInt8] {
        var part = SnapshotPart()
        change(&part)
        return part.encoded().array
    }

    private func begin(_ b: TestMember, id: UInt64 = 5, offset: UInt64 = 0, type: MessageType = .snapshot) -> [UInt8] {
        let message = Message(
            type: type, from: MemberID(1), term: Term(3),
            snapshot: SnapshotMetadata(
                configurationState: ConfigurationState(), index: LogIndex(10), term: Term(3)))
        return part {
            $0.id = id
            $0.offset = offset
            $0.message = TestCodec.encode(message)
        }
    }

    @Test func snapshotsOutOfOrder() async throws {
        let b = try await TestMember(2)
        let sinks = try TestSinks()
        b.receives(into: sinks)
        let connection = try await connect(to: b)
        let data = part { $0.data = "abc" }
        let cases: [([[UInt8]], RPCCode)] = [
            ([data], .invalidArgument), ([[0xff]], .invalidArgument), ([begin(b, id: 0)], .invalidArgument),
            ([begin(b, type: .heartbeat)], .invalidArgument), ([begin(b, offset: 7)], .aborted),
            ([begin(b), begin(b)], .invalidArgument), ([begin(b, id: 6), part { _ in }], .invalidArgument),
            ([begin(b, id: 7), part { ($0.offset, $0.data) = (9, "x") }], .internal),
            ([begin(b, id: 8), part { ($0.offset, $0.isEnd) = (9, true) }], .dataLoss),
            ([begin(b, id: 9), part { $0.data = "not a snapshot, as is to be seen from its first bytes" }], .dataLoss),
            ([begin(b, id: 10), part { $0.isEnd = true }], .dataLoss),
        ]
        for (parts, code) in cases {
            let stream = connection.channel.stream(PeerProtocol.snapshotPath, metadata: metadata(to: b))
            for part in parts { try? await stream.send(part) }
            var outcome: RPCStatus?
            do throws(RPCStatus) { while try await stream.next() != nil {} } catch { outcome = error }
            #expect(outcome?.code == code, "\(String(describing: outcome)) for \(parts.count) parts")
        }
        connection.close()
        await b.network.stop()
        let state = sinks.state.withLockedValue { $0 }
        #expect(state.begun == state.aborted && state.finished.isEmpty)
    }

    /// A sender that does not wait for acknowledgements is made to wait.
    @Test func aSnapshotThatFloods() async throws {
        let b = try await TestMember(2) { $0.limits.snapshotWindowBytes = 2 << 20 }
        let mayGoOn = NIOLockedValueBox(false)
        b.recorder[\.beginSnapshot] = { _, _ in StuckSink { while !mayGoOn.withLockedValue({ $0 }) { usleep(1000) } } }
        let connection = try await connect(to: b)
        let stream = connection.channel.stream(PeerProtocol.snapshotPath, metadata: metadata(to: b))
        let sent = NIOLockedValueBox(0)
        let first = begin(b)
        let flood = Task {
            try await stream.send(first)
            for number in 0..<1000 {
                let data = Bytes([UInt8](repeating: 1, count: 100_000))
                try await stream.send(
                    part {
                        $0.offset = UInt64(number * 100_000)
                        $0.data = data
                    })
                sent.withLockedValue { $0 += 100_000 }
            }
        }
        #expect(try await eventually { sent.withLockedValue { $0 } > 2 << 20 })
        var last = -1
        while sent.withLockedValue({ $0 }) != last {
            last = sent.withLockedValue { $0 }
            try await Task.sleep(nanoseconds: 300_000_000)
        }
        // Two of the windows, HTTP/2's window of the stream, and the sender's own buffer.
        let bound: Int = 2 * (2 << 20) + (1 << 20) + (1 << 20) + 400_000
        #expect(last <= bound)
        mayGoOn.withLockedValue { $0 = true }
        try await flood.value
        stream.cancel()
        connection.close()
        await b.network.stop()
    }

    private final class StuckSink: SnapshotSink {
        let wait: () -> Void

        init(_ wait: @escaping () -> Void) { self.wait = wait }

        func append(_ bytes: Bytes) throws { wait() }
        func finish() throws {}
        func abort() {}
    }
}
