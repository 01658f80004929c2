import Primitives
import StateMachine

/// A sequential client: it asks, waits for the answer or for its patience to end, thinks, and asks again.
struct Client {
    let index: Int
    var random: PRNG
    /// Counts requests; an event for an earlier one is void.
    var request = 0
    /// The identity it waits for.
    var pending: UInt64?
    /// Where it is connected.
    var member = 0
    /// The revision each key was last seen with; 0: not there.
    var known: [Int: Int64] = [:]
    var leases: [Int64] = []
    /// A list that goes on at the revision where it began.
    var pinned: (range: KeyRange, revision: Int64)?
    var latestRevision: Int64 = 1
}

/// A request on its way.
struct Waiting {
    enum Kind {
        case write(Request, key: Int?)
        case read(KeyRange, at: Int64, key: Int?)
        case keepAlive(Int64)
    }

    var client: Int
    var kind: Kind
    var member: Int
    var life: Int
    var askedAt: UInt64
    /// How far clocks had jumped then.
    var jumped: UInt64
}

/// What one client asks for next.
enum Plan {
    case write(Request, key: Int?)
    case read(KeyRange, at: Int64, key: Int?)
    case serializable(KeyRange, at: Int64)
    case keepAlive(Int64)
}

extension Client {
    static let prefix = "/registry/pods/default/"
    static let eventPrefix = "/registry/events/"
    static let pods = KeyRange(prefix: Bytes(utf8: prefix))
    static let events = KeyRange(prefix: Bytes(utf8: eventPrefix))

    static func key(_ number: Int) -> Bytes { Bytes(utf8: prefix + "\(number)") }

    private mutating func value(_ bytesMax: Int) -> Bytes {
        let count = random.next(in: 1..<bytesMax + 1)
        return Bytes((0..<count).map { _ in UInt8(truncatingIfNeeded: random.next()) })
    }

    /// Draws the next request. `nextID` is its identity, which new leases take theirs from.
    mutating func plan(_ options: SimulationOptions, nextID: UInt64) -> Plan {
        let number = random.next(in: 0..<options.keyCount)
        let key = Self.key(number)
        let seen = known[number]
        switch random.next(in: 0..<100) {
        case 0..<36: return write(key, number, seen, options)
        case 36..<42:
            let delete = KeyOperation.delete(KeyRange(key: key), wantsPrevious: random.chance(oneIn: 2))
            return .write(guarded(key, seen ?? 0, delete), key: number)
        case 42..<47: return both(number, options)
        case 47..<50:
            return .write(.single(.delete(Self.events, wantsPrevious: random.chance(oneIn: 2))), key: nil)
        case 50..<64: return .read(KeyRange(key: key), at: 0, key: number)
        case 64..<72: return .read(Self.pods, at: 0, key: nil)
        case 72..<78:
            guard let pinned else { return .read(Self.pods, at: 0, key: nil) }
            return .read(pinned.range, at: pinned.revision, key: nil)
        case 78..<84: return .serializable(random.chance(oneIn: 2) ? Self.pods : KeyRange(key: key), at: 0)
        case 84..<87: return .serializable(Self.pods, at: pinned?.revision ?? 0)
        case 87..<90:
            guard options.compacts else { return .read(KeyRange(key: key), at: 0, key: number) }
            return .write(.compact(max(1, latestRevision - Int64(random.next(in: 0..<30)))), key: nil)
        default: return lease(options, nextID)
        }
    }

    /// A create when the key is not known to exist, else an update of the version that was seen.
    private mutating func write(_ key: Bytes, _ number: Int, _ seen: Int64?, _ options: SimulationOptions) -> Plan {
        let put = KeyOperation.put(
            key: key, value: value(options.valueBytesMax), lease: 0, wantsPrevious: random.chance(oneIn: 3))
        if random.chance(oneIn: 8) { return .write(.single(put), key: number) }
        return .write(guarded(key, seen ?? 0, put), key: number)
    }

    /// As kube-apiserver: if the key is at that revision, do it, else tell what is there.
    private func guarded(_ key: Bytes, _ revision: Int64, _ operation: KeyOperation) -> Request {
        .txn(
            compares: [Comparison(key: key, target: .modRevision, number: revision)], success: [operation],
            failure: [.range(KeyRange(key: key))])
    }

    /// A transaction over a group of keys, reading in between what it has written.
    private mutating func both(_ number: Int, _ options: SimulationOptions) -> Plan {
        let other = Self.key(random.next(in: 0..<options.keyCount))
        let key = Self.key(number)
        var success: [KeyOperation] = [
            .put(key: key, value: value(20), lease: 0, wantsPrevious: true), .range(Self.pods),
        ]
        if other != key {
            success.append(.put(key: other, value: value(20), lease: 0, wantsPrevious: false))
        }
        success.append(.delete(Self.events, wantsPrevious: false))
        let compare = Comparison(key: key, target: .version, number: Int64(random.next(in: 0..<3)))
        return .write(.txn(compares: [compare], success: success, failure: [.range(Self.pods)]), key: nil)
    }

    private mutating func lease(_ options: SimulationOptions, _ nextID: UInt64) -> Plan {
        guard options.usesLeases else { return .read(Self.events, at: 0, key: nil) }
        guard let lease = leases.last, !random.chance(oneIn: 6) else {
            let ttl = Int64(random.next(in: 1..<7))
            return .write(.grant(id: Int64(nextID), ttlSeconds: ttl), key: nil)
        }
        switch random.next(in: 0..<10) {
        case 0..<5:
            let key = Bytes(utf8: Self.eventPrefix + "\(random.next(in: 0..<6))")
            return .write(
                .single(.put(key: key, value: value(20), lease: lease, wantsPrevious: random.chance(oneIn: 3))),
                key: nil)
        case 5..<9: return .keepAlive(lease)
        default:
            leases.removeLast()
            return .write(.revoke(lease), key: nil)
        }
    }

    /// Learns from an answer.
    mutating func learn(_ answer: Answer, of request: Request, key: Int?) {
        latestRevision = max(latestRevision, answer.revision)
        switch answer.result {
        case .lease(let id, _): leases.append(id)
        case .refused(.leaseNotFound): if !leases.isEmpty { leases.removeLast() }
        case .single(.put): if let key { known[key] = answer.revision }
        case .txn(let succeeded, let results):
            guard let key else { return }
            if succeeded {
                if case .delete = results.first { known[key] = 0 } else { known[key] = answer.revision }
            } else if case .range(let records) = results.first {
                known[key] = records.first?.modRevision ?? 0
            }
        default: break
        }
    }

    mutating func learn(_ rows: [Record], of range: KeyRange, at: Int64, revision: Int64, key: Int?) {
        latestRevision = max(latestRevision, revision)
        if let key, at == 0 { known[key] = rows.first?.modRevision ?? 0 }
        if at == 0, !range.end.isEmpty { pinned = (range, revision) }
    }
}
