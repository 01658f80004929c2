package import NIOCore

/// What a server does with calls. One instance per event loop; every method is called on it and must not block.
package protocol RPCDispatcher: AnyObject {
    /// How many methods there are: `RPCMethod.index` is below it. Constant.
    var methodCount: Int { get }

    /// The method at `path` (`/package.Service/Method`), or nil. See `RPCMethodTable`.
    func resolve(path: UnsafeRawBufferPointer) -> RPCMethod?

    /// Whether `service` (`package.Service`) has any methods; asked only to word an UNIMPLEMENTED.
    func hasService(_ service: String) -> Bool

    /// A unary call with its whole message, which is valid until this returns. Answer with `reply` or `fail`, now or
    /// later on the same loop.
    func unary(_ call: RPCCall, message: UnsafeRawBufferPointer)

    /// A unary call that has not been answered was cancelled, passed its deadline or lost its connection.
    func unaryCancelled(_ call: RPCCall)

    /// A streaming call begins; nil refuses it (UNIMPLEMENTED unless `call.fail` was called).
    func callStarted(_ call: RPCCall) -> (any RPCStreamHandler)?
}

extension RPCDispatcher {
    package func unaryCancelled(_ call: RPCCall) {}
}

/// The application's side of one streaming call. Loop-confined; the call holds it until the call is over.
package protocol RPCStreamHandler: AnyObject {
    /// One whole message, valid until this returns.
    func received(message: UnsafeRawBufferPointer)
    /// The client will send no more messages.
    func halfClosed()
    /// The call is over without our doing: reset by the client, connection lost, deadline. Last method called.
    func cancelled()
    /// `bufferedBytes` had reached the high-water mark and has fallen below the low one.
    func writable()
    /// The server is going down: finish soon; at the end of the grace period the call fails with UNAVAILABLE.
    func shuttingDown()
}

extension RPCStreamHandler {
    package func writable() {}
    package func shuttingDown() {}
}

/// A message of known length that is produced piece by piece, as the peer's window takes it. Loop-confined.
package protocol SlicedBody: AnyObject {
    /// Appends at most `maxBytes` bytes to `buffer`. True: there is more. Appending nothing and returning true means
    /// "not now": production goes on after `RPCCall.bodyReady()`.
    func next(maxBytes: Int, into buffer: inout ByteBuffer) -> Bool
    /// The rest will not be asked for. Last method called; not called when the body was sent whole.
    func cancelled()
}

/// A stream of messages that are produced as the peer's window takes them. Loop-confined.
package protocol RPCMessageSource: AnyObject {
    /// Sends the next message or messages with `call.send`. True: there are more; false: that was the last, and the
    /// call ends with OK (or with what `call.fail` was given). Sending nothing and returning true means "not now":
    /// production goes on after `RPCCall.bodyReady()`.
    func nextMessage(_ call: RPCCall) -> Bool
    /// The rest will not be asked for. Last method called; not called when the source ended by itself.
    func cancelled()
}
