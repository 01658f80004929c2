import Foundation
import Logging
import NIOConcurrencyHelpers
import NIOCore
import Primitives
import RaftCore
import Testing
import Transport
import TransportSecurity

@testable import Peers

/// Certificates of one test, in a directory that goes away with the object.
final class PeerFiles {
    let directory: String
    private(set) var authority: CertificateAuthority

    init() throws {
        directory = FileManager.default.temporaryDirectory.appendingPathComponent("peers-\(UUID().uuidString)").path
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        authority = try CertificateAuthority(commonName: "peer CA")
        try write(authority.certificatePEM, "ca.pem")
    }

    deinit { try? FileManager.default.removeItem(atPath: directory) }

    func path(_ name: String) -> String { directory + "/" + name }

    func write(_ bytes: [UInt8], _ name: String) throws {
        try Data(bytes).write(to: URL(fileURLWithPath: path(name)), options: .atomic)
    }

    /// Issues a certificate under `name`, by `authority` or the directory's own.
    @discardableResult
    func issue(
        _ name: String, cn: String? = nil, hosts: [String] = ["127.0.0.1"], isExpired: Bool = false,
        by authority: CertificateAuthority? = nil
    ) throws -> PeerCertificate {
        var request = CertificateRequest(commonName: cn ?? name, hosts: hosts, validitySeconds: 3600)
        if isExpired {
            request.notBefore -= 7200
            request.notAfter -= 7200
        }
        let issued = try (authority ?? self.authority).issue(request)
        try issued.write(certificateFile: path(name + ".pem"), keyFile: path(name + "-key.pem"))
        return issued.certificate
    }

    /// A new CA takes the place of the old one on disk; certificates must be issued again.
    func replaceAuthority() throws {
        authority = try CertificateAuthority(commonName: "new peer CA")
        try write(authority.certificatePEM, "ca.pem")
    }

    /// Mutual TLS with the certificate issued under `name`.
    func tls(_ name: String, change: (inout PeerTLS) -> Void = { _ in }) -> PeerTLS {
        var tls = PeerTLS()
        tls.certificateFile = path(name + ".pem")
        tls.keyFile = path(name + "-key.pem")
        tls.trustedCAFile = path("ca.pem")
        tls.requiresClientCertificate = true
        change(&tls)
        return tls
    }
}

/// The `openssl` command as a process whose output is collected and whose life is bounded.
final class OpenSSL: @unchecked Sendable {
    // Process and pipes are used by the test's task only; the reading thread's text is behind the lock.
    private let process = Process()
    private let input = Pipe()
    private let output = Pipe()
    private let collected = NIOLockedValueBox("")

    init(list arguments: [String]) throws {
        process.executableURL = URL(fileURLWithPath: "/usr/bin/openssl")
        process.arguments = arguments
        process.standardInput = input
        process.standardOutput = output
        process.standardError = output
        output.fileHandleForReading.readabilityHandler = { [collected] handle in
            let data = handle.availableData
            if data.isEmpty { handle.readabilityHandler = nil }
            collected.withLockedValue { $0 += String(decoding: data, as: UTF8.self) }
        }
        try process.run()
    }

    deinit {
        output.fileHandleForReading.readabilityHandler = nil
        // Not `terminate`: a process started by a thread of ours inherits blocked signals.
        if process.isRunning { kill(process.processIdentifier, SIGKILL) }
    }

    var text: String { collected.withLockedValue { $0 } }

    /// A server with a certificate of `files`; returns it and its port.
    static func server(_ files: PeerFiles, _ name: String) async throws -> (OpenSSL, port: Int) {
        let server = try OpenSSL(list: [
            "s_server", "-accept", "127.0.0.1:0", "-cert", files.path(name + ".pem"), "-key",
            files.path(name + "-key.pem"), "-alpn", "h2",
        ])
        var port: Int?
        let isListening = try await eventually {
            // Whole lines only.
            let lines = server.text.split(separator: "\n", omittingEmptySubsequences: false).dropLast()
            port = lines.first { $0.hasPrefix("ACCEPT ") }?.split(separator: ":").last.flatMap { Int($0) }
            return port != nil
        }
        #expect(isListening, "\(server.text)")
        return (server, port ?? 0)
    }
}

