import Foundation
import TestSupport
import Testing

extension ServerTests {
    /// TLS as operators use it: their tools, their certificates, their rotations.
    @Suite("TLS") struct TLS {
        private func start(_ files: Certificates, clientCertificates: Bool) async throws -> TestServer {
            try await files.issue("server", serial: 0x11)
            try await files.issue("client", serial: 0x22)
            var flags = ["--cert-file", files.certificate("server"), "--key-file", files.key("server")]
            if clientCertificates { flags += ["--client-cert-auth", "--trusted-ca-file", files.authority] }
            let server = try TestServer(.martlet, flags, scheme: "https")
            try await server.start()
            return server
        }

        private func etcdctl(
            _ server: TestServer, _ files: Certificates, client: Certificates?, _ arguments: [String],
            timeout: String = "60s"
        ) async throws -> Shell.Result {
            var flags = ["--endpoints", server.endpoint, "--cacert", files.authority]
            flags += ["--command-timeout", timeout, "--dial-timeout", timeout]
            if let client { flags += ["--cert", client.certificate("client"), "--key", client.key("client")] }
            return try await Shell.run(
                [try Binaries.etcdctl()] + flags + arguments, environment: ["ETCDCTL_API": "3"], atMost: .seconds(90))
        }

        /// etcdctl tries again and again until its time is up.
        private func isRefused(
            _ server: TestServer, _ files: Certificates, client: Certificates?
        ) async throws -> Bool {
            let result = try await etcdctl(server, files, client: client, ["get", "a"], timeout: "2s")
            return result.exitStatus != 0 && result.output.isEmpty
        }

        @Test("server certificate only")
        func serverOnly() async throws {
            let files = try await Certificates()
            let server = try await start(files, clientCertificates: false)
            let put = try await etcdctl(server, files, client: nil, ["put", "a", "b"])
            #expect(put.exitStatus == 0, "\(put.errors)")
            #expect(try await etcdctl(server, files, client: nil, ["get", "a"]).output == "a\nb\n")
            // A client that trusts another authority goes away by itself.
            let others = try await Certificates(name: "other CA")
            #expect(try await isRefused(server, others, client: nil))
            await finish(server, [files, others])
        }

        @Test("client certificates: required, and only our authority's")
        func clientCertificates() async throws {
            let files = try await Certificates()
            let server = try await start(files, clientCertificates: true)
            #expect(try await etcdctl(server, files, client: files, ["put", "a", "b"]).exitStatus == 0)
            // A certificate of a stranger, though the stranger trusts our server.
            let others = try await Certificates(name: "other CA")
            try await others.issue("client", serial: 5)
            async let nobody = isRefused(server, files, client: nil)
            async let stranger = isRefused(server, files, client: others)
            let refused = try await [nobody, stranger]
            #expect(refused == [true, true])
            #expect(try await etcdctl(server, files, client: files, ["get", "a"]).output == "a\nb\n")
            await finish(server, [files, others])
        }

        @Test("plain text and broken handshakes on a TLS port do no harm")
        func plainText() async throws {
            let files = try await Certificates()
            let server = try await start(files, clientCertificates: true)
            #expect(try await etcdctl(server, files, client: files, ["put", "a", "a"]).exitStatus == 0)
            let descriptors = server.descriptorCount
            for bytes in [
                Array("GET /health HTTP/1.1\r\nHost: x\r\n\r\n".utf8), Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8),
                [0x16, 0x03, 0x01, 0x40, 0x00, 0x01], [UInt8](repeating: 0xff, count: 5000), [0],
            ] {
                let answer = try await onThread {
                    let socket = try RawSocket(port: server.clientPort)
                    try socket.send(bytes)
                    socket.finishSending()
                    return socket.receiveUntilClosed()
                }
                #expect(!String(decoding: answer, as: UTF8.self).contains("health"))
            }
            #expect(try await etcdctl(server, files, client: files, ["put", "a", "b"]).exitStatus == 0)
            try await eventually("the connections are gone") {
                server.descriptorCount <= descriptors + 2
            }
            await finish(server, [files])
        }

        @Test("certificates are replaced while running, without dropping a watch")
        func rotation() async throws {
            let files = try await Certificates()
            let server = try await start(files, clientCertificates: true)
            #expect(try await Certificates.serial(port: server.clientPort, files, client: "client") == "serial=11")
            let output = server.folder.path("watch")
            let watch = try ChildProcess(
                [
                    try Binaries.etcdctl(), "--endpoints", server.endpoint, "--cacert", files.authority, "--cert",
                    files.certificate("client"), "--key", files.key("client"), "watch", "k", "--prefix", "--rev=1",
                ], environment: ["ETCDCTL_API": "3"], output: output, errors: output)
            #expect(try await etcdctl(server, files, client: files, ["put", "k1", "before"]).exitStatus == 0)
            try await eventually("the watch is there") { Shell.read(output).contains("before") }

            try await files.issue("server", serial: 0x33)
            try await eventually("the new certificate is shown") {
                try await Certificates.serial(port: server.clientPort, files, client: "client") == "serial=33"
            }
            #expect(try await etcdctl(server, files, client: files, ["put", "k2", "after"]).exitStatus == 0)
            try await eventually("the old connection still delivers") { Shell.read(output).contains("after\n") }
            #expect(Shell.read(output) == "PUT\nk1\nbefore\nPUT\nk2\nafter\n")
            watch.signal(SIGKILL)
            _ = await watch.wait(atMost: .seconds(60))

            // A broken pair must not take the working one away.
            try "nonsense".write(toFile: files.certificate("server"), atomically: true, encoding: .utf8)
            try await eventually("it is noticed") {
                let output = try await etcdctl(server, files, client: files, ["get", "k1"]).output
                guard output == "k1\nbefore\n" else { throw TestFailure("refused or wrong: \(output)") }
                return server.logText.contains("certificates on disk are bad")
            }
            #expect(try await etcdctl(server, files, client: files, ["get", "k1"]).output == "k1\nbefore\n")
            await finish(server, [files])
        }

        private func finish(_ server: TestServer, _ files: [Certificates]) async {
            await server.discard()
            for files in files { files.folder.remove() }
        }
    }
}
