import Primitives
import Testing

@testable import Wire

/// Messages that contain themselves must not exhaust the stack.
@Suite struct NestingTests {
    /// A message nested `depth` times: field `path` (outermost first) around `innermost`.
    private func nested(_ path: [UInt32], depth: Int, innermost: [UInt8] = []) -> Bytes {
        var bytes = Bytes(innermost)
        for _ in 1..<depth {
            for number in path.reversed() {
                let inner = bytes
                bytes = Bytes(count: ProtoSize.message(number, count: inner.count)) { buffer in
                    var writer = ProtoWriter(buffer)
                    writer.message(number, inner)
                    writer.finish()
                }
            }
        }
        return bytes
    }

    @Test func txnRequestsNestToTheLimitOnly() throws {
        for path in [[2, 4], [3, 4]] as [[UInt32]] {
            let deepest = nested(path, depth: ProtoLimits.txnDepthMax)
            #expect(try deepest.withUnsafeBytes { try TxnRequestView(decoding: $0).encoded() } == deepest)
            for depth in [ProtoLimits.txnDepthMax + 1, 5_000] {
                nested(path, depth: depth).withUnsafeBytes { (bytes) -> Void in
                    #expect(throws: WireError.nestingTooDeep(offset: 0)) { _ = try TxnRequestView(decoding: bytes) }
                }
            }
        }
    }

    @Test func txnResponsesNestToTheLimitOnly() throws {
        let deepest = nested([3, 4], depth: ProtoLimits.txnDepthMax)
        #expect(try deepest.withUnsafeBytes { try TxnResponseView(decoding: $0).responses.count } == 1)
        nested([3, 4], depth: ProtoLimits.txnDepthMax + 1).withUnsafeBytes { (bytes) -> Void in
            #expect(throws: WireError.nestingTooDeep(offset: 0)) { _ = try TxnResponseView(decoding: bytes) }
        }
    }

    @Test func raftMessagesNestToTheLimitOnly() throws {
        let deepest = nested([14], depth: ProtoLimits.raftMessageDepthMax)
        #expect(try deepest.withUnsafeBytes { try RaftMessageView(decoding: $0).responses.count } == 1)
        nested([14], depth: ProtoLimits.raftMessageDepthMax + 1).withUnsafeBytes { (bytes) -> Void in
            #expect(throws: WireError.nestingTooDeep(offset: 0)) { _ = try RaftMessageView(decoding: bytes) }
        }
    }
}
