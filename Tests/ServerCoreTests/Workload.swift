import Primitives
import Simulator
import StateMachine

/// Random requests over few keys and leases, so that they meet.
struct Workload {
    var random: PRNG
    /// What the requests may refer to.
    var revision: Int64 = 1
    let memberID: UInt64
    /// Whether alarms that refuse everything may be raised.
    var raisesAlarms = true

    private mutating func key() -> Bytes {
        let letters = Array("abcdefg".utf8)
        let first = letters[random.next(in: 0..<letters.count)]
        return random.chance(oneIn: 3) ? Bytes([first, letters[random.next(in: 0..<letters.count)]]) : Bytes([first])
    }

    private mutating func end() -> Bytes {
        switch random.next(in: 0..<6) {
        case 0: Bytes([0])
        case 1: key()
        case 2: "d"
        default: Bytes()
        }
    }

    private mutating func value() -> Bytes {
        // Now and then more than a sector, or empty.
        let count = random.chance(oneIn: 12) ? random.next(in: 400..<3000) : random.next(in: 0..<40)
        return Bytes((0..<count).map { _ in UInt8(truncatingIfNeeded: random.next()) })
    }

    mutating func lease() -> Int64 { Int64(random.next(in: 1..<6)) }

    private mutating func someRevision() -> Int64 {
        switch random.next(in: 0..<8) {
        case 0: revision + Int64(random.next(in: 0..<3))
        case 1: Int64(random.next(in: -3..<3))
        case 2, 3: max(1, revision - Int64(random.next(in: 0..<10)))
        default: 0
        }
    }

    private mutating func put(mayIgnore: Bool = true) -> PutOperation {
        var put = PutOperation(key: key(), value: value())
        if random.chance(oneIn: 3) { put.lease = lease() }
        put.wantsPrevious = random.chance(oneIn: 3)
        if mayIgnore, random.chance(oneIn: 8) {
            put.ignoresValue = true
            put.value = Bytes()
        }
        if mayIgnore, random.chance(oneIn: 8) {
            put.ignoresLease = true
            put.lease = 0
        }
        return put
    }

    private mutating func delete() -> DeleteOperation {
        DeleteOperation(key: key(), end: end(), wantsPrevious: random.chance(oneIn: 2))
    }

    private mutating func range() -> RangeOperation {
        var range = RangeOperation(key: key(), end: end(), revision: someRevision())
        if random.chance(oneIn: 3) { range.limit = Int64(random.next(in: 1..<4)) }
        range.keysOnly = random.chance(oneIn: 4)
        range.countOnly = random.chance(oneIn: 5)
        return range
    }

    private mutating func compare() -> CompareOperation {
        var compare = CompareOperation(
            target: Int64(random.next(in: 0..<5)), result: Int64(random.next(in: 0..<4)), key: key(), end: end())
        switch compare.target {
        case 0: compare.number = Int64(random.next(in: 0..<4))
        case 3: compare.value = random.chance(oneIn: 2) ? Bytes() : value()
        case 4: compare.number = Int64(random.next(in: 0..<6))
        default: compare.number = max(0, revision - Int64(random.next(in: 0..<12)))
        }
        return compare
    }

    private mutating func branch(depth: Int, mayIgnore: Bool) -> [BranchOperation] {
        (0..<random.next(in: 0..<4)).map { _ in
            switch random.next(in: 0..<8) {
            case 0, 1: .range(range())
            case 2: mayIgnore ? .range(range()) : .delete(delete())
            case 3 where depth < 3: .txn(txn(depth: depth + 1, mayIgnore: mayIgnore))
            default: .put(put(mayIgnore: mayIgnore))
            }
        }
    }

    /// Puts that keep a value or lease are only in transactions that delete nothing: their key must exist.
    private mutating func txn(depth: Int, mayIgnore: Bool) -> TxnOperation {
        TxnOperation(
            compares: (0..<random.next(in: 0..<3)).map { _ in compare() },
            success: branch(depth: depth, mayIgnore: mayIgnore), failure: branch(depth: depth, mayIgnore: mayIgnore))
    }

    mutating func next() -> Operation {
        switch random.next(in: 0..<100) {
        case 0..<40: .put(put())
        case 40..<50: .delete(delete())
        case 50..<72: .txn(txn(depth: 0, mayIgnore: random.chance(oneIn: 2)))
        case 72..<77: .compact(revision - Int64(random.next(in: -1..<12)))
        case 77..<86: .grant(id: random.chance(oneIn: 20) ? 0 : lease(), ttlSeconds: ttlSeconds())
        case 86..<91: .revoke(lease())
        case 91..<93: .checkpoint((0..<random.next(in: 1..<3)).map { _ in (lease(), Int64(random.next(in: -1..<90))) })
        case 93..<97: alarm()
        case 97: .attributes(member: memberID, name: "m\(random.next(in: 0..<3))", clientURLs: ["http://c:1"])
        case 98: .attributes(member: 77, name: "stranger", clientURLs: [])
        default: .garbage(4, [0x0a, 0x7f])
        }
    }

    private mutating func ttlSeconds() -> Int64 {
        switch random.next(in: 0..<10) {
        case 0: 9_000_000_001
        case 1: -5
        case 2: 9_000_000_000
        default: Int64(random.next(in: 0..<5000))
        }
    }

    private mutating func alarm() -> Operation {
        guard raisesAlarms else { return .alarm(action: 0, member: 0, kind: 0) }
        let member = random.chance(oneIn: 2) ? memberID : 5
        switch random.next(in: 0..<8) {
        case 0: return .alarm(action: 1, member: member, kind: 1)
        case 1: return .alarm(action: 1, member: member, kind: random.chance(oneIn: 3) ? 2 : 1)
        case 2: return .alarm(action: 0, member: 0, kind: Int64(random.next(in: 0..<3)))
        case 3: return .alarm(action: 3, member: member, kind: 1)
        default: return .alarm(action: 2, member: member, kind: Int64(random.next(in: 1..<3)))
        }
    }
}
