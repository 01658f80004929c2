import Logging
import NIOConcurrencyHelpers
import NIOCore
import NIOPosix
import Primitives
import RaftCore
import TestSupport
import Testing
import Transport

@testable import Peers

@Suite(.timeLimit(.minutes(5))) struct MessageTests {
    @Test func thousandsOfMessagesArriveInOrder() async throws {
        let members = [try await TestMember(1), try await TestMember(2), try await TestMember(3)]
        TestMember.introduce(members[0], members[1], members[2])
        let count = 3000
        for first in stride(from: 1, through: count, by: 10) {
            for sender in members {
                var messages: [Message] = []
                for index in first..<first + 10 {
                    for other in members where other !== sender {
                        messages.append(sender.append(to: other, index, bytes: index % 300))
                    }
                }
                sender.network.send(messages)
            }
        }
        for receiver in members {
            for sender in members where sender !== receiver {
                #expect(try await eventually { receiver.received(from: sender).count == count })
                let expected: [Message] = (1...count).map { sender.append(to: receiver, $0, bytes: $0 % 300) }
                #expect(receiver.received(from: sender) == expected)
            }
        }
        for member in members {
            // Both ways are over only now that all have received all.
            let statuses = member.network.statuses()
            #expect(statuses.count == 2)
            for status in statuses {
                #expect(status.messagesSent == UInt64(count) && status.messagesReceived == UInt64(count))
                #expect(status.messagesDropped == 0 && status.bytesSent > status.messagesSent)
            }
        }
        #expect(try await eventually { members[0].status(members[1])?.queuedBytes == 0 })
        for member in members { await member.network.stop() }
    }

    @Test func aMemberThatComesBackIsFound() async throws {
        let port = try ReservedPort()
        let a = try await TestMember(1)
        var b = try await TestMember(2, port: port.number)
        TestMember.introduce(a, b)
        a.network.send([a.heartbeat(to: b, 1)])
        #expect(try await eventually { b.received(from: a).count == 1 && a.isConnected(to: b) && b.isConnected(to: a) })
        await b.network.stop()
        // The status shows it a moment before it is told.
        #expect(try await eventually { !a.isConnected(to: b) && a.recorder[\.unreachable][b.id] ?? 0 > 0 })
        #expect(a.recorder[\.disconnected][b.id] == 1)
        #expect(a.status(b)?.lastError != nil)
        // Appends to a dead member are dropped at once, and it is said; a member that just ends may be reached once more.
        let before = a.recorder[\.unreachable][b.id] ?? 0
        #expect(
            try await eventually {
                a.network.send([a.append(to: b, 1)])
                return a.recorder[\.unreachable][b.id] ?? 0 > before
            })

        b = try await TestMember(2, port: port.number)
        b.knows((a, a.url))
        #expect(try await eventually { a.isConnected(to: b) && b.isConnected(to: a) })
        for index in 1...100 { a.network.send([a.append(to: b, index)]) }
        #expect(try await eventually { b.received(from: a).count == 100 })
        let indexes: [UInt64] = b.received(from: a).map(\.index.rawValue)
        #expect(indexes == Array(0..<100))
        #expect(a.log.lines("connected to a peer").count == 2)
        await a.network.stop()
        await b.network.stop()
    }

    /// Somebody takes the connection and never reads.
    @Test func aMemberThatDoesNotReadCostsBoundedMemory() async throws {
        let hole = try await ServerBootstrap(group: group).childChannelOption(.autoRead, value: false)
            .bind(host: "127.0.0.1", port: 0).get()
        let a = try await TestMember(1) { configuration in
            configuration.limits.queuedBytesMax = 1 << 20
            configuration.limits.controlBytesMax = 64 << 10
            configuration.limits.probeTimeout = .seconds(30)
        }
        let b = try await TestMember(2)
        a.network.setMembers([(b.id, ["http://127.0.0.1:\(hole.localAddress?.port ?? 0)"])])
        var most = 0
        for index in 1...500 {
            a.network.send([a.append(to: b, index, bytes: 20_000)])
            if index % 10 == 0 { a.network.send([a.heartbeat(to: b, index)]) }
            most = max(most, a.status(b)?.queuedBytes ?? 0)
            if index % 100 == 0 { try await Task.sleep(nanoseconds: 20_000_000) }
        }
        let limits = a.network.configuration.limits
        // The queue, and what the stream has taken from it: its high-water mark and one batch.
        #expect(most > limits.queuedBytesMax / 2)
        let bound: Int = limits.queuedBytesMax + limits.controlBytesMax + limits.batchBytesMax + (1 << 20) + (64 << 10)
        #expect(most <= bound)
        let status = try #require(a.status(b))
        #expect(status.messagesDropped > 300)
        #expect(a.recorder[\.unreachable][b.id] ?? 0 > 300)
        await a.network.stop()
        await b.network.stop()
        try await hole.close()
    }

    @Test func nobodyThereKeepsAFewSmallMessages() async throws {
        let port = try ReservedPort()
        let a = try await TestMember(1)
        let b = try await TestMember(2)
        a.knows((b, port.url))
        #expect(try await eventually { a.status(b)?.lastError != nil })
        #expect(a.status(b)?.lastError?.contains("connection refused") == true)
        for number in 1...1000 { a.network.send([a.heartbeat(to: b, number), a.append(to: b, number)]) }
        let status = try #require(a.status(b))
        #expect(status.queuedBytes < 10_000 && status.messagesDropped >= 1968)
        #expect(try await eventually { a.log.lines("cannot talk to a peer", "peer=2", "refused").count == 1 })
        #expect(try await eventually { a.status(b)?.failures ?? 0 >= 3 })
        #expect(a.log.lines("cannot talk to a peer").count == 1)
        let back = try await TestMember(2, port: port.number)
        #expect(try await eventually { back.received(from: a).count == 32 })
        let numbers: [UInt64] = back.received(from: a).map(\.commit.rawValue)
        #expect(numbers == Array(969...1000))
        for member in [a, b, back] { await member.network.stop() }
    }

    /// The network swallows everything: no reset, no answer.
    @Test func aHalfOpenConnectionIsFound() async throws {
        let a = try await TestMember(1) { $0.limits.probeTimeout = .seconds(1) }
        let b = try await TestMember(2)
        let proxy = try await Proxy.start(to: b.port)
        let stalled = "http://127.0.0.1:\(proxy.port)"
        a.network.setMembers([(b.id, [stalled])])
        #expect(try await eventually { a.isConnected(to: b) })
        #expect(a.status(b)?.url == stalled)
        proxy.stall()
        a.network.setMembers([(b.id, [stalled, b.url])])
        // The other URL is tried in turn, at once: nobody can count on seeing the moment without a connection.
        #expect(try await eventually { a.isConnected(to: b) && a.status(b)?.url == b.url })
        // Once, unless the machine itself stood still for a second: how often a line is repeated is tested elsewhere.
        #expect(!a.log.lines("cannot talk to a peer", "url=\(stalled)", "no answer to a probe").isEmpty)
        a.network.send([a.heartbeat(to: b, 1)])
        #expect(try await eventually { !b.received(from: a).isEmpty })
        await a.network.stop()
        await b.network.stop()
        await proxy.stop()
    }

    @Test func urlsCanChange() async throws {
        let a = try await TestMember(1)
        let b = try await TestMember(2)
        let proxy = try await Proxy.start(to: b.port)
        let nobody = try ReservedPort()
        a.network.setMembers([(b.id, [nobody.url])])
        #expect(try await eventually { a.status(b)?.lastError != nil })
        a.network.setMembers([(b.id, ["http://127.0.0.1:\(proxy.port)"])])
        #expect(try await eventually { a.isConnected(to: b) })
        a.network.setMembers([(b.id, [b.url]), (a.id, [a.url])])
        #expect(try await eventually { a.isConnected(to: b) && a.status(b)?.url == b.url })
        #expect(a.network.statuses().count == 1)
        a.network.setMembers([])
        #expect(a.network.statuses().isEmpty)
        await a.network.stop()
        await b.network.stop()
        await proxy.stop()
    }

    @Test func probesCarryBytesAndMeasure() async throws {
        let a = try await TestMember(1)
        let b = try await TestMember(2)
        a.knows((b, b.url))
        #expect(try await eventually { (a.status(b)?.roundTripCounts.reduce(0, +) ?? 0) >= 3 })
        let status = try #require(a.status(b))
        #expect(status.roundTripNanoseconds > 0 && status.roundTripNanosecondsSum > 0)
        #expect(a.recorder[\.probes][b.id]?.first == "m2 to 1")
        #expect(b.recorder[\.probes][a.id]?.first == "m1 to 2")
        await a.network.stop()
        await b.network.stop()
    }

    @Test func aSnapshotAmongMessagesIsRefused() async throws {
        let a = try await TestMember(1)
        let b = try await TestMember(2)
        b.knows((a, a.url))
        let connection = try await PeerDialer(
            security: PeerSecurity(nil, logger: .init(label: "")), limits: PeerLimits()
        )
        .connect(PeerURL(b.url), on: group.next())
        let stream = connection.channel.stream(
            PeerProtocol.messagesPath, metadata: PeerProtocol.metadata(cluster: 0xc1, from: a.id, to: b.id))
        var message = a.heartbeat(to: b, 1)
        message.type = .snapshot
        message.snapshot = SnapshotMetadata(configurationState: ConfigurationState(), index: LogIndex(1), term: Term(1))
        let bytes = [TestCodec.encode(message)]
        try await stream.send(
            Bytes(count: PeerProtocol.batchSize(bytes)) { PeerProtocol.writeBatch(bytes, to: $0) }.array)
        await #expect(throws: RPCStatus(.invalidArgument, "malformed messages")) { try await stream.next() }
        #expect(b.received(from: a).isEmpty)
        connection.close()
        await a.network.stop()
        await b.network.stop()
    }
}

