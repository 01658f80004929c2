import Leasing
import MVCC
import Membership
import Primitives
import RaftCore
import ServerCore
import Simulator
import StateMachine
import Synchronization
import Testing

/// A state machine on a memory backend, entry by entry.
private final class Machine {
    let backend = MemoryBackend()
    let store: Store
    let lessor = Lessor()
    let stateMachine: StateMachine
    private var index: UInt64 = 0

    init(options: StoreOptions = StoreOptions(), memberID: UInt64 = 0xa1) throws {
        store = try Store.open(backend: backend, options: options)
        stateMachine = try StateMachine(
            store: store, lessor: lessor,
            identity: StateMachine.Identity(clusterID: 0xc1, memberID: MemberID(memberID)))
    }

    func change(_ change: MemberTable.Change) throws {
        index += 1
        _ = try stateMachine.applyChange(
            index: LogIndex(index), term: Term(3), kind: .configurationChangeV2,
            payload: MemberChange(requestID: 9, change).encoded(), now: 0)
    }

    func apply(_ operation: Operation) throws -> ApplyOutcome {
        index += 1
        return try stateMachine.apply(
            index: LogIndex(index), term: Term(3), payload: operation.payload(id: 9), now: 0
        ).outcome
    }

    @discardableResult
    func respond(_ operation: Operation) throws -> [UInt8] {
        guard case .response(let bytes) = try apply(operation) else { throw Mismatch("\(operation) was refused") }
        return bytes.array
    }

    func refuse(_ operation: Operation) throws -> RequestError? {
        guard case .refused(let error) = try apply(operation) else { return nil }
        return error
    }

    /// Everything a refused request must leave alone.
    var state: String {
        let published = stateMachine.published.withLock { "\($0)" }
        return "\(store.currentRevision) \(store.compactRevision) \(store.stateHash) \(lessor.records()) "
            + "\((1..<6).map { lessor.keys(of: LeaseID($0)) }) \(published) \(store.metaEntries(prefix: Bytes()))"
    }
}

@Suite struct StateMachineTests {
    private func put(_ key: Bytes, _ value: Bytes = "v", lease: Int64 = 0) -> Operation {
        .put(PutOperation(key: key, value: value, lease: lease))
    }

    /// The header of an answer at `revision`: cluster c1, member a1, term 3.
    private func header(_ revision: UInt8) -> [UInt8] { [8, 0xc1, 1, 16, 0xa1, 1, 24, revision, 32, 3] }

    private func answer(_ revision: UInt8, _ rest: [UInt8] = []) -> [UInt8] { [10, 10] + header(revision) + rest }

    @Test("Answers are etcd's, byte for byte")
    func bytes() throws {
        let machine = try Machine()
        #expect(try machine.respond(put("a", "1")) == answer(2))
        // The previous record: key a, created 2, modified 2, version 1, value 1.
        let first: [UInt8] = [10, 1, 97, 16, 2, 24, 2, 32, 1, 42, 1, 49]
        let again = PutOperation(key: "a", value: "2", wantsPrevious: true)
        #expect(try machine.respond(.put(again)) == answer(3, [18, 12] + first))
        let absent = PutOperation(key: "b", value: "2", wantsPrevious: true)
        #expect(try machine.respond(.put(absent)) == answer(4))
        let second: [UInt8] = [10, 1, 97, 16, 2, 24, 3, 32, 2, 42, 1, 50]
        let delete = DeleteOperation(key: "a", end: "b", wantsPrevious: true)
        #expect(try machine.respond(.delete(delete)) == answer(5, [16, 1, 26, 12] + second))
        // Nothing to delete: the revision stays.
        #expect(try machine.respond(.delete(delete)) == answer(5))
        #expect(try machine.respond(.grant(id: 7, ttlSeconds: 60)) == answer(5, [16, 7, 24, 60]))
        #expect(try machine.respond(.grant(id: 8, ttlSeconds: 1)) == answer(5, [16, 8, 24, 2]))
        #expect(try machine.respond(.revoke(8)) == answer(5))
        #expect(try machine.respond(.compact(3)) == answer(5))
        #expect(try machine.respond(.alarm(action: 1, member: 5, kind: 1)) == answer(5, [18, 4, 8, 5, 16, 1]))
        #expect(try machine.respond(.alarm(action: 0, member: 0, kind: 2)) == answer(5))
        #expect(try machine.respond(.alarm(action: 0, member: 0, kind: 0)) == answer(5, [18, 4, 8, 5, 16, 1]))
        #expect(try machine.respond(.alarm(action: 2, member: 5, kind: 1)) == answer(5, [18, 4, 8, 5, 16, 1]))
        #expect(try machine.respond(.alarm(action: 2, member: 5, kind: 1)) == answer(5))
        #expect(try machine.respond(.checkpoint([(7, 30)])) == [])
    }

