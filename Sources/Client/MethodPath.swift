package import Transport

/// The paths of the methods that are called, each made once.
package enum MethodPath {
    package static let range = RPCPath("/etcdserverpb.KV/Range")
    package static let put = RPCPath("/etcdserverpb.KV/Put")
    package static let deleteRange = RPCPath("/etcdserverpb.KV/DeleteRange")
    package static let txn = RPCPath("/etcdserverpb.KV/Txn")
    package static let compact = RPCPath("/etcdserverpb.KV/Compact")
    package static let watch = RPCPath("/etcdserverpb.Watch/Watch")
    package static let leaseGrant = RPCPath("/etcdserverpb.Lease/LeaseGrant")
    package static let leaseRevoke = RPCPath("/etcdserverpb.Lease/LeaseRevoke")
    package static let leaseKeepAlive = RPCPath("/etcdserverpb.Lease/LeaseKeepAlive")
    package static let leaseTimeToLive = RPCPath("/etcdserverpb.Lease/LeaseTimeToLive")
    package static let leaseLeases = RPCPath("/etcdserverpb.Lease/LeaseLeases")
    package static let memberList = RPCPath("/etcdserverpb.Cluster/MemberList")
    package static let memberAdd = RPCPath("/etcdserverpb.Cluster/MemberAdd")
    package static let memberRemove = RPCPath("/etcdserverpb.Cluster/MemberRemove")
    package static let memberUpdate = RPCPath("/etcdserverpb.Cluster/MemberUpdate")
    package static let memberPromote = RPCPath("/etcdserverpb.Cluster/MemberPromote")
    package static let status = RPCPath("/etcdserverpb.Maintenance/Status")
    package static let alarm = RPCPath("/etcdserverpb.Maintenance/Alarm")
    package static let defragment = RPCPath("/etcdserverpb.Maintenance/Defragment")
    package static let hashKV = RPCPath("/etcdserverpb.Maintenance/HashKV")
    package static let snapshot = RPCPath("/etcdserverpb.Maintenance/Snapshot")
    package static let moveLeader = RPCPath("/etcdserverpb.Maintenance/MoveLeader")
    package static let authenticate = RPCPath("/etcdserverpb.Auth/Authenticate")
}
