import Client
import Foundation
import Transport
import Wire

/// One change of a watched resource.
public enum WatchEvent<Object: Sendable>: Sendable {
    /// An object was created; or, at the beginning of a watch without a version, exists already.
    case added(Object)
    /// An object was changed.
    case modified(Object)
    /// An object was deleted: its last state, in the version of the deletion.
    case deleted(Object)
    /// Nothing happened to the watched objects up to this version that has not been told. A later watch may begin here.
    case bookmark(ResourceVersion)
}

extension WatchEvent: Equatable where Object: Equatable {}
extension WatchEvent: Hashable where Object: Hashable {}

extension WatchEvent {
    /// The object that was added, modified or deleted; nil of a bookmark.
    public var object: Object? {
        switch self {
        case .added(let object), .modified(let object), .deleted(let object): object
        case .bookmark: nil
        }
    }
}

extension ObjectCollection {
    /// The changes of the objects of one namespace or of all, or of one object.
    ///
    /// ```swift
    /// let list = try await widgets.list()
    /// for try await event in widgets.watch(from: list.resourceVersion) { ... }
    /// ```
    ///
    /// The sequence begins, and resumes, by itself when connections break or servers go away. It ends when the task is
    /// cancelled, and with an error when it cannot go on: `expired` when the history it needs has been compacted (HTTP
    /// 410 Gone; list again), `undecodable` for an object that the codec cannot read. Each iteration is a watch of its
    /// own.
    ///
    /// - Parameters:
    ///   - version: every change after it is told. Nil: first every object that exists as `added`, then a bookmark,
    ///     then the changes.
    ///   - bookmarkInterval: how often to ask the store for a bookmark. Nil leaves it to the store, which sends one
    ///     every ten minutes when nothing happens.
    public func watch(
        namespace: String? = nil, name: String? = nil, from version: ResourceVersion? = nil,
        bookmarkInterval: Duration? = nil
    ) -> ObjectWatch<Codec> {
        ObjectWatch(
            collection: self, namespace: namespace, name: name, version: version, bookmarkInterval: bookmarkInterval)
    }
}

/// The changes of a resource, in the order of their versions, each once. Made by `ObjectCollection.watch`.
public struct ObjectWatch<Codec: ObjectCodec>: AsyncSequence, Sendable {
    public typealias Element = WatchEvent<Codec.Object>
    public typealias Failure = ObjectStoreError

    let collection: ObjectCollection<Codec>
    let namespace: String?
    let name: String?
    let version: ResourceVersion?
    let bookmarkInterval: Duration?

