import Foundation
import Testing

@testable import ResourceStore

extension ResourceStoreTests {
    /// `martletctl resource get`, `describe`, `delete`, `du` and `top`.
    @Suite("martletctl on objects") struct Listing {
        private static func maps(_ tool: Tool) async throws {
            let maps = tool.store.objects(Resource(name: "configmaps"))
            for (namespace, name, app) in [("default", "a", "web"), ("default", "b", "api"), ("other", "c", "web")] {
                var map = Unstructured(apiVersion: "v1", kind: "ConfigMap", name: name, namespace: namespace)
                map.labels = ["app": app]
                map["data"] = ["text": "two\nlines\n", "n": "1"]
                try await maps.create(map)
            }
        }

        @Test("lists by namespace, label and form")
        func get() async throws {
            try await Tool.with { tool in
                try await Self.maps(tool)
                #expect(try tool.output("resource", "get", "configmaps", "-o", "name") == "configmap/a\nconfigmap/b\n")
                #expect(try tool.output("res", "get", "cm", "-A", "-o", "name").split(separator: "\n").count == 3)
                #expect(try tool.output("res", "get", "cm", "-n", "other", "-o", "name") == "configmap/c\n")
                // etcdctl's get, with a flag that only objects have.
                #expect(try tool.output("get", "cm", "-A", "-o", "name").split(separator: "\n").count == 3)
                #expect(try tool.output("get", "cm", "c", "-n", "other").contains("c      ConfigMap"))
                #expect(try tool.output("get", "cm") == "", "a key of this name")
                let noKey = try tool.run("get", "cm", "a")
                #expect(noKey.status == 0 && noKey.output == "")
                #expect(noKey.errors == "there is no such key; for objects: martletctl resource get cm a\n")
                #expect(try tool.run("get", "nothing").errors == "")
                let asJSON = try tool.output("get", "cm", "-w", "json")
                #expect(asJSON.hasPrefix(#"{"header":"#), "etcdctl's, of a key of this name")
                #expect(try tool.output("get", "cm", "-A", "-w", "json").contains(#""kind": "List""#))
                #expect(try tool.run("get", "cm", "-A", "-w", "fields").status == 4)
                #expect(try tool.run("get", "nokind", "-w").errors.contains("-w needs an output format"))
                #expect(try tool.run("get", "cm", "-A", "--prefix").status == 128)
                #expect(
                    try tool.output("res", "get", "cm", "-A", "-l", "app=web,!x", "-o", "name", "--chunk-size", "1")
                        == "configmap/a\nconfigmap/c\n")
                let table = try tool.output("res", "get", "ConfigMap", "-A")
                #expect(table.hasPrefix("NAMESPACE   NAME   KIND        AGE\ndefault     a      ConfigMap   "))
                let none = try tool.run("res", "get", "pods")
                #expect(none.status == 0 && none.output == "" && none.errors.contains("No resources found"))
                let missing = try tool.run("res", "get", "cm", "zzz")
                #expect(missing.status == 1 && missing.errors.contains("/registry/configmaps/default/zzz"))

                let yaml = try tool.output("res", "get", "cm/a", "-o", "yaml")
                let object = try YAMLDocument.single(yaml).value
                #expect(object["data"]?["text"] == "two\nlines\n" && object["metadata"]?["resourceVersion"] == "2")
                #expect(yaml.contains("  text: |\n    two\n    lines\n"))
                let list = try tool.output("res", "get", "cm", "-o", "json")
                let json = try JSONValue(parsing: list.utf8)
                #expect(json["kind"] == "List" && json["items"]?.array?.count == 2)
                // etcdctl's own get is untouched.
                let key = try tool.output("get", "/registry/configmaps/default/a", "--keys-only")
                #expect(key.hasPrefix("/registry/configmaps/default/a\n"))
            }
        }

        @Test("what get prints can be applied again")
        func roundTrip() async throws {
            try await Tool.with { tool in
                _ = try tool.output("apply", "-f", "-", input: Tool.deployment)
                let shown = try tool.output("res", "get", "deploy", "-o", "yaml")
                #expect(try tool.output("apply", "-f", "-", input: shown) == "deployment.apps/web unchanged\n")
                // It carries the version it was read in: a later change is not overwritten.
                let deployments = tool.store.objects(Resource(apiVersion: "apps/v1", kind: "Deployment"))
                try await deployments.guaranteedUpdate("web", namespace: "default") { $0.labels["x"] = "y" }
                let stale = try tool.run("apply", "-f", "-", input: shown)
                #expect(stale.status == 1 && stale.errors.contains("metadata.resourceVersion: the stored object is at"))
            }
        }

