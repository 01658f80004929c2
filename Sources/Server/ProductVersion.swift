/// Versions as they are told to clients. Source: design, section 6.
package enum ProductVersion {
    /// The level of etcd's API; Kubernetes parses it as a semantic version and gates features on it.
    package static let api = "3.7.1"
    /// The cluster version that level stands for.
    package static let cluster = "3.7.0"
    package static let storage = "3.7.0"
    /// Martlet's own.
    package static let product = "0.1.0"
}
