import NIOCore
import NIOEmbedded
import Testing
import TransportSecurity

@Suite struct TransferTests {
    static func connected(
        version: TLSVersion = .tls13, limits: TLSLimits = TLSLimits(), halfClosure: Bool = false
    ) throws -> Pair {
        let files = try Certificates()
        var server = files.serverConfiguration()
        server.maximumVersion = version
        let pair = try Pair(
            server: TLSContextSource(server), client: TLSContextSource(files.clientConfiguration()), limits: limits,
            allowsHalfClosure: halfClosure)
        try pair.exchange()
        #expect(pair.server.recorder.handshakes.count == 1)
        return pair
    }

    static func numbers(_ count: Int, seed: UInt64) -> [UInt8] {
        var generator = SeededNumbers(seed: seed)
        var bytes = [UInt8](repeating: 0, count: count)
        bytes.withUnsafeMutableBytes { memory in
            for index in stride(from: 0, to: count - count % 8, by: 8) {
                memory.storeBytes(of: generator.next(), toByteOffset: index, as: UInt64.self)
            }
        }
        return bytes
    }

    /// 16 MiB each way at once, written and carried in odd pieces with flushes at random.
    @Test(arguments: TLSVersion.allCases, [1 as UInt64, 2])
    func bigDataBothWays(version: TLSVersion, seed: UInt64) throws {
        let pair = try Self.connected(version: version)
        var generator = SeededNumbers(seed: seed)
        let total = 16 << 20
        let sent = [Self.numbers(total, seed: seed), Self.numbers(total, seed: seed &+ 77)]
        let sides = [(pair.client, pair.server), (pair.server, pair.client)]
        var offsets = [0, 0]
        var unfulfilled = 0
        while offsets != [total, total] {
            for (index, (from, to)) in sides.enumerated() {
                for _ in 0..<Int.random(in: 1...5, using: &generator) {
                    let most = [3, 700, 16_384, 16_385, 70_001, 1_300_007].randomElement(using: &generator) ?? 1
                    let count = min(Int.random(in: 0...most, using: &generator), total - offsets[index])
                    let bytes = ByteBuffer(bytes: sent[index][offsets[index]..<(offsets[index] + count)])
                    let promise = from.channel.eventLoop.makePromise(of: Void.self)
                    unfulfilled += 1
                    promise.futureResult.assumeIsolated().whenSuccess { unfulfilled -= 1 }
                    from.channel.write(bytes, promise: promise)
                    offsets[index] += count
                }
                from.channel.flush()
                var cipher = try from.takeOutput()
                while cipher.readableBytes > 0 {
                    let piece = Int.random(in: 1...90_000, using: &generator)
                    guard let part = cipher.readSlice(length: min(piece, cipher.readableBytes)) else { break }
                    try to.receive(part)
                }
            }
        }
        #expect(unfulfilled == 0)
        #expect(pair.server.recorder.bytes == ByteBuffer(bytes: sent[0]))
        #expect(pair.client.recorder.bytes == ByteBuffer(bytes: sent[1]))
        #expect(pair.server.recorder.errors == [] && pair.client.recorder.errors == [])
    }

    @Test(arguments: TLSVersion.allCases) func oneByteAtATime(version: TLSVersion) throws {
        let pair = try Self.connected(version: version)
        let bytes = Self.numbers(40_000, seed: 5)
        pair.client.channel.writeAndFlush(ByteBuffer(bytes: bytes), promise: nil)
        try pair.exchange(piece: 1)
        #expect(pair.server.recorder.bytes == ByteBuffer(bytes: bytes))
    }

