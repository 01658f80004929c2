import NIOCore
import NIOEmbedded
import Testing
import TransportSecurity

/// Input that no honest peer sends.
@Suite struct HostileInputTests {
    static func server() throws -> Side {
        let files = try Certificates()
        return try Side(TLSHandler(source: TLSContextSource(files.serverConfiguration())))
    }

    @Test(
        arguments: [
            "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "HEAD /health HTTP/1.1\r\n\r\n", "POST /v3/kv/range HTTP/1.1\r\n\r\n",
            "PUT /v2/keys/a HTTP/1.1\r\n\r\n", "OPTIONS * HTTP/1.1\r\n\r\n",
        ], [1, 4, 5, 1000])
    func plainHTTP(request: String, piece: Int) throws {
        let side = try Self.server()
        var bytes = ByteBuffer(string: request)
        while let part = bytes.readSlice(length: min(piece, bytes.readableBytes)), part.readableBytes > 0 {
            try side.receive(part)
        }
        let answer = "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"
        #expect(String(buffer: try side.takeOutput()) == answer)
        #expect(side.recorder.errors == [TLSError(.plaintext, "client sent an HTTP request to an HTTPS server")])
        #expect(!side.isOpen)
        side.finish()
    }

    @Test func plainTextThatIsNoHTTP() throws {
        for (text, part) in [
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP/2 without TLS"), ("SSH-2.0-OpenSSH", "does not speak TLS"),
            ("\u{0}\u{0}\u{0}\u{0}\u{0}", "?????"),
        ] {
            let side = try Self.server()
            try side.receive(ByteBuffer(string: text))
            #expect(side.recorder.errors.map(\.code) == [.plaintext])
            #expect(side.recorder.errors.first?.message.contains(part) == true)
            #expect(try side.takeOutput().readableBytes == 0)
            #expect(!side.isOpen)
            side.finish()
        }
    }

    @Test func plainTextThatStops() throws {
        let side = try Self.server()
        try side.receive(ByteBuffer(string: "GE"))
        #expect(side.isOpen)
        side.channel.embeddedEventLoop.advanceTime(by: .seconds(10))
        #expect(side.recorder.errors.map(\.code) == [.plaintext])
        #expect(!side.isOpen)
        side.finish()
        let other = try Self.server()
        try other.receive(ByteBuffer(string: "GE"))
        other.channel.pipeline.fireChannelInactive()
        #expect(other.recorder.errors.map(\.code) == [.plaintext])
        other.finish()
    }

    @Test func clientMeetsAPlainServer() throws {
        for (text, part) in [("HTTP/1.1 400 Bad Request\r\n", "plain HTTP"), ("\0\0\u{12}\u{4}\0\0", "not speak TLS")] {
            let files = try Certificates()
            let side = try Side(TLSHandler(source: TLSContextSource(files.clientConfiguration())))
            try side.receive(ByteBuffer(string: text))
            #expect(side.recorder.errors.map(\.code) == [.plaintext])
            #expect(side.recorder.errors.first?.message.contains(part) == true)
            #expect(!side.isOpen)
            side.finish()
        }
    }

    @Test func recordThatIsTooLong() throws {
        let pair = try TransferTests.connected()
        try pair.server.receive(ByteBuffer(bytes: [23, 3, 3, 0xff, 0xff] + [UInt8](repeating: 0, count: 70_000)))
        #expect(pair.server.recorder.errors.map(\.code) == [.record])
        #expect(!pair.server.isOpen)
    }

    @Test func replayedRecord() throws {
        for version in TLSVersion.allCases {
            let pair = try TransferTests.connected(version: version)
            pair.client.channel.writeAndFlush(ByteBuffer(string: "once"), promise: nil)
            let record = try pair.client.takeOutput()
            try pair.server.receive(record)
            try pair.server.receive(record)
            #expect(String(buffer: pair.server.recorder.bytes) == "once")
            #expect(pair.server.recorder.errors.map(\.code) == [.record])
            #expect(!pair.server.isOpen)
        }
    }

