import Foundation
import SwiftProtobuf
import Transport
import Wire

extension Mutation {
    /// Every falsification that the suite must see.
    static let all: [Mutation] = reads + writes + errors + watches + others

    private static let put = "/etcdserverpb.KV/Put"
    private static let txn = "/etcdserverpb.KV/Txn"
    private static let range = "/etcdserverpb.KV/Range"

    private static let reads: [Mutation] = [
        Mutation("count one too many", in: "kv") {
            $0.ranges { _, answer in answer.count += answer.count > 0 ? 1 : 0 }
        },
        Mutation("count is of the page", in: "range") {
            $0.ranges { asked, answer in
                if asked.limit > 0 { answer.count = Int64(answer.kvs.count) }
            }
        },
        Mutation("more is never said", in: "range") { $0.ranges { _, answer in answer.more = false } },
        Mutation("stale read", in: "kv", "concurrency") { mutation in
            let memory = Memory<[UInt8]>()
            mutation.onReply = { method, request, reply in
                method == range ? memory.exchange(request, reply) : nil
            }
        },
        Mutation("stale read now and then", in: "concurrency") { mutation in
            let (memory, counter) = (Memory<[UInt8]>(), Counter())
            mutation.onReply = { method, request, reply in
                guard method == range else { return nil }
                let before = memory.exchange(request, reply)
                return counter.strikes(every: 25) ? before : nil
            }
        },
        Mutation("header revision one behind", in: "kv") { $0.ranges { _, answer in answer.header.revision -= 1 } },
        Mutation("mod revision one ahead", in: "kv") {
            $0.ranges { _, answer in
                for index in answer.kvs.indices { answer.kvs[index].modRevision += 1 }
            }
        },
        Mutation("version always 1", in: "kv") {
            $0.ranges { _, answer in
                for index in answer.kvs.indices { answer.kvs[index].version = 1 }
            }
        },
        Mutation("create revision is mod revision", in: "kv") {
            $0.ranges { _, answer in
                for index in answer.kvs.indices { answer.kvs[index].createRevision = answer.kvs[index].modRevision }
            }
        },
        Mutation("a byte of a value changed", in: "kv") {
            $0.ranges { _, answer in
                for index in answer.kvs.indices where !answer.kvs[index].value.isEmpty {
                    answer.kvs[index].value[0] ^= 1
                }
            }
        },
        Mutation("lease left out of rows", in: "kv") {
            $0.ranges { _, answer in
                for index in answer.kvs.indices { answer.kvs[index].lease = 0 }
            }
        },
        Mutation("rows in descending order", in: "kv", "range") {
            $0.ranges { asked, answer in
                if asked.sortOrder == .none { answer.kvs.reverse() }
            }
        },
        Mutation("last row of a range dropped", in: "kv") {
            $0.ranges { asked, answer in
                if asked.limit == 0, answer.kvs.count > 1 { answer.kvs.removeLast() }
            }
        },
        Mutation("keys_only with values", in: "range") {
            $0.requests(range, Etcdserverpb_RangeRequest.self) { $0.keysOnly = false }
        },
        Mutation("limit ignored", in: "range") { $0.requests(range, Etcdserverpb_RangeRequest.self) { $0.limit = 0 } },
        Mutation("revision ignored", in: "revisions") {
            $0.requests(range, Etcdserverpb_RangeRequest.self) { $0.revision = 0 }
        },
        Mutation("sort ignored", in: "range") {
            $0.requests(range, Etcdserverpb_RangeRequest.self) {
                $0.sortOrder = .none; $0.sortTarget = .key
            }
        },
        Mutation("revision bounds ignored", in: "range") {
            $0.requests(range, Etcdserverpb_RangeRequest.self) { request in
                request.minModRevision = 0
                request.maxModRevision = 0
                request.minCreateRevision = 0
                request.maxCreateRevision = 0
            }
        },
    ]

