import Primitives
import Testing
import Wire

@testable import MVCC

/// A change that is replayed after a crash, as the log would.
enum Command {
    enum Operation {
        case put(Bytes, Bytes, LeaseID)
        case delete(Bytes, Bytes)
        case range(ModelQuery)
    }
    case transaction([Operation])
    case compact(Int64)
    case meta(Bytes, Bytes?)
}

/// A plan that is kept open while the store goes on, and what it must still say.
final class OpenPlan {
    private var plan: RangePlan
    private var rest: ArraySlice<UInt8>

    init?(_ query: ModelQuery, _ reader: StoreReader, expected: Result<ModelAnswer, StoreError>) throws {
        guard case .success(let answer) = expected else { return nil }
        plan = try query.with { (query) throws(StoreError) in try reader.plan(query) }
        rest = answer.rows[...]
        #expect(plan.rowBytes == rest.count && plan.count == answer.count && plan.more == answer.more)
    }

    /// Writes one slice and compares it; false at the end.
    func advance(maxBytes: Int) throws -> Bool {
        let count = plan.prepareSlice(maxBytes: maxBytes)
        #expect(count == plan.prepareSlice(maxBytes: 1), "preparing twice changes nothing")
        if count == 0 {
            #expect(rest.isEmpty)
            return false
        }
        var slice = [UInt8](repeating: 0, count: count)
        var failure: StoreError?
        slice.withUnsafeMutableBytes { bytes in
            do throws(StoreError) { try plan.writeSlice(into: bytes) } catch { failure = error }
        }
        if let failure { throw failure }
        #expect(rest.prefix(count).elementsEqual(slice))
        rest = rest.dropFirst(count)
        return true
    }
}

/// Runs a store and the model side by side, from one seed.
struct Driver {
    var random: PRNG
    var model = Model()
    var meta: [Bytes: Bytes] = [:]
    var commands: [Command] = []
    var hashes: [UInt32] = []
    var store: Store
    var reader: StoreReader
    var plans: [OpenPlan] = []
    let options: StoreOptions
    let keyCount: Int

    init(seed: UInt64, backend: any Backend, options: StoreOptions, keyCount: Int) throws {
        random = PRNG(seed: seed)
        self.options = options
        self.keyCount = keyCount
        store = try Store.open(backend: backend, options: options)
        reader = try store.makeReader()
    }

    // MARK: Random parts

    mutating func key() -> Bytes {
        let number = random.next(in: 0..<keyCount)
        return random.chance(oneIn: 20) ? Bytes([UInt8(truncatingIfNeeded: number)]) : Bytes(utf8: "/r/key\(number)")
    }

    mutating func value() -> Bytes {
        let count = random.chance(oneIn: 40) ? random.next(in: 3000..<9000) : random.next(in: 0..<120)
        let letter = UInt8(97 + random.next(in: 0..<4))
        return Bytes([UInt8](repeating: letter, count: count))
    }

    mutating func lease() -> LeaseID { random.chance(oneIn: 3) ? LeaseID(Int64(random.next(in: 1..<9))) : .none }

    mutating func end(after key: Bytes) -> Bytes {
        switch random.next(in: 0..<5) {
        case 0: Bytes([0])
        case 1: Bytes()
        case 2: Bytes(key.array + [0])
        default: self.key()
        }
    }

    mutating func query(newest: Int64) -> ModelQuery {
        var query = ModelQuery(key: random.chance(oneIn: 6) ? Bytes([0]) : key())
        query.end = random.chance(oneIn: 4) ? Bytes([0]) : end(after: query.key)
        if random.chance(oneIn: 2) { query.revision = Int64(random.next(in: -1..<Int(newest) + 3)) }
        if random.chance(oneIn: 3) { query.limit = Int64(random.next(in: -1..<12)) }
        query.keysOnly = random.chance(oneIn: 5)
        query.countOnly = random.chance(oneIn: 8)
        query.order = [.none, .none, .ascend, .descend][random.next(in: 0..<4)]
        query.target = [.key, .key, .key, .version, .create, .mod, .value][random.next(in: 0..<7)]
        if random.chance(oneIn: 6) { query.minMod = Int64(random.next(in: 0..<Int(newest) + 2)) }
        if random.chance(oneIn: 6) { query.maxMod = Int64(random.next(in: 0..<Int(newest) + 2)) }
        if random.chance(oneIn: 8) { query.minCreate = Int64(random.next(in: 0..<Int(newest) + 2)) }
        if random.chance(oneIn: 8) { query.maxCreate = Int64(random.next(in: 0..<Int(newest) + 2)) }
        return query
    }

