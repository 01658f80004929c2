import Foundation
import NIOCore
import Synchronization
package import Transport
import Wire

/// What a running case works with: the server, a key prefix of its own, and the duty to clean up.
///
/// Any task of the case may use it.
package final class CaseContext: Sendable {
    package let target: Target
    /// Every key of the case begins with it.
    package let prefix: String
    /// The endpoint that takes the case's calls unless a call says otherwise: cases take turns.
    package let endpoint: Int
    package let level: Level
    /// The private server that the case runs on; nil on the shared one.
    package let server: ServerProcess?
    /// Starts servers for cases that need more than one; nil without `--server-command`.
    package let launcher: ServerLauncher?

    private struct Debris {
        var leases: Set<Int64> = []
        var streams: [MessageStream] = []
        var channels: [RPCChannel] = []
    }

    private let debris = Mutex(Debris())

    package init(
        target: Target, prefix: String, endpoint: Int = 0, level: Level, server: ServerProcess? = nil,
        launcher: ServerLauncher? = nil
    ) {
        self.target = target
        self.prefix = prefix
        self.endpoint = endpoint
        self.level = level
        self.server = server
        self.launcher = launcher
    }

    // MARK: Judgement

    /// Fails the case unless `condition` holds.
    package func expect(_ condition: Bool, _ message: @autoclosure () -> String) throws {
        if !condition { throw CaseFailure(message()) }
    }

    /// Fails the case unless the values are equal.
    package func expectEqual<T: Equatable>(_ actual: T, _ expected: T, _ what: String) throws {
        if actual != expected { throw CaseFailure("\(what): expected \(expected), got \(actual)") }
    }

    /// Runs `body`, which must fail with exactly this code and, unless nil, this text.
    package func expectError(
        _ code: RPCCode, _ message: String?, _ what: String, _ body: () async throws -> Void
    ) async throws {
        do {
            try await body()
        } catch let status as RPCStatus {
            guard status.code == code, message == nil || status.message == message else {
                throw CaseFailure("\(what): expected \(code) \(message ?? ""), got \(status)")
            }
            return
        }
        throw CaseFailure("\(what): expected \(code) \(message ?? ""), got an answer")
    }

    // MARK: Streams and connections

    /// Opens a streaming call; it is cancelled when the case ends.
    package func open(
        _ path: RPCPath, endpoint: Int? = nil, metadata: [(String, String)] = [], on channel: RPCChannel? = nil
    ) async throws -> MessageStream {
        let channel = if let channel { channel } else { try await target.channel(endpoint ?? self.endpoint) }
        let stream = MessageStream(channel.stream(path, metadata: metadata.map { (name: $0.0, value: $0.1) }))
        debris.withLock { $0.streams.append(stream) }
        return stream
    }

    /// A connection of the case's own; it is closed when the case ends.
    package func connect(_ number: Int? = nil) async throws -> RPCChannel {
        let channel = try await target.connect(number ?? endpoint)
        debris.withLock { $0.channels.append(channel) }
        return channel
    }

    // MARK: Cleaning up

    /// Remembers a lease to be revoked.
    package func granted(_ lease: Int64) { debris.withLock { _ = $0.leases.insert(lease) } }

    /// Removes what the case has left. Never fails: the server may be gone.
    ///
    /// In a task of its own: one that is cancelled can call nobody, and it is then that most is left.
    func cleanUp() async { await Task { await removeDebris() }.value }

    private func removeDebris() async {
        let left = debris.withLock { debris in
            defer { debris = Debris() }
            return debris
        }
        for stream in left.streams { stream.cancel() }
        for channel in left.channels { await channel.close() }
        for lease in left.leases {
            var request = Etcdserverpb_LeaseRevokeRequest()
            request.id = lease
            let _: Etcdserverpb_LeaseRevokeResponse? = try? await target.call(
                Paths.leaseRevoke, request, endpoint: endpoint, timeout: .seconds(5))
        }
        await Self.remove(prefix, from: target, endpoint: endpoint)
    }

    /// Clears all alarms, which a case that failed half way may have left raised, if the server lets it.
    func disarm() async {
        await Task {
            var request = Etcdserverpb_AlarmRequest()
            request.action = .get
            let raised: Etcdserverpb_AlarmResponse? = try? await target.call(Paths.alarm, request, endpoint: endpoint)
            for alarm in raised?.alarms ?? [] {
                request.action = .deactivate
                request.memberID = alarm.memberID
                request.alarm = alarm.alarm
                let _: Etcdserverpb_AlarmResponse? = try? await target.call(
                    Paths.alarm, request, endpoint: endpoint, timeout: .seconds(5))
            }
        }.value
    }

    /// Deletes all keys that begin with `prefix`, if the server lets it. Whether the task is cancelled does not matter.
    static func remove(_ prefix: String, from target: Target, endpoint: Int = 0) async {
        await Task {
            var request = Etcdserverpb_DeleteRangeRequest()
            request.key = Data(prefix.utf8)
            request.rangeEnd = Data(prefixEnd(prefix))
            let _: Etcdserverpb_DeleteRangeResponse? = try? await target.call(
                Paths.deleteRange, request, endpoint: endpoint, timeout: .seconds(10))
        }.value
    }
}