    private static let writes: [Mutation] = [
        Mutation("put done twice", in: "kv") { $0.repeatedMethod = put },
        Mutation("put acknowledged and not done, now and then", in: "kv", "concurrency") { mutation in
            let (memory, counter) = (Memory<[UInt8]>(), Counter())
            mutation.onReply = { method, _, reply in
                if method == put { _ = memory.exchange([], reply) }
                return nil
            }
            mutation.onInstead = { method, _ in
                guard method == put, counter.strikes(every: 9), let last = memory.exchange([], []), !last.isEmpty,
                    var answer = try? Etcdserverpb_PutResponse(serializedBytes: last)
                else { return nil }
                answer.header.revision += 1
                return try? answer.serializedBytes()
            }
        },
        Mutation("prev_kv left out of puts", in: "kv") {
            $0.replies(put, Etcdserverpb_PutResponse.self) { $0.clearPrevKv() }
        },
        Mutation("prev_kv in puts unasked", in: "kv") {
            $0.requests(put, Etcdserverpb_PutRequest.self) { $0.prevKv = true }
        },
        Mutation("lease of a put ignored", in: "kv", "lease") {
            $0.requests(put, Etcdserverpb_PutRequest.self) { $0.lease = 0 }
        },
        Mutation("deleted one too many", in: "kv") {
            $0.replies("/etcdserverpb.KV/DeleteRange", Etcdserverpb_DeleteRangeResponse.self) { $0.deleted += 1 }
        },
        Mutation("prev_kvs left out of deletes", in: "kv") {
            $0.replies("/etcdserverpb.KV/DeleteRange", Etcdserverpb_DeleteRangeResponse.self) { $0.prevKvs = [] }
        },
        Mutation("succeeded turned round", in: "txn") {
            $0.replies(txn, Etcdserverpb_TxnResponse.self) { $0.succeeded.toggle() }
        },
        Mutation("failure without its answers", in: "txn", "kubernetes") {
            $0.replies(txn, Etcdserverpb_TxnResponse.self) { if !$0.succeeded { $0.responses = [] } }
        },
        Mutation("one compare of several ignored", in: "txn") {
            $0.requests(txn, Etcdserverpb_TxnRequest.self) { if $0.compare.count > 1 { $0.compare.removeLast() } }
        },
        Mutation("compares ignored", in: "txn", "concurrency") {
            $0.requests(txn, Etcdserverpb_TxnRequest.self) { $0.compare = [] }
        },
        Mutation("transaction done in parts", in: "txn") {
            $0.replies(txn, Etcdserverpb_TxnResponse.self) { answer in
                if answer.responses.count > 1 { answer.header.revision += 1 }
            }
        },
    ]

    private static let errors: [Mutation] = [
        Mutation("error text without its prefix", in: "errors") {
            $0.onStatus = { status in
                guard status.message.hasPrefix("etcdserver: ") else { return nil }
                return RPCStatus(status.code, String(status.message.dropFirst(12)))
            }
        },
        Mutation("wrong error code", in: "errors") {
            $0.onStatus = { status in
                status.code == .outOfRange ? RPCStatus(.invalidArgument, status.message) : nil
            }
        },
        Mutation("every error UNKNOWN", in: "errors") { $0.onStatus = { RPCStatus(.unknown, $0.message) } },
        Mutation("compacted for future", in: "revisions", "errors") {
            $0.onStatus = { status in
                guard status.message.hasSuffix("is a future revision") else { return nil }
                return RPCStatus(status.code, "etcdserver: mvcc: required revision has been compacted")
            }
        },
    ]