    @Test("Headers inside of a transaction's answer bear the revision alone, nested ones nothing")
    func innerHeaders() throws {
        let machine = try Machine()
        try machine.respond(put("a", "1"))
        let nested = TxnOperation(success: [.delete(DeleteOperation(key: "a"))])
        let txn = TxnOperation(success: [
            .range(RangeOperation(key: "a", countOnly: true)), .put(PutOperation(key: "b", value: "2")),
            .txn(nested), .range(RangeOperation(key: "a", countOnly: true)),
        ])
        let expected: [UInt8] =
            answer(3, [16, 1])
            // Before the first change: the revision of before.
            + [26, 8, 10, 6, 10, 2, 24, 2, 32, 1]
            + [26, 6, 18, 4, 10, 2, 24, 3]
            + [26, 16, 34, 14, 10, 0, 16, 1, 26, 8, 26, 6, 10, 2, 24, 3, 16, 1]
            + [26, 6, 10, 4, 10, 2, 24, 3]
        #expect(try machine.respond(.txn(txn)) == expected)
        // One that writes nothing, and whose compare fails.
        let compare = CompareOperation(target: 0, result: 0, key: "b", number: 9)
        let reading = TxnOperation(
            compares: [compare], failure: [.txn(TxnOperation(success: [.range(RangeOperation(key: "z"))]))])
        let read: [UInt8] = answer(3, [26, 14, 34, 12, 10, 0, 16, 1, 26, 6, 10, 4, 10, 2, 24, 3])
        #expect(try machine.respond(.txn(reading)) == read)
    }

    @Test("Checks come in etcd's order, and a refused request changes nothing")
    func order() throws {
        let machine = try Machine()
        try machine.respond(.grant(id: 1, ttlSeconds: 60))
        try machine.respond(put("a", "1", lease: 1))
        try machine.respond(put("a", "2", lease: 1))
        try machine.respond(.compact(2))
        let good = BranchOperation.put(PutOperation(key: "b", value: "3"))
        let lease = PutOperation(key: "b", lease: 4, ignoresValue: true)
        let key = PutOperation(key: "b", ignoresValue: true)
        let future = RangeOperation(key: "a", revision: 4)
        let old = RangeOperation(key: "a", revision: 1)
        let cases: [(Operation, RequestError)] = [
            (.put(lease), .leaseNotFound), (.put(key), .keyNotFound),
            (.put(PutOperation(key: "b", value: "v", ignoresLease: true)), .keyNotFound),
            (.txn(TxnOperation(success: [good, .put(lease)])), .leaseNotFound),
            (.txn(TxnOperation(success: [good, .put(key), .put(lease)])), .keyNotFound),
            (.txn(TxnOperation(success: [good, .range(future), .put(key)])), .futureRevision),
            (.txn(TxnOperation(success: [good, .range(old), .put(key)])), .compacted),
            (.txn(TxnOperation(success: [good, .txn(TxnOperation(success: [good, .put(lease)]))])), .leaseNotFound),
            (.compact(2), .compacted), (.compact(4), .futureRevision), (.compact(-7), .compacted),
            (.grant(id: 1, ttlSeconds: 60), .leaseExists), (.grant(id: 0, ttlSeconds: 60), .leaseNotFound),
            (.grant(id: 1, ttlSeconds: 9_000_000_001), .leaseTTLTooLarge), (.revoke(4), .leaseNotFound),
            (.alarm(action: 9, member: 1, kind: 1), .malformed), (.garbage(4, [0x0a, 9]), .malformed),
            (.garbage(6, [0x12, 9]), .malformed), (.garbage(10, [0x80]), .malformed),
            (.garbage(1100, []), .malformed), (.garbage(3, []), .malformed),
        ]
        for (operation, error) in cases {
            let before = machine.state
            #expect(try machine.refuse(operation) == error, "\(operation)")
            #expect(machine.state == before, "\(operation)")
        }
        // The branch that is not taken is not checked.
        #expect(try machine.refuse(.txn(TxnOperation(success: [good], failure: [.put(lease), .range(future)]))) == nil)
    }

