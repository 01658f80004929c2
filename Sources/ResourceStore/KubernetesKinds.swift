/// Kubernetes' own kinds and where its API server keeps them. The only place that knows them.
package enum KubernetesKinds {
    /// One kind.
    package struct Entry: Sendable {
        package let kind: String
        package let resource: Resource
        /// The short names that users type.
        package let shortNames: [String]
    }

    /// Every kind, by group. Source: the storage prefixes of kube-apiserver (built-in groups lie under the plural name;
    /// exceptions are written out).
    package static let all: [Entry] =
        group(
            "",
            [
                ("ConfigMap", "configmaps", true, "cm"), ("Endpoints", "endpoints", true, "ep"),
                ("Event", "events", true, "ev"), ("LimitRange", "limitranges", true, "limits"),
                ("Namespace", "namespaces", false, "ns"), ("Node", "nodes", false, "no"),
                ("PersistentVolume", "persistentvolumes", false, "pv"),
                ("PersistentVolumeClaim", "persistentvolumeclaims", true, "pvc"), ("Pod", "pods", true, "po"),
                ("PodTemplate", "podtemplates", true, ""),
                ("ReplicationController", "replicationcontrollers", true, "rc"),
                ("ResourceQuota", "resourcequotas", true, "quota"), ("Secret", "secrets", true, ""),
                ("Service", "services", true, "svc"), ("ServiceAccount", "serviceaccounts", true, "sa"),
            ])
        + group(
            "apps",
            [
                ("ControllerRevision", "controllerrevisions", true, ""), ("DaemonSet", "daemonsets", true, "ds"),
                ("Deployment", "deployments", true, "deploy"), ("ReplicaSet", "replicasets", true, "rs"),
                ("StatefulSet", "statefulsets", true, "sts"),
            ])
        + group("autoscaling", [("HorizontalPodAutoscaler", "horizontalpodautoscalers", true, "hpa")])
        + group("batch", [("CronJob", "cronjobs", true, "cj"), ("Job", "jobs", true, "")])
        + group("certificates.k8s.io", [("CertificateSigningRequest", "certificatesigningrequests", false, "csr")])
        + group("coordination.k8s.io", [("Lease", "leases", true, "")])
        + group("discovery.k8s.io", [("EndpointSlice", "endpointslices", true, "")])
        + group("events.k8s.io", [("Event", "events", true, "ev")])
        + group(
            "flowcontrol.apiserver.k8s.io",
            [
                ("FlowSchema", "flowschemas", false, ""),
                ("PriorityLevelConfiguration", "prioritylevelconfigurations", false, ""),
            ])
        + group(
            "networking.k8s.io",
            [
                ("IPAddress", "ipaddresses", false, "ip"), ("Ingress", "ingresses", true, "ing"),
                ("IngressClass", "ingressclasses", false, ""), ("NetworkPolicy", "networkpolicies", true, "netpol"),
                ("ServiceCIDR", "servicecidrs", false, ""),
            ])
        + group("node.k8s.io", [("RuntimeClass", "runtimeclasses", false, "")])
        + group("policy", [("PodDisruptionBudget", "poddisruptionbudgets", true, "pdb")])
        + group(
            "rbac.authorization.k8s.io",
            [
                ("ClusterRole", "clusterroles", false, ""), ("ClusterRoleBinding", "clusterrolebindings", false, ""),
                ("Role", "roles", true, ""), ("RoleBinding", "rolebindings", true, ""),
            ])
        + group(
            "resource.k8s.io",
            [
                ("DeviceClass", "deviceclasses", false, ""), ("ResourceClaim", "resourceclaims", true, ""),
                ("ResourceClaimTemplate", "resourceclaimtemplates", true, ""),
                ("ResourceSlice", "resourceslices", false, ""),
            ])
        + group("scheduling.k8s.io", [("PriorityClass", "priorityclasses", false, "pc")])
        + group(
            "storage.k8s.io",
            [
                ("CSIDriver", "csidrivers", false, ""), ("CSINode", "csinodes", false, ""),
                ("CSIStorageCapacity", "csistoragecapacities", true, ""),
                ("StorageClass", "storageclasses", false, "sc"),
                ("VolumeAttachment", "volumeattachments", false, ""),
            ])
        + group(
            "admissionregistration.k8s.io",
            [
                ("MutatingWebhookConfiguration", "mutatingwebhookconfigurations", false, ""),
                ("ValidatingAdmissionPolicy", "validatingadmissionpolicies", false, ""),
                ("ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings", false, ""),
                ("ValidatingWebhookConfiguration", "validatingwebhookconfigurations", false, ""),
            ])
        + group("apiextensions.k8s.io", [("CustomResourceDefinition", "customresourcedefinitions", false, "crd,crds")])
        + group("apiregistration.k8s.io", [("APIService", "apiservices", false, "")])

    /// Resources whose path is not their plural name.
    private static let exceptions: [String: String] = [
        "nodes": "minions", "ingresses.networking.k8s.io": "ingress", "replicationcontrollers": "controllers",
        "services": "services/specs", "endpoints": "services/endpoints",
        // The two servers that extend the API server keep their group in the path.
        "customresourcedefinitions.apiextensions.k8s.io": "apiextensions.k8s.io/customresourcedefinitions",
        "apiservices.apiregistration.k8s.io": "apiregistration.k8s.io/apiservices",
    ]

    private static func group(
        _ group: String, _ kinds: [(kind: String, plural: String, isNamespaced: Bool, short: String)]
    ) -> [Entry] {
        kinds.map { kind in
            let fullName = group.isEmpty ? kind.plural : "\(kind.plural).\(group)"
            return Entry(
                kind: kind.kind,
                resource: Resource(
                    group: group, name: kind.plural, isNamespaced: kind.isNamespaced,
                    path: exceptions[fullName] ?? kind.plural),
                shortNames: kind.short.split(separator: ",").map(String.init))
        }
    }

    /// The kind of this group and name, or nil.
    package static func kind(group: String, kind: String) -> Entry? {
        all.first { $0.kind == kind && $0.resource.group == group }
    }

    /// The kind of this group and plural name, or nil.
    package static func kind(group: String, plural: String) -> Entry? {
        all.first { $0.resource.name == plural && $0.resource.group == group }
    }

    /// The kind that a user names: plural, singular or short, in any case, or plural and group (`deployments.apps`).
    package static func kind(named word: String) -> Entry? {
        let word = word.lowercased()
        return all.first {
            $0.resource.name == word || $0.kind.lowercased() == word || $0.shortNames.contains(word)
                || $0.resource.fullName == word
        }
    }

    /// The kind whose objects lie at this path below the store's prefix, or nil.
    package static func kind(path: String) -> Entry? { all.first { $0.resource.path == path } }
}