    @Test func writesOfOneFlushLeaveInOneBufferAndOneRecord() throws {
        let pair = try Self.connected()
        var completed: [Int] = []
        for index in 0..<100 {
            let promise = pair.client.channel.eventLoop.makePromise(of: Void.self)
            promise.futureResult.assumeIsolated().whenSuccess { completed.append(index) }
            pair.client.channel.write(ByteBuffer(string: "message \(index);"), promise: promise)
        }
        #expect(try pair.client.channel.readOutbound(as: ByteBuffer.self) == nil)
        #expect(completed == [])
        pair.client.channel.flush()
        #expect(completed == Array(0..<100))
        let cipher = try #require(try pair.client.channel.readOutbound(as: ByteBuffer.self))
        #expect(try pair.client.channel.readOutbound(as: ByteBuffer.self) == nil)
        // Header 5, content type 1, tag 16: one record.
        let plain = (0..<100).map { "message \($0);" }.joined()
        #expect(cipher.readableBytes == plain.utf8.count + 22)
        try pair.server.receive(cipher)
        #expect(String(buffer: pair.server.recorder.bytes) == plain)
    }

    @Test func unflushedWritesDoNotPileUpInTheHandler() throws {
        var limits = TLSLimits()
        limits.unsealedBytesMax = 1000
        let pair = try Self.connected(limits: limits)
        for _ in 0..<10 { pair.client.channel.write(ByteBuffer(repeating: 1, count: 600), promise: nil) }
        // Nothing is flushed, but the channel below has been given five batches to count against its watermark.
        #expect(try pair.client.channel.readOutbound(as: ByteBuffer.self) == nil)
        pair.client.channel.flush()
        var batches = 0
        while let batch = try pair.client.channel.readOutbound(as: ByteBuffer.self) {
            batches += 1
            try pair.server.receive(batch)
        }
        #expect(batches == 5)
        #expect(pair.server.recorder.bytes.readableBytes == 6000)
    }

    @Test func hugeWriteLeavesInSeveralBuffers() throws {
        var limits = TLSLimits()
        limits.sealedBatchBytesMax = 100_000
        let pair = try Self.connected(limits: limits)
        let bytes = Self.numbers(1_000_000, seed: 9)
        pair.client.channel.writeAndFlush(ByteBuffer(bytes: bytes), promise: nil)
        var batches = 0
        while let batch = try pair.client.channel.readOutbound(as: ByteBuffer.self) {
            batches += 1
            #expect(batch.readableBytes < 110_000)
            try pair.server.receive(batch)
        }
        #expect(batches == 10)
        #expect(pair.server.recorder.bytes == ByteBuffer(bytes: bytes))
    }

    @Test func writesBeforeTheHandshakeWait() throws {
        let files = try Certificates()
        let pair = try Pair(files.serverConfiguration(), files.clientConfiguration())
        var completed = 0
        for part in ["a", "b", ""] {
            let promise = pair.client.channel.eventLoop.makePromise(of: Void.self)
            promise.futureResult.assumeIsolated().whenSuccess { completed += 1 }
            pair.client.channel.write(ByteBuffer(string: part), promise: promise)
        }
        pair.client.channel.flush()
        pair.client.channel.write(ByteBuffer(string: "c"), promise: nil)
        #expect(completed == 0)
        try pair.exchange()
        #expect(completed == 3)
        pair.client.channel.flush()
        try pair.exchange()
        #expect(String(buffer: pair.server.recorder.bytes) == "abc")
    }

    @Test func tooMuchBeforeTheHandshake() throws {
        let files = try Certificates()
        var limits = TLSLimits()
        limits.handshakePendingBytesMax = 100
        let pair = try Pair(
            server: TLSContextSource(files.serverConfiguration()),
            client: TLSContextSource(files.clientConfiguration()), limits: limits)
        let promise = pair.client.channel.eventLoop.makePromise(of: Void.self)
        pair.client.channel.write(ByteBuffer(repeating: 0, count: 101), promise: promise)
        #expect(throws: TLSError.self) { try promise.futureResult.wait() }
        #expect(pair.client.recorder.errors.map(\.code) == [.limit])
        pair.client.channel.embeddedEventLoop.run()
        #expect(!pair.client.isOpen)
    }
}
