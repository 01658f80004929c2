import ResourceStore

/// What the articles of the documentation show in passing: it compiles here, and a test looks that it is the same.
enum Snippets {
    static func overview() async throws {
        // swift-format-ignore
        let store = try await ObjectStore.embedded()          // or: try ObjectStore.remote("https://store:2379")
        let widgets = store.objects(of: Widget.self)

        var widget = try await widgets.create(Widget("first", namespace: "default", size: 3))
        widget.size = 4
        // swift-format-ignore
        try await widgets.update(widget)                      // fails with `conflict` if somebody was faster
        // swift-format-ignore
        try await widgets.guaranteedUpdate("first", namespace: "default") { $0.size += 1 }   // begins again instead

        for try await event in widgets.watch() {
            print(event)
        }
    }

    static func remote() throws -> ObjectStore {
        // swift-format-ignore
        var options = RemoteOptions(
            endpoints: ["https://a.example.com:2379", "https://b.example.com:2379"],
            tls: .init(trustedCAFile: "/etc/pki/ca.crt", certificateFile: "/etc/pki/me.crt", keyFile: "/etc/pki/me.key"))
        options.prefix = "/registry"
        let store = try ObjectStore.remote(options)
        return store
    }

    static func embedded() async throws -> ObjectStore {
        // swift-format-ignore
        let store = try await ObjectStore.embedded(EmbeddedOptions(storage: .directory("/var/lib/my-control-plane")))
        return store
    }

    static func pages(_ widgets: ObjectCollection<TypedCodec<Widget>>) async throws {
        var token: String?
        repeat {
            let page = try await widgets.list(limit: 500, continueToken: token)
            token = page.continueToken
        } while token != nil
    }
}
