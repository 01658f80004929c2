import Foundation
import Testing

@testable import ResourceStore

extension ResourceStoreTests {
    /// `martletctl apply` and `diff`.
    @Suite("martletctl apply") struct Apply {
        @Test("creates, then changes nothing, then changes what is new")
        func createAndConfigure() async throws {
            try await Tool.with { tool in
                let file = try tool.file("web.yaml", Tool.deployment)
                let diff = try tool.run("diff", "-f", file)
                #expect(diff.status == 1 && diff.output.contains("+kind: Deployment\n"))
                #expect(try tool.output("apply", "-f", file) == "deployment.apps/web created\n")
                let created = try await tool.object("apps/v1", "Deployment", "web")
                #expect(created.generation == 1 && created.uid != nil && created.creationTimestamp != nil)
                #expect(created["spec"]?["replicas"] == 3)

                #expect(try tool.output("apply", "-f", file) == "deployment.apps/web unchanged\n")
                let again = try await tool.object("apps/v1", "Deployment", "web")
                #expect(again == created, "what changes nothing writes nothing")
                #expect(try tool.output("diff", "-f", file) == "")

                let changed = Tool.deployment.replacing("web:1", with: "web:2")
                _ = try tool.file("web.yaml", changed)
                let second = try tool.run("diff", "-f", file)
                #expect(second.status == 1)
                #expect(second.output.contains("-        image: web:1\n+        image: web:2\n"))
                #expect(second.output.contains("@@ -"))
                #expect(try tool.output("apply", "-f", file) == "deployment.apps/web configured\n")
                let after = try await tool.object("apps/v1", "Deployment", "web")
                #expect(after.generation == 2 && after.uid == created.uid)
                #expect(after.creationTimestamp == created.creationTimestamp)
            }
        }

        @Test("keeps what others have set, takes away what the manifest has no more")
        func threeWay() async throws {
            try await Tool.with { tool in
                let file = try tool.file("web.yaml", Tool.deployment)
                _ = try tool.output("apply", "-f", file)
                let deployments = tool.store.objects(Resource(apiVersion: "apps/v1", kind: "Deployment"))
                try await deployments.guaranteedUpdate("web", namespace: "default") { live in
                    live["spec"]?["paused"] = true
                    live.labels["by"] = "controller"
                    live["status"] = ["readyReplicas": 3]
                    var container = live["spec"]?["template"]?["spec"]?["containers"]?.array?.first ?? [:]
                    container["env"] = .array((container["env"]?.array ?? []) + [["name": "C", "value": "3"]])
                    container["imagePullPolicy"] = "Always"
                    let sidecar: JSONValue = ["name": "proxy", "image": "proxy:1"]
                    live["spec"]?["template"]?["spec"]?["containers"] = [container, sidecar]
                }
                _ = try tool.file(
                    "web.yaml",
                    Tool.deployment.replacing("replicas: 3", with: "minReadySeconds: 5")
                        .replacing("        - {name: B, value: \"2\"}", with: ""))
                _ = try tool.output("apply", "-f", file)
                let result = try await tool.object("apps/v1", "Deployment", "web")
                #expect(result["spec"]?["replicas"] == nil && result["spec"]?["minReadySeconds"] == 5)
                #expect(result["spec"]?["paused"] == true && result.labels == ["app": "web", "by": "controller"])
                #expect(result["status"]?["readyReplicas"] == 3)
                let containers = result["spec"]?["template"]?["spec"]?["containers"]?.array ?? []
                #expect(containers.map { $0["name"]?.string } == ["web", "proxy"])
                #expect(containers.first?["env"]?.array?.map { $0["name"]?.string } == ["A", "C"])
                #expect(containers.first?["imagePullPolicy"] == "Always")
            }
        }

