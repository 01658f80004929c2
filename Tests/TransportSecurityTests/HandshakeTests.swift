import NIOCore
import NIOEmbedded
import Testing
import TransportSecurity

@Suite struct HandshakeTests {
    @Test(arguments: TLSVersion.allCases, [1, 7, 100_000])
    func bothSidesAgree(version: TLSVersion, piece: Int) throws {
        let files = try Certificates()
        var server = files.serverConfiguration()
        server.minimumVersion = version
        server.maximumVersion = version
        let pair = try Pair(server, files.clientConfiguration())
        try pair.exchange(piece: piece)
        #expect(pair.server.recorder.errors == [])
        #expect(pair.client.recorder.errors == [])
        let seen = try #require(pair.client.recorder.handshakes.first)
        #expect(seen.version == version)
        #expect(seen.negotiatedProtocol == "h2")
        #expect(seen.peer?.commonName == "server")
        #expect(seen.peer?.dnsNames == ["localhost", "*.wild.test"])
        #expect(seen.peer?.addresses == ["127.0.0.1", "::1"])
        #expect(seen.peer?.serialNumber == files.server.certificate.serialNumber)
        #expect(seen.peer?.der == files.server.certificate.der)
        #expect(pair.server.recorder.handshakes.count == 1)
        #expect(pair.server.recorder.handshakes.first?.peer == nil)

        for (from, to, text) in [(pair.client, pair.server, "question"), (pair.server, pair.client, "answer")] {
            let promise = from.channel.eventLoop.makePromise(of: Void.self)
            from.channel.write(ByteBuffer(string: text), promise: promise)
            #expect(try from.takeOutput().readableBytes == 0)
            from.channel.flush()
            try promise.futureResult.wait()
            try pair.exchange(piece: piece)
            #expect(String(buffer: to.recorder.bytes) == text)
            #expect(!to.recorder.outOfOrder)
        }
    }
}
