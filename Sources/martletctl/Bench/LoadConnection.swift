import Client
import NIOCore
import Transport
import TransportSecurity

/// One connection of the load generator, over the transport's callback interface. Owner: its event loop; only
/// `connect` and `close` are called from elsewhere.
final class LoadConnection: Sendable {
    /// How a call ended; the bytes are valid until the callback returns.
    enum Outcome {
        case reply(UnsafeRawBufferPointer)
        case failure(String)
    }

    private let channel: RPCChannel

    private init(_ channel: RPCChannel) { self.channel = channel }

    /// The loop that all other methods are called on.
    var eventLoop: any EventLoop { channel.eventLoop }

    static func connect(
        _ endpoint: Endpoint, tls: TLSConfiguration?, eventLoop: any EventLoop
    ) async throws(CommandError) -> LoadConnection {
        do throws(ClientError) {
            let dialer = try Dialer(endpoint, tls: tls, timeout: .seconds(10))
            return LoadConnection(try await dialer.connect(on: eventLoop))
        } catch { throw .failure("cannot connect to \(endpoint): \(error.message)") }
    }

    /// Makes a unary call; `completion` runs on the loop, perhaps before this returns.
    func call(_ path: RPCPath, _ message: [UInt8], _ completion: @escaping (Outcome) -> Void) {
        channel.connection.call(
            path, size: message.count,
            fill: { target in message.withUnsafeBytes { target.copyMemory(from: $0) } },
            completion: { result in
                completion(result.status.isOK ? .reply(result.message) : .failure(result.status.message))
            })
    }

    /// Makes one unary call, from any task.
    func callOnce(_ path: RPCPath, _ message: [UInt8]) async throws(CommandError) -> [UInt8] {
        do throws(RPCStatus) { return try await channel.unary(path, message) } catch {
            throw .failure(error.message)
        }
    }

    /// Opens a stream; `onMessage` gets each message, `onEnd` the reason of the end, both on the loop.
    func openStream(
        _ path: RPCPath, onMessage: @escaping (UnsafeRawBufferPointer) -> Void, onEnd: @escaping (String) -> Void
    ) -> LoadStream {
        let handler = LoadStream.Handler(onMessage: onMessage, onEnd: onEnd)
        return LoadStream(channel.connection.stream(path, handler: handler))
    }

    func close() async { await channel.close() }
}

/// A stream of the load generator. Owner: its connection's event loop.
final class LoadStream {
    final class Handler: RPCClientStreamHandler {
        private let onMessage: (UnsafeRawBufferPointer) -> Void
        private let onEnd: (String) -> Void

        init(onMessage: @escaping (UnsafeRawBufferPointer) -> Void, onEnd: @escaping (String) -> Void) {
            self.onMessage = onMessage
            self.onEnd = onEnd
        }

        func received(message: UnsafeRawBufferPointer) { onMessage(message) }
        func ended(status: RPCStatus) { onEnd(status.message) }
    }

    private let call: ClientCall

    init(_ call: ClientCall) { self.call = call }

    func send(_ message: [UInt8]) { call.send(message) }
    func cancel() { call.cancel() }
}
