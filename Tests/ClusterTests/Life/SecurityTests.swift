import Client
import Foundation
import TestSupport
import Testing
import Wire

extension ClusterTests {
    /// Members that trust each other by certificates of the `openssl` command.
    @Suite("mTLS between members", .besideOthers) struct Security {
        private func arguments(_ files: Certificates, _ name: String) -> [String] {
            [
                "--peer-cert-file", files.certificate(name), "--peer-key-file", files.key(name),
                "--peer-trusted-ca-file", files.authority, "--peer-client-cert-auth",
            ]
        }

        @Test("a cluster lives on certificates; a member with another authority's stays outside")
        func certificates() async throws {
            let files = try await Certificates()
            let strangers = try await Certificates(name: "another CA")
            try await files.issue("member", serial: 1)
            try await strangers.issue("member", serial: 2)
            let good = arguments(files, "member")
            try await withCluster(3, good, peerScheme: "https") { cluster in
                let (leader, followers) = try await cluster.roles()
                try await surely { try await followers[0].client.put("over TLS", "1") }
                try await cluster.waitUntilEqual()
                let away = followers[0]
                await away.server.killHard()
                // Later flags win.
                try away.server.launch(arguments(strangers, "member"))
                try await away.waitUntilAnswering()
                try await surely { try await leader.client.put("without it", "1") }
                try await Task.sleep(for: .seconds(3))
                #expect((await away.status())?.leader ?? 0 == 0, "a member with a stranger's certificate was let in")
                try await eventually("both say why") {
                    [away, leader].allSatisfy { $0.server.logText.lowercased().contains("certificate") }
                }
                await away.server.killHard()
                try await away.server.start()
                try await cluster.waitUntilEqual()
            }
            files.folder.remove()
            strangers.folder.remove()
        }

        @Test("certificates are replaced while the cluster runs")
        func rotation() async throws {
            let files = try await Certificates()
            try await files.issue("member", serial: 1)
            try await withCluster(3, arguments(files, "member"), peerScheme: "https") { cluster in
                try await surely { try await cluster[0].client.put("k", "1") }
                try await files.issue("member", serial: 77)
                let (_, followers) = try await cluster.roles()
                try await eventually("the new certificate is shown") {
                    try await Certificates.serial(
                        port: followers[0].server.peerPort, files, client: "member") == "serial=4D"
                }
                // Connections made anew hold with it.
                await followers[1].server.killHard()
                try await followers[1].server.start()
                try await surely { try await followers[1].client.put("k", "2") }
                try await cluster.waitUntilEqual()
            }
            files.folder.remove()
        }
    }
}
