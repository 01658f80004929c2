import Client
import NIOConcurrencyHelpers
import Primitives
import Transport

/// W3: what a Kubernetes API server asks of its store, over 60 resources: creations, guaranteed updates and deletions
/// as transactions on the mod revision, reads of one object, paged lists at a pinned revision, and counts.
///
/// Each loop has objects of its own, so that its idea of their mod revisions is right and every answer can be checked:
/// an update or deletion with the right revision must succeed, one with a stale revision must fail and bring the
/// object as it is.
final class KubeSource: LoadSource {
    enum Operation: Int, CaseIterable {
        case create, update, staleUpdate, delete, get, list, count

        var name: String {
            self == .staleUpdate ? "stale-update" : "\(self)"
        }
    }

    /// The 60 prefixes, as the keys of resources and of custom resources are.
    static let prefixes: [[UInt8]] = {
        let builtIn = [
            "pods", "configmaps", "secrets", "events", "leases", "minions", "services/specs", "services/endpoints",
            "endpointslices", "deployments", "replicasets", "statefulsets", "daemonsets", "jobs", "cronjobs",
            "serviceaccounts", "namespaces", "roles", "rolebindings", "clusterroles", "clusterrolebindings",
            "persistentvolumes", "persistentvolumeclaims", "storageclasses", "csinodes", "priorityclasses",
            "ingress", "networkpolicies", "poddisruptionbudgets", "horizontalpodautoscalers",
        ]
        let custom = (0..<(60 - builtIn.count)).map { "example\($0).com/widgets" }
        return (builtIn + custom).map { Array("/registry/\($0)/".utf8) }
    }()

    /// What the measured part has to know afterwards: revisions of the writes that were acknowledged, by prefix.
    struct Acknowledged: Sendable {
        var revisions: [[Int64]] = KubeSource.prefixes.map { _ in [] }
        /// Writes that may or may not have been carried out.
        var unknown = 0
    }

    private struct Object {
        var number: Int
        /// Where it was last written; 0 when it does not exist.
        var modRevision: Int64
        var isBusy: Bool
    }

    private struct Page {
        var prefix: Int
        var start: [UInt8]
        var revision: Int64
        var rowsBefore: Int
        var count: Int
    }

    let operations = Operation.allCases.map(\.name)
    private static let pageRows = 500
    private static let valueBytes = 1024..<10_240
    /// Out of 100 calls; the rest are creations and deletions in equal parts.
    private static let updatePercent = 60
    private static let stalePercent = 2
    private static let getPercent = 8
    private static let countPercent = 2
    private static let listPercent = 4

    private let loop: Int
    private var generator: PRNG
    private var values: ValuePool
    private let samples: SampleObjects?
    private var objects: [[Object]] = KubeSource.prefixes.map { _ in [] }
    /// Places of deleted objects in `objects`, to be used again.
    private var free: [[Int]] = KubeSource.prefixes.map { _ in [] }
    private var nextNumber = 0
    private var pages: [Int: Page] = [:]
    private var waitingPages: [Page] = []
    private var acknowledged = Acknowledged()
    private let collector: NIOLockedValueBox<Acknowledged>
    private let preload: Int
    private var preloaded = 0

    /// Makes `preload` objects first (spread over the prefixes, more of the first), then the mix. `collector` gets what
    /// was acknowledged, at `report()`. Without `samples` values are random bytes.
    init(
        loop: Int, preload: Int, seed: UInt64, samples: SampleObjects? = nil,
        collector: NIOLockedValueBox<Acknowledged>
    ) {
        self.loop = loop
        self.preload = preload
        self.collector = collector
        generator = PRNG(seed: seed &+ UInt64(loop) &* 7919)
        self.samples = samples
        values = ValuePool(sizeMax: Self.valueBytes.upperBound, seed: seed, isText: samples != nil)
    }

    func next() -> LoadCall? {
        if preloaded < preload {
            preloaded += 1
            // A quarter in one prefix, so that its list has many pages.
            return create(prefix: preloaded % 4 == 0 ? 0 : preloaded % Self.prefixes.count)
        }
        if let page = waitingPages.popLast() { return list(page) }
        let prefix = generator.next(in: 0..<Self.prefixes.count)
        var draw = generator.next(in: 0..<100)
        func isDrawn(_ percent: Int) -> Bool {
            draw -= percent
            return draw < 0
        }
        if isDrawn(Self.updatePercent) { return write(.update, prefix) }
        if isDrawn(Self.stalePercent) { return write(.staleUpdate, prefix) }
        if isDrawn(Self.getPercent) { return write(.get, prefix) }
        if isDrawn(Self.countPercent) {
            let key = Self.prefixes[prefix]
            let message = RequestBytes.range(key: key, end: Self.end(prefix), isCountOnly: true)
            return call(MethodPath.range, message, .count, prefix: prefix, slot: 0)
        }
        if isDrawn(Self.listPercent) {
            return list(Page(prefix: prefix, start: Self.prefixes[prefix], revision: 0, rowsBefore: 0, count: 0))
        }
        return draw % 2 == 0 ? write(.delete, prefix) : create(prefix: prefix)
    }

    func completed(_ call: LoadCall, reply: UnsafeRawBufferPointer) -> String? {
        let operation = Operation(rawValue: call.operation)!
        switch operation {
        case .list: return completedPage(call.token, reply)
        case .count: return ReplyReader.range(reply) == nil ? "malformed range response" : nil
        case .get:
            let object = release(call.token)
            guard let range = ReplyReader.range(reply) else { return "malformed range response" }
            return range.rows == 1 || object.modRevision == 0 ? nil : "an object that was created is not there"
        case .create, .update, .staleUpdate, .delete: return completedWrite(operation, call.token, reply)
        }
    }

