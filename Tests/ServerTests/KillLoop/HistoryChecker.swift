import Client
import Foundation
import Primitives
import TestSupport
import Wire

/// What the store should hold: the history seen so far, folded. One checker lives through all rounds.
struct HistoryChecker {
    /// One key's state.
    private struct Row: Equatable {
        var value: Data
        var createRevision: Int64
        var modRevision: Int64
        var version: Int64
    }

    private let journal: Journal
    /// Every revision ever seen, as the watch told it.
    private var history: [Int64: Set<Change>] = [:]
    private var checkedRevision: Int64 = 1
    /// The history folded up to `checkedRevision`.
    private var rows: [Data: Row] = [:]
    private var seenValues: [Data: Int64] = [:]
    private var hashes: [Int64: (compactRevision: Int64, hash: UInt32)] = [:]

    init(journal: Journal) { self.journal = journal }

    var revision: Int64 { checkedRevision }

    /// Checks a server that has just come up and to which nobody writes. Throws what is wrong.
    mutating func check(_ server: TestServer, full: Bool, random: inout PRNG) async throws {
        let client = try server.client()
        do {
            try await check(client, full: full, random: &random)
        } catch {
            await client.close()
            throw error
        }
        await client.close()
        if let violation = journal.violations.first { throw TestFailure(violation) }
    }

    private mutating func check(_ client: EtcdClient, full: Bool, random: inout PRNG) async throws {
        let probe = try await client.range(request())
        let current = probe.header.revision
        let floor = max(journal.highestRevision, checkedRevision)
        guard current >= floor else {
            throw TestFailure("the revision went back: \(current), after \(floor) was acknowledged or read")
        }
        let hash = try await client.hashKV(revision: 0)
        let compacted = max(hash.compactRevision, 0)
        guard compacted >= journal.compactRevision else {
            throw TestFailure("compaction to \(journal.compactRevision) was acknowledged, now \(compacted)")
        }
        // An overlap with what was checked before proves that history does not change.
        // Revision 1 is the empty store.
        let start = max(compacted + 1, 2, full ? 2 : checkedRevision - 100)
        try await follow(client, from: start, to: current)
        try checkAcknowledged(after: max(compacted, start - 1), to: current)
        // Once on the way, if it can still be read, and once at the end.
        let middle = Int64(random.next(in: Int(checkedRevision)..<Int(current) + 1))
        fold(to: middle)
        if middle >= compacted { try await compareState(client, at: middle) }
        fold(to: current)
        try await compareState(client, at: current)
        try await readOldWrites(client, after: compacted, random: &random)
        try await checkCompacted(client, compacted)
        try await checkLeases(client)
        try await checkHashes(client, compacted, current)
    }

    private func request(at revision: Int64 = 0) -> Etcdserverpb_RangeRequest {
        var request = Etcdserverpb_RangeRequest()
        request.key = Data([0])
        request.rangeEnd = Data([0])
        request.revision = revision
        return request
    }

    /// Watches from `start` to `current`: no gap, nothing twice, nothing that was not sent, nothing that has changed.
    private mutating func follow(_ client: EtcdClient, from start: Int64, to current: Int64) async throws {
        guard start <= current else { return }
        var create = Etcdserverpb_WatchCreateRequest()
        create.key = Data([0])
        create.rangeEnd = Data([0])
        create.startRevision = start
        create.prevKv = true
        let stream = try await client.watch(create)
        defer { stream.cancel() }
        var iterator = stream.makeAsyncIterator()
        var next = start
        while next <= current {
            guard let response = try await iterator.nextMessage() else { throw TestFailure("the watch ended") }
            if response.canceled { throw TestFailure("the watch was cancelled: \(response.cancelReason)") }
            var revisions: [Int64: Set<Change>] = [:]
            for event in response.events {
                let revision = event.kv.modRevision
                guard revision == next || revision == next - 1 && revisions[revision] != nil else {
                    throw TestFailure("the watch from \(start): revision \(revision) where \(next) should come")
                }
                if revision == next { next += 1 }
                let change = Change(key: event.kv.key, value: event.type == .put ? event.kv.value : nil)
                guard revisions[revision, default: []].insert(change).inserted else {
                    throw TestFailure("revision \(revision) has a change twice: \(change)")
                }
                try checkPrevious(event)
            }
            for (revision, changes) in revisions { try record(revision, changes) }
        }
    }

    private func checkPrevious(_ event: Mvccpb_Event) throws {
        let isCreation = event.type == .put && event.kv.createRevision == event.kv.modRevision
        guard isCreation != event.hasPrevKv else {
            let what = event.hasPrevKv ? "given" : "missing"
            throw TestFailure("revision \(event.kv.modRevision): previous value \(what)")
        }
        guard event.hasPrevKv, let known = history[event.prevKv.modRevision] else { return }
        guard known.contains(Change(key: event.kv.key, value: event.prevKv.value)) else {
            let (revision, before) = (event.kv.modRevision, event.prevKv.modRevision)
            throw TestFailure("revision \(revision): the previous value is not that of \(before)")
        }
    }

