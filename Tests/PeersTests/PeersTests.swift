import NIOCore
import Primitives
import RaftCore
import Testing
import Transport
import Wire

@testable import Peers

@Suite struct PeerURLTests {
    @Test(arguments: [
        ("http://10.0.0.1:2380", false, "10.0.0.1", 2380), ("https://a.example:1", true, "a.example", 1),
        ("https://[::1]:2380/", true, "::1", 2380),
    ])
    func good(text: String, isSecure: Bool, host: String, port: Int) throws {
        let url = try PeerURL(text)
        #expect(url.isSecure == isSecure && url.host == host && url.port == port)
        #expect(try PeerURL(url.description) == url)
    }

    @Test(arguments: [
        "", "http://", "http://a", "http://a:", "http://a:+1", "http://a:65536", "http://:1", "ftp://a:1",
        "http://::1:2",
        "http://a/b:1", "http://a:1/b", "unix://a:1", "http://a b:1", "http://u@a:1",
    ])
    func bad(text: String) { #expect(throws: PeerError.self) { try PeerURL(text) } }
}

@Suite struct MessageQueueTests {
    static func limits() -> PeerLimits {
        var limits = PeerLimits()
        limits.queuedBytesMax = 10_000
        limits.controlBytesMax = 1000
        return limits
    }

    @Test func holdsToItsBounds() {
        let limits = Self.limits()
        var queue = MessageQueue()
        var bulk = 0
        while queue.admits(bytes: 500 + MessageQueue.overheadBytes, isBulk: true, limits) {
            queue.append(Bytes([UInt8](repeating: 1, count: 500)), isBulk: true)
            bulk += 1
        }
        #expect(bulk == 10_000 / 564 && queue.queuedBytes <= limits.queuedBytesMax)
        var control = 0
        while queue.admits(bytes: 50 + MessageQueue.overheadBytes, isBulk: false, limits) {
            queue.append(Bytes([UInt8](repeating: 2, count: 50)), isBulk: false)
            control += 1
        }
        #expect(control > 8 && queue.queuedBytes <= limits.queuedBytesMax + limits.controlBytesMax)
        #expect(!queue.admits(bytes: 564, isBulk: true, limits))
    }

    @Test func oneMessageIsTakenWhateverItsSize() {
        let queue = MessageQueue()
        #expect(queue.admits(bytes: 1 << 30, isBulk: true, Self.limits()))
    }

    @Test(arguments: 0..<20 as Range<UInt64>)
    func batchesKeepOrderAndAccount(seed: UInt64) {
        var random = PRNG(seed: seed)
        var queue = MessageQueue()
        var expected: [Bytes] = []
        var taken: [Bytes] = []
        for number in 0..<200 {
            let bytes = Bytes([UInt8](repeating: UInt8(number & 255), count: random.next(in: 0..<400)))
            queue.append(bytes, isBulk: random.chance(oneIn: 2))
            expected.append(bytes)
            if random.chance(oneIn: 5) {
                let batch = queue.takeBatch(bytesMax: 1000)
                #expect(batch.count == 1 || batch.reduce(0) { $0 + $1.count } <= 1000)
                taken += batch
            }
        }
        while !queue.isEmpty { taken += queue.takeBatch(bytesMax: 300) }
        #expect(taken == expected && queue.queuedBytes == 0)
    }

    @Test func shedsBulkAndOldControl() {
        var queue = MessageQueue()
        for number in 0..<100 { queue.append(Bytes([UInt8(number)]), isBulk: number % 2 == 0) }
        #expect(queue.shed(controlMax: 10) == 90)
        let kept: [UInt8] = queue.takeBatch(bytesMax: 100).map { $0[0] }
        #expect(kept == Array(stride(from: UInt8(81), to: 101, by: 2)))
        #expect(queue.queuedBytes == 0)
    }
}

@Suite struct SharedEncodingTests {
    private func append(to: UInt64, index: UInt64 = 5, commit: UInt64 = 4, term: UInt64 = 2) -> Message {
        Message(
            type: .append, to: MemberID(to), from: MemberID(1), term: Term(2), index: LogIndex(index - 1),
            commit: LogIndex(commit), entries: [Entry(term: Term(term), index: LogIndex(index), payload: "x")])
    }

