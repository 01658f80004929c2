import Foundation
import NIOConcurrencyHelpers
import NIOCore
import NIOPosix
import Testing
import TransportSecurity

/// The `openssl` command as a process: its output collected, its life bounded, killed with the object.
final class OpenSSLCommand: @unchecked Sendable {
    // The process and the pipes are used by the test's task only; what the reading thread adds is behind the lock.
    private let process = Process()
    private let input = Pipe()
    private let output = Pipe()
    private let collected = NIOLockedValueBox("")

    init(_ arguments: [String]) throws {
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = ["timeout", "300", "openssl"] + arguments
        process.standardInput = input
        process.standardOutput = output
        process.standardError = output
        output.fileHandleForReading.readabilityHandler = { [collected] handle in
            let data = handle.availableData
            if data.isEmpty { handle.readabilityHandler = nil }
            let text = String(decoding: data, as: UTF8.self)
            collected.withLockedValue { $0 += text }
        }
        try process.run()
    }

    deinit {
        output.fileHandleForReading.readabilityHandler = nil
        if process.isRunning { process.terminate() }
        process.waitUntilExit()
    }

    var text: String { collected.withLockedValue { $0 } }

    /// Nothing when the command has ended: what it has not said, the test misses.
    func type(_ line: String) { try? input.fileHandleForWriting.write(contentsOf: Data(line.utf8)) }
    func endInput() { try? input.fileHandleForWriting.close() }

    /// Waits until the output contains `part` so many times, at most a minute. What a command says is read by another
    /// thread, also after its end: no look at the output is right without waiting.
    func wait(for part: String, times: Int = 1) async throws -> Bool {
        for _ in 0..<6000 {
            if text.components(separatedBy: part).count > times { return true }
            try await Task.sleep(nanoseconds: 10_000_000)
        }
        return false
    }

    /// Waits for the process to end, at most a minute; its exit code, or -1.
    func exitCode() async throws -> Int32 {
        for _ in 0..<6000 {
            if !process.isRunning { return process.terminationStatus }
            try await Task.sleep(nanoseconds: 10_000_000)
        }
        return -1
    }
}

