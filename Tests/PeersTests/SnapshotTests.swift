import Foundation
import MVCC
import NIOConcurrencyHelpers
import NIOCore
import Primitives
import RaftCore
import Snapshots
import Testing
import Transport

@testable import Peers

@Suite(.timeLimit(.minutes(2)), .serialized) struct SnapshotTests {
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

    /// The link has to wait for its turn: what it gets is compressed.
    @Test func aSlowLinkGetsCompressedFrames() async throws {
        let pair = try await Pair {
            $0.snapshotBytesPerSecondMax = 2_000_000
            $0.limits.snapshotWindowBytes = 1 << 20
        }
        let image = try Image.kubernetes(objects: 5000, seed: 13)
        pair.a.sends(image)
        pair.a.network.send([pair.a.snapshotRequest(to: pair.b)])
        #expect(try await eventually { pair.a.results == [true] })
        let status = try #require(pair.finished())
        let ratio = Double(status.totals.contentBytes) / Double(status.streamBytes)
        print("snapshot of 5000 pods: \(status.totals.contentBytes) B in \(status.streamBytes) B, ratio \(ratio)")
        #expect(ratio >= 3)
        #expect(try pair.sinks.totals() == Image.totals(image.backend))
        let sent = try #require(pair.a.status(pair.b))
        // What fills the link up to the mark, and perhaps what it takes at the beginning.
        #expect(sent.snapshotChunksStored <= 4 && sent.snapshotChunksCompressed > 10)
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
        let chunks = NIOLockedValueBox(0)
        pair.a.sends(image, compressing: compressing) { number, bytes in
            chunks.withLockedValue { $0 = number }
            return bytes
        }
        let proxy = pair.proxy
        for cut in 1...3 {
            proxy.cut(afterBytes: compressing ? 300_000 : 1_200_000)
            if cut == 1 { pair.a.network.send([pair.a.snapshotRequest(to: pair.b)]) }
            #expect(try await eventually { proxy.cuts == cut })
        }
        #expect(try await eventually { !pair.a.results.isEmpty })
        #expect(pair.a.results == [true])
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
        #expect(pair.finished() == nil && pair.sinks.state.withLockedValue { $0.aborted } == 1)
        #expect(!FileManager.default.fileExists(atPath: pair.sinks.path))
        #expect(pair.b.log.lines("receiving a snapshot failed", "peer=1", "damaged").count == 1)
        #expect(pair.a.log.lines("sending a snapshot failed", "peer=2", "damaged").count == 1)
        #expect(pair.a.status(pair.b)?.snapshotsSendFailed == 1 && pair.b.status(pair.a)?.snapshotsReceiveFailed == 1)
        await pair.stop()
    }

    @Test func twoAtOnce() async throws {
        let pair = try await Pair { $0.limits.snapshotWindowBytes = 1 << 20 }
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
        try await Task.sleep(nanoseconds: 100_000_000)
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
        // No image.
        pair.a.network.send([request])
        #expect(try await eventually { pair.a.results.count == 1 })
        // An image that cannot be read to its end.
        pair.a.sends(image) { number, bytes in
            if number == 3 { throw Refused() }
            return bytes
        }
        pair.a.network.send([request])
        #expect(try await eventually { pair.a.results.count == 2 })
        // A receiver that refuses, at the beginning and at the end.
        pair.a.sends(image)
        pair.b.recorder[\.beginSnapshot] = { _, _ in throw Refused() }
        pair.a.network.send([request])
        #expect(try await eventually { pair.a.results.count == 3 })
        pair.b.receives(into: pair.sinks)
        pair.sinks.state.withLockedValue { $0.beforeFinish = { throw Refused() } }
        pair.a.network.send([request])
        #expect(try await eventually { pair.a.results.count == 4 })
        // A member that is not known, and one that goes away meanwhile.
        var unknown = request
        unknown.to = MemberID(99)
        pair.a.network.send([unknown])
        #expect(try await eventually { pair.a.results.count == 5 })
        pair.a.network.setMembers([(MemberID(9), ["http://127.0.0.1:1"])])
        unknown.to = MemberID(9)
        pair.a.network.send([unknown])
        try await Task.sleep(nanoseconds: 50_000_000)
        pair.a.network.setMembers([])
        #expect(try await eventually { pair.a.results.count == 6 })
        // A network that stops.
        pair.a.network.setMembers([(MemberID(9), ["http://127.0.0.1:1"])])
        pair.a.network.send([unknown])
        await pair.stop()
        #expect(pair.a.results == Array(repeating: false, count: 7))
        pair.a.network.send([unknown])
        try await Task.sleep(nanoseconds: 20_000_000)
        #expect(pair.a.results.count == 7)
    }

    @Test func aReceiverThatStops() async throws {
        let pair = try await Pair { $0.limits.snapshotResumeTime = .milliseconds(300) }
        let image = try Image.noise(bytes: 20_000_000, seed: 9)
        pair.a.sends(image, level: 0)
        pair.sinks.state.withLockedValue { $0.beforeAppend = { _ in usleep(2000) } }
        pair.a.network.send([pair.a.snapshotRequest(to: pair.b)])
        #expect(try await eventually { pair.a.status(pair.b)?.snapshotBytesConsumed ?? 0 > 1_000_000 })
        await pair.b.network.stop()
        #expect(pair.sinks.state.withLockedValue { $0.aborted } == 1)
        #expect(try await eventually { pair.a.results == [false] })
        await pair.stop()
    }

    @Test func aSlowReceiverDelaysNoHeartbeat() async throws {
        let pair = try await Pair()
        let image = try Image.noise(bytes: 20_000_000, seed: 10)
        pair.a.sends(image, level: 0)
        pair.sinks.state.withLockedValue { $0.beforeAppend = { _ in usleep(10_000) } }
        pair.a.network.send([pair.a.snapshotRequest(to: pair.b)])
        #expect(try await eventually { pair.a.status(pair.b)?.snapshotBytesConsumed ?? 0 > 500_000 })
        var worst = TimeAmount.zero
        for number in 1...30 {
            let start = NIODeadline.now()
            pair.a.network.send([pair.a.heartbeat(to: pair.b, number)])
            #expect(try await eventually { pair.b.received(from: pair.a).count == number })
            worst = max(worst, NIODeadline.now() - start)
            try await Task.sleep(nanoseconds: 5_000_000)
        }
        #expect(pair.a.status(pair.b)?.snapshotBytesConsumed != nil, "the snapshot was over too early to tell")
        #expect(worst < .milliseconds(500))
        await pair.stop()
        #expect(pair.a.results == [false])
    }

    @Test func bandwidthIsLimited() async throws {
        let pair = try await Pair { $0.snapshotBytesPerSecondMax = 2_000_000 }
        let image = try Image.noise(bytes: 3_000_000, seed: 11)
        pair.a.sends(image, level: 0)
        let start = NIODeadline.now()
        pair.a.network.send([pair.a.snapshotRequest(to: pair.b)])
        #expect(try await eventually { pair.a.results == [true] })
        let seconds = Double((NIODeadline.now() - start).nanoseconds) / 1e9
        #expect(seconds > 1.3 && seconds < 5, "\(seconds) s")
        await pair.stop()
    }

    @Test func memoryIsBounded() async throws {
        let pair = try await Pair()
        let image = try Image.noise(bytes: 200_000_000, seed: 12)
        pair.a.sends(image, level: 0)
        let before = try Self.anonymousBytes()
        var most = before
        pair.a.network.send([pair.a.snapshotRequest(to: pair.b)])
        while pair.a.results.isEmpty {
            most = max(most, try Self.anonymousBytes())
            try await Task.sleep(nanoseconds: 5_000_000)
        }
        #expect(pair.a.results == [true])
        #expect(pair.finished()?.streamBytes ?? 0 > 200_000_000)
        print("snapshot of 200 MB: at most \((most - before) >> 20) MiB more than before, both sides in one process")
        #expect(most - before < 128 << 20)
        await pair.stop()
    }

    /// Memory of this process that no file backs.
    private static func anonymousBytes() throws -> Int {
        let text = try String(contentsOfFile: "/proc/self/status", encoding: .utf8)
        let line = text.split(separator: "\n").first { $0.hasPrefix("RssAnon:") } ?? ""
        return (Int(line.filter(\.isNumber)) ?? 0) * 1024
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
