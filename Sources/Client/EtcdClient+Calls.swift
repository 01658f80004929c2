import NIOCore
import Transport
package import Wire

/// The unary calls, one method each. All throw `ClientError` with the server's code and text.
extension EtcdClient {
    // MARK: KV

    package func range(_ request: Etcdserverpb_RangeRequest) async throws(ClientError) -> Etcdserverpb_RangeResponse {
        try await unary(MethodPath.range, request, isRead: true)
    }

    package func put(_ request: Etcdserverpb_PutRequest) async throws(ClientError) -> Etcdserverpb_PutResponse {
        try await unary(MethodPath.put, request, isRead: false)
    }

    package func deleteRange(
        _ request: Etcdserverpb_DeleteRangeRequest
    ) async throws(ClientError) -> Etcdserverpb_DeleteRangeResponse {
        try await unary(MethodPath.deleteRange, request, isRead: false)
    }

    /// A transaction; it is repeated after UNAVAILABLE only when it has no operation that writes.
    package func txn(_ request: Etcdserverpb_TxnRequest) async throws(ClientError) -> Etcdserverpb_TxnResponse {
        let isRead = (request.success + request.failure).allSatisfy { operation in
            if case .requestRange = operation.request { true } else { false }
        }
        return try await unary(MethodPath.txn, request, isRead: isRead)
    }

    package func compact(
        _ request: Etcdserverpb_CompactionRequest
    ) async throws(ClientError) -> Etcdserverpb_CompactionResponse {
        try await unary(MethodPath.compact, request, isRead: false)
    }

    // MARK: Lease

    package func leaseGrant(
        _ request: Etcdserverpb_LeaseGrantRequest
    ) async throws(ClientError) -> Etcdserverpb_LeaseGrantResponse {
        try await unary(MethodPath.leaseGrant, request, isRead: false)
    }

    package func leaseRevoke(
        _ request: Etcdserverpb_LeaseRevokeRequest
    ) async throws(ClientError) -> Etcdserverpb_LeaseRevokeResponse {
        try await unary(MethodPath.leaseRevoke, request, isRead: false)
    }

    package func leaseTimeToLive(
        _ request: Etcdserverpb_LeaseTimeToLiveRequest
    ) async throws(ClientError) -> Etcdserverpb_LeaseTimeToLiveResponse {
        try await unary(MethodPath.leaseTimeToLive, request, isRead: true)
    }

    package func leaseLeases() async throws(ClientError) -> Etcdserverpb_LeaseLeasesResponse {
        try await unary(MethodPath.leaseLeases, Etcdserverpb_LeaseLeasesRequest(), isRead: true)
    }

    // MARK: Cluster

    package func memberList(isLinearizable: Bool = true) async throws(ClientError) -> Etcdserverpb_MemberListResponse {
        var request = Etcdserverpb_MemberListRequest()
        request.linearizable = isLinearizable
        return try await unary(MethodPath.memberList, request, isRead: true)
    }

    package func memberAdd(
        _ request: Etcdserverpb_MemberAddRequest
    ) async throws(ClientError) -> Etcdserverpb_MemberAddResponse {
        try await unary(MethodPath.memberAdd, request, isRead: false)
    }

    package func memberRemove(id: UInt64) async throws(ClientError) -> Etcdserverpb_MemberRemoveResponse {
        var request = Etcdserverpb_MemberRemoveRequest()
        request.id = id
        return try await unary(MethodPath.memberRemove, request, isRead: false)
    }

    package func memberUpdate(
        id: UInt64, peerURLs: [String]
    ) async throws(ClientError) -> Etcdserverpb_MemberUpdateResponse {
        var request = Etcdserverpb_MemberUpdateRequest()
        request.id = id
        request.peerUrls = peerURLs
        return try await unary(MethodPath.memberUpdate, request, isRead: false)
    }

    package func memberPromote(id: UInt64) async throws(ClientError) -> Etcdserverpb_MemberPromoteResponse {
        var request = Etcdserverpb_MemberPromoteRequest()
        request.id = id
        return try await unary(MethodPath.memberPromote, request, isRead: false)
    }

    // MARK: Maintenance

    package func status() async throws(ClientError) -> Etcdserverpb_StatusResponse {
        try await unary(MethodPath.status, Etcdserverpb_StatusRequest(), isRead: true)
    }

    package func alarm(_ request: Etcdserverpb_AlarmRequest) async throws(ClientError) -> Etcdserverpb_AlarmResponse {
        try await unary(MethodPath.alarm, request, isRead: request.action == .get)
    }

    package func defragment() async throws(ClientError) -> Etcdserverpb_DefragmentResponse {
        try await unary(MethodPath.defragment, Etcdserverpb_DefragmentRequest(), isRead: false)
    }

    /// The hash of all revisions up to `revision`; 0 for the latest.
    package func hashKV(revision: Int64 = 0) async throws(ClientError) -> Etcdserverpb_HashKVResponse {
        var request = Etcdserverpb_HashKVRequest()
        request.revision = revision
        return try await unary(MethodPath.hashKV, request, isRead: true)
    }

    package func moveLeader(to target: UInt64) async throws(ClientError) -> Etcdserverpb_MoveLeaderResponse {
        var request = Etcdserverpb_MoveLeaderRequest()
        request.targetID = target
        return try await unary(MethodPath.moveLeader, request, isRead: false)
    }
}
