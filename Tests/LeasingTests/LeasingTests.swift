import Leasing
import Primitives
import Testing

let second: UInt64 = 1_000_000_000
let seeds: [UInt64] = Array(1...24)

/// Applied entries against a plain model: same answers, same keys in the same order, same records, on every seed.
@Suite struct AppliedEntriesTests {
    struct Model {
        var ttl: [Int64: Int64] = [:]
        var remaining: [Int64: Int64] = [:]
        var leaseOfKey: [Bytes: Int64] = [:]

        func keys(_ id: Int64) -> [Bytes] { leaseOfKey.filter { $0.value == id }.keys.sorted() }
        var records: [LeaseRecord] {
            ttl.map { LeaseRecord(id: LeaseID($0), ttlSeconds: $1, remainingSeconds: remaining[$0] ?? 0) }
                .sorted { $0.id < $1.id }
        }
    }

    @Test(arguments: seeds) func agreesWithModel(seed: UInt64) throws {
        var random = PRNG(seed: seed)
        let lessor = Lessor()
        var model = Model()
        var now: UInt64 = 5
        if random.chance(oneIn: 2) { lessor.promote(now: now, extend: second) }
        for _ in 0..<1500 {
            now += UInt64(random.next(in: 0..<1000))
            let id = Int64(random.next(in: 0..<12))
            let key = Bytes(utf8: "k\(random.next(in: 0..<40))")
            switch random.next(in: 0..<12) {
            case 0, 1: grant(lessor, &model, id, &random, now)
            case 2: revoke(lessor, &model, id)
            case 3, 4, 5: attach(lessor, &model, key, id)
            case 6:
                lessor.detach(key: key)
                model.leaseOfKey[key] = nil
            case 7: checkpoint(lessor, &model, id, Int64(random.next(in: -2..<30)))
            case 8 where random.chance(oneIn: 20): try restart(lessor, &model)
            case 9 where random.chance(oneIn: 10): lessor.promote(now: now, extend: 0)
            case 10 where random.chance(oneIn: 10): lessor.demote()
            default: #expect(lessor.keys(of: LeaseID(id)) == model.keys(id))
            }
            #expect(lessor.lease(of: key) == LeaseID(model.leaseOfKey[key] ?? 0))
            lessor.checkInvariants()
        }
        #expect(lessor.records() == model.records)
        #expect(Set(lessor.leases().map(\.rawValue)) == Set(model.ttl.keys))
        #expect(lessor.counters.attachedKeys == model.leaseOfKey.count)
    }

