import Primitives
import StateMachine
import Testing
import Wire

@testable import Server

/// The checks of a request before it goes anywhere, against a brute-force model of etcd's.
@Suite struct RequestCheckTests {
    /// Every key of up to two letters: intervals become sets of these.
    private static let letters = Array("abcd".utf8)
    private static let universe: [Bytes] =
        letters.map { Bytes([$0]) } + letters.flatMap { a in letters.map { Bytes([a, $0]) } }

    indirect enum Change {
        case put(Bytes)
        case delete(Bytes, Bytes)
        case range(Bytes)
        case txn(compares: Int, [Change], [Change])
        case empty

        /// As protobuf has it, written by hand.
        var encoded: [UInt8] {
            switch self {
            case .put(let key): Self.message(2, Self.message(1, key.array))
            case .delete(let key, let end):
                Self.message(3, Self.message(1, key.array) + (end.isEmpty ? [] : Self.message(2, end.array)))
            case .range(let key): Self.message(1, key.isEmpty ? [] : Self.message(1, key.array))
            case .txn(let compares, let success, let failure):
                Self.message(4, Self.txn(compares, success, failure))
            case .empty: []
            }
        }

        static func txn(_ compares: Int, _ success: [Change], _ failure: [Change]) -> [UInt8] {
            var bytes: [UInt8] = []
            for _ in 0..<compares { bytes += message(1, message(3, [0x61])) }
            for change in success { bytes += message(2, change.encoded) }
            for change in failure { bytes += message(3, change.encoded) }
            return bytes
        }

        private static func message(_ field: UInt8, _ body: [UInt8]) -> [UInt8] {
            var bytes = [field << 3 | 2]
            var rest = body.count
            while rest > 0x7f {
                bytes.append(UInt8(rest & 0x7f) | 0x80)
                rest >>= 7
            }
            return bytes + [UInt8(rest)] + body
        }
    }

    private struct Duplicate: Error {}

    /// Keys put and keys deleted by a branch; etcd's order: deletes here, then nested transactions, then puts here.
    private static func changes(_ branch: [Change]) throws -> (puts: Set<Bytes>, deletes: Set<Bytes>) {
        var puts: Set<Bytes> = []
        var deletes: Set<Bytes> = []
        for case .delete(let key, let end) in branch {
            deletes.formUnion(universe.filter { end.isEmpty ? $0 == key : $0 >= key && $0 < end })
        }
        for case .txn(_, let success, let failure) in branch {
            let then = try changes(success)
            let otherwise = try changes(failure)
            if !then.puts.isDisjoint(with: puts) || !then.puts.isDisjoint(with: deletes) { throw Duplicate() }
            // The two branches exclude each other, so what both put is put once.
            if !otherwise.puts.isDisjoint(with: puts) || !otherwise.puts.isDisjoint(with: deletes) { throw Duplicate() }
            puts.formUnion(then.puts.union(otherwise.puts))
            deletes.formUnion(then.deletes.union(otherwise.deletes))
        }
        for case .put(let key) in branch {
            if puts.contains(key) || deletes.contains(key) { throw Duplicate() }
            puts.insert(key)
        }
        return (puts, deletes)
    }

    /// The first operation that is wrong, in etcd's order; nil when none is.
    private static func wrong(_ compares: Int, _ success: [Change], _ failure: [Change], _ max: Int) -> RequestError? {
        let count = Swift.max(compares, success.count, failure.count)
        if count > max { return .tooManyOperations }
        for change in success + failure {
            switch change {
            case .empty: return .keyNotFound
            case .range(let key): if key.isEmpty { return .emptyKey }
            case .txn(let compares, let success, let failure):
                if let error = wrong(compares, success, failure, max - count) { return error }
            case .put, .delete: continue
            }
        }
        return nil
    }

    private static func expected(
        _ compares: Int, _ success: [Change], _ failure: [Change], _ max: Int
    ) -> RequestError? {
        if let error = wrong(compares, success, failure, max) { return error }
        do {
            _ = try changes(success)
            _ = try changes(failure)
            return nil
        } catch { return .duplicateKey }
    }

    private static func found(_ message: [UInt8], operationsMax: Int) -> RequestError? {
        message.withUnsafeBytes { bytes in
            do throws(RequestError) {
                _ = try RequestChecks.txn(bytes, operationsMax: operationsMax)
                return nil
            } catch { return error }
        }
    }

    private static func randomBranch(_ random: inout PRNG, depth: Int, isDense: Bool) -> [Change] {
        (0..<random.next(in: 0..<4)).map { _ in
            let key = universe[random.next(in: 0..<universe.count)]
            switch random.next(in: 0..<(isDense ? 40 : 12)) {
            case 0: return .range(random.chance(oneIn: 5) ? Bytes() : key)
            case 1 where random.chance(oneIn: 4): return .empty
            case 2, 3, 4: return .delete(key, random.chance(oneIn: 2) ? Bytes() : universe[random.next(in: 0..<20)])
            case 5...7 where depth < 4:
                return .txn(
                    compares: random.next(in: 0..<3), randomBranch(&random, depth: depth + 1, isDense: isDense),
                    randomBranch(&random, depth: depth + 1, isDense: isDense))
            default: return .put(key)
            }
        }
    }

