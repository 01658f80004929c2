package import Primitives

/// Every method the server answers and the client calls: the one table of services.
///
/// The order is that of the spec; the raw value indexes per-method tables such as metrics. The JSON gateway's paths
/// are etcd's. Source: spec `api-methods.tsv`; gRPC health checking protocol.
package enum RPCMethod: Int, CaseIterable, Sendable {
    // etcdserverpb.KV
    case range
    case rangeStream
    case put
    case deleteRange
    case txn
    case compact
    // etcdserverpb.Watch
    case watch
    // etcdserverpb.Lease
    case leaseGrant
    case leaseRevoke
    case leaseKeepAlive
    case leaseTimeToLive
    case leaseLeases
    // etcdserverpb.Cluster
    case memberAdd
    case memberRemove
    case memberUpdate
    case memberList
    case memberPromote
    // etcdserverpb.Maintenance
    case alarm
    case status
    case defragment
    case hash
    case hashKV
    case snapshot
    case moveLeader
    case downgrade
    // etcdserverpb.Auth
    case authEnable
    case authDisable
    case authStatus
    case authenticate
    case authUserAdd
    case authUserGet
    case authUserList
    case authUserDelete
    case authUserChangePassword
    case authUserGrantRole
    case authUserRevokeRole
    case authRoleAdd
    case authRoleGet
    case authRoleList
    case authRoleDelete
    case authRoleGrantPermission
    case authRoleRevokePermission
    // v3lockpb.Lock
    case lock
    case unlock
    // v3electionpb.Election
    case electionCampaign
    case electionProclaim
    case electionLeader
    case electionObserve
    case electionResign
    // grpc.health.v1.Health
    case healthCheck
    case healthWatch
}

/// Which sides of a call send more than one message.
package enum RPCStreaming: Sendable {
    case unary
    case serverStreaming
    case bidirectional
}

/// What is fixed about a method.
package struct RPCMethodDescription: Sendable {
    package let method: RPCMethod
    /// The full service name, `etcdserverpb.KV`.
    package let service: StaticString
    /// The method's name within the service, `Range`.
    package let name: StaticString
    /// The HTTP/2 `:path`, `/etcdserverpb.KV/Range`.
    package let path: Bytes
    package let streaming: RPCStreaming
    /// The paths of the JSON gateway (POST), the preferred one first; empty when there is none.
    package let gatewayPaths: [String]

    init(
        _ method: RPCMethod, _ service: StaticString, _ name: StaticString, _ streaming: RPCStreaming = .unary,
        gateway: [String]
    ) {
        self.method = method
        self.service = service
        self.name = name
        self.path = Bytes(utf8: "/\(service)/\(name)")
        self.streaming = streaming
        self.gatewayPaths = gateway
    }
}

extension RPCMethod {
    /// What is fixed about the method.
    package var description: RPCMethodDescription { RPCMethod.table[rawValue] }

    /// The HTTP/2 `:path`, `/etcdserverpb.KV/Range`.
    package var path: Bytes { description.path }

    /// The method behind a path of the JSON gateway, or nil.
    package init?(gatewayPath: String) {
        guard let method = RPCMethod.byGatewayPath[gatewayPath] else { return nil }
        self = method
    }

    private static let byGatewayPath: [String: RPCMethod] = {
        var found: [String: RPCMethod] = [:]
        for description in table {
            for path in description.gatewayPaths { found[path] = description.method }
        }
        return found
    }()

