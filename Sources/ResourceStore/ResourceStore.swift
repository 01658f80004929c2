// ResourceStore: objects in the shape of Kubernetes' - a kind, a name, metadata, a version - kept in Martlet or in any
// other store that speaks etcd's v3 API. Semantics are those of the Kubernetes API server's storage layer.
//
// Owner thread: none; everything here may be used from any task. Invariants: an object is only ever written by a
// transaction on the version that it was read in; no read is older than it was asked to be; a watch neither loses,
// repeats nor reorders a change, across any number of reconnections.

package import Client
public import Logging
import NIOCore
import NIOPosix
import Synchronization
import TransportSecurity
import Wire

/// A store of objects: somewhere else, or in this process.
///
/// ```swift
/// let store = try await ObjectStore.embedded()
/// let widgets = store.objects(of: Widget.self)
/// try await widgets.create(Widget("first", namespace: "default", size: 3))
/// ```
public final class ObjectStore: Sendable {
    package let storage: StorageClient
    let layout: KeyLayout
    let leases: LeasePool
    /// Nil of a store somewhere else.
    let server: EmbeddedServer?
    private let ownsClient: Bool
    private let closed = Atomic<Bool>(false)

    private init(client: EtcdClient, prefix: String, server: EmbeddedServer?, ownsClient: Bool = true) {
        storage = StorageClient(client)
        layout = KeyLayout(prefix: prefix)
        leases = LeasePool(storage)
        self.server = server
        self.ownsClient = ownsClient
    }

    /// A store that other code's client reaches; `close` leaves the client open.
    package convenience init(client: EtcdClient, prefix: String) {
        self.init(client: client, prefix: prefix, server: nil, ownsClient: false)
    }

    /// A store at one or more endpoints: a Martlet or an etcd of version 3.4 or later. The connection is made by the
    /// first call.
    ///
    /// - Throws: `invalid` when the options make no sense.
    public static func remote(_ options: RemoteOptions) throws(ObjectStoreError) -> ObjectStore {
        ObjectStore(
            client: EtcdClient(try options.configuration(), group: MultiThreadedEventLoopGroup.singleton),
            prefix: options.prefix, server: nil)
    }

    /// A store at one endpoint, such as `https://store.example.com:2379`.
    public static func remote(_ endpoint: String) throws(ObjectStoreError) -> ObjectStore {
        try remote(RemoteOptions(endpoints: [endpoint]))
    }

    /// A store in this process: a whole Martlet, in memory unless the options name a directory.
    ///
    /// A disk that fails ends the process, as it ends a server: nothing may be answered from a store that cannot be
    /// trusted.
    ///
    /// - Throws: `unavailable` when it does not start, for instance because another process uses the directory.
    public static func embedded(_ options: EmbeddedOptions = EmbeddedOptions()) async throws(ObjectStoreError)
        -> ObjectStore
    {
        let server = try await EmbeddedServer.start(options)
        let client = EtcdClient(
            EtcdClient.Configuration(endpoints: [server.endpoint]), group: MultiThreadedEventLoopGroup.singleton)
        return ObjectStore(client: client, prefix: options.prefix, server: server)
    }

    /// Ends all calls and watches, and stops an embedded server. The store cannot be used afterwards.
    public func close() async {
        closed.store(true, ordering: .releasing)
        if ownsClient { await storage.client.close() }
        await server?.stop()
    }

    /// Whether `close` was called: nothing will come any more.
    var isClosed: Bool { closed.load(ordering: .acquiring) }

    /// Where other clients reach an embedded store: the `clientURLs` of its options, as they were bound.
    public var clientURLs: [String] { server?.clientURLs ?? [] }

    /// The objects of a type of your own.
    public func objects<Object: ResourceObject>(
        of type: Object.Type, format: ObjectFormat = .json
    ) -> ObjectCollection<TypedCodec<Object>> {
        objects(Object.resource, codec: TypedCodec(type, format: format))
    }

    /// The objects of a resource as trees of fields.
    public func objects(_ resource: Resource) -> ObjectCollection<UnstructuredCodec> {
        objects(resource, codec: UnstructuredCodec())
    }

    /// The objects of a resource by a codec of your choice.
    public func objects<Codec: ObjectCodec>(_ resource: Resource, codec: Codec) -> ObjectCollection<Codec> {
        ObjectCollection(store: self, resource: resource, codec: codec)
    }

    /// The version of the newest write anywhere in the store.
    public func currentResourceVersion() async throws(ObjectStoreError) -> ResourceVersion {
        ResourceVersion(rawValue: try await storage.get(layout.root).revision)
    }