    /// Operations none of which touches a key that another one changes, as the server's checks make sure.
    mutating func transaction() -> [Command.Operation] {
        var touched: Set<Bytes> = []
        var result: [Command.Operation] = []
        for _ in 0..<random.next(in: 1..<6) {
            switch random.next(in: 0..<10) {
            case 0..<6:
                let key = key()
                if touched.insert(key).inserted { result.append(.put(key, value(), lease())) }
            case 6..<9:
                let key = key()
                let end = random.chance(oneIn: 2) ? Bytes() : end(after: key)
                let doomed = model.keys(ModelQuery(key: key, end: end), at: model.current)
                let isFree = touched.allSatisfy { !ModelQuery(key: key, end: end).covers($0) }
                if isFree, doomed.count < keyCount / 2 || random.chance(oneIn: 20) {
                    touched.formUnion(doomed)
                    touched.insert(key)
                    result.append(.delete(key, end))
                }
            default: result.append(.range(query(newest: model.current)))
            }
        }
        return result
    }

    // MARK: Steps

    mutating func write() throws {
        let operations = transaction()
        try apply(.transaction(operations), isReplay: false)
    }

    /// Applies a command to the store, and, unless it is a replay, to the model, comparing every answer.
    mutating func apply(_ command: Command, isReplay: Bool) throws {
        switch command {
        case .transaction(let operations):
            let wants = random.chance(oneIn: 2)
            if isReplay {
                try store.write { (transaction) throws(StoreError) in
                    for operation in operations { try Self.replay(operation, &transaction) }
                }
            } else {
                try run(operations, wants: wants)
            }
        case .compact(let revision):
            try store.compact(to: revision)
            if !isReplay { model.compact = revision }
        case .meta(let key, let value):
            store.setMeta(key, value)
            if !isReplay { meta[key] = value }
        }
        store.entryApplied(index: store.appliedIndex.advanced(by: 1), term: Term(3))
        let index = Int(store.appliedIndex.rawValue)
        if isReplay {
            #expect(store.stateHash == hashes[index - 1], "replaying entry \(index) had another effect")
        } else {
            commands.append(command)
            hashes.append(store.stateHash)
            #expect(store.currentRevision == model.current)
        }
    }

    private static func replay(
        _ operation: Command.Operation, _ transaction: inout WriteTransaction
    ) throws(StoreError) {
        switch operation {
        case .put(let key, let value, let lease):
            _ = try withPointers(key, value) { (key, value) throws(StoreError) in
                try transaction.put(key: key, value: value, lease: lease, wantPrevious: false)
            }
        case .delete(let key, let end):
            _ = try withPointers(key, end) { (key, end) throws(StoreError) in
                try transaction.deleteRange(key: key, end: end, wantPrevious: false)
            }
        case .range: return
        }
    }

    private mutating func run(_ operations: [Command.Operation], wants: Bool) throws {
        let main = model.current + 1
        var sub: UInt32 = 0
        var model = self.model
        try store.write { (transaction) throws(StoreError) in
            for operation in operations {
                let newest = sub > 0 ? main : main - 1
                #expect(transaction.readRevision == newest)
                switch operation {
                case .put(let key, let value, let lease):
                    let old = model.live(key, at: main)
                    let result = try withPointers(key, value) { (key, value) throws(StoreError) in
                        try transaction.put(key: key, value: value, lease: lease, wantPrevious: wants)
                    }
                    #expect(result.previous == (wants ? old?.record(key) : nil))
                    #expect(result.previousLease == old?.lease ?? .none)
                    model.put(key, value, lease, at: Revision(main: main, sub: sub))
                    sub += 1
                    let now = key.withUnsafeBytes { transaction.current($0) }
                    #expect(now?.version == (old?.version ?? 0) + 1 && now?.modRevision == main)
                    #expect(now?.hasLease == (lease != .none))
                case .delete(let key, let end):
                    let doomed = model.keys(ModelQuery(key: key, end: end), at: main)
                    let result = try withPointers(key, end) { (key, end) throws(StoreError) in
                        try transaction.deleteRange(key: key, end: end, wantPrevious: wants)
                    }
                    #expect(result.deleted == doomed.count)
                    let olds = doomed.map { model.live($0, at: main)! }
                    #expect(result.previous == (wants ? zip(doomed, olds).map { $1.record($0) } : []))
                    let leased = zip(doomed, olds).filter { $1.lease != .none }
                    #expect(result.detached.map(\.key) == leased.map(\.0))
                    #expect(result.detached.map(\.lease) == leased.map(\.1.lease))
                    for key in doomed {
                        model.delete(key, at: Revision(main: main, sub: sub))
                        sub += 1
                    }
                case .range(let query):
                    let expected = model.range(query, newest: newest)
                    let answer = Self.answer { () throws(StoreError) in
                        try query.with { (query) throws(StoreError) in try transaction.range(query) }
                    }
                    #expect(answer == expected)
                }
            }
        }
        if sub > 0 { model.current = main }
        self.model = model
    }