        @Test("reports conflicts with their places and writes nothing, unless forced")
        func conflicts() async throws {
            try await Tool.with { tool in
                let other = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: new}\ndata: {a: b}\n"
                let file = try tool.file("web.yaml", Tool.deployment)
                _ = try tool.output("apply", "-f", file)
                let deployments = tool.store.objects(Resource(apiVersion: "apps/v1", kind: "Deployment"))
                try await deployments.guaranteedUpdate("web", namespace: "default") { $0["spec"]?["replicas"] = 9 }
                _ = try tool.file("web.yaml", Tool.deployment.replacing("web:1", with: "web:2") + "\n" + other)
                let before = try await tool.store.currentResourceVersion()
                let refused = try tool.run("apply", "-f", file)
                #expect(refused.status == 1 && refused.output == "")
                #expect(
                    refused.errors.contains(
                        "web.yaml:7: spec.replicas: conflict: applied 3, stored is 9, the manifest wants 3"))
                #expect(try await tool.store.currentResourceVersion() == before, "nothing is written, nowhere")
                // What is already as wanted is no conflict.
                _ = try tool.file("web.yaml", Tool.deployment.replacing("replicas: 3", with: "replicas: 9"))
                #expect(try tool.output("apply", "-f", file) == "deployment.apps/web configured\n")
                try await deployments.guaranteedUpdate("web", namespace: "default") { $0["spec"]?["replicas"] = 1 }
                #expect(
                    try tool.output("apply", "-f", file, "--force-conflicts") == "deployment.apps/web configured\n")
                #expect(try await tool.object("apps/v1", "Deployment", "web")["spec"]?["replicas"] == 9)
            }
        }

        @Test("an API server's protobuf is never overwritten")
        func protobuf() async throws {
            try await Tool.with { tool in
                let bytes = Layout.protobuf(kind: "ConfigMap", name: "c", namespace: "default", labels: ["a": "b"])
                let maps = tool.store.objects(Resource(name: "configmaps"), codec: OpaqueCodec())
                try await maps.create(OpaqueObject(name: "c", namespace: "default", bytes: bytes))
                let file = try tool.file(
                    "c.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {x: y}\n")
                for command in [["apply"], ["apply", "--force-conflicts"], ["apply", "--atomic"]] {
                    let refused = try Command.run(
                        [try Binaries.program("martletctl")] + command + ["-f", file],
                        environment: ["ETCDCTL_ENDPOINTS": tool.store.clientURLs.first ?? ""])
                    #expect(refused.status == 1)
                    #expect(refused.errors.contains("c.yaml:1: /registry/configmaps/default/c is stored as protobuf"))
                }
                let wide = try tool.output("resource", "get", "cm", "-o", "wide")
                #expect(
                    wide.contains("c      ConfigMap") && wide.contains("\(bytes.count)") && wide.contains("protobuf"))
                #expect(wide.contains("a=b"))
                let yaml = try tool.run("resource", "get", "cm", "-o", "yaml")
                #expect(yaml.status == 1 && yaml.errors.contains("use -o wide"))
                #expect(try tool.run("delete", "cm/c").status == 1)
                #expect(try await maps.get("c", namespace: "default").bytes == bytes)
                #expect(try tool.output("delete", "cm/c", "--allow-protobuf") == "configmap/c deleted\n")
            }
        }

        @Test(
            "what is wrong is told with file, line and field, all at once",
            arguments: [
                ("a: [", "b.yaml:"), ("apiVersion: v1\nkind: ConfigMap\n", ":1: metadata: must be given"),
                ("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: 5\n", ":4: metadata.name: must be a text"),
                ("kind: ConfigMap\nmetadata:\n  name: a/b\n", ":3: metadata.name: \"a/b\" cannot be part of a key"),
                ("kind: ConfigMap\nmetadata: {name: a}\n", ":1: apiVersion: must be given"),
                (
                    "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  labels:\n    on: true\n",
                    ":6: metadata.labels.on: must be a text"
                ),
                (
                    "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  labels:\n    b: \"a b\"\n",
                    ":6: metadata.labels.b: \"a b\" is no label value"
                ),
                ("- a\n- b\n", ":1: a document must be an object"),
                ("apiVersion: v1\nkind: List\nitems:\n- kind: X\n", ":4: items[0].apiVersion: must be given"),
                ("apiVersion: v1\nkind: Node\nmetadata:\n  name: n\n  namespace: x\n", ":5: metadata.namespace: "),
                ("apiVersion: v1\nkind: Pod\nmetadata:\n  name: n\nmetadata:\n  name: m\n", "stands twice: metadata"),
            ])
        func problems(_ text: String, _ problem: String) async throws {
            try await Tool.with { tool in
                let good = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: good}\n---\n"
                let folder = tool.folder.path("set")
                _ = try tool.file("set/a.yaml", good)
                let bad = try tool.file("set/b.yaml", text)
                let result = try tool.run("apply", "-f", folder)
                #expect(result.status != 0 && result.output == "")
                #expect(result.errors.contains(bad) && result.errors.contains(problem), "\(result.errors)")
                #expect(try await tool.store.currentResourceVersion() == 1, "nothing is written")
            }
        }

        @Test("a set in one transaction, or not at all")
        func atomic() async throws {
            try await Tool.with { tool in
                func maps(_ count: Int) -> String {
                    (0..<count).map { "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c\($0)}\n" }
                        .joined(separator: "---\n")
                }
                let output = try tool.output("apply", "--atomic", "-f", "-", input: maps(100))
                #expect(output.split(separator: "\n").count == 100)
                #expect(try await tool.store.currentResourceVersion() == 2, "one write for all")
                #expect(try tool.output("apply", "--atomic", "-f", "-", input: maps(100)).contains("c99 unchanged"))
                let large = try tool.run("apply", "--atomic", "-f", "-", input: maps(300))
                #expect(large.status == 1 && large.errors.contains("do not fit into one transaction"))
                #expect(try await tool.store.currentResourceVersion() == 2)
                #expect(try tool.output("apply", "-f", "-", input: maps(300)).contains("c299 created"))
                let dry = try tool.output("apply", "--dry-run", "-f", "-", input: maps(301))
                #expect(dry.contains("configmap/c300 created (dry run)"))
                #expect(try await tool.store.objects(Resource(name: "configmaps")).count() == 300)
            }
        }

        @Test("kinds: known, defined in the files, defined in the store, derived, and by --resource")
        func kinds() async throws {
            try await Tool.with { tool in
                let definition = """
                    apiVersion: apiextensions.k8s.io/v1
                    kind: CustomResourceDefinition
                    metadata: {name: oxen.farm.example.com}
                    spec:
                      group: farm.example.com
                      scope: Cluster
                      names: {kind: Ox, plural: oxen, singular: ox, shortNames: [o]}
                    ---
                    apiVersion: farm.example.com/v1
                    kind: Ox
                    metadata: {name: bessie}
                    """
                _ = try tool.output("apply", "-f", "-", input: definition)
                #expect(try await tool.store.storage.get("/registry/farm.example.com/oxen/bessie").record != nil)
                let second = "apiVersion: farm.example.com/v1\nkind: Ox\nmetadata: {name: berta}\n"
                #expect(try tool.output("apply", "-f", "-", input: second) == "ox.farm.example.com/berta created\n")
                #expect(try tool.output("resource", "get", "o", "-o", "name").split(separator: "\n").count == 2)
                let derived = "apiVersion: x.example.com/v1\nkind: Proxy\nmetadata: {name: p}\n"
                _ = try tool.output("apply", "-f", "-", input: derived)
                #expect(try await tool.store.storage.get("/registry/x.example.com/proxies/default/p").record != nil)
                _ = try tool.output("apply", "-f", "-", "--resource", "mice.x.example.com:cluster", input: derived)
                #expect(try await tool.store.storage.get("/registry/x.example.com/mice/p").record != nil)
                #expect(try tool.output("resource", "get", "proxies.x.example.com").contains("p      Proxy"))
                #expect(try tool.run("resource", "get", "unknown").errors.contains("no kind \"unknown\""))
                #expect(try tool.run("resource", "get", "x", "--resource", "A:b").status == 128)
            }
        }
    }
}