@Suite(.timeLimit(.minutes(5))) struct RefusalTests {
    private func expectRefused(
        _ a: TestMember, by b: TestMember, _ theirs: String, _ ours: String
    ) async throws {
        #expect(try await eventually { !a.log.lines("warning cannot talk to a peer", "peer=2", theirs).isEmpty })
        #expect(try await eventually { !b.log.lines("warning refused a peer", "address=127.0.0.1", ours).isEmpty })
        #expect(try await eventually { a.status(b)?.failures ?? 0 >= 4 })
        a.network.send([a.heartbeat(to: b, 1)])
        #expect(a.log.lines("cannot talk to a peer").count == 1)
        #expect(b.log.lines("refused a peer").count == 1)
        #expect(b.received(from: a).isEmpty && !a.isConnected(to: b))
        await a.network.stop()
        await b.network.stop()
    }

    @Test func anotherCluster() async throws {
        let (a, b) = (try await TestMember(1, cluster: 0xbad), try await TestMember(2))
        a.knows((b, b.url))
        let text = "cluster ID mismatch: the caller's is bad, this member's is c1"
        try await expectRefused(a, by: b, text, text)
    }

    @Test func anotherReceiver() async throws {
        let (a, b) = (try await TestMember(1), try await TestMember(2))
        let c = try await TestMember(3)
        // Member 2's URL leads to member 3.
        a.network.setMembers([(b.id, [c.url])])
        let text = "the call is for member 2, but this is 3"
        #expect(try await eventually { !a.log.lines("cannot talk to a peer", "peer=2", text).isEmpty })
        #expect(try await eventually { !c.log.lines("refused a peer", "peer=1", text).isEmpty })
        for member in [a, b, c] { await member.network.stop() }
    }

    @Test func aRemovedMember() async throws {
        let (a, b) = (try await TestMember(1), try await TestMember(2))
        b.recorder.state.withLockedValue { _ = $0.removed.insert(MemberID(1)) }
        a.knows((b, b.url))
        try await expectRefused(a, by: b, PeerProtocol.removedText, PeerProtocol.removedText)
        #expect(a.recorder[\.removals] == 1)
    }

    @Test func aMemberThatIsRemovedWhileItTalks() async throws {
        let (a, b) = (try await TestMember(1), try await TestMember(2))
        TestMember.introduce(a, b)
        a.network.send([a.heartbeat(to: b, 1)])
        #expect(try await eventually { b.received(from: a).count == 1 && b.isConnected(to: a) })
        b.recorder.state.withLockedValue { _ = $0.removed.insert(MemberID(1)) }
        b.network.setMembers([])
        #expect(try await eventually { a.recorder[\.removals] == 1 })
        #expect(try await eventually { a.status(b)?.isConnected == false })
        await a.network.stop()
        await b.network.stop()
    }

    @Test func anUnknownProtocol() async throws {
        let b = try await TestMember(2)
        let dialer = PeerDialer(security: try PeerSecurity(nil, logger: .init(label: "")), limits: PeerLimits())
        let connection = try await dialer.connect(PeerURL(b.url), on: group.next())
        var metadata = PeerProtocol.metadata(cluster: 0xc1, from: MemberID(1), to: b.id)
        metadata[3].value = "9"
        for path in [
            PeerProtocol.messagesPath, PeerProtocol.snapshotPath, PeerProtocol.probePath, PeerProtocol.callPath,
        ] {
            let expected = RPCStatus(
                .failedPrecondition, "peer protocol version 9 is not known; this member speaks 1")
            await #expect(throws: expected) { try await connection.channel.unary(path, [], metadata: metadata) }
            await #expect(throws: RPCStatus(.invalidArgument, "not a call of a member")) {
                try await connection.channel.unary(path, [])
            }
        }
        connection.close()
        await b.network.stop()
    }
}

