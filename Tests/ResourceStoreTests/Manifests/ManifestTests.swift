import Foundation
import Testing

@testable import ResourceStore

extension ResourceStoreTests {
    /// Whatever the manifests say must be so: they are parsed, and run where they can be.
    @Suite("manifests") struct ManifestsInUse {
        @Test("every file can be read, and is of a kind that is checked here")
        func parse() throws {
            for name in try ManifestFiles.all() {
                switch URL(fileURLWithPath: name).pathExtension {
                case "yaml", "json":
                    let documents = try ManifestFiles.documents(name)
                    #expect(!documents.isEmpty, "\(name)")
                    for document in documents { #expect(document.object != nil, "\(name)") }
                case "service", "env", "md": #expect(try !ManifestFiles.text(name).isEmpty)
                default: Issue.record("\(name): a file that no test looks at")
                }
            }
        }

        @Test("Kubernetes objects have kind, version and name; names are unique")
        func objects() throws {
            var seen: Set<String> = []
            var samples = 0
            for name in try ManifestFiles.all() where name.hasSuffix(".yaml") {
                for document in try ManifestFiles.documents(name) {
                    guard let kind = document["kind"]?.string else {
                        #expect(!name.hasPrefix("samples"))
                        continue
                    }
                    if name.hasPrefix("samples") { samples += 1 }
                    if kind == "ClusterConfiguration" { continue }
                    #expect(document["apiVersion"]?.string?.isEmpty == false)
                    let object = Unstructured(fields: document.object ?? [:])
                    #expect(!object.name.isEmpty, "\(name): \(kind)")
                    // The two ways to certificates share their namespace.
                    if kind == "Namespace", object.name == "martlet" { continue }
                    let identity = "\(object.apiVersion) \(kind) \(object.namespace ?? "") \(object.name)"
                    #expect(seen.insert(identity).inserted, "\(name): \(identity) stands twice")
                }
            }
            #expect(samples >= 60)
        }

        @Test("the samples can be applied, in one transaction, and again without a change")
        func samples() async throws {
            try await Tool.with { tool in
                let folder = ManifestFiles.root + "/samples"
                let created = try tool.output("apply", "--atomic", "-f", folder).split(separator: "\n")
                #expect(created.count >= 60 && created.allSatisfy { $0.hasSuffix(" created") })
                let again = try tool.output("apply", "-f", folder).split(separator: "\n")
                #expect(again.allSatisfy { $0.hasSuffix(" unchanged") })
                #expect(try tool.run("diff", "-f", folder).status == 0)
                let page = try await tool.store.storage.page("/registry/")
                #expect(page.count == Int64(created.count) && page.revision == 2)
                #expect(
                    try tool.output("res", "get", "widgets", "-A", "-l", "color=red", "-o", "name")
                        == "widget.example.com/bolt\nwidget.example.com/spring\n")
                #expect(
                    try await tool.store.storage.get("/registry/security.example.com/trustanchors/corporate").record
                        != nil)
                let config = try await tool.object("v1", "ConfigMap", "orders-config", namespace: "shop")
                #expect(config["data"]?["port"] == "0644" && config["data"]?["on"] == "yes")
                let web = try await tool.object("apps/v1", "Deployment", "web", namespace: "shop")
                let volume = web["spec"]?["template"]?["spec"]?["volumes"]?.array?.first
                #expect(volume?["configMap"]?["defaultMode"] == 292)
            }
        }

        @Test("every flag and variable of the server exists")
        func flags() throws {
            let known = try ManifestFiles.knownFlags()
            var used: Set<String> = []
            for server in try ManifestFiles.servers() {
                for word in server["command"]?.array?.dropFirst().compactMap(\.string) ?? [] {
                    #expect(word.hasPrefix("--") && word.contains("="), "\(word)")
                    used.insert(String(word.dropFirst(2).prefix { $0 != "=" }))
                }
            }
            let unit = try ManifestFiles.text("deploy/systemd/martlet.service")
            for line in unit.split(separator: "\n") where line.hasPrefix("ExecStart=") {
                for word in line.split(separator: " ").dropFirst() {
                    used.insert(String(word.dropFirst(2).prefix { $0 != "=" }))
                }
            }
            for line in try ManifestFiles.text("deploy/systemd/martlet.env").split(separator: "\n") {
                guard !line.hasPrefix("#") else { continue }
                let name = line.prefix { $0 != "=" }
                #expect(name.hasPrefix("ETCD_") && line.contains("="))
                used.insert(name.dropFirst(5).lowercased().replacing("_", with: "-"))
            }
            let kubeadm = try ManifestFiles.documents("deploy/kubeadm/cluster-configuration.yaml")
            for argument in kubeadm.first?["etcd"]?["local"]?["extraArgs"]?.array ?? [] {
                used.insert(argument["name"]?.string ?? "no name")
            }
            #expect(used.count > 20)
            #expect(used.subtracting(known) == [])
        }

