// Transport: gRPC server and client, and HTTP/1.1, on one port.
//
// HTTP/2 is libnghttp2, one session inside one SwiftNIO handler per connection: no channel per stream, no task per
// call. A call is an object from its connection's pool (`RPCCall`), its messages are borrowed from the read buffer, its
// frames are gathered into one write per read cycle or batch of replies. HTTP/1.1 (probes, metrics, the JSON gateway)
// is NIOHTTP1 on the same port; ALPN or the first bytes decide.
//
// Owner threads: every connection, with its session, calls and handlers, belongs to one event loop for life.
// `GRPCServer` and `RPCChannel` are the only types other threads call; they hop to the loop.
//
// Invariants:
// - Nothing a peer sends can trap, and everything it can make us hold has a limit in `HTTP2Limits`.
// - A call's application is told exactly once how the call ended, if it did not end it itself.
// - A call's object is used again only when nobody else holds it: a late answer cannot reach another call.
//
// Folders: HTTP2/ the session and its limits, without I/O; GRPC/ calls, framing, statuses; HTTP1/ plain HTTP; Server/
// and Client/ the two ends.
