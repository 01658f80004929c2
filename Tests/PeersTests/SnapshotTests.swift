import Foundation
import MVCC
import NIOConcurrencyHelpers
import NIOCore
import Primitives
import RaftCore
import Snapshots
import TestSupport
import Testing
import Transport

@testable import Peers

@Suite(.timeLimit(.minutes(5)), .serialized) struct SnapshotTests {
    /// Two members of which the first sends to the second, on the way through a proxy.
    private struct Pair {
        let a: TestMember
        let b: TestMember
        let proxy: Proxy
        let sinks: TestSinks

        init(configure: (inout PeerConfiguration) -> Void = { _ in }) async throws {
            a = try await TestMember(1, configure: configure)
            b = try await TestMember(2, configure: configure)
            proxy = try await Proxy.start(to: b.port)
            sinks = try TestSinks()
            a.network.setMembers([(b.id, ["http://127.0.0.1:\(proxy.port)"])])
            b.knows((a, a.url))
            b.receives(into: sinks)
        }

        func finished() -> SnapshotStatus? { sinks.state.withLockedValue { $0.finished.last } }

        func stop() async {
            await a.network.stop()
            await b.network.stop()
            await proxy.stop()
        }
    }

    @Test func anImageArrives() async throws {
        let pair = try await Pair()
        let image = try Image.kubernetes(objects: 2000, seed: 1)
        pair.a.sends(image)
        pair.a.network.send([pair.a.snapshotRequest(to: pair.b)])
        #expect(try await eventually { !pair.a.results.isEmpty })
        #expect(pair.a.results == [true])
        let status = try #require(pair.finished())
        let totals = try Image.totals(image.backend)
        #expect(try pair.sinks.totals() == totals && status.totals.contentChecksum == totals.contentChecksum)
        let message = try #require(pair.sinks.state.withLockedValue { $0.messages.first })
        #expect(message.snapshot?.index == LogIndex(2000) && message.to == pair.b.id && message.from == pair.a.id)
        #expect(message.type == .snapshot && message.term == Term(3))
        let (sent, received) = (pair.a.status(pair.b), pair.b.status(pair.a))
        #expect(sent?.snapshotsSent == 1 && sent?.snapshotBytesConsumed == nil && sent?.snapshotsSendFailed == 0)
        #expect(received?.snapshotsReceived == 1 && received?.bytesReceived ?? 0 >= status.streamBytes)
        // Nothing but the file is left.
        let names = try FileManager.default.contentsOfDirectory(atPath: pair.sinks.directory.path).sorted()
        #expect(names.filter { $0 != "incoming.mdb-lock" } == ["incoming.mdb"])
        await pair.stop()
    }

    /// The link takes nothing until all frames are made: but for the first ones they are compressed.
    @Test func aSlowLinkGetsCompressedFrames() async throws {
        let pair = try await Pair { $0.limits.snapshotWindowBytes = 2 << 20 }
        let image = try Image.kubernetes(objects: 2500, seed: 13)
        let frames = try image.frameCount()
        pair.a.sends(image)
        pair.proxy.stall()
        pair.a.network.send([pair.a.snapshotRequest(to: pair.b)])
        #expect(
            try await eventually {
                let status = pair.a.status(pair.b)
                return (status?.snapshotChunksStored ?? 0) + (status?.snapshotChunksCompressed ?? 0) == UInt64(frames)
            })
        #expect(pair.a.results.isEmpty)
        pair.proxy.goOn()
        #expect(try await eventually { pair.a.results == [true] })
        let status = try #require(pair.finished())
        let ratio = Double(status.totals.contentBytes) / Double(status.streamBytes)
        print("snapshot of 2500 pods: \(status.totals.contentBytes) B in \(status.streamBytes) B, ratio \(ratio)")
        #expect(ratio >= 3)
        #expect(try pair.sinks.totals() == Image.totals(image.backend))
        let sent = try #require(pair.a.status(pair.b))
        // What fills the link up to the mark.
        #expect(
            1...4 ~= sent.snapshotChunksStored && sent.snapshotChunksCompressed > 10,
            "\(sent.snapshotChunksStored) stored, \(sent.snapshotChunksCompressed) compressed")
        await pair.stop()
    }

    /// The link never lets so much wait that compressing would cost nothing.
    @Test func aFastLinkGetsStoredFrames() async throws {
        let pair = try await Pair { $0.limits.snapshotWindowBytes = 1 << 30 }
        let image = try Image.kubernetes(objects: 2000, seed: 14)
        pair.a.sends(image)
        pair.a.network.send([pair.a.snapshotRequest(to: pair.b)])
        #expect(try await eventually { pair.a.results == [true] })
        let status = try #require(pair.finished())
        #expect(status.streamBytes > status.totals.contentBytes)
        #expect(try pair.sinks.totals() == Image.totals(image.backend))
        let sent = try #require(pair.a.status(pair.b))
        #expect(sent.snapshotChunksCompressed == 0 && sent.snapshotChunksStored > 10)
        await pair.stop()
    }

    @Test(arguments: [true, false]) func aBrokenConnectionIsResumed(compressing: Bool) async throws {
        let pair = try await Pair { $0.limits.snapshotWindowBytes = 1 << 20 }
        let image = try Image.kubernetes(objects: 5000, seed: 2)
        pair.a.sends(image, compressing: compressing)
        pair.proxy.cut(everyBytes: compressing ? 300_000 : 1_200_000, times: 3)
        pair.a.network.send([pair.a.snapshotRequest(to: pair.b)])
        #expect(try await eventually { !pair.a.results.isEmpty })
        #expect(pair.a.results == [true] && pair.proxy.cuts == 3)
        #expect(try pair.sinks.totals() == Image.totals(image.backend))
        let state = pair.sinks.state.withLockedValue { $0 }
        #expect(state.begun == 1 && state.finished.count == 1 && state.aborted == 0)
        await pair.stop()
    }

    @Test func theOutcomeIsHeardAfterACut() async throws {
        let pair = try await Pair()
        let image = try Image.kubernetes(objects: 50, seed: 3)
        pair.a.sends(image)
        let proxy = pair.proxy
        pair.sinks.state.withLockedValue { $0.beforeFinish = { proxy.cut() } }
        pair.a.network.send([pair.a.snapshotRequest(to: pair.b)])
        #expect(try await eventually { pair.a.results == [true] })
        let state = pair.sinks.state.withLockedValue { $0 }
        #expect(state.begun == 1 && state.finished.count == 1 && state.aborted == 0)
        await pair.stop()
    }

    /// A member that has as much says so: that is no failure, and nothing is received.
    @Test func anImageThatIsNotNeededIsNotSent() async throws {
        let pair = try await Pair { $0.limits.snapshotWindowBytes = 1 << 20 }
        pair.b.recorder[\.needsSnapshots] = false
        for (number, bytes) in [100_000, 6_000_000].enumerated() {
            pair.a.sends(try Image.noise(bytes: bytes, seed: 13), compressing: false)
            pair.a.network.send([pair.a.snapshotRequest(to: pair.b)])
            #expect(try await eventually { pair.a.results.count == number + 1 })
        }
        #expect(pair.a.results == [true, true])
        #expect(pair.sinks.state.withLockedValue { $0.begun } == 0)
        #expect(pair.b.recorder[\.needless].map(\.snapshot?.index) == [LogIndex(1), LogIndex(60)])
        #expect(pair.a.status(pair.b)?.snapshotsSendFailed == 0)
        #expect(pair.a.log.lines("sending a snapshot failed").isEmpty)
        await pair.stop()
    }

    /// The receiver has the whole, but nobody heard, and it knows nothing of the stream any more, as after a restart.
    @Test func theOutcomeIsHeardAfterARestart() async throws {
        let pair = try await Pair { $0.limits.snapshotKeepTime = .milliseconds(1) }
        pair.a.sends(try Image.kubernetes(objects: 50, seed: 3))
        let (proxy, recorder, sinks) = (pair.proxy, pair.b.recorder, pair.sinks)
        sinks.state.withLockedValue { state in
            state.beforeFinish = {
                recorder[\.needsSnapshots] = false
                proxy.refuse(true)
                proxy.cut()
            }
        }
        pair.a.network.send([pair.a.snapshotRequest(to: pair.b)])
        #expect(try await eventually { sinks.state.withLockedValue { $0.finished.count } == 1 })
        // Time for the session to be forgotten; were it still known, the outcome would be the same.
        try await Task.sleep(nanoseconds: 100_000_000)
        proxy.refuse(false)
        #expect(try await eventually { !pair.a.results.isEmpty })
        #expect(pair.a.results == [true])
        #expect(sinks.state.withLockedValue { $0.begun } == 1)
        await pair.stop()
    }

    @Test(arguments: [1, 2, 5], [true, false])
    func aChangedByteIsRefused(chunk: Int, compressing: Bool) async throws {
        let pair = try await Pair()
        let image = try Image.kubernetes(objects: 1000, seed: 4)
        pair.a.sends(image, compressing: compressing) { number, bytes in
            guard number == chunk else { return bytes }
            var changed = bytes.array
            changed[changed.count / 2] ^= 1
            return Bytes(changed)
        }
        pair.a.network.send([pair.a.snapshotRequest(to: pair.b)])
        #expect(try await eventually { pair.a.results == [false] })
        // The sender hears of it when nothing is left of what was received.
        #expect(pair.finished() == nil && pair.sinks.state.withLockedValue { $0.aborted } == 1)
        #expect(!FileManager.default.fileExists(atPath: pair.sinks.path))
        #expect(pair.b.log.lines("receiving a snapshot failed", "peer=1", "damaged").count == 1)
        #expect(pair.a.log.lines("sending a snapshot failed", "peer=2", "damaged").count == 1)
        #expect(pair.a.status(pair.b)?.snapshotsSendFailed == 1 && pair.b.status(pair.a)?.snapshotsReceiveFailed == 1)
        await pair.stop()
    }

    @Test func twoAtOnce() async throws {
        let offers = NIOLockedValueBox<[MemberID]>([])
        let pair = try await Pair { configuration in
            configuration.limits.snapshotWindowBytes = 1 << 20
            let decode = configuration.decode
            configuration.decode = { bytes in
                let message = try decode(bytes)
                if message.type == .snapshot { offers.withLockedValue { $0.append(message.from) } }
                return message
            }
        }
        let c = try await TestMember(3)
        c.knows((pair.b, pair.b.url))
        // More than the window: the first cannot have ended when the second begins.
        let image = try Image.noise(bytes: 5_000_000, seed: 5)
        pair.a.sends(image, level: 0)
        c.sends(image)
        let mayGoOn = NIOLockedValueBox(false)
        pair.sinks.state.withLockedValue { state in
            state.beforeAppend = { _ in while !mayGoOn.withLockedValue({ $0 }) { usleep(1000) } }
        }
        pair.a.network.send([pair.a.snapshotRequest(to: pair.b)])
        #expect(try await eventually { pair.sinks.state.withLockedValue { $0.begun } == 1 })
        // A second one to the same member is refused by the sender itself.
        pair.a.network.send([pair.a.snapshotRequest(to: pair.b)])
        #expect(try await eventually { pair.a.results == [false] })
        c.network.send([c.snapshotRequest(to: pair.b)])
        // The offer stands in line behind the first one's bytes once the loop that decoded it comes round.
        #expect(try await eventually { offers.withLockedValue { $0 } == [pair.a.id, c.id] })
        try await eventLoopsCameRound()
        mayGoOn.withLockedValue { $0 = true }
        #expect(try await eventually { c.results == [false] && pair.a.results == [false, true] })
        #expect(c.log.lines("sending a snapshot failed", "busy: a snapshot from 1 is being received").count == 1)
        c.network.send([c.snapshotRequest(to: pair.b)])
        #expect(try await eventually { c.results == [false, true] })
        #expect(pair.sinks.state.withLockedValue { $0.begun } == 2)
        await pair.stop()
        await c.network.stop()
    }

    @Test func aNewLeaderIsNotKeptWaiting() async throws {
        let pair = try await Pair()
        let c = try await TestMember(3)
        c.knows((pair.b, pair.b.url))
        let image = try Image.noise(bytes: 3_000_000, seed: 6)
        // The old leader's image never comes to an end.
        let isStuck = NIOLockedValueBox(true)
        pair.a.sends(image, level: 0) { number, bytes in
            while number == 5, isStuck.withLockedValue({ $0 }) { usleep(1000) }
            return bytes
        }
        c.sends(image)
        pair.a.network.send([pair.a.snapshotRequest(to: pair.b)])
        #expect(try await eventually { pair.a.status(pair.b)?.snapshotBytesConsumed ?? 0 > 0 })
        c.network.send([c.snapshotRequest(to: pair.b, term: 4)])
        #expect(try await eventually { c.results == [true] })
        #expect(try await eventually { pair.a.results == [false] })
        isStuck.withLockedValue { $0 = false }
        let state = pair.sinks.state.withLockedValue { $0 }
        #expect(state.begun == 2 && state.aborted == 1 && state.finished.count == 1)
        await pair.stop()
        await c.network.stop()
    }

    @Test func givingUp() async throws {
        let pair = try await Pair { configuration in
            configuration.limits.snapshotResumeTime = .milliseconds(300)
            configuration.limits.snapshotKeepTime = .milliseconds(300)
            configuration.limits.snapshotWindowBytes = 1 << 20
        }
        let image = try Image.noise(bytes: 6_000_000, seed: 7)
        pair.a.sends(image, level: 0)
        let proxy = pair.proxy
        pair.sinks.state.withLockedValue { state in
            state.beforeAppend = { bytes in
                guard bytes > 1_000_000 else { return }
                proxy.refuse(true)
                proxy.cut()
            }
        }
        pair.a.network.send([pair.a.snapshotRequest(to: pair.b)])
        #expect(try await eventually { pair.a.results == [false] })
        #expect(try await eventually { pair.sinks.state.withLockedValue { $0.aborted } == 1 })
        #expect(!FileManager.default.fileExists(atPath: pair.sinks.path))
        // What comes next is taken.
        pair.sinks.state.withLockedValue { $0.beforeAppend = nil }
        proxy.refuse(false)
        #expect(try await eventually { pair.a.isConnected(to: pair.b) })
        pair.a.network.send([pair.a.snapshotRequest(to: pair.b)])
        #expect(try await eventually { pair.a.results == [false, true] })
        await pair.stop()
    }

    @Test func everyRequestIsAnsweredOnce() async throws {
        struct Refused: Error {}
        let pair = try await Pair()
        let image = try Image.noise(bytes: 3_000_000, seed: 8)
        let request = pair.a.snapshotRequest(to: pair.b)
        let failures = { (reason: String) in pair.a.log.lines("sending a snapshot failed", reason).count }
        // No image.
        pair.a.network.send([request])
        #expect(try await eventually { pair.a.results.count == 1 })
        #expect(failures("opening an image") == 1)
        // An image that cannot be read to its end.
        pair.a.sends(image) { number, bytes in
            if number == 3 { throw Refused() }
            return bytes
        }
        pair.a.network.send([request])
        #expect(try await eventually { pair.a.results.count == 2 })
        #expect(failures("reading the image") == 1)
        // A receiver that refuses, at the beginning and at the end. Of a later term, because it may not have seen yet that
        // nothing more comes of the one before.
        pair.a.sends(image)
        pair.b.recorder[\.beginSnapshot] = { _, _ in throw Refused() }
        pair.a.network.send([pair.a.snapshotRequest(to: pair.b, term: 4)])
        #expect(try await eventually { pair.a.results.count == 3 })
        #expect(failures("the snapshot was refused: Refused()") == 1)
        pair.b.receives(into: pair.sinks)
        pair.sinks.state.withLockedValue { $0.beforeFinish = { throw Refused() } }
        pair.a.network.send([request])
        #expect(try await eventually { pair.a.results.count == 4 })
        #expect(failures("reason=Refused()") == 1)
        // A member that is not known, and one that goes away meanwhile.
        var unknown = request
        unknown.to = MemberID(99)
        pair.a.network.send([unknown])
        #expect(try await eventually { pair.a.results.count == 5 })
        let nobody = try ReservedPort()
        pair.a.network.setMembers([(MemberID(9), [nobody.url])])
        unknown.to = MemberID(9)
        pair.a.network.send([unknown])
        #expect(try await eventually { pair.a.network.statuses().first?.snapshotBytesConsumed != nil })
        pair.a.network.setMembers([])
        #expect(try await eventually { pair.a.results.count == 6 })
        // A network that stops.
        pair.a.network.setMembers([(MemberID(9), [nobody.url])])
        pair.a.network.send([unknown])
        await pair.stop()
        #expect(pair.a.results == Array(repeating: false, count: 7))
        pair.a.network.send([unknown])
        try await eventLoopsCameRound()
        #expect(pair.a.results.count == 7)
    }

    @Test func aReceiverThatStops() async throws {
        let pair = try await Pair { $0.limits.snapshotResumeTime = .milliseconds(300) }
        let image = try Image.noise(bytes: 20_000_000, seed: 9)
        pair.a.sends(image, level: 0)
        let gate = pair.sinks.stick(afterBytes: 1_000_000)
        pair.a.network.send([pair.a.snapshotRequest(to: pair.b)])
        #expect(try await eventually { gate.bytes != nil })
        let receiver = pair.b.network
        let stopped = Task { await receiver.stop() }
        // The sender does not depend on how long the receiver's disk takes to let go.
        #expect(try await eventually { pair.a.results == [false] })
        #expect(pair.sinks.state.withLockedValue { $0.aborted } == 0)
        gate.open()
        await stopped.value
        #expect(pair.sinks.state.withLockedValue { $0.aborted } == 1 && pair.finished() == nil)
        await pair.a.network.stop()
        await pair.proxy.stop()
    }

    /// All that may be under way of a snapshot is, and not a byte of it goes on: heartbeats do.
    @Test func aSlowReceiverDelaysNoHeartbeat() async throws {
        let pair = try await Pair()
        let image = try Image.noise(bytes: 20_000_000, seed: 10)
        pair.a.sends(image, level: 0)
        let gate = pair.sinks.stick(afterBytes: 500_000)
        pair.a.network.send([pair.a.snapshotRequest(to: pair.b)])
        let window = UInt64(pair.a.network.configuration.limits.snapshotWindowBytes)
        // What the sink took before it stuck is acknowledged, and as much more as may be is on its way.
        let isFull = {
            guard let bytes = gate.bytes, let status = pair.a.status(pair.b) else { return false }
            return status.snapshotBytesConsumed == bytes && status.bytesSent >= bytes + window
        }
        #expect(try await eventually(isFull))
        for number in 1...30 {
            pair.a.network.send([pair.a.heartbeat(to: pair.b, number)])
            #expect(try await eventually { pair.b.received(from: pair.a).count == number })
        }
        #expect(isFull())
        await pair.a.network.stop()
        #expect(pair.a.results == [false])
        gate.open()
        await pair.b.network.stop()
        await pair.proxy.stop()
    }

    @Test func bandwidthIsLimited() async throws {
        let pair = try await Pair { $0.snapshotBytesPerSecondMax = 2_000_000 }
        let image = try Image.noise(bytes: 3_000_000, seed: 11)
        pair.a.sends(image, level: 0)
        var seconds: [Double] = []
        // Never faster than the limit; and as fast as it, unless the machine has other things to do each time.
        while seconds.count < 6, seconds.last ?? .infinity >= 5 {
            let start = NIODeadline.now()
            pair.a.network.send([pair.a.snapshotRequest(to: pair.b)])
            #expect(try await eventually { pair.a.results.count > seconds.count })
            seconds.append(Double((NIODeadline.now() - start).nanoseconds) / 1e9)
        }
        #expect(pair.a.results == seconds.map { _ in true })
        #expect(seconds.allSatisfy { $0 > 1.3 } && seconds.contains { $0 < 5 }, "\(seconds) s")
        await pair.stop()
    }

    /// Of a snapshot no more is in memory, on both sides and between them, than the window and the chunk that was made
    /// when there was still room: counted whenever one is made, from what the sink has taken by then.
    @Test func memoryIsBounded() async throws {
        let pair = try await Pair()
        let image = try Image.noise(bytes: 100_000_000, seed: 12)
        let (made, taken) = (NIOLockedValueBox(0), NIOLockedValueBox(0))
        let (mostUnderWay, largestChunk) = (NIOLockedValueBox(0), NIOLockedValueBox(0))
        let window = pair.a.network.configuration.limits.snapshotWindowBytes
        pair.sinks.state.withLockedValue { state in
            // Takes nothing before the sender has made what it may.
            state.beforeAppend = { bytes in
                while made.withLockedValue({ $0 }) < window { usleep(1000) }
                taken.withLockedValue { $0 = bytes }
            }
        }
        pair.a.sends(image, level: 0) { _, bytes in
            let before = made.withLockedValue { $0 }
            made.withLockedValue { $0 += bytes.count }
            mostUnderWay.withLockedValue { $0 = max($0, before + bytes.count - taken.withLockedValue { $0 }) }
            largestChunk.withLockedValue { $0 = max($0, bytes.count) }
            return bytes
        }
        pair.a.network.send([pair.a.snapshotRequest(to: pair.b)])
        #expect(try await eventually { !pair.a.results.isEmpty })
        #expect(pair.a.results == [true])
        #expect(pair.finished()?.streamBytes ?? 0 > 100_000_000)
        let (most, chunk) = (mostUnderWay.withLockedValue { $0 }, largestChunk.withLockedValue { $0 })
        print("snapshot of 100 MB: at most \(most) B under way, window \(window) B, chunks of \(chunk) B")
        // The sink notes what it has taken when the next chunk comes.
        #expect(most >= window && most < window + 2 * chunk && chunk < 1 << 20)
        await pair.stop()
    }
}

