import Foundation
import SwiftProtobuf
import Synchronization
import Transport
import Wire

/// One way to be wrong: what is changed of requests, answers, errors or streams.
struct Mutation: Sendable {
    let name: String
    /// Where the suite is expected to see it.
    let areas: Set<String>
    var onRequest: @Sendable (String, [UInt8]) -> [UInt8]? = { _, _ in nil }
    var onReply: @Sendable (String, [UInt8], [UInt8]) -> [UInt8]? = { _, _, _ in nil }
    var onInstead: @Sendable (String, [UInt8]) -> [UInt8]? = { _, _ in nil }
    var onStatus: @Sendable (RPCStatus) -> RPCStatus? = { _ in nil }
    /// Makes the state of one watch stream: what becomes of each answer.
    var onWatch: (@Sendable () -> @Sendable (Etcdserverpb_WatchResponse) -> [Etcdserverpb_WatchResponse])?
    var onKeepAlive: (@Sendable (inout Etcdserverpb_LeaseKeepAliveResponse) -> Void)?
    var repeatedMethod: String?

    init(_ name: String, in areas: String..., change: (inout Mutation) -> Void) {
        self.name = name
        self.areas = Set(areas)
        change(&self)
    }

    func request(_ method: String, _ bytes: [UInt8]) -> [UInt8] { onRequest(method, bytes) ?? bytes }
    func reply(_ method: String, _ request: [UInt8], _ bytes: [UInt8]) -> [UInt8] {
        onReply(method, request, bytes) ?? bytes
    }
    func instead(_ method: String, _ request: [UInt8]) -> [UInt8]? { onInstead(method, request) }
    func status(_ status: RPCStatus) -> RPCStatus { onStatus(status) ?? status }
    func isRepeated(_ method: String) -> Bool { method == repeatedMethod }

    func makeStream(_ method: String) -> StreamMutation {
        StreamMutation(method: method, watch: onWatch?(), keepAlive: onKeepAlive)
    }

    // MARK: Typed forms

    mutating func ranges(
        _ change: @escaping @Sendable (Etcdserverpb_RangeRequest, inout Etcdserverpb_RangeResponse) -> Void
    ) {
        onReply = { method, request, reply in
            guard method == "/etcdserverpb.KV/Range" else { return nil }
            guard let asked = try? Etcdserverpb_RangeRequest(serializedBytes: request),
                var answer = try? Etcdserverpb_RangeResponse(serializedBytes: reply)
            else { return nil }
            change(asked, &answer)
            return try? answer.serializedBytes()
        }
    }

    mutating func replies<Response: Message>(
        _ path: String, _: Response.Type, _ change: @escaping @Sendable (inout Response) -> Void
    ) {
        onReply = { method, _, reply in
            guard method == path, var answer = try? Response(serializedBytes: reply) else { return nil }
            change(&answer)
            return try? answer.serializedBytes()
        }
    }

    mutating func requests<Request: Message>(
        _ path: String, _: Request.Type, _ change: @escaping @Sendable (inout Request) -> Void
    ) {
        onRequest = { method, bytes in
            guard method == path, var request = try? Request(serializedBytes: bytes) else { return nil }
            change(&request)
            return try? request.serializedBytes()
        }
    }

    /// Changes watch answers with events; others go through. `change` is made once for each stream.
    mutating func events(
        _ make: @escaping @Sendable () -> @Sendable (Etcdserverpb_WatchResponse) -> [Etcdserverpb_WatchResponse]
    ) {
        onWatch = {
            let change = make()
            return { response in response.events.isEmpty ? [response] : change(response) }
        }
    }
}

/// A mutation's state on one stream. One task uses it.
struct StreamMutation: Sendable {
    let method: String
    let watch: (@Sendable (Etcdserverpb_WatchResponse) -> [Etcdserverpb_WatchResponse])?
    let keepAlive: (@Sendable (inout Etcdserverpb_LeaseKeepAliveResponse) -> Void)?

    func answers(_ message: [UInt8]) -> [[UInt8]] {
        if method == "/etcdserverpb.Watch/Watch", let watch,
            let response = try? Etcdserverpb_WatchResponse(serializedBytes: message)
        {
            return watch(response).compactMap { try? $0.serializedBytes() }
        }
        if method == "/etcdserverpb.Lease/LeaseKeepAlive", let keepAlive,
            var response = try? Etcdserverpb_LeaseKeepAliveResponse(serializedBytes: message)
        {
            keepAlive(&response)
            return (try? response.serializedBytes()).map { [$0] } ?? []
        }
        return [message]
    }
}

/// Counts, for mutations that strike now and then.
final class Counter: Sendable {
    private let value = Mutex(0)

    /// True at every `nth` call.
    func strikes(every nth: Int) -> Bool {
        value.withLock { value in
            value += 1
            return value % nth == 0
        }
    }
}

/// Something that was seen before.
final class Memory<Element: Sendable>: Sendable {
    private let value = Mutex<[[UInt8]: Element]>([:])

    /// Keeps `element` under `key`; returns what was there.
    func exchange(_ key: [UInt8], _ element: Element) -> Element? {
        value.withLock { $0.updateValue(element, forKey: key) }
    }
}
