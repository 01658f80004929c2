import Primitives
import SwiftProtobuf
import Testing

@testable import Wire

/// Hostile bytes: every hot decoder, on mutated messages that end at a forbidden page, must agree with swift-protobuf.
@Suite struct MutationTests {
    static let mutationsPerTarget = 20_000

    @Test(arguments: FuzzTarget.allCases)
    func mutatedBytesDecodeAsSwiftProtobufDoes(_ target: FuzzTarget) throws {
        var random = RandomValues(seed: 0xbad_5eed)
        let reference = target.reference
        let memory = GuardedMemory(capacity: 1 << 20)
        var (agreed, refused) = (0, 0)
        var previous: [UInt8] = []
        for _ in 0..<Self.mutationsPerTarget {
            let base = try reference?.sample(&random) ?? internalRequest(&random)
            let bytes = mutate(base, with: previous, &random.generator)
            previous = base
            let placed = memory.place(bytes)
            let hot: Result<Bytes, WireError> = Result { () throws(WireError) in try target.roundTrip(placed) }
            guard let reference else {
                // Its bodies stay undecoded here, so it may accept more than swift-protobuf, never less.
                switch hot {
                case .success: agreed += 1
                case .failure(.varintOverflow): refused += 1
                case .failure:
                    refused += 1
                    #expect(throws: (any Error).self) { try Etcdserverpb_InternalRaftRequest(serializedBytes: bytes) }
                }
                continue
            }
            let expected = Result { try reference.canonical(bytes) }
            switch (hot, expected) {
            case (.success(let ours), .success(let theirs)):
                agreed += 1
                if ours != theirs {
                    #expect(!reference.shape.isComparable(placed), "\(bytes): \(ours) is not \(theirs)")
                }
            case (.failure, .failure): refused += 1
            // Only the hot codecs refuse a tenth varint byte that does not fit 64 bits.
            case (.failure(.varintOverflow), .success): refused += 1
            case (.failure(let error), .success): Issue.record("\(bytes): refused with \(error)")
            case (.success(let ours), .failure(let error)): Issue.record("\(bytes): decoded to \(ours), not \(error)")
            }
        }
        #expect(agreed > Self.mutationsPerTarget / 20)
        #expect(refused > Self.mutationsPerTarget / 20)
    }

    /// What the fuzzer runs: any decoder on any other's bytes, and fixed points.
    @Test(arguments: [1, 2, 3, 4] as [UInt64])
    func anyBytesReachAFixedPoint(seed: UInt64) throws {
        var random = RandomValues(seed: seed)
        let memory = GuardedMemory(capacity: 1 << 20)
        let references = FuzzTarget.allCases.compactMap(\.reference)
        for _ in 0..<1_000 {
            let first = try references[random.count(references.count - 1)].sample(&random)
            let second = try references[random.count(references.count - 1)].sample(&random)
            let bytes = random.bool() ? first : mutate(first, with: second, &random.generator)
            fuzzHotCodecs(memory.place(bytes))
        }
    }

    private func internalRequest(_ random: inout RandomValues) -> [UInt8] {
        let numbers = [3, 4, 5, 6, 7, 8, 9, 10, 11, 1000, 1300, 1301, 1302, 9900] as [UInt32]
        return InternalRaftRequest.encode(
            id: random.uint64(), fieldNumber: numbers[random.count(numbers.count - 1)], body: Bytes(random.data()),
            userName: random.string(), authRevision: random.uint64()
        ).array
    }

    /// Up to four flips, cuts, insertions, repetitions, splices and lies about lengths.
    private func mutate(_ base: [UInt8], with other: [UInt8], _ random: inout PRNG) -> [UInt8] {
        var bytes = base
        for _ in 0..<random.next(in: 1..<5) {
            let at = random.next(in: 0..<bytes.count + 1)
            switch random.next(in: 0..<8) {
            case 0 where at < bytes.count: bytes[at] ^= 1 << UInt8(random.next(in: 0..<8))
            case 1 where at < bytes.count: bytes[at] = UInt8(truncatingIfNeeded: random.next())
            case 2: bytes.removeSubrange(at...)
            case 3: bytes.insert(UInt8(truncatingIfNeeded: random.next()), at: at)
            case 4:
                let from = random.next(in: 0..<other.count + 1)
                bytes.replaceSubrange(at..., with: other[from...])
            case 5: bytes.insert(contentsOf: bytes[..<at], at: at)
            case 6 where at < bytes.count: bytes.remove(at: at)
            case 7: bytes.insert(contentsOf: [UInt8](repeating: 0xff, count: random.next(in: 1..<11)), at: at)
            default: break
            }
        }
        return bytes
    }
}
