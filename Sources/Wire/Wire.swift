// Wire: every message that goes over a socket or into a log, in protobuf's encoding.
//
// Purpose
// - `Hot/`: hand-written codecs for the messages whose cost shows. Decoders are *views*: they borrow the caller's
//   bytes (`UnsafeRawBufferPointer`), copy nothing and must not outlive them. Encoders are a size and a write into a
//   `ProtoWriter` of exactly that size.
// - `Generated/`: everything else, by swift-protobuf from `Protos/` (`Protos/generate.sh` regenerates it).
// - `Services.swift`: the table of methods.
//
// Owner thread: none. All types are values without shared state; a view belongs to whoever owns the bytes.
//
// Invariants
// - No decoder reads outside of its buffer, whatever the bytes; malformed bytes are a `WireError`, never a trap.
// - Decoding never needs more stack than `ProtoLimits` allows.
// - A scalar that occurs twice counts as its last occurrence. So does an embedded message or a member of a oneof:
//   protobuf would merge the two, but no encoder writes a message twice, and merging would need a copy.
// - Fields with unknown numbers, or with an unexpected wire type, are skipped. Enum numbers are kept as `Int32`
//   whether known or not.
// - Encoders write fields in the order of their numbers, as etcd's Go code does, so equal values are equal bytes.

/// Limits of the hot codecs, so that hostile bytes cannot exhaust the stack.
package enum ProtoLimits {
    /// How many groups (a proto2 relic, seen here only as unknown fields) may be open at once. They cost memory, no stack.
    package static let groupDepthMax = 10_000
    /// How many `TxnRequest` or `TxnResponse` messages may be nested, the outermost included. etcd has no such limit; each
    /// level but the innermost costs one of the operations that a transaction may have, 128 by default, so that only a
    /// larger `--max-txn-ops` lets anybody see this one.
    package static let txnDepthMax = 256
    /// How many raft messages may be nested in `Message.responses`, the outermost included.
    package static let raftMessageDepthMax = 8
}
