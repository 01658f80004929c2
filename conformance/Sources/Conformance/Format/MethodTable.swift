import Foundation
import SwiftProtobuf
package import Transport
import Wire

/// A method of the API as case files name it: `KV/Range`.
package struct Method: Sendable {
    package let name: String
    package let path: RPCPath
    package let isStream: Bool
    let encodeJSON: @Sendable (String) throws -> [UInt8]
    let decodeMessage: @Sendable ([UInt8]) throws -> Value

    /// The request as bytes; throws when it names a field that the message does not have.
    package func encode(_ request: Value) throws -> [UInt8] {
        do { return try encodeJSON(request.json) } catch {
            throw SuiteError("\(name): \(request): \(error)")
        }
    }

    /// The answer as a tree, with bytes where the API has bytes.
    package func decode(_ message: [UInt8]) throws -> Value { try decodeMessage(message) }

    /// The method that a case file calls `name`.
    package static func named(_ name: String) throws -> Method {
        guard let method = all[name] else { throw SuiteError("there is no method \(name)") }
        return method
    }

    private init<Request: Message, Response: Message>(
        _ name: String, _ path: StaticString, _: Request.Type, _: Response.Type, isStream: Bool = false
    ) {
        self.name = name
        self.path = RPCPath(path)
        self.isStream = isStream
        encodeJSON = { text in try Request(jsonString: text).serializedBytes() }
        decodeMessage = { bytes in
            var options = JSONEncodingOptions()
            options.preserveProtoFieldNames = true
            options.alwaysPrintInt64sAsNumbers = true
            let response = try Response(serializedBytes: bytes)
            let json: [UInt8] = try response.jsonUTF8Bytes(options: options)
            return Method.withBytes(try Value(json: json), field: nil, method: name)
        }
    }

    /// Base64 becomes bytes again in the fields that hold bytes.
    static func withBytes(_ value: Value, field: String?, method: String) -> Value {
        switch value {
        case .text(let text) where FieldKind(field, method: method) != .plain:
            return .bytes(Value.decode(base64: text))
        case .list(let items): return .list(items.map { withBytes($0, field: field, method: method) })
        case .map(let fields):
            return .map(
                fields.map { .init(name: $0.name, value: withBytes($0.value, field: $0.name, method: method)) })
        default: return value
        }
    }

    private static let all: [String: Method] = Dictionary(
        uniqueKeysWithValues: (kv + leases + cluster + maintenance + others).map { ($0.name, $0) })

    private static let kv = [
        Method(
            "KV/Range", "/etcdserverpb.KV/Range", Etcdserverpb_RangeRequest.self, Etcdserverpb_RangeResponse.self),
        Method(
            "KV/RangeStream", "/etcdserverpb.KV/RangeStream", Etcdserverpb_RangeRequest.self,
            Etcdserverpb_RangeStreamResponse.self, isStream: true),
        Method("KV/Put", "/etcdserverpb.KV/Put", Etcdserverpb_PutRequest.self, Etcdserverpb_PutResponse.self),
        Method(
            "KV/DeleteRange", "/etcdserverpb.KV/DeleteRange", Etcdserverpb_DeleteRangeRequest.self,
            Etcdserverpb_DeleteRangeResponse.self),
        Method("KV/Txn", "/etcdserverpb.KV/Txn", Etcdserverpb_TxnRequest.self, Etcdserverpb_TxnResponse.self),
        Method(
            "KV/Compact", "/etcdserverpb.KV/Compact", Etcdserverpb_CompactionRequest.self,
            Etcdserverpb_CompactionResponse.self),
        Method(
            "Watch/Watch", "/etcdserverpb.Watch/Watch", Etcdserverpb_WatchRequest.self,
            Etcdserverpb_WatchResponse.self, isStream: true),
    ]

    private static let leases = [
        Method(
            "Lease/LeaseGrant", "/etcdserverpb.Lease/LeaseGrant", Etcdserverpb_LeaseGrantRequest.self,
            Etcdserverpb_LeaseGrantResponse.self),
        Method(
            "Lease/LeaseRevoke", "/etcdserverpb.Lease/LeaseRevoke", Etcdserverpb_LeaseRevokeRequest.self,
            Etcdserverpb_LeaseRevokeResponse.self),
        Method(
            "Lease/LeaseKeepAlive", "/etcdserverpb.Lease/LeaseKeepAlive", Etcdserverpb_LeaseKeepAliveRequest.self,
            Etcdserverpb_LeaseKeepAliveResponse.self, isStream: true),
        Method(
            "Lease/LeaseTimeToLive", "/etcdserverpb.Lease/LeaseTimeToLive", Etcdserverpb_LeaseTimeToLiveRequest.self,
            Etcdserverpb_LeaseTimeToLiveResponse.self),
        Method(
            "Lease/LeaseLeases", "/etcdserverpb.Lease/LeaseLeases", Etcdserverpb_LeaseLeasesRequest.self,
            Etcdserverpb_LeaseLeasesResponse.self),
    ]

    private static let cluster = [
        Method(
            "Cluster/MemberAdd", "/etcdserverpb.Cluster/MemberAdd", Etcdserverpb_MemberAddRequest.self,
            Etcdserverpb_MemberAddResponse.self),
        Method(
            "Cluster/MemberRemove", "/etcdserverpb.Cluster/MemberRemove", Etcdserverpb_MemberRemoveRequest.self,
            Etcdserverpb_MemberRemoveResponse.self),
        Method(
            "Cluster/MemberUpdate", "/etcdserverpb.Cluster/MemberUpdate", Etcdserverpb_MemberUpdateRequest.self,
            Etcdserverpb_MemberUpdateResponse.self),
        Method(
            "Cluster/MemberList", "/etcdserverpb.Cluster/MemberList", Etcdserverpb_MemberListRequest.self,
            Etcdserverpb_MemberListResponse.self),
        Method(
            "Cluster/MemberPromote", "/etcdserverpb.Cluster/MemberPromote", Etcdserverpb_MemberPromoteRequest.self,
            Etcdserverpb_MemberPromoteResponse.self),
    ]

    private static let maintenance = [
        Method(
            "Maintenance/Alarm", "/etcdserverpb.Maintenance/Alarm", Etcdserverpb_AlarmRequest.self,
            Etcdserverpb_AlarmResponse.self),
        Method(
            "Maintenance/Status", "/etcdserverpb.Maintenance/Status", Etcdserverpb_StatusRequest.self,
            Etcdserverpb_StatusResponse.self),
        Method(
            "Maintenance/Defragment", "/etcdserverpb.Maintenance/Defragment", Etcdserverpb_DefragmentRequest.self,
            Etcdserverpb_DefragmentResponse.self),
        Method(
            "Maintenance/Hash", "/etcdserverpb.Maintenance/Hash", Etcdserverpb_HashRequest.self,
            Etcdserverpb_HashResponse.self),
        Method(
            "Maintenance/HashKV", "/etcdserverpb.Maintenance/HashKV", Etcdserverpb_HashKVRequest.self,
            Etcdserverpb_HashKVResponse.self),
        Method(
            "Maintenance/Snapshot", "/etcdserverpb.Maintenance/Snapshot", Etcdserverpb_SnapshotRequest.self,
            Etcdserverpb_SnapshotResponse.self, isStream: true),
        Method(
            "Maintenance/MoveLeader", "/etcdserverpb.Maintenance/MoveLeader", Etcdserverpb_MoveLeaderRequest.self,
            Etcdserverpb_MoveLeaderResponse.self),
        Method(
            "Maintenance/Downgrade", "/etcdserverpb.Maintenance/Downgrade", Etcdserverpb_DowngradeRequest.self,
            Etcdserverpb_DowngradeResponse.self),
    ]

    private static let others = [
        Method(
            "Health/Check", "/grpc.health.v1.Health/Check", Grpc_Health_V1_HealthCheckRequest.self,
            Grpc_Health_V1_HealthCheckResponse.self),
        Method(
            "Health/Watch", "/grpc.health.v1.Health/Watch", Grpc_Health_V1_HealthCheckRequest.self,
            Grpc_Health_V1_HealthCheckResponse.self, isStream: true),
        // Methods that no server has.
        Method(
            "KV/NoSuchMethod", "/etcdserverpb.KV/NoSuchMethod", Etcdserverpb_RangeRequest.self,
            Etcdserverpb_RangeResponse.self),
        Method(
            "NoSuchService/Range", "/etcdserverpb.NoSuchService/Range", Etcdserverpb_RangeRequest.self,
            Etcdserverpb_RangeResponse.self),
    ]
}

extension Value {
    static func decode(base64 text: String) -> [UInt8] {
        Array(Data(base64Encoded: text) ?? Data())
    }
}