    func grant(_ lessor: Lessor, _ model: inout Model, _ id: Int64, _ random: inout PRNG, _ now: UInt64) {
        let ttl = [-5, 0, 1, 2, 3, 60, 9_000_000_000, 9_000_000_001, Int64.max][random.next(in: 0..<9)]
        let expected: LeaseError? =
            id == 0 ? .notFound : ttl > 9_000_000_000 ? .tooLarge : model.ttl[id] != nil ? .exists : nil
        do throws(LeaseError) {
            let record = try lessor.grant(id: LeaseID(id), ttlSeconds: ttl, now: now)
            #expect(expected == nil)
            #expect(record == LeaseRecord(id: LeaseID(id), ttlSeconds: max(2, ttl)))
            model.ttl[id] = max(2, ttl)
        } catch { #expect(error == expected) }
    }

    func revoke(_ lessor: Lessor, _ model: inout Model, _ id: Int64) {
        do throws(LeaseError) {
            let keys = try lessor.revoke(id: LeaseID(id))
            #expect(model.ttl[id] != nil)
            #expect(keys == model.keys(id))
            model.ttl[id] = nil
            model.remaining[id] = nil
            for key in keys { model.leaseOfKey[key] = nil }
        } catch {
            #expect(error == .notFound)
            #expect(model.ttl[id] == nil)
        }
    }

    func attach(_ lessor: Lessor, _ model: inout Model, _ key: Bytes, _ id: Int64) {
        do throws(LeaseError) {
            try lessor.attach(key: key, to: LeaseID(id))
            #expect(model.ttl[id] != nil)
            model.leaseOfKey[key] = id
        } catch {
            #expect(error == .notFound)
            #expect(model.ttl[id] == nil)
        }
    }

    func checkpoint(_ lessor: Lessor, _ model: inout Model, _ id: Int64, _ remaining: Int64) {
        let record = lessor.checkpoint(id: LeaseID(id), remainingSeconds: remaining)
        guard let ttl = model.ttl[id] else {
            #expect(record == nil)
            return
        }
        model.remaining[id] = max(0, min(ttl, remaining))
        #expect(record?.remainingSeconds == model.remaining[id])
    }

    func restart(_ lessor: Lessor, _ model: inout Model) throws {
        try lessor.restore(lessor.records().map { $0.encoded() })
        #expect(!lessor.isPrimary)
        #expect(lessor.counters.attachedKeys == 0)
        for (key, id) in model.leaseOfKey { try lessor.attach(key: key, to: LeaseID(id)) }
    }

    @Test func orderDoesNotDependOnHistory() throws {
        let forward = Lessor()
        let backward = Lessor()
        for id in 1...500 {
            _ = try forward.grant(id: LeaseID(Int64(id)), ttlSeconds: Int64(5 + id % 7), now: 0)
            _ = try backward.grant(id: LeaseID(Int64(501 - id)), ttlSeconds: Int64(5 + (501 - id) % 7), now: 0)
        }
        for lessor in [forward, backward] { lessor.promote(now: 0, extend: 0) }
        #expect(forward.leases() == backward.leases())
        #expect(forward.leases().first == LeaseID(7))
        #expect(forward.records() == backward.records())
        for time in 0..<20 {
            let expired = forward.expired(now: UInt64(time) * second)
            #expect(expired == backward.expired(now: UInt64(time) * second))
            for id in expired {
                _ = try forward.revoke(id: id)
                _ = try backward.revoke(id: id)
            }
        }
    }
}

@Suite struct LeaseRecordTests {
    @Test func knownBytes() {
        let record = LeaseRecord(id: LeaseID(0x12), ttlSeconds: 300, remainingSeconds: 1)
        #expect(record.encoded().array == [0x08, 0x12, 0x10, 0xac, 0x02, 0x18, 0x01])
        let plain = LeaseRecord(id: LeaseID(-1), ttlSeconds: 2)
        #expect(plain.encoded().array == [0x08] + Array(repeating: 0xff, count: 9) + [0x01, 0x10, 0x02])
    }

    @Test(arguments: seeds) func roundTripAndDamage(seed: UInt64) throws {
        var random = PRNG(seed: seed)
        for _ in 0..<500 {
            let id = Int64(bitPattern: random.next() | 1)
            let ttl = Int64(random.next() >> random.next(in: 1..<60))
            let remaining = random.chance(oneIn: 2) ? 0 : Int64(random.next() >> random.next(in: 1..<60))
            let record = LeaseRecord(id: LeaseID(id), ttlSeconds: ttl, remainingSeconds: remaining)
            let bytes = record.encoded().array
            #expect(try LeaseRecord(decoding: Bytes(bytes)) == record)
            // Unknown fields of every wire type are skipped.
            let unknown: [UInt8] =
                [0x20, 0x05] + [0x29, 1, 2, 3, 4, 5, 6, 7, 8] + [0x32, 2, 9, 9] + [0x3d, 1, 2, 3, 4]
            #expect(try LeaseRecord(decoding: Bytes(unknown + bytes)) == record)
            // A damaged record is refused or read as another lease, and never traps.
            var damaged = bytes
            damaged[random.next(in: 0..<damaged.count)] = UInt8(truncatingIfNeeded: random.next())
            damaged.removeLast(random.next(in: 0..<damaged.count))
            if let other = try? LeaseRecord(decoding: Bytes(damaged)) { #expect(other.id != .none) }
        }
    }

    static let malformed: [[UInt8]] = [
        [], [0x08], [0x08, 0x00], [0x10, 0x02], [0x08, 0x01, 0x32, 0x05, 0x00], [0x0b], [0x08, 0x01, 0x07],
        [0x08] + Array(repeating: 0xff, count: 10),
        [0x08, 0x01, 0x10] + Array(repeating: 0xff, count: 9) + [0x01],
    ]

    @Test(arguments: malformed)
    func refusesMalformed(bytes: [UInt8]) {
        #expect(throws: LeaseError.malformed) { try LeaseRecord(decoding: Bytes(bytes)) }
        let lessor = Lessor()
        #expect(throws: LeaseError.malformed) { try lessor.restore([Bytes(bytes)]) }
    }

    @Test func refusesDuplicates() {
        let record = LeaseRecord(id: LeaseID(1), ttlSeconds: 5).encoded()
        #expect(throws: LeaseError.malformed) { try Lessor().restore([record, record]) }
    }
}