    func failed(_ call: LoadCall) {
        switch Operation(rawValue: call.operation)! {
        case .list: pages[call.token] = nil
        case .count: break
        case .get: _ = release(call.token)
        case .create, .update, .staleUpdate, .delete:
            // Its revision is not known any more: leave it alone from now on.
            acknowledged.unknown += 1
        }
    }

    /// Hands over what was acknowledged in all runs of this source.
    func report() {
        let own = acknowledged
        collector.withLockedValue { all in
            for (prefix, revisions) in own.revisions.enumerated() { all.revisions[prefix] += revisions }
            all.unknown += own.unknown
        }
    }

    // MARK: Objects

    static func end(_ prefix: Int) -> [UInt8] {
        var end = prefixes[prefix]
        end[end.count - 1] += 1
        return end
    }

    /// The number of an object among those of all loops: no two loops share one.
    private func identity(_ number: Int) -> Int { number * 64 + loop }

    /// The key of an object, with its identity in eight digits at the end.
    private func key(_ prefix: Int, _ number: Int) -> [UInt8] {
        if let samples { return samples.key(Self.prefixes[prefix], index: prefix, number: identity(number)) }
        return FillSource.key(Self.prefixes[prefix] + Array("default/".utf8), identity(number))
    }

    /// The next value of an object.
    private func value(_ prefix: Int, _ number: Int) -> ArraySlice<UInt8> {
        let size = generator.next(in: Self.valueBytes)
        guard let samples else { return values.next(size: size) }
        return samples.value(index: prefix, number: identity(number), size: size, filling: &values)[...]
    }

    private func call(
        _ path: RPCPath, _ message: [UInt8], _ operation: Operation, prefix: Int, slot: Int
    ) -> LoadCall {
        LoadCall(path: path, message: message, operation: operation.rawValue, token: slot * 64 + prefix)
    }

    private func create(prefix: Int) -> LoadCall {
        let number = nextNumber
        nextNumber += 1
        let object = Object(number: number, modRevision: 0, isBusy: true)
        let slot = free[prefix].popLast() ?? objects[prefix].count
        if slot == objects[prefix].count { objects[prefix].append(object) } else { objects[prefix][slot] = object }
        let message = RequestBytes.optimisticPut(key: key(prefix, number), value: value(prefix, number), expected: 0)
        return call(MethodPath.txn, message, .create, prefix: prefix, slot: slot)
    }

    /// An operation on one existing object that no other call is about; a creation when there is none.
    private func write(_ operation: Operation, _ prefix: Int) -> LoadCall {
        let all = objects[prefix]
        for _ in 0..<8 where !all.isEmpty {
            let slot = generator.next(in: 0..<all.count)
            let object = all[slot]
            if object.isBusy || object.modRevision == 0 { continue }
            objects[prefix][slot].isBusy = true
            let key = key(prefix, object.number)
            let message: [UInt8]
            switch operation {
            case .update, .staleUpdate:
                let expected = operation == .update ? object.modRevision : object.modRevision - 1
                message = RequestBytes.optimisticPut(
                    key: key, value: value(prefix, object.number), expected: expected)
            case .delete: message = RequestBytes.optimisticDelete(key: key, expected: object.modRevision)
            default: message = RequestBytes.range(key: key, limit: 1)
            }
            let path = operation == .get ? MethodPath.range : MethodPath.txn
            return call(path, message, operation, prefix: prefix, slot: slot)
        }
        return create(prefix: prefix)
    }

    private func release(_ token: Int) -> Object {
        objects[token % 64][token / 64].isBusy = false
        return objects[token % 64][token / 64]
    }

    private func completedWrite(_ operation: Operation, _ token: Int, _ reply: UnsafeRawBufferPointer) -> String? {
        let (prefix, slot) = (token % 64, token / 64)
        guard let txn = ReplyReader.txn(reply) else { return "malformed txn response" }
        objects[prefix][slot].isBusy = false
        let known = objects[prefix][slot].modRevision
        if operation == .staleUpdate {
            if txn.succeeded { return "an update with a stale revision succeeded" }
            return txn.rows == 1 && txn.firstModRevision == known ? nil : "a failed update brought a wrong object"
        }
        guard txn.succeeded else { return "a \(operation.name) with the right revision did not succeed" }
        guard txn.revision > known else { return "revision \(txn.revision) of a write is not after \(known)" }
        acknowledged.revisions[prefix].append(txn.revision)
        if operation == .delete {
            objects[prefix][slot].modRevision = 0
            free[prefix].append(slot)
        } else {
            objects[prefix][slot].modRevision = txn.revision
        }
        return nil
    }

    // MARK: Lists

    private func list(_ page: Page) -> LoadCall {
        let token = (pages.keys.max() ?? 0) + 1
        pages[token] = page
        let message = RequestBytes.range(
            key: page.start, end: Self.end(page.prefix), limit: Self.pageRows, revision: page.revision)
        return LoadCall(path: MethodPath.range, message: message, operation: Operation.list.rawValue, token: token)
    }

    private func completedPage(_ token: Int, _ reply: UnsafeRawBufferPointer) -> String? {
        guard var page = pages.removeValue(forKey: token) else { return "a page came twice" }
        guard let range = ReplyReader.range(reply) else { return "malformed range response" }
        page.rowsBefore += range.rows
        if page.revision == 0 {
            page.revision = range.revision
            page.count = range.count
        }
        if range.rows < range.count {
            guard range.more, range.rows == Self.pageRows else { return "a page is short" }
            page.start = Array(range.lastKey) + [0]
            waitingPages.append(page)
            return nil
        }
        return page.rowsBefore == page.count
            ? nil : "a list at one revision has \(page.rowsBefore) rows in all its pages and counted \(page.count)"
    }
}
