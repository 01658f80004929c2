import Client
import Foundation
import NIOCore
import NIOPosix
import TestSupport
import Testing
import Transport

extension ServerTests {
    /// Requests that no sane client sends: Martlet must answer them as etcd 3.5.1 does, code, text and header.
    @Suite("odd requests") struct OddRequests {
        /// One call; `masked` are fields of the answer that chance decides.
        struct Call: Sendable, CustomStringConvertible {
            var name: String
            var path: RPCPath
            var message: [UInt8]
            var masked: Set<UInt64> = []
            var changesMembers = false

            init(_ name: String, _ path: RPCPath, _ message: [UInt8], masked: Set<UInt64> = []) {
                self.name = name
                self.path = path
                self.message = message
                self.masked = masked
            }

            var description: String { name }
        }

        private static func text(_ field: UInt64, _ text: String) -> [UInt8] { RawMessage.text(field, text) }
        private static func number(_ field: UInt64, _ value: Int64) -> [UInt8] { RawMessage.number(field, value) }
        private static func bytes(_ field: UInt64, _ body: [UInt8]) -> [UInt8] { RawMessage.bytes(field, body) }
        private static func put(_ key: String) -> [UInt8] { text(1, key) + text(2, "v") }
        private static let all = text(1, "a") + text(2, "b")

        /// etcd's Raft drops a change of the members that comes before the last one is applied; once this is, that is.
        private static let between = Call("put", MethodPath.put, put("between"))

        private static func change(_ name: String, _ path: RPCPath, _ message: [UInt8]) -> Call {
            var call = Call(name, path, message)
            call.changesMembers = true
            return call
        }

        /// a0 to a4 at revisions 2 to 6, a0 again at 7, a4 deleted at 8, compacted at 4.
        private static let preparation: [Call] =
            (0..<5).map { Call("put a\($0)", MethodPath.put, put("a\($0)")) } + [
                Call("put a0 again", MethodPath.put, put("a0")),
                Call("delete a4", MethodPath.deleteRange, text(1, "a4")),
                Call("compact", MethodPath.compact, number(1, 4)),
            ]

        private static var ranges: [Call] {
            let limits = [-1, .min, .max].map { Call("limit \($0)", MethodPath.range, all + number(3, $0)) }
            let revisions = ([-1, 1, 3, 4, 8, 9, .max, .min] as [Int64]).map {
                Call("revision \($0)", MethodPath.range, all + number(4, $0))
            }
            let unknown =
                text(99, "z") + number(98, 7) + RawMessage.varint(97 << 3 | 1) + [UInt8](repeating: 1, count: 8)
            let groups =
                [UInt8](repeating: 0xa3, count: 0) + (0..<200).flatMap { _ in RawMessage.varint(97 << 3 | 3) }
                + (0..<200).flatMap { _ in RawMessage.varint(97 << 3 | 4) }
            return limits + revisions + [
                Call("no body", MethodPath.range, []), Call("end without key", MethodPath.range, text(2, "b")),
                Call("from key", MethodPath.range, text(1, "a1") + bytes(2, [0])),
                Call("everything", MethodPath.range, bytes(1, [0]) + bytes(2, [0])),
                Call("end before key", MethodPath.range, text(1, "b") + text(2, "a")),
                Call("end is key", MethodPath.range, text(1, "a0") + text(2, "a0")),
                Call("count of one", MethodPath.range, all + number(3, 1) + number(9, 1)),
                Call("max mod revision -3", MethodPath.range, all + number(11, -3)),
                Call("unknown fields", MethodPath.range, text(1, "a0") + unknown),
                Call("unknown groups", MethodPath.range, text(1, "a0") + groups),
                Call("key twice", MethodPath.range, text(1, "a0") + text(1, "a1")),
                Call("key that is no UTF-8", MethodPath.range, bytes(1, [0xff, 0xfe])),
            ]
        }

        private static var writes: [Call] {
            [
                Call("put no body", MethodPath.put, []),
                Call("put bytes", MethodPath.put, bytes(1, [0xff]) + bytes(2, [0xfe])),
                Call("put lease -1", MethodPath.put, put("z") + number(3, -1)),
                Call("put ignored and given", MethodPath.put, put("z") + number(5, 1) + number(6, 1) + number(3, 4)),
                Call("put unknown key", MethodPath.put, text(1, "q") + number(5, 1)),
                Call("put unknown lease and key", MethodPath.put, text(1, "q") + number(5, 1) + number(3, 9)),
                Call("delete no body", MethodPath.deleteRange, []),
                Call("delete end before key", MethodPath.deleteRange, text(1, "b") + text(2, "a")),
                Call("compact nothing", MethodPath.compact, []), Call("compact -1", MethodPath.compact, number(1, -1)),
                Call("compact 4 again", MethodPath.compact, number(1, 4)),
                Call("compact future", MethodPath.compact, number(1, 1 << 40)),
            ]
        }