@Suite(.timeLimit(.minutes(5))) struct CallTests {
    @Test func callsAreAnswered() async throws {
        let (a, b) = (try await TestMember(1), try await TestMember(2))
        TestMember.introduce(a, b)
        #expect(try await eventually { a.isConnected(to: b) })
        #expect(try await a.network.call(to: b.id, method: 1, body: "abc", timeout: .seconds(60)) == "cba")
        #expect(try await a.network.call(to: b.id, method: 1, body: "", timeout: .seconds(60)) == "")
        let large = Bytes([UInt8](repeating: 9, count: 3 << 20))
        #expect(try await a.network.call(to: b.id, method: 1, body: large, timeout: .seconds(60)) == large)
        await #expect(throws: RPCStatus(.notFound, "etcdserver: requested lease not found")) {
            try await a.network.call(to: b.id, method: 2, body: "", timeout: .seconds(60))
        }
        await #expect(throws: RPCStatus(.deadlineExceeded, "context deadline exceeded")) {
            try await a.network.call(to: b.id, method: 3, body: "", timeout: .milliseconds(50))
        }
        let tooLarge = Bytes([UInt8](repeating: 9, count: a.network.configuration.limits.callBytesMax + 1))
        await #expect(throws: RPCStatus.self) {
            try await a.network.call(to: b.id, method: 1, body: tooLarge, timeout: .seconds(60))
        }
        // A connection that ends while a call is under way ends the call.
        let pending = Task { try await a.network.call(to: b.id, method: 4, body: "", timeout: .seconds(600)) }
        #expect(try await eventually { b.recorder[\.asked][4] == 1 })
        await b.network.stop()
        let status = await #expect(throws: RPCStatus.self) { try await pending.value }
        #expect(status?.code == .unavailable, "\(String(describing: status))")
        await #expect(throws: RPCStatus.self) {
            try await a.network.call(to: b.id, method: 1, body: "", timeout: .seconds(60))
        }
        await #expect(throws: RPCStatus(.unavailable, "peer 63 is not known")) {
            try await a.network.call(to: MemberID(99), method: 1, body: "", timeout: .seconds(60))
        }
        await a.network.stop()
    }

    @Test func membersAreTold() async throws {
        let (port, nobody) = (try ReservedPort(), try ReservedPort())
        let b = try await TestMember(2, port: port.number)
        let found = try await PeerNetwork.fetchMembers(
            from: [try PeerURL(nobody.url), try PeerURL(b.url)], tls: nil, timeout: .seconds(60), group: group)
        #expect(found == FetchedMembers(clusterID: 0xc1, memberID: b.id, members: "members of m2"))
        await b.network.stop()
        await #expect(throws: PeerError.self) {
            try await PeerNetwork.fetchMembers(
                from: [PeerURL(b.url)], tls: nil, timeout: .seconds(60), group: group)
        }
    }
}