    /// The key of an object; throws `invalid` for names that have none.
    package func key(_ resource: Resource, namespace: String?, name: String) throws(ObjectStoreError) -> String {
        try layout.key(resource, namespace: namespace, name: name)
    }

    /// What all keys of the store begin with; ends in a slash.
    package var root: String { layout.root }

    /// What the endpoint says of itself.
    public func stats() async throws(ObjectStoreError) -> StoreStats {
        do throws(ClientError) {
            let status = try await storage.client.status()
            return StoreStats(
                serverVersion: status.version, resourceVersion: ResourceVersion(rawValue: status.header.revision),
                fileBytes: status.dbSize, usedBytes: status.dbSizeInUse)
        } catch {
            throw ObjectStoreError(error)
        }
    }
}

/// Size and state of a store, as one endpoint sees them.
public struct StoreStats: Sendable, Hashable {
    /// The version of etcd's API that the server speaks.
    public let serverVersion: String
    /// The newest write that the endpoint knows of.
    public let resourceVersion: ResourceVersion
    /// Bytes of the store's file.
    public let fileBytes: Int64
    /// Bytes of it that hold data.
    public let usedBytes: Int64
}

/// Where a remote store is and how to speak to it.
public struct RemoteOptions: Sendable {
    /// `host:port`, `http://`, `https://` or `unix://`. Calls go to the first that answers; when it fails, to the next.
    public var endpoints: [String]
    /// What all keys begin with, as the API server's `--etcd-prefix`.
    public var prefix = "/registry"
    /// For endpoints that say `https`; and, when set, for those that say nothing.
    public var tls: TLSOptions?
    /// How long one call may take, with all its attempts.
    public var requestTimeout = Duration.seconds(5)
    /// How long a connection may take to be made.
    public var connectTimeout = Duration.seconds(2)
    /// User and password, where the store asks for them.
    public var credentials: (user: String, password: String)?

    public init(endpoints: [String], tls: TLSOptions? = nil) {
        self.endpoints = endpoints
        self.tls = tls
    }

    /// How the server is verified, and how this client shows who it is.
    public struct TLSOptions: Sendable, Hashable {
        /// Certificates of the authorities that servers are verified with, a PEM file; nil for the system's.
        public var trustedCAFile: String?
        /// This client's certificate, a PEM file.
        public var certificateFile: String?
        /// The certificate's key, a PEM file.
        public var keyFile: String?
        /// The name that the server's certificate must bear; nil for the endpoint's own.
        public var serverName: String?

        public init(
            trustedCAFile: String? = nil, certificateFile: String? = nil, keyFile: String? = nil,
            serverName: String? = nil
        ) {
            self.trustedCAFile = trustedCAFile
            self.certificateFile = certificateFile
            self.keyFile = keyFile
            self.serverName = serverName
        }
    }

    func configuration() throws(ObjectStoreError) -> EtcdClient.Configuration {
        var parsed: [Endpoint] = []
        for text in endpoints {
            guard let endpoint = Endpoint(text) else { throw .invalid("\"\(text)\" is no endpoint") }
            parsed.append(endpoint)
        }
        guard !parsed.isEmpty else { throw .invalid("no endpoint is given") }
        var configuration = EtcdClient.Configuration(endpoints: parsed)
        if let tls {
            let client = TLSConfiguration.client(
                trustedCAFile: tls.trustedCAFile, serverName: tls.serverName, certificateFile: tls.certificateFile,
                keyFile: tls.keyFile)
            do throws(TLSError) { try client.validate() } catch { throw .invalid(error.message) }
            configuration.tls = client
        }
        configuration.requestTimeout = TimeAmount(requestTimeout)
        configuration.dialTimeout = TimeAmount(connectTimeout)
        if let credentials {
            configuration.credentials = .init(user: credentials.user, password: credentials.password)
        }
        return configuration
    }
}

/// How a store in this process is kept.
public struct EmbeddedOptions: Sendable {
    /// Where the data lies.
    public enum Storage: Sendable, Hashable {
        /// In memory, gone when the store is closed.
        case memory
        /// In a directory, which is made if need be; one process at a time can use it.
        case directory(String)
    }

    public var storage: Storage
    /// What all keys begin with, as the API server's `--etcd-prefix`.
    public var prefix = "/registry"
    /// Where else clients may connect, such as `http://127.0.0.1:2379`: port 0 takes a free one. There is no TLS and no
    /// question who they are, so only loopback makes sense.
    public var clientURLs: [String] = []
    /// Bytes of live data that the store takes; nil for the server's default, 2 GiB.
    public var quotaBytes: Int64?
    /// Where the server's log goes; nil for nowhere.
    public var logger: Logger?

    public init(storage: Storage = .memory) { self.storage = storage }
}