        private static var transactions: [Call] {
            func txn(_ name: String, _ message: [UInt8]) -> Call { Call("txn " + name, MethodPath.txn, message) }
            func nested(_ depth: Int, _ innermost: [UInt8] = [], branch: UInt64 = 2) -> Call {
                txn(
                    "nested \(depth) \(branch) \(innermost.count)",
                    RawMessage.nest(depth, branch: branch, innermost: innermost))
            }
            let get = bytes(2, bytes(1, text(1, "a0")))
            let write = bytes(2, bytes(2, put("deep")))
            return [
                txn("empty", []), txn("empty operation", bytes(2, [])),
                txn("unknown operation", bytes(2, text(9, "x"))),
                txn("compare without key", bytes(1, number(1, 1))),
                txn("unknown target", bytes(1, number(2, 9) + text(3, "a0"))),
                txn("unknown result", bytes(1, number(1, 9) + text(3, "a0"))),
                txn("value without operand", bytes(1, number(2, 3) + text(3, "a0"))),
                txn("other operand", bytes(1, number(2, 2) + text(3, "a0") + number(4, 7))),
                txn("compare no keys", bytes(1, text(3, "q") + number(4, 0) + text(64, "r"))),
                txn("put twice", bytes(2, bytes(2, put("x"))) + bytes(2, bytes(2, put("x")))),
                txn("put without key", bytes(2, bytes(2, []))),
                txn("range compacted", bytes(2, bytes(1, all + number(4, 2)))),
                txn("129", (0..<129).flatMap { _ in get }), txn("128", (0..<128).flatMap { _ in get }),
            ] + [2, 64, 65, 100, 127, 128, 129, 130, 200, 255, 256, 257, 1000].map { nested($0) }
                + [65, 128, 129].map { nested($0, get) } + [65, 128, 129].map { nested($0, write) }
                + [65, 128, 129].map { nested($0, write, branch: 3) }
        }

        private static var leases: [Call] {
            [
                Call("grant ttl -5", MethodPath.leaseGrant, number(1, -5) + number(2, 5)),
                Call("grant again", MethodPath.leaseGrant, number(1, 5) + number(2, 5)),
                Call("grant too long", MethodPath.leaseGrant, number(1, 9_000_000_001) + number(2, 6)),
                Call("grant longest", MethodPath.leaseGrant, number(1, 9_000_000_000) + number(2, 7)),
                Call("grant id -8", MethodPath.leaseGrant, number(1, 100) + number(2, -8)),
                Call("put lease -8", MethodPath.put, put("l") + number(3, -8)),
                Call("ttl -8", MethodPath.leaseTimeToLive, number(1, -8) + number(2, 1), masked: [3]),
                Call("ttl 0", MethodPath.leaseTimeToLive, []),
                Call("ttl unknown", MethodPath.leaseTimeToLive, number(1, 99) + number(2, 1)),
                Call("revoke 0", MethodPath.leaseRevoke, []),
                Call("revoke unknown", MethodPath.leaseRevoke, number(1, 99)),
                Call("revoke -8", MethodPath.leaseRevoke, number(1, -8)),
                Call("what it held", MethodPath.range, text(1, "l")),
            ]
        }