    @Test("A member's attributes that cannot be read leave the member as it was")
    func attributes() throws {
        let world = World(seed: 1)
        try world.open()
        world.propose(.attributes(member: World.memberID, name: "m1", clientURLs: ["http://c:1"]))
        try world.settle()
        // The right identity, a new name, and a broken end.
        world.propose(.garbage(1301, [8, 0xa1, 1, 18, 4, 10, 1, 120, 0x12]))
        try world.settle()
        world.die(losesPower: true)
        try world.open()
        try world.settle()
    }

    @Test("NOSPACE refuses what grows and lets pass what shrinks")
    func noSpace() throws {
        let machine = try Machine()
        try machine.respond(.grant(id: 1, ttlSeconds: 60))
        try machine.respond(put("a", "1", lease: 1))
        try machine.respond(put("b", "1"))
        try machine.respond(.alarm(action: 1, member: 5, kind: 1))
        try machine.respond(.alarm(action: 1, member: 6, kind: 1))
        let growing = BranchOperation.put(PutOperation(key: "c", lease: 4))
        let shrinking = BranchOperation.delete(DeleteOperation(key: "b"))
        let before = machine.state
        #expect(try machine.refuse(put("c", lease: 4)) == .noSpace)
        #expect(try machine.refuse(.grant(id: 0, ttlSeconds: 60)) == .noSpace)
        #expect(try machine.refuse(.txn(TxnOperation(success: [shrinking, growing]))) == .noSpace)
        let nested = TxnOperation(success: [shrinking, .txn(TxnOperation(success: [growing]))])
        #expect(try machine.refuse(.txn(nested)) == .noSpace)
        #expect(machine.state == before)
        #expect(try machine.refuse(.txn(TxnOperation(success: [shrinking], failure: [growing]))) == nil)
        #expect(try machine.refuse(.compact(2)) == nil)
        #expect(try machine.refuse(.checkpoint([(1, 30)])) == nil)
        #expect(try machine.refuse(.revoke(1)) == nil)
        #expect(try machine.refuse(.delete(DeleteOperation(key: "a"))) == nil)
        // The last alarm counts.
        try machine.respond(.alarm(action: 2, member: 5, kind: 1))
        #expect(try machine.refuse(put("c")) == .noSpace)
        try machine.respond(.alarm(action: 2, member: 6, kind: 1))
        #expect(try machine.refuse(put("c")) == nil)
    }