        @Test("every probe is answered, and named ports exist")
        func probes() async throws {
            try await Tool.with { tool in
                var paths: Set<String> = []
                for server in try ManifestFiles.servers() {
                    let ports = (server["ports"]?.array ?? []).compactMap { $0["name"]?.string }
                    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
                        let get = try #require(server[probe]?["httpGet"], "\(probe) is missing")
                        paths.insert(get["path"]?.string ?? "")
                        // A member that only has no leader must not be restarted; kubeadm alone asks for one at the start.
                        let isKubeadm = server["name"]?.string == "etcd"
                        let asksForLeader = probe == "readinessProbe" || (probe == "startupProbe" && isKubeadm)
                        #expect(get["path"]?.string == (asksForLeader ? "/readyz" : "/livez"))
                        if let name = get["port"]?.string { #expect(ports.contains(name)) }
                    }
                }
                #expect(!paths.isEmpty)
                for path in paths {
                    let answer = try httpGet((tool.store.clientURLs.first ?? "") + path)
                    #expect(answer.status == 200, "\(path): \(answer.body)")
                }
            }
        }

        @Test("alerts say how bad they are and what they are about; panels do not overlap")
        func monitoring() throws {
            let rules = try ManifestFiles.documents("deploy/monitoring/rules.yaml")
            let groups = rules.first?["groups"]?.array ?? []
            #expect(!groups.isEmpty)
            var names: Set<String> = []
            for rule in groups.flatMap({ $0["rules"]?.array ?? [] }) {
                #expect(rule["expr"]?.string?.isEmpty == false)
                guard let alert = rule["alert"]?.string else {
                    #expect(rule["record"]?.string?.contains(":") == true)
                    continue
                }
                #expect(names.insert(alert).inserted)
                #expect(["info", "warning", "critical"].contains(rule["labels"]?["severity"]?.string))
                #expect(rule["annotations"]?["summary"]?.string?.isEmpty == false)
            }
            let dashboard = try ManifestFiles.documents("deploy/monitoring/dashboard.json")
            let panels = dashboard.first?["panels"]?.array ?? []
            var cells: Set<[Int64]> = []
            for panel in panels {
                let place = panel["gridPos"]
                let (x, y) = (place?["x"]?.integer ?? 0, place?["y"]?.integer ?? 0)
                let (w, h) = (place?["w"]?.integer ?? 0, place?["h"]?.integer ?? 0)
                #expect(w > 0 && h > 0 && x + w <= 24)
                for column in x..<x + w {
                    for row in y..<y + h { #expect(cells.insert([column, row]).inserted, "\(panel["title"] ?? "")") }
                }
            }
            #expect(Set(panels.compactMap { $0["id"]?.integer }).count == panels.count && panels.count > 15)
        }

        @Test("the k3s configuration has flags of k3s and endpoints of a store")
        func k3s() throws {
            let config = try #require(try ManifestFiles.documents("deploy/k3s/config.yaml").first?.object)
            let known: Set<String> = [
                "datastore-endpoint", "datastore-cafile", "datastore-certfile", "datastore-keyfile",
                "write-kubeconfig-mode",
            ]
            #expect(Set(config.keys).subtracting(known) == [])
            let endpoints = config["datastore-endpoint"]?.string?.split(separator: ",").map(String.init) ?? []
            #expect(endpoints.count == 3 && endpoints.allSatisfy { $0.hasPrefix("https://") })
            #expect(throws: Never.self) { try ObjectStore.remote(RemoteOptions(endpoints: endpoints)) }
        }
    }
}