    @Test("Operation limits and duplicate keys are etcd's", arguments: 0..<20 as Range<UInt64>)
    func model(seed: UInt64) {
        var random = PRNG(seed: seed)
        var seen: [RequestError?: Int] = [:]
        for _ in 0..<1000 {
            let isDense = random.chance(oneIn: 3)
            let success = Self.randomBranch(&random, depth: 0, isDense: isDense)
            let failure = Self.randomBranch(&random, depth: 0, isDense: isDense)
            let compares = random.next(in: 0..<4)
            let limit = random.chance(oneIn: 3) ? random.next(in: 1..<8) : 128
            let expected = Self.expected(compares, success, failure, limit)
            let found = Self.found(Change.txn(compares, success, failure), operationsMax: limit)
            #expect(found == expected, "\(success) else \(failure), at most \(limit)")
            seen[expected, default: 0] += 1
        }
        // The requests are of every kind.
        for kind in [nil, .tooManyOperations, .duplicateKey, .emptyKey, .keyNotFound] as [RequestError?] {
            #expect(seen[kind, default: 0] > 5, "\(String(describing: kind))")
        }
    }

    @Test("What etcd's own tests name")
    func named() {
        func check(_ success: [Change]) -> RequestError? { Self.found(Change.txn(0, success, []), operationsMax: 128) }
        #expect(check([.put("a"), .put("a")]) == .duplicateKey)
        #expect(check([.put("a"), .delete("a", Bytes())]) == .duplicateKey)
        #expect(check([.put("b"), .delete("a", "c")]) == .duplicateKey)
        #expect(check([.put("c"), .delete("a", "c")]) == nil)
        #expect(check([.delete("a", "c"), .delete("b", "d")]) == nil)
        // An empty range deletes nothing.
        #expect(check([.put("b"), .delete("c", "a")]) == nil)
        // Both branches of a nested transaction may put a key, two transactions may not.
        #expect(check([.txn(compares: 0, [.put("a")], [.put("a")])]) == nil)
        let one = Change.txn(compares: 0, [.put("a")], [])
        #expect(check([one, one]) == .duplicateKey)
        #expect(check([one, .txn(compares: 0, [], [.put("a")])]) == .duplicateKey)
        // A put after another transaction's delete, but not before it.
        let delete = Change.txn(compares: 0, [.delete("a", Bytes())], [])
        #expect(check([delete, one]) == .duplicateKey)
        #expect(check([one, delete]) == nil)
    }

    @Test("Tens of thousands of nested puts and deletes are checked in moments", .timeLimit(.minutes(1)))
    func large() {
        func key(_ outer: Int, _ inner: Int, _ last: Int) -> Bytes {
            Bytes([UInt8(outer), UInt8(inner), UInt8(last)])
        }
        // Even branches delete every other key, odd ones put those in between.
        func branch(_ outer: Int, _ inner: Int) -> Change {
            .txn(
                compares: 0,
                (0..<30).map { last in
                    let number = 2 * last + inner % 2
                    return inner % 2 == 0
                        ? .delete(key(outer, inner, number), Bytes()) : .put(key(outer, inner - 1, number))
                }, [])
        }
        var branches = (0..<30).map { outer in
            Change.txn(compares: 0, (0..<30).map { branch(outer, $0) }, [])
        }
        #expect(Self.found(Change.txn(0, branches, []), operationsMax: 128) == nil)
        branches.append(.txn(compares: 0, [.put(key(17, 8, 4))], []))
        #expect(Self.found(Change.txn(0, branches, []), operationsMax: 128) == .duplicateKey)
        branches[30] = .txn(compares: 0, [.put(key(17, 8, 5))], [])
        #expect(Self.found(Change.txn(0, branches, []), operationsMax: 128) == .duplicateKey)
        branches[30] = .txn(compares: 0, [.put(key(17, 8, 64))], [])
        #expect(Self.found(Change.txn(0, branches, []), operationsMax: 128) == nil)
    }

    @Test("Puts and ranges are checked in etcd's order")
    func single() {
        func put(_ bytes: [UInt8]) -> RequestError? {
            bytes.withUnsafeBytes { bytes in
                do throws(RequestError) {
                    _ = try RequestChecks.put(bytes)
                    return nil
                } catch { return error }
            }
        }
        #expect(put([]) == .emptyKey)
        #expect(put([0x0a, 1, 0x61]) == nil)
        #expect(put([0x0a, 1, 0x61, 0x12, 1, 0x62, 0x28, 1]) == .valueProvided)
        #expect(put([0x0a, 1, 0x61, 0x28, 1]) == nil)
        #expect(put([0x0a, 1, 0x61, 0x18, 3, 0x30, 1]) == .leaseProvided)
        #expect(put([0x0a, 1, 0x61, 0x12, 1, 0x62, 0x18, 3, 0x28, 1, 0x30, 1]) == .valueProvided)
        #expect(put([0x0a, 9, 0x61]) == .malformed)
        func range(_ bytes: [UInt8]) -> RequestError? {
            bytes.withUnsafeBytes { bytes in
                do throws(RequestError) {
                    _ = try RequestChecks.range(bytes)
                    return nil
                } catch { return error }
            }
        }
        #expect(range([0x28, 9]) == .emptyKey)
        #expect(range([0x0a, 1, 0x61, 0x28, 3]) == .invalidSortOption)
        #expect(range([0x0a, 1, 0x61, 0x30, 5]) == .invalidSortOption)
        #expect(range([0x0a, 1, 0x61, 0x28, 2, 0x30, 4]) == nil)
    }
}