    @Test("CORRUPT hides outcomes at the member it names, and changes nothing of what is applied")
    func corrupt() throws {
        let (named, other) = (try Machine(), try Machine(memberID: 0xa2))
        for machine in [named, other] {
            for id in [0xa1, 0xa2, 0xa3] as [UInt64] {
                try machine.change(
                    .add(Member(id: MemberID(id), name: "m", peerURLs: ["http://p:\(id)"]), learnersMax: 1))
            }
            try machine.respond(.grant(id: 1, ttlSeconds: 60))
        }
        let requests: [Operation] = [
            put("a"), .txn(TxnOperation()), .delete(DeleteOperation(key: "a")), .compact(1), .revoke(9),
            .grant(id: 1, ttlSeconds: 5), .garbage(4, [0x80]),
        ]
        // One that names a member, one that names all, one that names nobody there is: which is all.
        for (member, namesOther) in [(0xa1, false), (0, true), (5, true)] as [(UInt64, Bool)] {
            for machine in [named, other] { try machine.respond(.alarm(action: 1, member: member, kind: 2)) }
            for request in requests {
                #expect(try named.refuse(request) == .timeout, "\(request)")
                let error = try other.refuse(request)
                #expect((error == .timeout) == namesOther, "\(request)")
            }
            for (machine, isRefused) in [(named, true), (other, namesOther)] {
                let outcome = try machine.stateMachine.readOnlyTxn(Bytes())
                if case .refused(.corrupt) = outcome { #expect(isRefused) } else { #expect(!isRefused) }
                // What is not the store's is answered.
                try machine.respond(.alarm(action: 0, member: 0, kind: 0))
                try machine.respond(.attributes(member: 0xa1, name: "b", clientURLs: []))
                try machine.respond(.alarm(action: 2, member: member, kind: 2))
            }
            #expect(named.state == other.state)
        }
        #expect(try named.refuse(put("a")) == nil)
        // Alarms go with their member.
        try other.respond(.alarm(action: 1, member: 0xa3, kind: 2))
        try other.respond(.alarm(action: 1, member: 0xa3, kind: 1))
        try other.change(.remove(MemberID(0xa3)))
        #expect(other.stateMachine.published.withLock { $0.alarms } == [])
        #expect(other.store.metaEntries(prefix: MetaKeys.alarmPrefix).isEmpty)
        #expect(try other.refuse(put("a")) == nil)
    }

    @Test("A lease's end deletes all its keys, and no others, in one revision")
    func leases() throws {
        let machine = try Machine()
        try machine.respond(.grant(id: 1, ttlSeconds: 60))
        try machine.respond(.grant(id: 2, ttlSeconds: 60))
        for key in ["e", "a", "c", "b", "d", "f"] as [Bytes] { try machine.respond(put(key, lease: 1)) }
        // b moves to another lease, c to none, d keeps its own, e is put again, f is deleted.
        try machine.respond(put("b", lease: 2))
        try machine.respond(put("c"))
        try machine.respond(.put(PutOperation(key: "d", value: "w", ignoresLease: true)))
        try machine.respond(.put(PutOperation(key: "e", lease: 1, ignoresValue: true)))
        try machine.respond(.delete(DeleteOperation(key: "f")))
        #expect(machine.lessor.keys(of: LeaseID(1)) == ["a", "d", "e"])
        #expect(machine.lessor.keys(of: LeaseID(2)) == ["b"])
        let revision = machine.store.currentRevision
        try machine.respond(.revoke(1))
        #expect(machine.store.currentRevision == revision + 1)
        let events = try #require(
            machine.store.tailEvents(after: revision, through: revision + 1, maxBytes: 1 << 20)?.first)
        #expect(events.events.map { $0.withKey { Bytes(copying: $0) } } == ["a", "d", "e"])
        #expect(events.events.map { $0.isDelete } == [true, true, true])
        // What a revoked lease held can be held by the next of that name.
        try machine.respond(.grant(id: 1, ttlSeconds: 60))
        #expect(machine.lessor.keys(of: LeaseID(1)).isEmpty)
        try machine.respond(.revoke(2))
        let rows = try World.rows(machine.store, at: 0)
        let left = ModelRecord(create: 4, mod: 9, version: 2, value: "v", lease: 0).encoded("c")
        #expect(rows == [18, UInt8(left.count)] + left.array)
    }

    @Test("ignore_value and ignore_lease keep what is there")
    func ignoring() throws {
        let machine = try Machine()
        try machine.respond(.grant(id: 1, ttlSeconds: 60))
        try machine.respond(put("a", "one", lease: 1))
        try machine.respond(.put(PutOperation(key: "a", value: "two", ignoresLease: true)))
        try machine.respond(.put(PutOperation(key: "a", ignoresValue: true, ignoresLease: true)))
        let kept = ModelRecord(create: 2, mod: 4, version: 3, value: "two", lease: 1).encoded("a")
        #expect(try World.rows(machine.store, at: 0) == [18, UInt8(kept.count)] + kept.array)
        // Without ignore_lease a put takes the key off its lease.
        try machine.respond(.put(PutOperation(key: "a", ignoresValue: true)))
        #expect(machine.lessor.keys(of: LeaseID(1)).isEmpty)
        // Inside of a transaction they see what it has done before.
        let txn = TxnOperation(success: [
            .put(PutOperation(key: "a", value: "three", lease: 1)),
            .txn(TxnOperation(success: [.put(PutOperation(key: "a", ignoresValue: true, ignoresLease: true))])),
        ])
        try machine.respond(.txn(txn))
        let twice = ModelRecord(create: 2, mod: 6, version: 6, value: "three", lease: 1).encoded("a")
        #expect(try World.rows(machine.store, at: 0) == [18, UInt8(twice.count)] + twice.array)
    }

    @Test("An entry that a broken store stops is not noted as applied")
    func broken() throws {
        var options = StoreOptions()
        options.tailBytesMax = 0
        let machine = try Machine(options: options)
        let writer = BackendWriter(store: machine.store, backend: machine.backend)
        try machine.respond(put("a", "1"))
        while try writer.persist() != nil {}
        #expect(machine.backend.corrupt(Revision(main: 2), byte: 3))
        #expect(throws: StoreError.self) {
            try machine.apply(.put(PutOperation(key: "a", value: "2", wantsPrevious: true)))
        }
        // The backend may still get a turn before the process has ended.
        #expect(try writer.persist() == nil)
        #expect(machine.store.appliedIndex == LogIndex(1))
    }
}
