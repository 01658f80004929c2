import Foundation
import NIOConcurrencyHelpers
import NIOCore
import Testing
import TransportSecurity

/// Certificates, keys, CAs and revocation lists that change on disk while the server runs.
@Suite struct ContextSourceTests {
    /// A clock that the test moves, and the events of one source.
    final class Control: Sendable {
        let time = NIOLockedValueBox(NIODeadline.uptimeNanoseconds(1))
        let events = NIOLockedValueBox<[TLSContextSource.Event]>([])

        func source(_ configuration: TLSConfiguration) throws -> TLSContextSource {
            try TLSContextSource(
                configuration, now: { [time] in time.withLockedValue { $0 } },
                report: { [events] event in events.withLockedValue { $0.append(event) } })
        }

        func pass(_ amount: TimeAmount) { time.withLockedValue { $0 = $0 + amount } }
    }

    @Test func openConnectionsStayAndNewOnesSeeTheNewCertificate() throws {
        let files = try Certificates()
        let control = Control()
        let server = try control.source(files.serverConfiguration())
        let client = try TLSContextSource(files.clientConfiguration())
        let old = files.server.certificate.serialNumber
        let first = try Pair(server: server, client: client)
        try first.exchange()
        #expect(first.client.recorder.handshakes.first?.peer?.serialNumber == old)

        let new = try files.replaceServer().certificate
        let early = try Pair(server: server, client: client)
        try early.exchange()
        #expect(early.client.recorder.handshakes.first?.peer?.serialNumber == old, "looked before a second passed")

        control.pass(.seconds(1))
        let second = try Pair(server: server, client: client)
        try second.exchange()
        #expect(second.client.recorder.handshakes.first?.peer?.serialNumber == new.serialNumber)
        #expect(server.expiry == new.notAfter)
        #expect(server.reloads == 1)
        #expect(control.events.withLockedValue { $0 } == [.reloaded(reloads: 1)])

        first.client.channel.writeAndFlush(ByteBuffer(string: "still here"), promise: nil)
        try first.exchange()
        #expect(String(buffer: first.server.recorder.bytes) == "still here")
        #expect(first.server.isOpen)

        control.pass(.seconds(5))
        _ = server.current()
        #expect(server.reloads == 1, "unchanged files are not read again")
    }

    @Test func badReplacementKeepsTheOld() throws {
        let files = try Certificates()
        let control = Control()
        let server = try control.source(files.serverConfiguration(mutual: true))
        let client = try TLSContextSource(files.clientConfiguration(mutual: true))
        let old = files.server.certificate
        func connect() throws -> Pair {
            control.pass(.seconds(1))
            let pair = try Pair(server: server, client: client)
            try pair.exchange()
            return pair
        }
        // The certificate is already the new one, the key not yet.
        let new = try files.authority.issue(Certificates.serverRequest())
        try files.write(new.certificatePEM, "server.pem")
        for _ in 0..<3 {
            #expect(try connect().client.recorder.handshakes.first?.peer?.serialNumber == old.serialNumber)
        }
        #expect(server.lastError?.code == .key)
        #expect(server.failures == 3)
        #expect(control.events.withLockedValue { $0.count } == 1, "the same error is told once")
        try FileManager.default.removeItem(atPath: files.path("ca.pem"))
        #expect(server.reload()?.message.contains("server-key.pem") == true)
        try files.write(new.keyPEM, "server-key.pem")
        #expect(server.reload()?.code == .file)
        #expect(try connect().client.recorder.handshakes.first?.peer?.serialNumber == old.serialNumber)
        try files.write(files.authority.certificatePEM, "ca.pem")
        let serial = try connect().client.recorder.handshakes.first?.peer?.serialNumber
        #expect(serial == new.certificate.serialNumber)
        #expect(server.lastError == nil)
        #expect(server.reloads == 1)
        #expect(control.events.withLockedValue { $0.last } == .reloaded(reloads: 1))
    }

    @Test func authorityIsRotated() throws {
        let files = try Certificates()
        let server = try TLSContextSource(files.serverConfiguration(mutual: true))
        let successor = try CertificateAuthority(commonName: "second CA")
        let bob = try successor.issue(CertificateRequest(commonName: "bob", validitySeconds: 3600))
        try files.write(bob, as: "bob")
        var bobs = files.clientConfiguration()
        bobs.certificateFile = files.path("bob.pem")
        bobs.keyFile = files.path("bob-key.pem")
        let newClient = try TLSContextSource(bobs)
        let oldClient = try TLSContextSource(files.clientConfiguration(mutual: true))
        func names() throws -> [String?] {
            try [oldClient, newClient].map { client in
                let pair = try Pair(server: server, client: client)
                try pair.exchange()
                return pair.server.recorder.handshakes.first?.peer?.commonName
            }
        }
        #expect(try names() == ["alice", nil])
        try files.write(files.authority.certificatePEM + successor.certificatePEM, "ca.pem")
        #expect(server.reload() == nil)
        #expect(try names() == ["alice", "bob"])
        try files.write(successor.certificatePEM, "ca.pem")
        #expect(server.reload() == nil)
        #expect(try names() == [nil, "bob"])
    }

    @Test func revocationHoldsForTheNextConnection() throws {
        let files = try Certificates()
        let control = Control()
        try files.write(files.authority.revocationList(of: []), "crl.pem")
        var configuration = files.serverConfiguration(mutual: true)
        configuration.revocationListFile = files.path("crl.pem")
        let server = try control.source(configuration)
        let client = try TLSContextSource(files.clientConfiguration(mutual: true))
        let before = try Pair(server: server, client: client)
        try before.exchange()
        #expect(before.server.recorder.errors == [])
        try files.write(files.authority.revocationList(of: [files.client.certificate]), "crl.pem")
        control.pass(.seconds(1))
        let after = try Pair(server: server, client: client)
        try after.exchange()
        #expect(after.server.recorder.errors.map(\.code) == [.peerCertificate])
        #expect(before.server.isOpen)
    }

    @Test func filesSwappedByALink() throws {
        // As Kubernetes swaps a mounted secret: the file is a link through a link to a directory.
        let files = try Certificates()
        let manager = FileManager.default
        for name in ["one", "two"] {
            try manager.createDirectory(atPath: files.path(name), withIntermediateDirectories: false)
            let issued = try files.replaceServer()
            try issued.write(
                certificateFile: files.path(name + "/cert.pem"), keyFile: files.path(name + "/key.pem"))
        }
        try manager.createSymbolicLink(atPath: files.path("data"), withDestinationPath: "one")
        let control = Control()
        let server = try control.source(
            .server(certificateFile: files.path("data/cert.pem"), keyFile: files.path("data/key.pem")))
        let first = server.current().certificate
        try manager.createSymbolicLink(atPath: files.path("data2"), withDestinationPath: "two")
        #expect(rename(files.path("data2"), files.path("data")) == 0)
        control.pass(.seconds(1))
        #expect(server.current().certificate?.serialNumber == files.server.certificate.serialNumber)
        #expect(first?.serialNumber != files.server.certificate.serialNumber)
    }

    @Test func manyThreadsAtOnce() async throws {
        let files = try Certificates()
        let server = try TLSContextSource(files.serverConfiguration(), checkInterval: .nanoseconds(0))
        await withTaskGroup(of: Void.self) { group in
            for index in 0..<8 {
                group.addTask {
                    for _ in 0..<50 {
                        if index == 0 { server.reload() }
                        _ = server.current().certificate
                    }
                }
            }
        }
        #expect(server.reloads == 50)
        #expect(server.lastError == nil)
    }
}