@Suite(.timeLimit(.minutes(5))) struct TLSTests {
    /// Messages go both ways between two members.
    private func expectExchange(_ a: TestMember, _ b: TestMember) async throws {
        TestMember.introduce(a, b)
        #expect(
            try await eventually { a.isConnected(to: b) && b.isConnected(to: a) }, "\(a.log.lines()) \(b.log.lines())")
        for index in 1...200 {
            a.network.send([a.append(to: b, index)])
            b.network.send([b.append(to: a, index)])
        }
        #expect(try await eventually { a.received(from: b).count == 200 && b.received(from: a).count == 200 })
        #expect(a.received(from: b) == (1...200).map { b.append(to: a, $0) })
    }

    private func stop(_ members: TestMember...) async {
        for member in members { await member.network.stop() }
    }

    @Test(arguments: [TLSVersion.tls12, .tls13]) func mutual(version: TLSVersion) async throws {
        let files = try PeerFiles()
        var members: [TestMember] = []
        for id in 1...2 as ClosedRange<UInt64> {
            try files.issue("m\(id)")
            let tls = files.tls("m\(id)") { $0.maximumVersion = version }
            members.append(try await TestMember(id, tls: tls))
        }
        try await expectExchange(members[0], members[1])
        let told = try await PeerNetwork.fetchMembers(
            from: [PeerURL(members[0].url)], tls: files.tls("m2"), timeout: .seconds(60), group: group)
        #expect(told.clusterID == 0xc1)
        await stop(members[0], members[1])
    }

    @Test func automatic() async throws {
        let files = try PeerFiles()
        var members: [TestMember] = []
        for id in 1...2 as ClosedRange<UInt64> {
            let data = files.path("data\(id)")
            try FileManager.default.createDirectory(atPath: data, withIntermediateDirectories: true)
            let tls = try PeerTLS.automatic(
                dataDirectory: data, listenURLs: [PeerURL("https://127.0.0.1:1")], validityYears: 1)
            #expect(FileManager.default.fileExists(atPath: data + "/fixtures/peer/cert.pem"))
            members.append(try await TestMember(id, tls: tls))
        }
        try await expectExchange(members[0], members[1])
        await stop(members[0], members[1])
    }

    // MARK: Who is refused, by us

    /// What the `openssl` command shows, and the words that our log must have.
    enum Stranger: String, CaseIterable {
        case withoutCertificate, ofAnotherAuthority, expired, oldProtocol, wrongAddress
    }

    @Test(arguments: Stranger.allCases) func strangersAreRefused(stranger: Stranger) async throws {
        let files = try PeerFiles()
        try files.issue("m1")
        try files.issue("expired", isExpired: true)
        try files.issue("foreign", by: try CertificateAuthority(commonName: "another CA"))
        try files.issue("elsewhere", hosts: ["10.9.8.7"])
        let a = try await TestMember(1, tls: files.tls("m1"))
        func show(_ name: String) -> [String] {
            ["-cert", files.path(name + ".pem"), "-key", files.path(name + "-key.pem")]
        }
        let (more, theirs, ours): ([String], String, String) =
            switch stranger {
            case .withoutCertificate: ([], "certificate required", "the client gave no certificate")
            case .ofAnotherAuthority:
                (show("foreign"), "unknown ca", "\"foreign\" was refused: unable to get local issuer")
            case .expired: (show("expired"), "certificate expired", "certificate has expired")
            case .oldProtocol: (["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"], "protocol version", "protocol")
            case .wrongAddress: (show("elsewhere"), "CONNECTED", "valid for 10.9.8.7, but it comes from 127.0.0.1")
            }
        let arguments = ["s_client", "-connect", "127.0.0.1:\(a.port)", "-CAfile", files.path("ca.pem"), "-alpn", "h2"]
        let command = try OpenSSL(list: arguments + more)
        #expect(try await eventually { command.text.contains(theirs) }, "\(command.text)")
        #expect(
            try await eventually { a.log.lines("warning refused a peer", "address=127.0.0.1", ours).count == 1 },
            "\(a.log.lines())")
        #expect(a.log.lines("refused a peer").count == 1)
        await stop(a)
    }

    // MARK: Whom we refuse to talk to

    @Test func serversAreVerified() async throws {
        let files = try PeerFiles()
        try files.issue("m1")
        try files.issue("misnamed", hosts: ["elsewhere.test"])
        try files.issue("expired", isExpired: true)
        try files.issue("foreign", by: try CertificateAuthority(commonName: "another CA"))
        let a = try await TestMember(1, tls: files.tls("m1"))
        let b = MemberID(2)
        for (name, reason) in [
            ("misnamed", "valid for elsewhere.test, not for 127.0.0.1"), ("expired", "certificate has expired"),
            ("foreign", "unable to get local issuer"),
        ] {
            let (server, port) = try await OpenSSL.server(files, name)
            a.network.setMembers([(b, ["https://127.0.0.1:\(port)"])])
            #expect(
                try await eventually {
                    a.log.lines("warning cannot talk to a peer", "peer=2", "url=https://127.0.0.1:\(port)", reason)
                        .count
                        == 1
                }, "\(a.log.lines()) \(server.text)")
            #expect(a.network.statuses()[0].isConnected == false)
            #expect(a.network.statuses()[0].lastError?.contains(reason) == true)
            // It must not end, and leave another reason, before all that is asked.
            withExtendedLifetime(server) {}
        }
        await stop(a)
    }

    @Test func aMemberWithoutCertificateHearsWhy() async throws {
        let files = try PeerFiles()
        try files.issue("m2")
        var tls = PeerTLS()
        tls.trustedCAFile = files.path("ca.pem")
        let a = try await TestMember(1, tls: tls)
        let b = try await TestMember(2, tls: files.tls("m2"))
        a.knows((b, b.url))
        #expect(
            try await eventually { !a.log.lines("cannot talk to a peer", "peer=2", "certificate required").isEmpty },
            "\(a.log.lines())")
        #expect(try await eventually { a.status(b)?.failures ?? 0 >= 4 })
        #expect(a.log.lines("cannot talk to a peer").count == 1, "\(a.log.lines())")
        #expect(b.log.lines("refused a peer", "gave no certificate").count == 1)
        #expect(b.log.lines("refused a peer").count == 1)
        await stop(a, b)
    }

    @Test func plainTextAndTLSDoNotMix() async throws {
        let files = try PeerFiles()
        try files.issue("m2")
        let a = try await TestMember(1)
        let b = try await TestMember(2, tls: files.tls("m2"))
        a.network.setMembers([(b.id, ["http://127.0.0.1:\(b.port)"])])
        b.network.setMembers([(a.id, ["https://127.0.0.1:\(a.port)"])])
        #expect(
            try await eventually { !b.log.lines("refused a peer", "HTTP/2 without TLS").isEmpty }, "\(b.log.lines())")
        #expect(try await eventually { !b.log.lines("cannot talk to a peer", "peer=1").isEmpty }, "\(b.log.lines())")
        #expect(try await eventually { !a.log.lines("cannot talk to a peer", "peer=2").isEmpty }, "\(a.log.lines())")
        await stop(a, b)
    }

    // MARK: Allow lists and revocation

    @Test func allowedNames() async throws {
        let files = try PeerFiles()
        try files.issue("m1", cn: "etcd-peer", hosts: ["127.0.0.1", "one.test"])
        try files.issue("m2", cn: "etcd-peer", hosts: ["127.0.0.1", "two.test"])
        try files.issue("m3", cn: "somebody", hosts: ["127.0.0.1", "three.test"])
        let byName: (inout PeerTLS) -> Void = { $0.allowedCommonNames = ["other", "etcd-peer"] }
        let byHost: (inout PeerTLS) -> Void = { $0.allowedHostnames = ["one.test", "two.test"] }
        for (change, reason) in [
            (byName, "the common name \"somebody\" is none of the allowed ones"),
            (byHost, "valid for none of the allowed host names"),
        ] {
            let a = try await TestMember(1, tls: files.tls("m1", change: change))
            let b = try await TestMember(2, tls: files.tls("m2", change: change))
            let c = try await TestMember(3, tls: files.tls("m3"))
            try await expectExchange(a, b)
            c.knows((a, a.url))
            #expect(try await eventually { !a.log.lines("refused a peer", reason).isEmpty }, "\(a.log.lines())")
            // Both sides say why.
            #expect(try await eventually { !c.log.lines("cannot talk to a peer", reason).isEmpty }, "\(c.log.lines())")
            b.knows((c, c.url))
            #expect(try await eventually { !b.log.lines("cannot talk to a peer", reason).isEmpty }, "\(b.log.lines())")
            await stop(a, b, c)
        }
    }

    @Test func aRevokedCertificate() async throws {
        let files = try PeerFiles()
        try files.issue("m1")
        let revoked = try files.issue("m2")
        try files.write(try files.authority.revocationList(of: [revoked]), "crl.pem")
        let a = try await TestMember(1, tls: files.tls("m1") { $0.revocationListFile = files.path("crl.pem") })
        let b = try await TestMember(2, tls: files.tls("m2"))
        b.knows((a, a.url))
        #expect(try await eventually { !a.log.lines("refused a peer", "revoked").isEmpty })
        #expect(try await eventually { !b.log.lines("cannot talk to a peer", "revoked").isEmpty }, "\(b.log.lines())")
        await stop(a, b)
    }

    // MARK: The client's address

    /// No host's name, and none that a name server is asked for: a label has at most 63 bytes (RFC 1035, section 2.3.4).
    /// A slow server would outlast the other side's patience.
    private static let unknownName = String(repeating: "x", count: 64) + ".invalid"

    @Test(arguments: [
        (["10.9.8.7"], false, false), (["10.9.8.7"], true, true), (["10.9.8.7", "localhost"], false, true),
        ([Self.unknownName], false, false), ([], false, true),
    ])
    func clientAddress(hosts: [String], skips: Bool, isAccepted: Bool) async throws {
        let files = try PeerFiles()
        try files.issue("m1")
        try files.issue("m2", hosts: hosts)
        let a = try await TestMember(1, tls: files.tls("m1") { $0.skipsClientSANVerification = skips })
        let b = try await TestMember(2, tls: files.tls("m2"))
        b.knows((a, a.url))
        if isAccepted {
            #expect(try await eventually { b.isConnected(to: a) }, "\(a.log.lines())")
        } else {
            let reason = "but it comes from 127.0.0.1"
            #expect(try await eventually { !a.log.lines("refused a peer", reason).isEmpty }, "\(a.log.lines())")
            #expect(try await eventually { !b.log.lines("cannot talk to a peer", reason).isEmpty }, "\(b.log.lines())")
            #expect(b.isConnected(to: a) == false)
        }
        await stop(a, b)
    }

    @Test func addressesOfBothFamilies() {
        #expect(ClientCertificateCheck.plain("::ffff:10.0.0.1") == "10.0.0.1")
        for same in ["10.0.0.1", "::1", "::ffff:a:1", "fe80::1"] { #expect(ClientCertificateCheck.plain(same) == same) }
        #expect(NameLookup.leads(["*.invalid", "localhost"], to: "127.0.0.1"))
        #expect(!NameLookup.leads([Self.unknownName], to: "127.0.0.1"))
    }

    // MARK: Reload

    @Test func certificatesAreReplacedWithoutRestart() async throws {
        let files = try PeerFiles()
        try files.issue("m1")
        try files.issue("m2")
        try files.issue("old")
        let a = try await TestMember(1, tls: files.tls("m1"))
        let b = try await TestMember(2, tls: files.tls("m2"))
        let proxy = try await Proxy.start(to: b.port)
        a.network.setMembers([(b.id, ["https://127.0.0.1:\(proxy.port)"])])
        #expect(try await eventually { a.isConnected(to: b) })
        // The outsider keeps what it had under the old CA.
        let old = try PeerFiles()
        for name in ["old.pem", "old-key.pem", "ca.pem"] {
            try old.write([UInt8](Data(contentsOf: URL(fileURLWithPath: files.path(name)))), name)
        }
        try files.replaceAuthority()
        try files.issue("m1")
        try files.issue("m2")
        // Looked at once a second, and no sooner than somebody connects.
        try await Task.sleep(nanoseconds: 1_100_000_000)
        proxy.cut()
        #expect(try await eventually { a.log.lines("connected to a peer").count == 2 }, "\(a.log.lines())")
        #expect(a.log.lines("peer certificates were reloaded").count >= 1)
        #expect(b.log.lines("peer certificates were reloaded").count == 1)
        let c = try await TestMember(3, tls: old.tls("old"))
        c.knows((b, b.url))
        #expect(try await eventually { c.status(b)?.lastError != nil })
        #expect(!c.isConnected(to: b))
        await stop(a, b, c)
        await proxy.stop()
    }

    @Test func badConfigurations() async throws {
        let files = try PeerFiles()
        try files.issue("m1")
        var noCertificate = PeerTLS()
        noCertificate.trustedCAFile = files.path("ca.pem")
        let cases: [(PeerTLS?, String)] = [
            (nil, "needs --peer-cert-file"), (noCertificate, "needs --peer-cert-file"),
            (files.tls("missing"), "missing.pem"),
            (
                files.tls("m1") {
                    $0.allowedCommonNames = ["a"]
                    $0.allowedHostnames = ["b"]
                }, "mutually exclusive"
            ),
            (files.tls("m1") { $0.trustedCAFile = nil }, "without a trusted CA file"),
            (files.tls("m1") { $0.cipherSuites = ["NO_SUCH_SUITE"] }, "NO_SUCH_SUITE"),
        ]
        for (tls, text) in cases {
            let configuration = PeerConfiguration(
                clusterID: 1, memberID: MemberID(1), listenURLs: [try PeerURL("https://127.0.0.1:0")], tls: tls,
                seed: 1,
                encode: TestCodec.encode, decode: TestCodec.decode)
            let error = #expect(throws: PeerError.self) {
                try PeerNetwork(
                    configuration: configuration, group: group, delegate: Recorder(name: ""),
                    logger: .init(label: "") { _ in LogLines() })
            }
            #expect(
                error?.code == .configuration && error?.message.contains(text) == true, "\(String(describing: error))")
        }
    }
}
