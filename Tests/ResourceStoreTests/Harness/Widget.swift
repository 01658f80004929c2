import ResourceStore

/// A small typed object.
struct Widget: ResourceObject, Hashable {
    static let resource = Resource(group: "example.com", name: "widgets")

    var apiVersion = "example.com/v1"
    var kind = "Widget"
    var metadata: ObjectMetadata
    var size: Int

    init(_ name: String, namespace: String = "default", size: Int = 0, labels: [String: String] = [:]) {
        metadata = ObjectMetadata(name: name, namespace: namespace, labels: labels)
        self.size = size
    }
}

extension ObjectStore {
    var widgets: ObjectCollection<TypedCodec<Widget>> { objects(of: Widget.self) }
}
