import Foundation
import Primitives
import SwiftProtobuf
import Testing
import Wire

@testable import martletctl

struct HistogramTests {
    /// Against the sorted values themselves: never below the true percentile, and at most 1.6 % above it.
    @Test(arguments: 0..<20 as Range<UInt64>)
    func percentilesAreCloseToTheTruth(seed: UInt64) {
        var generator = PRNG(seed: seed)
        var histogram = Histogram()
        var values: [UInt64] = []
        for _ in 0..<generator.next(in: 1..<5000) {
            let value = generator.next() >> UInt64(generator.next(in: 10..<64))
            values.append(value)
            histogram.add(value)
        }
        values.sort()
        #expect(histogram.count == UInt64(values.count))
        #expect(histogram.minimum == values.first && histogram.maximum == values.last)
        for fraction in [0.0, 0.001, 0.5, 0.9, 0.99, 0.999, 1.0] {
            let rank = max(1, Int((fraction * Double(values.count)).rounded(.up)))
            let truth = values[rank - 1]
            let found = histogram.percentile(fraction)
            #expect(found >= truth && Double(found) <= Double(truth) * 1.016 + 1)
        }
    }

    @Test func mergeEqualsAddingAll() {
        var generator = PRNG(seed: 7)
        var (whole, left, right) = (Histogram(), Histogram(), Histogram())
        for index in 0..<1000 {
            let value = UInt64(generator.next(in: 1..<1_000_000_000))
            whole.add(value)
            if index % 3 == 0 { left.add(value) } else { right.add(value) }
        }
        var merged = Histogram()
        merged.merge(left)
        merged.merge(Histogram())
        merged.merge(right)
        #expect(merged.count == whole.count && merged.sum == whole.sum)
        #expect(merged.minimum == whole.minimum && merged.maximum == whole.maximum)
        for fraction in [0.1, 0.5, 0.99] { #expect(merged.percentile(fraction) == whole.percentile(fraction)) }
    }

    @Test func extremes() {
        var histogram = Histogram()
        #expect(histogram.percentile(0.5) == 0 && histogram.mean == 0)
        histogram.add(0)
        histogram.add(.max)
        #expect(histogram.percentile(0.5) == 0 && histogram.percentile(1) == .max)
        #expect(histogram.counts(between: [1]) == [1, 1])
    }

    @Test func countsPartitionAllValues() {
        var histogram = Histogram()
        for value in 0..<1000 as Range<UInt64> { histogram.add(value) }
        let counts = histogram.counts(between: [100, 500])
        #expect(counts.reduce(0, +) == 1000)
        #expect(counts[0] == 100)
    }
}

struct WorkloadTests {
    @Test(arguments: [(1, 1), (36, 1), (37, 2), (100_000, 8), (60, 40)])
    func keysAreDistinctOrderedAndOfOneSize(count: Int, keyBytes: Int) throws {
        var space = try #require(KeySpace(count: count, keyBytes: keyBytes, isSequential: true, seed: 1))
        let numbers = (0..<min(count, 5000)).map { _ in space.next() }
        #expect(numbers == Array(0..<min(count, 5000)))
        let keys = numbers.map { space.key($0) }
        #expect(keys.allSatisfy { $0.count == keyBytes })
        for (left, right) in zip(keys, keys.dropFirst()) { #expect(Bytes(left) < Bytes(right)) }
        if count <= 5000 { #expect(space.next() == 0) }
    }

    @Test(arguments: [(37, 1), (0, 8), (10, 0), (1297, 2)])
    func keySpacesThatDoNotFit(count: Int, keyBytes: Int) {
        #expect(KeySpace(count: count, keyBytes: keyBytes, isSequential: true, seed: 1) == nil)
    }

    @Test func randomKeysRepeatWithTheirSeedAndStayInside() throws {
        var first = try #require(KeySpace(count: 100, keyBytes: 8, isSequential: false, seed: 5))
        var second = try #require(KeySpace(count: 100, keyBytes: 8, isSequential: false, seed: 5))
        let numbers = (0..<2000).map { _ in first.next() }
        #expect(numbers == (0..<2000).map { _ in second.next() })
        #expect(Set(numbers).count == 100 && numbers.allSatisfy { (0..<100).contains($0) })
    }

    @Test func valuesHaveTheirSizeAndDiffer() {
        var pool = ValuePool(sizeMax: 300, seed: 3)
        let values = (0..<100).map { _ in Array(pool.next(size: 256)) }
        #expect(values.allSatisfy { $0.count == 256 })
        #expect(zip(values, values.dropFirst()).allSatisfy { $0 != $1 })
    }
}

/// What the load generator writes by hand must be what the messages mean.
struct RequestBytesTests {
    private let key = Array("/registry/pods/a".utf8)
    private let value = [UInt8](repeating: 7, count: 300)

    @Test func put() throws {
        let put = try Etcdserverpb_PutRequest(serializedBytes: RequestBytes.put(key: key, value: value, lease: 9))
        #expect(put.key == Data(key) && put.value == Data(value) && put.lease == 9)
    }

    @Test func range() throws {
        let bytes = RequestBytes.range(
            key: key, end: [1], limit: 500, revision: 77, isSerializable: true, isCountOnly: true)
        let range = try Etcdserverpb_RangeRequest(serializedBytes: bytes)
        #expect(range.key == Data(key) && range.rangeEnd == Data([1]) && range.limit == 500)
        #expect(range.revision == 77 && range.serializable && range.countOnly)
    }

    @Test(arguments: [0, 1, 5_000_000_000] as [Int64])
    func optimisticPut(expected: Int64) throws {
        let bytes = RequestBytes.optimisticPut(key: key, value: value, expected: expected)
        let txn = try Etcdserverpb_TxnRequest(serializedBytes: bytes)
        #expect(txn.compare.count == 1 && txn.compare[0].target == .mod && txn.compare[0].result == .equal)
        #expect(txn.compare[0].key == Data(key))
        guard case .modRevision(expected)? = txn.compare[0].targetUnion else {
            Issue.record("the compare has no mod revision")
            return
        }
        #expect(txn.success.count == 1 && txn.success[0].requestPut.value == Data(value))
        #expect(txn.failure.count == (expected == 0 ? 0 : 1))
        if expected != 0 { #expect(txn.failure[0].requestRange.key == Data(key)) }
    }

    @Test func optimisticDelete() throws {
        let txn = try Etcdserverpb_TxnRequest(serializedBytes: RequestBytes.optimisticDelete(key: key, expected: 12))
        #expect(txn.success[0].requestDeleteRange.key == Data(key))
        #expect(!txn.success[0].requestDeleteRange.prevKv)
        #expect(txn.failure[0].requestRange.key == Data(key))
    }

    @Test func watch() throws {
        let bytes = RequestBytes.watch(
            key: key, end: [2], startRevision: 5, withPrevious: true, progressNotify: true, watchID: 3)
        let create = try Etcdserverpb_WatchRequest(serializedBytes: bytes).createRequest
        #expect(create.key == Data(key) && create.rangeEnd == Data([2]) && create.startRevision == 5)
        #expect(create.prevKv && create.progressNotify && create.watchID == 3)
    }
}

struct ProcessUsageTests {
    @Test func statWithBlanksAndBracketsInTheName() {
        let line = "12 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 150 25 0 0 20"
        #expect(ProcessUsage.cpuTicks(stat: line) == 175)
        #expect(ProcessUsage.cpuTicks(stat: "12 (a) S 1 2") == nil)
        #expect(ProcessUsage.cpuTicks(stat: "") == nil)
    }

    @Test func kilobytes() {
        let text = "VmHWM:\t  20 kB\nVmRSS:\t   123 kB\nRssAnon:\t  9 kB\n"
        #expect(ProcessUsage.kilobytes("VmRSS", in: text) == 123)
        #expect(ProcessUsage.kilobytes("VmSwap", in: text) == 0)
    }

    @Test func ownProcess() throws {
        let usage = try #require(ProcessUsage(pid: getpid()))
        #expect(usage.residentBytes > 0 && usage.anonymousBytes > 0)
        #expect(usage.residentPeakBytes >= usage.residentBytes / 2)
        #expect(ProcessUsage(pids: [getpid(), -1]) == nil)
    }
}