    static func answer(
        _ make: () throws(StoreError) -> RangePlan
    ) -> Result<ModelAnswer, StoreError> {
        do throws(StoreError) {
            var plan = try make()
            var rows = [UInt8](repeating: 0, count: plan.rowBytes)
            var failure: StoreError?
            rows.withUnsafeMutableBytes { bytes in
                do throws(StoreError) { try plan.writeAll(into: bytes) } catch { failure = error }
            }
            if let failure { throw failure }
            return .success(
                ModelAnswer(
                    queryRevision: plan.queryRevision, headerRevision: plan.headerRevision, count: plan.count,
                    more: plan.more, rows: rows))
        } catch {
            return .failure(error)
        }
    }

    mutating func read() throws {
        let query = query(newest: model.current)
        let expected = model.range(query, newest: model.current)
        let reader = self.reader
        let answer = Self.answer { () throws(StoreError) in
            try query.with { (query) throws(StoreError) in try reader.plan(query) }
        }
        #expect(answer == expected, "\(query)")
    }

    /// Opens a plan, or goes on with those that are open.
    mutating func stepPlans() throws {
        if plans.count < 4, random.chance(oneIn: 2) {
            let query = query(newest: model.current)
            if let plan = try OpenPlan(query, reader, expected: model.range(query, newest: model.current)) {
                plans.append(plan)
            }
            return
        }
        for index in plans.indices.reversed() {
            let isOpen = try plans[index].advance(maxBytes: random.next(in: 1..<600))
            if !isOpen || random.chance(oneIn: 12) { plans.remove(at: index) }
        }
    }

