import Foundation
import NIOCore
import Primitives
import Synchronization
import Transport
import Wire

/// Clients that put, delete and change several keys at once under one name, and remember what was acknowledged.
final class WriteLoad: Sendable {
    private let context: CaseContext
    private let name: String
    private let state = Mutex<[Int64: Int]>([:])
    private let isStopped = Mutex(false)
    private let isEnded = Mutex(false)
    private let newest = Mutex<Int64>(0)

    init(_ context: CaseContext, name: String = "load/") {
        self.context = context
        self.name = name
    }

    /// The number of changed keys by revision, of the writes that were acknowledged.
    var acknowledged: [Int64: Int] { state.withLock { $0 } }
    /// The newest acknowledged revision.
    var newestRevision: Int64 { newest.withLock { $0 } }

    /// Whether every client of `run` has ended.
    var isDone: Bool { isEnded.withLock { $0 } }

    func stop() { isStopped.withLock { $0 = true } }

    /// Runs `writers` clients, each for `count` writes or until `stop`. Failed writes are passed over.
    func run(writers: Int = 4, count: Int = .max, valueBytes: Int = 16) async {
        await withTaskGroup(of: Void.self) { group in
            for writer in 0..<writers {
                group.addTask { await self.write(writer, count: count, valueBytes: valueBytes) }
            }
        }
        isEnded.withLock { $0 = true }
    }

    private func write(_ writer: Int, count: Int, valueBytes: Int) async {
        var random = PRNG(seed: UInt64(writer) + 1)
        var number = 0
        while number < count, !isStopped.withLock({ $0 }), !Task.isCancelled {
            number += 1
            let filler = String(repeating: "x", count: valueBytes)
            let key = "\(name)\(writer)-\(random.next(in: 0..<20))"
            let value = "\(writer).\(number)\(filler)"
            do throws(RPCStatus) {
                switch random.next(in: 0..<10) {
                case 0:
                    let answer = try await context.delete(key, endpoint: writer)
                    if answer.deleted > 0 { note(answer.revision, Int(answer.deleted)) }
                case 1, 2:
                    var request = Etcdserverpb_TxnRequest()
                    for index in 0..<3 { request.success.append(.put(context.key("\(key)/\(index)"), value)) }
                    note(try await context.txn(request, endpoint: writer).header.revision, 3)
                default: note(try await context.put(key, value, endpoint: writer), 1)
                }
            } catch {
                // The server may be gone for a while on purpose.
                try? await Task.sleep(for: .milliseconds(20))
            }
        }
    }

    private func note(_ revision: Int64, _ count: Int) {
        state.withLock { $0[revision] = count }
        newest.withLock { $0 = max($0, revision) }
    }
}

extension Etcdserverpb_RequestOp {
    static func put(_ key: Data, _ value: String) -> Etcdserverpb_RequestOp {
        var operation = Etcdserverpb_RequestOp()
        operation.requestPut.key = key
        operation.requestPut.value = Data(value.utf8)
        return operation
    }

    static func range(_ key: Data) -> Etcdserverpb_RequestOp {
        var operation = Etcdserverpb_RequestOp()
        operation.requestRange.key = key
        return operation
    }

    static func delete(_ key: Data) -> Etcdserverpb_RequestOp {
        var operation = Etcdserverpb_RequestOp()
        operation.requestDeleteRange.key = key
        return operation
    }
}

extension Etcdserverpb_Compare {
    static func modRevision(_ key: Data, equals revision: Int64) -> Etcdserverpb_Compare {
        var compare = Etcdserverpb_Compare()
        compare.key = key
        compare.target = .mod
        compare.result = .equal
        compare.modRevision = revision
        return compare
    }

    static func value(_ key: Data, equals value: String) -> Etcdserverpb_Compare {
        var compare = Etcdserverpb_Compare()
        compare.key = key
        compare.target = .value
        compare.result = .equal
        compare.value = Data(value.utf8)
        return compare
    }
}