    private static let watches: [Mutation] = [
        Mutation("an event dropped now and then", in: "watch") {
            $0.events {
                let counter = Counter()
                return { response in
                    var response = response
                    response.events.removeAll { _ in counter.strikes(every: 40) }
                    return response.events.isEmpty ? [] : [response]
                }
            }
        },
        Mutation("an answer repeated now and then", in: "watch") {
            $0.events {
                let counter = Counter()
                return { counter.strikes(every: 40) ? [$0, $0] : [$0] }
            }
        },
        Mutation("events of a revision reordered", in: "watch", "txn") {
            $0.events {
                { response in
                    var response = response
                    response.events.reverse()
                    return [response]
                }
            }
        },
        Mutation("two answers in the wrong order", in: "watch") {
            $0.events {
                let (memory, counter) = (Memory<[Etcdserverpb_WatchResponse]>(), Counter())
                return { response in
                    let held = memory.exchange([], []) ?? []
                    if held.isEmpty, counter.strikes(every: 10) {
                        _ = memory.exchange([], [response])
                        return []
                    }
                    return [response] + held
                }
            }
        },
        Mutation("a revision split over two answers", in: "watch") {
            $0.events {
                { response in
                    guard response.events.count > 1 else { return [response] }
                    var (first, second) = (response, response)
                    first.events = [response.events[0]]
                    second.events.removeFirst()
                    return [first, second]
                }
            }
        },
        Mutation("prev_kv left out of events", in: "watch") {
            $0.events {
                { response in
                    var response = response
                    for index in response.events.indices { response.events[index].clearPrevKv() }
                    return [response]
                }
            }
        },
        Mutation("prev_kv left out of deletes only", in: "watch") {
            $0.events {
                { response in
                    var response = response
                    for index in response.events.indices where response.events[index].type == .delete {
                        response.events[index].clearPrevKv()
                    }
                    return [response]
                }
            }
        },
        Mutation("deletes told as puts", in: "watch") {
            $0.events {
                { response in
                    var response = response
                    for index in response.events.indices { response.events[index].type = .put }
                    return [response]
                }
            }
        },
        Mutation("progress told early", in: "watch", "kubernetes") {
            $0.onWatch = {
                { response in
                    guard response.watchID == -1, !response.created else { return [response] }
                    var response = response
                    response.header.revision += 3
                    return [response]
                }
            }
        },
        Mutation("progress never answered", in: "watch") {
            $0.onWatch = {
                { $0.watchID == -1 && !$0.created ? [] : [$0] }
            }
        },
        Mutation("created is not told", in: "watch") { $0.onWatch = { { $0.created ? [] : [$0] } } },
        Mutation("cancelled is not told", in: "watch") {
            $0.onWatch = {
                { $0.canceled && !$0.created ? [] : [$0] }
            }
        },
        Mutation("start revision ignored", in: "watch") {
            $0.requests("/etcdserverpb.Watch/Watch", Etcdserverpb_WatchRequest.self) { request in
                guard case .createRequest(var create)? = request.requestUnion else { return }
                create.startRevision = 0
                request.createRequest = create
            }
        },
        Mutation("filters ignored", in: "watch") {
            $0.requests("/etcdserverpb.Watch/Watch", Etcdserverpb_WatchRequest.self) { request in
                guard case .createRequest(var create)? = request.requestUnion else { return }
                create.filters = []
                request.createRequest = create
            }
        },
        Mutation("chosen watch ids ignored", in: "watch") {
            $0.requests("/etcdserverpb.Watch/Watch", Etcdserverpb_WatchRequest.self) { request in
                guard case .createRequest(var create)? = request.requestUnion else { return }
                create.watchID = 0
                request.createRequest = create
            }
        },
    ]

    private static let others: [Mutation] = [
        Mutation("TTL one too long", in: "lease") {
            $0.replies("/etcdserverpb.Lease/LeaseTimeToLive", Etcdserverpb_LeaseTimeToLiveResponse.self) {
                $0.grantedTtl += 1
            }
        },
        Mutation("unknown lease alive", in: "lease") {
            $0.replies("/etcdserverpb.Lease/LeaseTimeToLive", Etcdserverpb_LeaseTimeToLiveResponse.self) {
                if $0.ttl < 0 { $0.ttl = 5 }
            }
        },
        Mutation("keep-alive answers TTL 0", in: "lease") { $0.onKeepAlive = { $0.ttl = 0 } },
        Mutation("revoke acknowledged and not done", in: "lease") { mutation in
            mutation.onInstead = { method, _ in
                guard method == "/etcdserverpb.Lease/LeaseRevoke" else { return nil }
                return try? Etcdserverpb_LeaseRevokeResponse().serializedBytes()
            }
        },
        Mutation("version with a suffix", in: "maintenance") {
            $0.replies("/etcdserverpb.Maintenance/Status", Etcdserverpb_StatusResponse.self) { $0.version += "-custom" }
        },
        Mutation("no leader in status", in: "maintenance") {
            $0.replies("/etcdserverpb.Maintenance/Status", Etcdserverpb_StatusResponse.self) { $0.leader = 0 }
        },
        Mutation("hash differs from call to call", in: "maintenance") { mutation in
            let counter = Counter()
            mutation.replies("/etcdserverpb.Maintenance/HashKV", Etcdserverpb_HashKVResponse.self) {
                if counter.strikes(every: 2) { $0.hash &+= 1 }
            }
        },
        Mutation("health always unknown", in: "health") {
            $0.replies("/grpc.health.v1.Health/Check", Grpc_Health_V1_HealthCheckResponse.self) { $0.status = .unknown }
        },
        Mutation("member list empty", in: "cluster") {
            $0.replies("/etcdserverpb.Cluster/MemberList", Etcdserverpb_MemberListResponse.self) { $0.members = [] }
        },
    ]
}