    mutating func compact() throws {
        let revision = Int64(random.next(in: Int(max(model.compact, 0))..<Int(model.current) + 2))
        if revision <= model.compact {
            #expect(throws: StoreError.compacted(compactRevision: model.compact)) { try store.compact(to: revision) }
        } else if revision > model.current {
            #expect(throws: StoreError.futureRevision(currentRevision: model.current)) {
                try store.compact(to: revision)
            }
        } else {
            try apply(.compact(revision), isReplay: false)
        }
    }

    mutating func changeMeta() throws {
        let key = Bytes(utf8: "lease/\(random.next(in: 0..<9))")
        try apply(.meta(key, random.chance(oneIn: 3) ? nil : value()), isReplay: false)
        #expect(store.metaEntries(prefix: "lease/").map(\.key) == meta.keys.sorted())
        #expect(store.meta(key) == meta[key])
    }

    mutating func persist() throws {
        if let batch = store.nextBatch(maxBytes: random.next(in: 1..<20_000)) {
            try store.backend.commit(batch)
            store.persisted(batch)
        }
    }

    mutating func hash() throws {
        let revision = Int64(random.next(in: Int(max(model.compact, 1))..<Int(model.current) + 1))
        let found = try reader.hashKV(revision: revision)
        #expect(found.hash == model.hashKV(revision) && found.hashRevision == revision)
        #expect(found.compactRevision == model.compact)
    }

    /// Follows the events from a random revision through the backend and the tail.
    mutating func watch() throws {
        var after = Int64(random.next(in: Int(max(model.compact - 1, 0))..<Int(model.current) + 1))
        let expected = model.events(after: after, through: model.current)
        var found: [RevisionEvents] = []
        var hasPrevious = 0
        while after < model.current {
            if let events = store.tailEvents(after: after, through: model.current, maxBytes: random.next(in: 1..<5000))
            {
                #expect(!events.isEmpty && events[0].main == after + 1)
                found += events
                after = events.last!.main
            } else {
                let history = try reader.historyEvents(
                    after: after, maxRevisions: random.next(in: 1..<9), maxBytes: random.next(in: 1..<5000),
                    wantPrevious: true)
                #expect(history.through > after)
                hasPrevious += history.events.count
                found += history.events
                after = history.through
            }
        }
        // What lies at or below the compact revision may be gone but for what is seen there.
        let above = expected.filter { $0.main > model.compact }
        let foundAbove = found.filter { $0.main > model.compact }
        #expect(foundAbove.map(\.main) == above.map(\.main))
        for (entry, wanted) in zip(foundAbove, above) {
            #expect(entry.events.map(\.record) == wanted.records)
            for (event, previous) in zip(entry.events, wanted.previous) where event.previous != nil {
                #expect(event.previous == previous)
            }
        }
        for (entry, wanted) in zip(foundAbove.prefix(hasPrevious), above) where found.count == foundAbove.count {
            #expect(entry.events.map(\.previous) == wanted.previous)
        }
        // A tombstone at the compact revision itself is still delivered (etcd #19179).
        let atCompact = expected.first { $0.main == model.compact }
        #expect(found.first { $0.main == model.compact }?.events.map(\.record) == atCompact?.records)
    }

    // MARK: Checks

    mutating func check() {
        store.state.pointee.index.checkInvariants()
        let numbers = store.numbers()
        let everything = ModelQuery(key: Bytes([0]), end: Bytes([0]))
        let keys = model.keys(everything, at: model.current)
        #expect(numbers.keys == keys.count)
        #expect(numbers.currentRevision == model.current && numbers.compactRevision == model.compact)
        if numbers.sweptRevision == model.compact {
            let stored = model.stored()
            #expect(numbers.versions == stored.count)
            let bytes = stored.reduce(0) { $0 + $1.version.record($1.key).count + Store.versionOverheadBytes }
            #expect(numbers.liveBytes == bytes)
        }
    }

    mutating func sweepAll() throws {
        plans = []
        while true {
            switch store.sweepStep(maxKeys: random.next(in: 1..<200)) {
            case .idle: return
            case .more, .finished: continue
            case .waiting:
                while let batch = store.nextBatch(maxBytes: 100_000) {
                    try store.backend.commit(batch)
                    store.persisted(batch)
                }
            }
        }
    }

    /// Opens the backend anew and replays what was not persisted.
    mutating func reopen(_ backend: any Backend) throws {
        plans = []
        store = try Store.open(backend: backend, options: options)
        reader = try store.makeReader()
        let applied = Int(store.appliedIndex.rawValue)
        if applied > 0 {
            #expect(store.stateHash == hashes[applied - 1])
            #expect(store.appliedTerm == Term(3))
        }
        for command in commands[applied...] { try apply(command, isReplay: true) }
        #expect(store.currentRevision == model.current)
        #expect(store.metaEntries(prefix: Bytes()).map(\.key) == meta.keys.sorted())
        #expect(store.metaEntries(prefix: Bytes()).allSatisfy { meta[$0.key] == $0.value })
        try checkLeases()
    }

    func checkLeases() throws {
        var found: [Bytes: LeaseID] = [:]
        try store.forEachLeasedKey { found[Bytes(copying: $0)] = $1 }
        let everything = ModelQuery(key: Bytes([0]), end: Bytes([0]))
        var expected: [Bytes: LeaseID] = [:]
        for key in model.keys(everything, at: model.current) {
            let lease = model.live(key, at: model.current)!.lease
            if lease != .none { expected[key] = lease }
        }
        #expect(found == expected)
    }
}

func withPointers<R>(
    _ a: Bytes, _ b: Bytes, _ body: (UnsafeRawBufferPointer, UnsafeRawBufferPointer) throws(StoreError) -> R
) throws(StoreError) -> R {
    try a.withUnsafeBytes { (a) throws(StoreError) in
        try b.withUnsafeBytes { (b) throws(StoreError) in try body(a, b) }
    }
}