/// Against an implementation that is not ours.
@Suite(.timeLimit(.minutes(5)), .serialized) struct OpenSSLCommandTests {
    static func client(_ port: Int, _ files: Certificates, _ more: [String]) throws -> OpenSSLCommand {
        try OpenSSLCommand(
            ["s_client", "-connect", "127.0.0.1:\(port)", "-CAfile", files.path("ca.pem"), "-servername", "localhost"]
                + ["-verify_hostname", "localhost", "-verify_return_error"] + more)
    }

    @Test(arguments: ["-tls1_2", "-tls1_3"]) func theirClient(version: String) async throws {
        let files = try Certificates()
        let server = try await EchoServer(TLSContextSource(files.serverConfiguration(mutual: true)))
        let command = try Self.client(
            server.port, files,
            [version, "-alpn", "http/1.1,h2", "-cert", files.path("client.pem"), "-key", files.path("client-key.pem")])
        command.type("from their side\n")
        #expect(try await command.wait(for: "from their side"))
        #expect(try await command.wait(for: "Verify return code: 0 (ok)"))
        #expect(try await command.wait(for: "ALPN protocol: h2"))
        #expect(try await command.wait(for: version == "-tls1_2" ? "TLSv1.2" : "TLSv1.3"))
        #expect(try await command.wait(for: "Acceptable client certificate CA names"))
        command.type("Q\n")
        #expect(try await command.exitCode() == 0)
        #expect(await server.nextOutcome() == nil, "Q says close_notify")
        try await server.channel.close().get()
    }

    @Test func keysAreUpdatedInBothDirections() async throws {
        let files = try Certificates()
        let server = try await EchoServer(TLSContextSource(files.serverConfiguration()))
        let command = try Self.client(server.port, files, ["-tls1_3"])
        #expect(try await command.wait(for: "Verify return code: 0 (ok)"))
        for round in 1...3 {
            command.type("K\n")
            // It takes a whole read for the command: what is typed before it has read the K is lost.
            #expect(try await command.wait(for: "KEYUPDATE", times: round))
            command.type("after update \(round)\n")
            #expect(try await command.wait(for: "after update \(round)"))
        }
        command.type("Q\n")
        #expect(try await command.exitCode() == 0)
        #expect(await server.nextOutcome() == nil)
        try await server.channel.close().get()
    }

    @Test func renegotiationIsRefused() async throws {
        let files = try Certificates()
        let server = try await EchoServer(TLSContextSource(files.serverConfiguration()))
        let command = try Self.client(server.port, files, ["-tls1_2"])
        #expect(try await command.wait(for: "Verify return code: 0 (ok)"))
        command.type("R\n")
        #expect(try await command.wait(for: "no renegotiation"))
        try await server.channel.close().get()
    }

    @Test(arguments: [["-tls1_1"], ["-tls1"]]) func oldVersionsAreRefused(version: [String]) async throws {
        let files = try Certificates()
        let server = try await EchoServer(TLSContextSource(files.serverConfiguration()))
        let command = try Self.client(server.port, files, version + ["-cipher", "ALL@SECLEVEL=0"])
        let outcome = await server.nextOutcome()
        #expect(outcome?.code == .handshake)
        #expect(outcome?.message.contains("protocol") == true, "\(outcome?.message ?? "")")
        #expect(try await command.exitCode() != 0)
        #expect(try await command.wait(for: "alert protocol version"))
        try await server.channel.close().get()
    }

    @Test(arguments: ["-tls1_2", "-tls1_3"]) func theirClientWithoutACertificate(version: String) async throws {
        let files = try Certificates()
        let server = try await EchoServer(TLSContextSource(files.serverConfiguration(mutual: true)))
        let command = try Self.client(server.port, files, [version])
        #expect(await server.nextOutcome()?.code == .peerCertificate)
        let alert = version == "-tls1_2" ? "handshake failure" : "certificate required"
        #expect(try await command.wait(for: "alert " + alert))
        try await server.channel.close().get()
    }

    @Test(arguments: ["-tls1_2", "-tls1_3"]) func theirServer(version: String) async throws {
        let files = try Certificates()
        let command = try OpenSSLCommand([
            "s_server", "-accept", "127.0.0.1:0", "-cert", files.path("server.pem"), "-key",
            files.path("server-key.pem"), "-CAfile", files.path("ca.pem"), "-Verify", "1", "-verify_return_error",
            "-alpn", "h2", "-rev", "-naccept", "1", version,
        ])
        let announcement = "ACCEPT 127.0.0.1:"
        #expect(try await command.wait(for: announcement))
        // The rest of its line, too: the line's end is the first one after it.
        var parts: [Substring] = []
        for _ in 0..<6000 where parts.count < 2 {
            let rest = command.text.components(separatedBy: announcement).last ?? ""
            parts = rest.split(separator: "\n", maxSplits: 1, omittingEmptySubsequences: false)
            if parts.count < 2 { try await Task.sleep(nanoseconds: 10_000_000) }
        }
        let port = try #require(parts.first.flatMap { Int($0) })
        let client = try await EchoClient(
            port: port, TLSContextSource(files.clientConfiguration(mutual: true)), wanted: 7)
        let handshake = try await client.handshake.get()
        #expect(handshake.negotiatedProtocol == "h2")
        #expect(handshake.version == (version == "-tls1_2" ? .tls12 : .tls13))
        #expect(handshake.peer?.serialNumber == files.server.certificate.serialNumber)
        try await client.channel.writeAndFlush(ByteBuffer(string: "abcdef\n")).get()
        #expect(try await client.all.get() == ByteBuffer(string: "fedcba\n"))
        try await client.channel.close().get()
        #expect(try await command.exitCode() == 0)
    }

    @Test func theirToolsReadOurCertificates() async throws {
        let files = try Certificates()
        try files.write(files.authority.revocationList(of: [files.client.certificate]), "crl.pem")
        let verify = try OpenSSLCommand([
            "verify", "-x509_strict", "-purpose", "sslserver", "-verify_hostname", "a.wild.test", "-CAfile",
            files.path("ca.pem"), files.path("server.pem"),
        ])
        #expect(try await verify.exitCode() == 0)
        #expect(try await verify.wait(for: "server.pem: OK"))
        let revoked = try OpenSSLCommand([
            "verify", "-crl_check", "-CRLfile", files.path("crl.pem"), "-CAfile", files.path("ca.pem"),
            files.path("client.pem"),
        ])
        #expect(try await revoked.exitCode() != 0)
        #expect(try await revoked.wait(for: "certificate revoked"))
    }
}