    private mutating func record(_ revision: Int64, _ changes: Set<Change>) throws {
        if let known = history[revision] {
            guard known == changes else { throw TestFailure("revision \(revision) has changed since it was read") }
            return
        }
        for case let value? in changes.map(\.value) {
            guard journal.wasSent(value) else { throw TestFailure("revision \(revision) holds what nobody wrote") }
            if let before = seenValues.updateValue(revision, forKey: value) {
                throw TestFailure("one write was carried out twice, at \(before) and at \(revision)")
            }
        }
        history[revision] = changes
    }

    private func checkAcknowledged(after start: Int64, to current: Int64) throws {
        for (revision, changes) in journal.acknowledgedChanges(after: start) {
            guard history[revision] == changes else {
                throw TestFailure(
                    "the write acknowledged with revision \(revision) is lost or wrong: "
                        + "\(describe(changes)), the store has \(describe(history[revision] ?? []))")
            }
        }
    }

    private func describe(_ changes: Set<Change>) -> String {
        changes.map {
            String(decoding: $0.key, as: UTF8.self) + "="
                + ($0.value.map { String(decoding: $0.prefix(20), as: UTF8.self) } ?? "deleted")
        }.sorted().joined(separator: " ")
    }

    private mutating func fold(to revision: Int64) {
        while checkedRevision < revision {
            checkedRevision += 1
            for change in history[checkedRevision] ?? [] {
                guard let value = change.value else {
                    rows[change.key] = nil
                    continue
                }
                let old = rows[change.key]
                rows[change.key] = Row(
                    value: value, createRevision: old?.createRevision ?? checkedRevision,
                    modRevision: checkedRevision, version: (old?.version ?? 0) + 1)
            }
        }
    }

    /// Some writes of long ago, each at the revision it was given.
    private func readOldWrites(_ client: EtcdClient, after compacted: Int64, random: inout PRNG) async throws {
        guard compacted < checkedRevision else { return }
        for _ in 0..<20 {
            let revision = Int64(random.next(in: Int(compacted) + 1..<Int(checkedRevision) + 1))
            for change in history[revision] ?? [] {
                var request = Etcdserverpb_RangeRequest()
                request.key = change.key
                request.revision = revision
                let found = try await client.range(request).kvs
                let isSame = found.first?.value == change.value
                guard isSame, change.value == nil || found[0].modRevision == revision else {
                    throw TestFailure("revision \(revision) is not readable as written: \(describe([change]))")
                }
            }
        }
    }

    /// Reads everything at the revision that the history is folded to, and compares.
    private func compareState(_ client: EtcdClient, at revision: Int64) async throws {
        let response = try await client.range(request(at: revision))
        var found: [Data: Row] = [:]
        for row in response.kvs {
            found[row.key] = Row(
                value: row.value, createRevision: row.createRevision, modRevision: row.modRevision,
                version: row.version)
        }
        guard found == rows, response.kvs.count == rows.count else {
            let wrong = Set(found.keys).union(rows.keys).filter { found[$0] != rows[$0] }
            throw TestFailure(
                "at revision \(revision) the store differs from its history in "
                    + "\(wrong.map { String(decoding: $0, as: UTF8.self) }.sorted())")
        }
        var count = request(at: revision)
        count.countOnly = true
        guard response.count == Int64(rows.count), try await client.range(count).count == Int64(rows.count) else {
            throw TestFailure("at revision \(revision) the count is \(response.count), not \(rows.count)")
        }
    }

    private func checkCompacted(_ client: EtcdClient, _ compacted: Int64) async throws {
        guard compacted > 1 else { return }
        do throws(ClientError) {
            _ = try await client.range(request(at: compacted - 1))
        } catch {
            if error.message == "etcdserver: mvcc: required revision has been compacted" { return }
            throw error
        }
        throw TestFailure("revision \(compacted - 1) is readable, though compacted to \(compacted)")
    }

    private func checkLeases(_ client: EtcdClient) async throws {
        let known = Set(try await client.leaseLeases().leases.map(\.id))
        let (present, absent) = journal.leases
        let lost = present.subtracting(known)
        guard lost.isEmpty else { throw TestFailure("granted leases are lost: \(lost.sorted())") }
        let alive = absent.intersection(known)
        guard alive.isEmpty else { throw TestFailure("revoked leases are alive: \(alive.sorted())") }
    }

    /// A revision's hash stays what it was, as long as nothing more is compacted.
    private mutating func checkHashes(_ client: EtcdClient, _ compacted: Int64, _ current: Int64) async throws {
        for (revision, known) in hashes.sorted(by: { $0.key < $1.key }) {
            guard known.compactRevision == compacted, revision >= compacted else { continue }
            let hash = try await client.hashKV(revision: revision).hash
            guard hash == known.hash else { throw TestFailure("the hash of revision \(revision) has changed") }
        }
        hashes = [current: (compacted, try await client.hashKV(revision: current).hash)]
    }
}
