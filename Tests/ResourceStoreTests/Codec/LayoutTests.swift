import Foundation
import Testing

@testable import ResourceStore

extension ResourceStoreTests {
    /// Where objects lie, what headers say, what selectors choose.
    @Suite("layout") struct Layout {
        /// Source: keys of a kube-apiserver's store.
        @Test(
            "keys are the API server's",
            arguments: [
                ("v1", "Pod", "/registry/pods/n/x"), ("v1", "Service", "/registry/services/specs/n/x"),
                ("v1", "Endpoints", "/registry/services/endpoints/n/x"), ("v1", "Node", "/registry/minions/x"),
                ("v1", "Namespace", "/registry/namespaces/x"), ("apps/v1", "Deployment", "/registry/deployments/n/x"),
                ("networking.k8s.io/v1", "Ingress", "/registry/ingress/n/x"),
                ("coordination.k8s.io/v1", "Lease", "/registry/leases/n/x"),
                ("rbac.authorization.k8s.io/v1", "ClusterRole", "/registry/clusterroles/x"),
                ("v1", "ReplicationController", "/registry/controllers/n/x"),
                (
                    "apiextensions.k8s.io/v1", "CustomResourceDefinition",
                    "/registry/apiextensions.k8s.io/customresourcedefinitions/x"
                ),
                (
                    "apiregistration.k8s.io/v1", "APIService", "/registry/apiregistration.k8s.io/apiservices/x"
                ),
                ("example.com/v1", "Widget", "/registry/example.com/widgets/n/x"),
                ("example.com/v1", "Proxy", "/registry/example.com/proxies/n/x"),
                ("example.com/v1", "Mesh", "/registry/example.com/meshes/n/x"),
                ("example.com/v1", "Gateway", "/registry/example.com/gateways/n/x"),
                ("example.com/v1", "Ingress", "/registry/example.com/ingresses/n/x"),
            ])
        func keys(_ apiVersion: String, _ kind: String, _ key: String) throws {
            let resource = Resource(apiVersion: apiVersion, kind: kind)
            let layout = KeyLayout(prefix: "registry")
            let namespace = resource.isNamespaced ? "n" : nil
            #expect(try layout.key(resource, namespace: namespace, name: "x") == key)
            let split = try #require(layout.split(key, resource))
            #expect(split.name == "x" && split.namespace == namespace)
        }

        @Test("prefixes of any form", arguments: ["/registry", "registry", "registry/", "//registry//"])
        func prefixes(_ prefix: String) { #expect(KeyLayout(prefix: prefix).root == "/registry/") }

        @Test("kinds are unique and found by every name")
        func kinds() {
            #expect(Set(KubernetesKinds.all.map(\.resource.fullName)).count == KubernetesKinds.all.count)
            for (word, name) in [
                ("deploy", "deployments"), ("Deployment", "deployments"), ("deployments.apps", "deployments"),
                ("svc", "services"), ("crd", "customresourcedefinitions"), ("po", "pods"),
                ("netpol", "networkpolicies"),
            ] { #expect(KubernetesKinds.kind(named: word)?.resource.name == name) }
            #expect(KubernetesKinds.kind(named: "widget") == nil)
            #expect(KubernetesKinds.kind(path: "minions")?.kind == "Node")
        }

        /// Bytes as an API server writes them: the envelope around a message with metadata in field 1.
        static func protobuf(
            kind: String, name: String, namespace: String, labels: [String: String] = [:]
        ) -> [UInt8] {
            func field(_ number: UInt8, _ bytes: [UInt8]) -> [UInt8] {
                precondition(bytes.count < 128)
                return [number << 3 | 2, UInt8(bytes.count)] + bytes
            }
            var metadata = field(1, Array(name.utf8)) + field(3, Array(namespace.utf8)) + field(5, Array("uid-1".utf8))
            metadata += [7 << 3, 3] + field(8, [1 << 3, 0x80, 0x9c, 0xc7, 0xca, 0x06])
            for (key, value) in labels.sorted(by: { $0.key < $1.key }) {
                metadata += field(11, field(1, Array(key.utf8)) + field(2, Array(value.utf8)))
            }
            let type = field(1, Array("v1".utf8)) + field(2, Array(kind.utf8))
            return ObjectHeader.protobufMagic + field(1, type)
                + field(2, field(1, metadata) + field(2, Array("spec".utf8))) + field(3, []) + field(4, [])
        }

        @Test("headers of protobuf and JSON objects")
        func headers() throws {
            let bytes = Self.protobuf(kind: "Pod", name: "web-0", namespace: "shop", labels: ["app": "web"])
            let header = try #require(ObjectHeader(bytes))
            #expect(header.encoding == .protobuf && header.apiVersion == "v1" && header.kind == "Pod")
            #expect(header.name == "web-0" && header.namespace == "shop" && header.uid == "uid-1")
            #expect(header.generation == 3 && header.labels == ["app": "web"])
            #expect(header.creationSeconds == 1_766_968_832)
            for length in 4..<bytes.count { _ = ObjectHeader(Array(bytes.prefix(length))) }

            let json = """
                {"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","creationTimestamp":"2026-03-01T00:00:01Z"}}
                """
            let other = try #require(ObjectHeader(Array(json.utf8)))
            #expect(other.encoding == .json && other.creationSeconds == 1_772_323_201)
            #expect(ObjectHeader(Array("hello".utf8)) == nil && ObjectHeader([]) == nil)
            #expect(ObjectHeader(Array("[]".utf8)) == nil)
        }

        @Test(
            "selectors",
            arguments: [
                ("", true), ("app=web", true), ("app==web", true), ("app!=web", false), ("app", true), ("!app", false),
                ("none", false), ("!none", true), ("none!=x", true), ("app in (web, api)", true),
                ("app notin (web)", false), ("none notin (a,b)", true), ("none in (a)", false),
                ("app=web,tier=front", true), ("app=web,tier=back", false), ("example.com/part=a", true),
                (" app = web , tier ", true), ("app in (web),tier notin (back,mid)", true),
            ])
        func selectors(_ text: String, _ matches: Bool) throws {
            let labels = ["app": "web", "tier": "front", "example.com/part": "a"]
            #expect(try LabelSelector(text).matches(labels) == matches)
        }

        @Test("selectors that are none", arguments: ["=a", "a b", "a in b", "a in (b", ",", "a=b,,", "!", "a=b=c d"])
        func badSelectors(_ text: String) {
            #expect(throws: ObjectStoreError.self) { try LabelSelector(text) }
        }
    }
}