    /// One row per method, in the order of the cases.
    package static let table: [RPCMethodDescription] = [
        .init(.range, "etcdserverpb.KV", "Range", gateway: ["/v3/kv/range"]),
        .init(.rangeStream, "etcdserverpb.KV", "RangeStream", .serverStreaming, gateway: []),
        .init(.put, "etcdserverpb.KV", "Put", gateway: ["/v3/kv/put"]),
        .init(.deleteRange, "etcdserverpb.KV", "DeleteRange", gateway: ["/v3/kv/deleterange"]),
        .init(.txn, "etcdserverpb.KV", "Txn", gateway: ["/v3/kv/txn"]),
        .init(.compact, "etcdserverpb.KV", "Compact", gateway: ["/v3/kv/compaction"]),
        .init(.watch, "etcdserverpb.Watch", "Watch", .bidirectional, gateway: ["/v3/watch"]),
        .init(.leaseGrant, "etcdserverpb.Lease", "LeaseGrant", gateway: ["/v3/lease/grant"]),
        .init(.leaseRevoke, "etcdserverpb.Lease", "LeaseRevoke", gateway: ["/v3/lease/revoke", "/v3/kv/lease/revoke"]),
        .init(
            .leaseKeepAlive, "etcdserverpb.Lease", "LeaseKeepAlive", .bidirectional,
            gateway: ["/v3/lease/keepalive"]),
        .init(
            .leaseTimeToLive, "etcdserverpb.Lease", "LeaseTimeToLive",
            gateway: ["/v3/lease/timetolive", "/v3/kv/lease/timetolive"]),
        .init(.leaseLeases, "etcdserverpb.Lease", "LeaseLeases", gateway: ["/v3/lease/leases", "/v3/kv/lease/leases"]),
        .init(.memberAdd, "etcdserverpb.Cluster", "MemberAdd", gateway: ["/v3/cluster/member/add"]),
        .init(.memberRemove, "etcdserverpb.Cluster", "MemberRemove", gateway: ["/v3/cluster/member/remove"]),
        .init(.memberUpdate, "etcdserverpb.Cluster", "MemberUpdate", gateway: ["/v3/cluster/member/update"]),
        .init(.memberList, "etcdserverpb.Cluster", "MemberList", gateway: ["/v3/cluster/member/list"]),
        .init(.memberPromote, "etcdserverpb.Cluster", "MemberPromote", gateway: ["/v3/cluster/member/promote"]),
        .init(.alarm, "etcdserverpb.Maintenance", "Alarm", gateway: ["/v3/maintenance/alarm"]),
        .init(.status, "etcdserverpb.Maintenance", "Status", gateway: ["/v3/maintenance/status"]),
        .init(.defragment, "etcdserverpb.Maintenance", "Defragment", gateway: ["/v3/maintenance/defragment"]),
        .init(.hash, "etcdserverpb.Maintenance", "Hash", gateway: ["/v3/maintenance/hash"]),
        .init(.hashKV, "etcdserverpb.Maintenance", "HashKV", gateway: ["/v3/maintenance/hashkv"]),
        .init(
            .snapshot, "etcdserverpb.Maintenance", "Snapshot", .serverStreaming,
            gateway: ["/v3/maintenance/snapshot"]),
        .init(.moveLeader, "etcdserverpb.Maintenance", "MoveLeader", gateway: ["/v3/maintenance/transfer-leadership"]),
        .init(.downgrade, "etcdserverpb.Maintenance", "Downgrade", gateway: ["/v3/maintenance/downgrade"]),
        .init(.authEnable, "etcdserverpb.Auth", "AuthEnable", gateway: ["/v3/auth/enable"]),
        .init(.authDisable, "etcdserverpb.Auth", "AuthDisable", gateway: ["/v3/auth/disable"]),
        .init(.authStatus, "etcdserverpb.Auth", "AuthStatus", gateway: ["/v3/auth/status"]),
        .init(.authenticate, "etcdserverpb.Auth", "Authenticate", gateway: ["/v3/auth/authenticate"]),
        .init(.authUserAdd, "etcdserverpb.Auth", "UserAdd", gateway: ["/v3/auth/user/add"]),
        .init(.authUserGet, "etcdserverpb.Auth", "UserGet", gateway: ["/v3/auth/user/get"]),
        .init(.authUserList, "etcdserverpb.Auth", "UserList", gateway: ["/v3/auth/user/list"]),
        .init(.authUserDelete, "etcdserverpb.Auth", "UserDelete", gateway: ["/v3/auth/user/delete"]),
        .init(.authUserChangePassword, "etcdserverpb.Auth", "UserChangePassword", gateway: ["/v3/auth/user/changepw"]),
        .init(.authUserGrantRole, "etcdserverpb.Auth", "UserGrantRole", gateway: ["/v3/auth/user/grant"]),
        .init(.authUserRevokeRole, "etcdserverpb.Auth", "UserRevokeRole", gateway: ["/v3/auth/user/revoke"]),
        .init(.authRoleAdd, "etcdserverpb.Auth", "RoleAdd", gateway: ["/v3/auth/role/add"]),
        .init(.authRoleGet, "etcdserverpb.Auth", "RoleGet", gateway: ["/v3/auth/role/get"]),
        .init(.authRoleList, "etcdserverpb.Auth", "RoleList", gateway: ["/v3/auth/role/list"]),
        .init(.authRoleDelete, "etcdserverpb.Auth", "RoleDelete", gateway: ["/v3/auth/role/delete"]),
        .init(.authRoleGrantPermission, "etcdserverpb.Auth", "RoleGrantPermission", gateway: ["/v3/auth/role/grant"]),
        .init(
            .authRoleRevokePermission, "etcdserverpb.Auth", "RoleRevokePermission",
            gateway: ["/v3/auth/role/revoke"]),
        .init(.lock, "v3lockpb.Lock", "Lock", gateway: ["/v3/lock/lock"]),
        .init(.unlock, "v3lockpb.Lock", "Unlock", gateway: ["/v3/lock/unlock"]),
        .init(.electionCampaign, "v3electionpb.Election", "Campaign", gateway: ["/v3/election/campaign"]),
        .init(.electionProclaim, "v3electionpb.Election", "Proclaim", gateway: ["/v3/election/proclaim"]),
        .init(.electionLeader, "v3electionpb.Election", "Leader", gateway: ["/v3/election/leader"]),
        .init(
            .electionObserve, "v3electionpb.Election", "Observe", .serverStreaming,
            gateway: ["/v3/election/observe"]),
        .init(.electionResign, "v3electionpb.Election", "Resign", gateway: ["/v3/election/resign"]),
        .init(.healthCheck, "grpc.health.v1.Health", "Check", gateway: []),
        .init(.healthWatch, "grpc.health.v1.Health", "Watch", .serverStreaming, gateway: []),
    ]
}