    /// One conversation whose ciphertext is damaged somewhere: bits turned, bytes lost, doubled, swapped in or cut off.
    /// Whatever happens, nothing false is delivered, what is delivered is a prefix of what was sent, and a side that
    /// gave up has said why exactly once.
    @Test(arguments: 0..<300 as Range<UInt64>) func mutatedCiphertext(seed: UInt64) throws {
        var generator = SeededNumbers(seed: seed)
        let files = FuzzFiles.shared
        let version = TLSVersion.allCases[Int(seed % 2)]
        let pair = try Pair(
            server: seed % 3 == 0 ? files.mutualServer : files.server, client: files.clients[version] ?? files.client)
        let sent = [TransferTests.numbers(40_000, seed: seed), TransferTests.numbers(30_000, seed: seed + 1)]
        pair.client.channel.writeAndFlush(ByteBuffer(bytes: sent[0]), promise: nil)
        pair.server.channel.writeAndFlush(ByteBuffer(bytes: sent[1]), promise: nil)
        // Some damage early (handshake), some late (records).
        var untouched = Int.random(in: 0...(seed % 2 == 0 ? 3000 : 60_000), using: &generator)
        for _ in 0..<200 {
            var moved = false
            for (from, to) in [(pair.client, pair.server), (pair.server, pair.client)] {
                let bytes = try from.takeOutput()
                if bytes.readableBytes == 0 { continue }
                moved = true
                untouched -= bytes.readableBytes
                let carried = untouched < 0 ? Self.damage(bytes, &generator) : bytes
                if untouched < 0 { untouched = Int.random(in: 0...20_000, using: &generator) }
                try to.receive(carried)
            }
            if !moved { break }
        }
        for (side, expected) in [(pair.server, sent[0]), (pair.client, sent[1])] {
            side.channel.embeddedEventLoop.advanceTime(by: .seconds(20))
            let got = side.recorder.bytes
            #expect(got == ByteBuffer(bytes: expected.prefix(got.readableBytes)))
            #expect(side.recorder.errors.count <= 1)
            #expect(!side.recorder.outOfOrder)
            if !side.recorder.errors.isEmpty || side.recorder.handshakes.isEmpty { #expect(!side.isOpen) }
        }
    }

    static func damage(_ bytes: ByteBuffer, _ generator: inout SeededNumbers) -> ByteBuffer {
        var array = Array(bytes.readableBytesView)
        for _ in 0..<Int.random(in: 1...3, using: &generator) where !array.isEmpty {
            // The first bytes of a flight are headers: hit them more often than chance would.
            let near = Int.random(in: 0..<2, using: &generator) == 0
            let position = Int.random(in: 0..<(near ? min(array.count, 64) : array.count), using: &generator)
            switch Int.random(in: 0..<6, using: &generator) {
            case 0: array[position] ^= 1 << UInt8.random(in: 0..<8, using: &generator)
            case 1: array[position] = UInt8.random(in: .min ... .max, using: &generator)
            case 2: array.remove(at: position)
            case 3: array.insert(UInt8.random(in: .min ... .max, using: &generator), at: position)
            case 4: array.removeSubrange(position...)
            default: array.append(contentsOf: array[position..<min(position + 5000, array.count)])
            }
        }
        return ByteBuffer(bytes: array)
    }

    /// Pure noise after a header that promises much: refused early, nothing kept.
    @Test(arguments: 0..<40 as Range<UInt64>) func noise(seed: UInt64) throws {
        var generator = SeededNumbers(seed: seed)
        let side = try Side(TLSHandler(source: FuzzFiles.shared.server))
        var accepted = 0
        for _ in 0..<400 where side.isOpen {
            var bytes = (0..<1000).map { _ in UInt8.random(in: .min ... .max, using: &generator) }
            if accepted == 0 { bytes.replaceSubrange(0..<5, with: [22, 3, 1, 0x3f, 0xff]) }
            accepted += bytes.count
            try side.receive(ByteBuffer(bytes: bytes))
        }
        #expect(!side.isOpen)
        #expect(side.recorder.errors.count == 1)
        #expect(accepted <= 20_000)
        side.finish()
    }
}

/// Contexts that many seeds share; making keys for each would take most of the time.
struct FuzzFiles: Sendable {
    let server: TLSContextSource
    let mutualServer: TLSContextSource
    let client: TLSContextSource
    let clients: [TLSVersion: TLSContextSource]

    static let shared: FuzzFiles = {
        do {
            let files = try Certificates()
            var clients: [TLSVersion: TLSContextSource] = [:]
            for version in TLSVersion.allCases {
                var configuration = files.clientConfiguration(mutual: true)
                configuration.maximumVersion = version
                clients[version] = try TLSContextSource(configuration, checkInterval: .hours(10))
            }
            return FuzzFiles(
                server: try TLSContextSource(files.serverConfiguration(), checkInterval: .hours(10)),
                mutualServer: try TLSContextSource(
                    files.serverConfiguration(mutual: true), checkInterval: .hours(10)),
                client: try TLSContextSource(files.clientConfiguration(), checkInterval: .hours(10)),
                clients: clients)
        } catch {
            fatalError("cannot make the test's certificates: \(error)")
        }
    }()
}