    @Test func copiesForSeveralMembersAreEncodedOnce() throws {
        var count = 0
        var encoding = SharedEncoding { message in
            count += 1
            return TestCodec.encode(message)
        }
        let first = encoding.bytes(of: append(to: 2))
        #expect(encoding.bytes(of: append(to: 3)) == first && count == 1)
        #expect(try first.withUnsafeBytes { try TestCodec.decode($0) }.to == .none)
        for other in [append(to: 3, commit: 5), append(to: 3, index: 6), append(to: 3, index: 6, term: 1)] {
            let decoded = try encoding.bytes(of: other).withUnsafeBytes { try TestCodec.decode($0) }
            var expected = other
            expected.to = .none
            #expect(decoded == expected)
        }
        #expect(count == 4)
        // Heartbeats carry what differs from member to member.
        let beat = Message(type: .heartbeat, to: MemberID(2), from: MemberID(1), commit: LogIndex(1))
        _ = encoding.bytes(of: beat)
        _ = encoding.bytes(of: beat)
        #expect(count == 6)
    }
}

@Suite struct ReasonLogTests {
    @Test func aReasonIsLoggedWhenItChanges() {
        let log = ReasonLog()
        #expect(log.shouldLog("a", "x"))
        #expect(!log.shouldLog("a", "x"))
        #expect(log.shouldLog("b", "x"))
        #expect(log.shouldLog("a", "y"))
        #expect(log.recovered("a") && !log.recovered("a"))
        #expect(log.shouldLog("a", "y"))
    }

    @Test func aCrowdIsBounded() {
        let log = ReasonLog()
        let now = NIODeadline.uptimeNanoseconds(1_000_000_000_000)
        let lines = (0..<10_000).count { log.shouldLog("stranger \($0)", "x", now: now) }
        #expect(lines == 50)
        #expect(log.shouldLog("stranger", "x", now: now + .seconds(11)))
    }
}

@Suite struct ProtocolTests {
    @Test func batchesComeApartAsTheyWerePut() throws {
        let messages: [Bytes] = ["a", "", Bytes([UInt8](repeating: 7, count: 70_000))]
        let batch = Bytes(count: PeerProtocol.batchSize(messages)) { PeerProtocol.writeBatch(messages, to: $0) }
        var found: [Bytes] = []
        try batch.withUnsafeBytes { try PeerProtocol.forEachMessage(of: $0) { found.append(Bytes(copying: $0)) } }
        #expect(found == messages)
    }

    @Test(arguments: 0..<200 as Range<UInt64>)
    func garbageIsAnErrorOrNothing(seed: UInt64) {
        var random = PRNG(seed: seed)
        let bytes = Bytes((0..<random.next(in: 0..<60)).map { _ in UInt8(random.next(in: 0..<256)) })
        bytes.withUnsafeBytes { bytes in
            try? PeerProtocol.forEachMessage(of: bytes) { #expect($0.count <= bytes.count) }
            _ = try? PeerCall(decoding: bytes)
            _ = try? SnapshotPart(decoding: bytes)
            _ = try? SnapshotAcknowledgement(decoding: bytes)
            _ = try? FetchedMembers(decoding: bytes)
        }
    }

    @Test func roundTrips() throws {
        var part = SnapshotPart()
        part.id = .max
        part.offset = 1 << 40
        part.message = "m"
        part.data = "d"
        part.isEnd = true
        let copy = try part.encoded().withUnsafeBytes { try SnapshotPart(decoding: $0) }
        #expect(copy.id == part.id && copy.offset == part.offset && copy.isEnd)
        #expect(copy.message == part.message && copy.data == part.data)
        let answer = SnapshotAcknowledgement(consumed: 77, isDone: true)
        #expect(try answer.encoded().withUnsafeBytes { try SnapshotAcknowledgement(decoding: $0) } == answer)
        let members = FetchedMembers(clusterID: 1, memberID: MemberID(.max), members: "abc")
        #expect(try members.encoded().withUnsafeBytes { try FetchedMembers(decoding: $0) } == members)
    }

    @Test func roundTripsAreAveraged() {
        var status = PeerStatus(member: MemberID(1), urls: [])
        status.note(roundTrip: .milliseconds(8))
        #expect(status.roundTripNanoseconds == 8_000_000)
        status.note(roundTrip: .microseconds(50))
        status.note(roundTrip: .seconds(100))
        let counted: [Int] = status.roundTripCounts.indices.filter { status.roundTripCounts[$0] == 1 }
        #expect(counted == [0, 7, 16])
        #expect(status.roundTripNanoseconds > 8_000_000)
    }
}