    public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(watch: self) }

    /// Reads the changes as fast as they are asked for: a reader that is slow holds the stream back.
    public struct AsyncIterator: AsyncIteratorProtocol, Sendable {
        private enum Phase {
            case initial
            case listing(continueToken: String?)
            case watching
            /// What comes next cannot be told; thrown after what is pending.
            case failing(ObjectStoreError)
            case ended
        }

        /// Waits between attempts to reach the store again.
        private static var pauseMin: Duration { .milliseconds(50) }
        private static var pauseMax: Duration { .seconds(2) }
        /// Objects on one page of the initial list.
        private static var pageLimit: Int { 500 }

        private let watch: ObjectWatch
        private var phase = Phase.initial
        private var pending: ArraySlice<Element> = []
        /// Everything up to here has been told, or is in `pending`.
        private var revision: Int64 = 0
        private var session: WatchSession?
        private var pause = pauseMin

        init(watch: ObjectWatch) { self.watch = watch }

        public mutating func next() async throws(ObjectStoreError) -> Element? {
            try await next(isolation: nil)
        }

        public mutating func next(
            isolation actor: isolated (any Actor)?
        ) async throws(ObjectStoreError) -> Element? {
            while true {
                if let event = pending.popFirst() { return event }
                if Task.isCancelled { phase = .ended }
                do throws(ObjectStoreError) {
                    switch phase {
                    case .initial: begin()
                    case .listing(let token): try await list(token)
                    case .watching: try await receive()
                    case .failing(let error): throw error
                    case .ended:
                        session = nil
                        return nil
                    }
                } catch {
                    if Task.isCancelled { continue }
                    phase = .ended
                    session = nil
                    throw error
                }
            }
        }

        private mutating func begin() {
            if let version = watch.version {
                revision = version.rawValue
                phase = .watching
            } else {
                phase = .listing(continueToken: nil)
            }
        }

        /// Tells one page of what exists; asks again where the store cannot be reached.
        private mutating func list(_ token: String?) async throws(ObjectStoreError) {
            do throws(ObjectStoreError) {
                try await listOnce(token)
                pause = Self.pauseMin
            } catch {
                if watch.collection.store.isClosed { throw ObjectStoreError(.cancelled, "the store is closed") }
                guard [.unavailable, .timedOut, .exhausted].contains(error.code) else { throw error }
                await rest()
            }
        }

        private mutating func listOnce(_ token: String?) async throws(ObjectStoreError) {
            let objects = watch.collection
            if let name = watch.name {
                let key = try objects.store.layout.key(objects.resource, namespace: watch.namespace, name: name)
                let (record, current) = try await objects.store.storage.get(key)
                if let record { pending.append(.added(try objects.decode(record))) }
                return finishListing(current)
            }
            let page = try await objects.list(
                namespace: watch.namespace, limit: Self.pageLimit, continueToken: token)
            pending = page.items.map { .added($0) }[...]
            if let next = page.continueToken {
                phase = .listing(continueToken: next)
            } else {
                finishListing(page.resourceVersion.rawValue)
            }
        }

        private mutating func finishListing(_ current: Int64) {
            revision = current
            pending.append(.bookmark(ResourceVersion(rawValue: current)))
            phase = .watching
        }

        /// Takes one message from the stream, and opens it again where it broke.
        private mutating func receive() async throws(ObjectStoreError) {
            do throws(ClientError) {
                if session == nil { session = try await open() }
                guard let answer = try await session?.next() else {
                    // A server that ends the stream without a reason goes away.
                    throw ClientError(.unavailable, "the stream has ended")
                }
                pause = Self.pauseMin
                try take(answer)
            } catch {
                session = nil
                if watch.collection.store.isClosed { throw ObjectStoreError(.cancelled, "the store is closed") }
                guard Self.isPassing(error) else { throw ObjectStoreError(error) }
                await rest()
            }
        }

        /// Waits before the next attempt. A cancelled task is noticed by the caller.
        private mutating func rest() async {
            try? await Task.sleep(for: pause)
            pause = Swift.min(pause * 2, Self.pauseMax)
        }

        private func open() async throws(ClientError) -> WatchSession {
            let objects = watch.collection
            var request = Etcdserverpb_WatchCreateRequest()
            do throws(ObjectStoreError) {
                if let name = watch.name {
                    let key = try objects.store.layout.key(objects.resource, namespace: watch.namespace, name: name)
                    request.key = Data(key.utf8)
                } else {
                    let prefix = try objects.store.layout.prefix(objects.resource, namespace: watch.namespace)
                    request.key = Data(prefix.utf8)
                    request.rangeEnd = Data(KeyRange.prefixEnd(Array(prefix.utf8)))
                }
            } catch {
                throw ClientError(.invalidArgument, error.message)
            }
            request.startRevision = revision + 1
            request.prevKv = true
            request.progressNotify = true
            return WatchSession(
                try await objects.store.storage.client.watch(request, requiresLeader: true),
                bookmarkInterval: watch.bookmarkInterval)
        }

        private mutating func take(_ answer: Etcdserverpb_WatchResponse) throws(ClientError) {
            if answer.canceled {
                if answer.compactRevision > 0 {
                    throw ClientError(
                        .outOfRange, "etcdserver: mvcc: required revision has been compacted")
                }
                let reason = answer.cancelReason.isEmpty ? "the watch was cancelled" : answer.cancelReason
                // A member that lost its leader cancels its watches; another one may serve them.
                throw ClientError(reason.contains("no leader") ? .unavailable : .failedPrecondition, reason)
            }
            if answer.created { return }
            if answer.events.isEmpty {
                guard answer.header.revision >= revision else { return }
                revision = answer.header.revision
                pending.append(.bookmark(ResourceVersion(rawValue: revision)))
                return
            }
            var events: [Element] = []
            events.reserveCapacity(answer.events.count)
            for event in answer.events {
                do throws(ObjectStoreError) { events.append(try element(event)) } catch {
                    phase = .failing(error)
                    break
                }
            }
            pending = events[...]
            revision = answer.events.last?.kv.modRevision ?? revision
        }

        private func element(_ event: Mvccpb_Event) throws(ObjectStoreError) -> Element {
            let objects = watch.collection
            let key = String(decoding: event.kv.key, as: UTF8.self)
            if event.type == .delete {
                guard event.hasPrevKv else {
                    throw ObjectStoreError(.other, "a deletion came without the object's last state", key: key)
                }
                return .deleted(try objects.decode(key, Array(event.prevKv.value), event.kv.modRevision))
            }
            let object = try objects.decode(key, Array(event.kv.value), event.kv.modRevision)
            return event.kv.createRevision == event.kv.modRevision ? .added(object) : .modified(object)
        }

        /// Whether another attempt may succeed where this one failed.
        private static func isPassing(_ error: ClientError) -> Bool {
            switch error.code {
            case .unavailable, .unknown, .internal, .cancelled, .deadlineExceeded, .resourceExhausted, .aborted: true
            default: false
            }
        }
    }
}

/// One stream with one watch on it; gone when nobody holds it any more.
private final class WatchSession: Sendable {
    private let stream: EtcdClient.WatchStream
    private let asking: Task<Void, Never>?

    init(_ stream: EtcdClient.WatchStream, bookmarkInterval: Duration?) {
        self.stream = stream
        asking = bookmarkInterval.map { interval in
            Task {
                var request = Etcdserverpb_WatchRequest()
                request.progressRequest = Etcdserverpb_WatchProgressRequest()
                while (try? await Task.sleep(for: interval)) != nil {
                    // A stream that is over is noticed by its reader.
                    do { try await stream.send(request) } catch { return }
                }
            }
        }
    }

    deinit {
        asking?.cancel()
        stream.cancel()
    }

    func next() async throws(ClientError) -> Etcdserverpb_WatchResponse? {
        var iterator = stream.makeAsyncIterator()
        return try await iterator.nextMessage()
    }
}