        private static var others: [Call] {
            [
                Call("hashkv compacted", MethodPath.hashKV, number(1, 3)),
                Call("hashkv future", MethodPath.hashKV, number(1, 99_999)),
                Call("move to nobody", MethodPath.moveLeader, []),
                Call("move to 77", MethodPath.moveLeader, number(1, 77)),
                Call("alarms of 99", MethodPath.alarm, number(2, 99) + number(3, 1)),
                Call("alarms of type 9", MethodPath.alarm, number(3, 9)),
                Call("clear what is not", MethodPath.alarm, number(1, 2) + number(2, 99) + number(3, 1)),
                Call("raise none", MethodPath.alarm, number(1, 1) + number(2, 99)),
                Call("add without URL", MethodPath.memberAdd, []),
                Call("add nonsense", MethodPath.memberAdd, text(1, "x")),
                Call("add a port's lack", MethodPath.memberAdd, text(1, "http://a")),
                Call("add a path", MethodPath.memberAdd, text(1, "http://a:1/x")),
                change("remove 0", MethodPath.memberRemove, []),
                change("remove 7", MethodPath.memberRemove, number(1, 7)),
                change("update 7", MethodPath.memberUpdate, number(1, 7)),
                change("promote 7", MethodPath.memberPromote, number(1, 7)),
                Call("authentication is off", RPCPath("/etcdserverpb.Auth/AuthStatus"), []),
                Call("switch it off", RPCPath("/etcdserverpb.Auth/AuthDisable"), []),
                Call("a token", MethodPath.authenticate, text(1, "root") + text(2, "x")),
                Call("no such service", RPCPath("/foo.Bar/Baz"), []),
                Call("no such method", RPCPath("/etcdserverpb.KV/Foo"), []),
            ]
        }

        @Test("the same answers from both") func answers() async throws {
            try await withBothServers { martlet, etcd in
                let both = [try await Self.connect(etcd), try await Self.connect(martlet)]
                let calls = Self.preparation + Self.ranges + Self.writes + Self.transactions + Self.leases + Self.others
                for call in calls {
                    if call.changesMembers {
                        for channel in both { _ = await Self.answer(channel, Self.between) }
                    }
                    let expected = await Self.answer(both[0], call)
                    let actual = await Self.answer(both[1], call)
                    #expect(actual == expected, "\(call)")
                }
                for channel in both { await channel.close() }
            }
        }

        @Test("with any number of operations, a nest too deep is refused and does no harm") func depth() async throws {
            try await withServer(.martlet, ["--max-txn-ops", "1000000"]) { server in
                let channel = try await Self.connect(server)
                // Each level has a compare, a put and the next level.
                var nest = Self.bytes(2, Self.bytes(2, Self.put("k255")))
                for level in 0..<255 {
                    nest =
                        Self.bytes(1, Self.text(3, "c\(level)")) + Self.bytes(2, Self.bytes(2, Self.put("k\(level)")))
                        + Self.bytes(2, Self.bytes(4, nest))
                }
                let answer = await Self.answer(channel, Call("256 levels", MethodPath.txn, nest))
                #expect(answer.hasPrefix("header(revision 2)"), "\(answer.prefix(200))")
                let deeper = Self.bytes(2, Self.bytes(4, nest))
                for message in [deeper, RawMessage.nest(10_000), RawMessage.nest(200_000)] {
                    #expect(
                        await Self.answer(channel, Call("deeper", MethodPath.txn, message))
                            == "3: etcdserver: too many operations in txn request")
                }
                let range = Self.text(1, "k") + Self.text(2, "l") + Self.number(9, 1)
                #expect(await Self.answer(channel, Call("", MethodPath.range, range)) == "header(revision 2), 4: 256")
                await channel.close()
            }
        }

        @Test("bytes that are no message are refused as by a gRPC library") func malformed() async throws {
            try await withBothServers { martlet, etcd in
                let both = [try await Self.connect(etcd), try await Self.connect(martlet)]
                let key = Self.text(1, "a0")
                let tails: [[UInt8]] = [[0x12, 0x40, 1], [0x02, 1, 1], [0x0f], RawMessage.varint(97 << 3 | 3)]
                for tail in tails {
                    for channel in both {
                        let answer = await Self.answer(channel, Call("", MethodPath.range, key + tail))
                        #expect(answer.hasPrefix("13: grpc: error unmarshalling request: "), "\(tail): \(answer)")
                    }
                }
                for channel in both { await channel.close() }
            }
        }

        private static func connect(_ server: TestServer) async throws -> RPCChannel {
            let endpoint = try #require(Endpoint(server.endpoint))
            return try await Dialer(endpoint, tls: nil, timeout: .seconds(30))
                .connect(on: MultiThreadedEventLoopGroup.singleton)
        }

        private static func answer(_ channel: RPCChannel, _ call: Call) async -> String {
            do throws(RPCStatus) {
                let deadline = NIODeadline.now() + .seconds(30)
                let answer = try await channel.unary(call.path, call.message, deadline: deadline)
                return RawMessage.describe(answer, masked: call.masked)
            } catch {
                return "\(error.code.rawValue): \(error.message)"
            }
        }
    }
}