@Suite struct IncomingSnapshotTests {
    @Test func aLeftoverIsReplacedAndAnAbortLeavesNothing() throws {
        let directory = try TemporaryDirectory()
        let path = directory.path + "/incoming.mdb"
        let image = try Image.kubernetes(objects: 200, seed: 20)
        for attempt in 0..<3 {
            let incoming = try IncomingSnapshot(path: path, options: Image.options())
            let source = try image.source()
            try incoming.append(try #require(try source.nextChunk(compressing: true)))
            #expect(incoming.header == source.header)
            if attempt == 1 {
                incoming.abort()
                incoming.abort()
                #expect(try FileManager.default.contentsOfDirectory(atPath: directory.path).isEmpty)
            }
            guard attempt == 2 else { continue }
            while let chunk = try source.nextChunk(compressing: attempt == 2) { try incoming.append(chunk) }
            let status = try incoming.finish(adjusting: { $0.append(MetaChange(key: "mark", value: "here")) })
            incoming.abort()
            #expect(status.header == source.header)
            #expect(throws: SnapshotError.self) { try incoming.finish() }
            let backend = try LMDBBackend.open(path: path, options: Image.options())
            let reader = try backend.makeReader()
            try reader.begin()
            defer { reader.end() }
            #expect(try reader.meta("mark") == "here")
            #expect(try reader.recordCount() == 200)
        }
    }

    @Test func aStreamThatIsCutOffIsNotTaken() throws {
        let directory = try TemporaryDirectory()
        let image = try Image.kubernetes(objects: 200, seed: 21)
        let incoming = try IncomingSnapshot(path: directory.path + "/incoming.mdb", options: Image.options())
        let source = try image.source()
        var chunks: [Bytes] = []
        while let chunk = try source.nextChunk(compressing: true) { chunks.append(chunk) }
        for chunk in chunks.dropLast() { try incoming.append(chunk) }
        #expect(throws: SnapshotError.self) { try incoming.finish() }
        incoming.abort()
        #expect(try FileManager.default.contentsOfDirectory(atPath: directory.path).isEmpty)
    }
}