        @Test("follows changes, and only those that are chosen")
        func watch() async throws {
            try await Tool.with { tool in
                try await Self.maps(tool)
                let command = try Binaries.program("martletctl")
                let endpoint = tool.store.clientURLs.first ?? ""
                let output = tool.folder.path("watch")
                let child = try Child.guarded(
                    [
                        command, "res", "get", "cm", "-A", "-l", "app=web", "-w", "-o", "name", "--endpoints",
                        endpoint,
                    ], log: output)
                func lines() -> [String] {
                    let text = (try? String(contentsOfFile: output, encoding: .utf8)) ?? ""
                    return text.split(separator: "\n").map(String.init)
                }
                func wait(for count: Int) async throws {
                    for _ in 0..<6000 where lines().count < count { try await Task.sleep(for: .milliseconds(10)) }
                }
                try await wait(for: 2)
                let maps = tool.store.objects(Resource(name: "configmaps"))
                try await maps.guaranteedUpdate("b", namespace: "default") { $0["data"] = ["n": "2"] }
                try await maps.guaranteedUpdate("a", namespace: "default") { $0["data"] = ["n": "2"] }
                try await maps.delete("c", namespace: "other")
                // What no longer matches goes, what begins to match comes.
                try await maps.guaranteedUpdate("a", namespace: "default") { $0.labels = ["app": "api"] }
                try await maps.guaranteedUpdate("b", namespace: "default") { $0.labels = ["app": "web"] }
                try await wait(for: 6)
                #expect(
                    lines() == [
                        "ADDED configmap/a", "ADDED configmap/c", "MODIFIED configmap/a", "DELETED configmap/c",
                        "DELETED configmap/a", "ADDED configmap/b",
                    ])
                child.end()
            }
        }

        @Test("describes an object and its record")
        func describe() async throws {
            try await Tool.with { tool in
                try await Self.maps(tool)
                try await tool.store.objects(Resource(name: "configmaps")).guaranteedUpdate("a", namespace: "default") {
                    $0["data"] = ["k": "v"]
                }
                let text = try tool.output("describe", "cm", "a")
                let lines = text.split(separator: "\n").map { $0.split(separator: " ").joined(separator: " ") }
                for line in [
                    "Name: a", "Labels: app=web", "Encoding: json", "Created at revision: 2", "Changed at revision: 5",
                    "Writes: 2", "Key: /registry/configmaps/default/a", "data:", "k: v",
                ] { #expect(lines.contains(line), "\(line) in \(text)") }
                #expect(try tool.run("describe", "cm", "zzz").status == 1)
                #expect(try tool.run("describe", "cm").status == 128)
            }
        }

        @Test("deletes by name, label and manifest, with care")
        func delete() async throws {
            try await Tool.with { tool in
                try await Self.maps(tool)
                #expect(try tool.output("delete", "cm", "a") == "configmap/a deleted\n")
                #expect(try tool.run("delete", "cm", "a").status == 1)
                #expect(try tool.output("delete", "cm", "a", "--ignore-not-found") == "")
                #expect(try tool.output("delete", "cm", "-n", "other", "-l", "app=web") == "configmap/c deleted\n")
                let kept = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b, uid: another}\n"
                #expect(try tool.run("delete", "-f", "-", input: kept).errors.contains("precondition failed"))
                let maps = tool.store.objects(Resource(name: "configmaps"))
                try await maps.guaranteedUpdate("b", namespace: "default") {
                    $0.fields["metadata"]?["finalizers"] = ["example.com/hold"]
                }
                #expect(try tool.run("delete", "cm/b").errors.contains("has finalizers (example.com/hold)"))
                #expect(try tool.output("delete", "cm/b", "--force") == "configmap/b deleted\n")
                #expect(try await maps.count() == 0)
                #expect(try tool.run("delete", "cm").status == 128)
                #expect(try tool.run("delete", "cm", "-l", "").status == 128)
            }
        }

        @Test("an object that cannot be deleted keeps no other; selectors never widen what is deleted")
        func deleteSome() async throws {
            try await Tool.with { tool in
                try await Self.maps(tool)
                let some = try tool.run("delete", "cm", "none", "a", "nobody")
                #expect(some.status == 1 && some.output == "configmap/a deleted\n")
                #expect(some.errors.contains("default/none") && some.errors.contains("default/nobody"))
                let maps = tool.store.objects(Resource(name: "configmaps"))
                for selector in ["", " ", "app==", "app in web", "=web", "app=web,,"] {
                    let refused = try tool.run("delete", "cm", "-n", "other", "-l", selector)
                    #expect(refused.status != 0 || refused.output == "", "\(selector)")
                    #expect(try await maps.count() == 2, "\(selector)")
                }
                let file = try tool.file("b.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\n")
                #expect(try tool.run("delete", "-f", file, "-l", "app=web").status == 128)
                #expect(try tool.run("delete", "cm", "b", "-l", "app=web").status == 128)
                #expect(try tool.run("delete", "cm/../../b").status != 0)
                #expect(try await maps.count() == 2)
                #expect(try tool.run("res", "get", "cm", "b", "--watch").status == 128)
                #expect(try tool.run("res", "get", "cm", "b", "-A").status == 128)
                #expect(try tool.run("res", "get", "cm", "b", "-l", "app=web").status == 128)
            }
        }

        @Test("du counts keys without a prefix together, and those of other programs by theirs")
        func foreignKeys() async throws {
            try await Tool.with { tool in
                for number in 0..<150 { _ = try await tool.store.storage.put("key\(number)", [1, 2, 3], expected: 0) }
                _ = try await tool.store.storage.put("/other/a", [1], expected: 0)
                _ = try await tool.store.storage.put("/registry/lone", [1], expected: 0)
                let text = try tool.output("du", "--interval", "0s", "--sort", "name")
                let rows = text.split(separator: "\n").map { $0.split(separator: " ").map(String.init) }
                #expect(rows.map(\.first) == ["PREFIX", "(no", "/other/", "TOTAL"])
                #expect(rows[1][2] == "151" && rows[2][1] == "1")
            }
        }

        @Test("tells what each resource takes and how fast it is written")
        func usage() async throws {
            try await Tool.with { tool in
                try await tool.store.fill(120)
                try await Self.maps(tool)
                let service = Unstructured(apiVersion: "v1", kind: "Service", name: "s", namespace: "default")
                try await tool.store.objects(Resource(name: "services")).create(service)
                let exact = try tool.output("du", "--exact", "--interval", "0s", "--sort", "keys")
                let rows = exact.split(separator: "\n").map { $0.split(separator: " ").map(String.init) }
                #expect(rows[1].first == "/registry/example.com/widgets/" && rows[1][1] == "120")
                #expect(rows.contains { $0.first == "/registry/configmaps/" && $0[1] == "3" })
                #expect(rows.contains { $0.first == "/registry/services/specs/" && $0[1] == "1" })
                let bytes = Int(rows[1][2]) ?? 0
                #expect(120 * 100..<120 * 600 ~= bytes)
                let estimate = try tool.output("du", "--interval", "0s")
                let row = estimate.split(separator: "\n").first { $0.contains("widgets") } ?? ""
                let estimated = row.split(separator: " ").dropFirst(2).first.flatMap { Int($0.dropFirst()) } ?? 0
                #expect(row.contains("~") && abs(estimated - bytes) < bytes / 20, "\(row)")

                let writer = Task {
                    while !Task.isCancelled {
                        _ = try? await tool.store.widgets.guaranteedUpdate("w000", namespace: "default") {
                            $0.size += 1
                        }
                    }
                }
                var (top, rates) = ("", [] as [Double])
                // In an interval in which the writer did not come to write there is no rate.
                for _ in 0..<20 where rates.isEmpty || rates.contains(0) {
                    top = try tool.output("resource", "top", "--keys", "--iterations", "2", "--interval", "300ms")
                    rates = top.split(separator: "\n").filter { $0.contains("widgets") }.compactMap {
                        $0.split(separator: " ").last.flatMap { Double($0) }
                    }
                }
                writer.cancel()
                #expect(rates.count == 2 && rates.allSatisfy { $0 > 0 }, "\(top)")
                #expect(
                    top.split(separator: "\n").filter { $0.contains("configmaps") }.allSatisfy { $0.hasSuffix(" 0.0") })
            }
        }
    }
}
