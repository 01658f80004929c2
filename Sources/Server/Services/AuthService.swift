import Transport
import Wire

/// `etcdserverpb.Auth` as of an etcd whose authentication is off, and cannot be switched on: there are no users. Clients that
/// were given a name and a password ask for a token first, and go on without one when they are told so. What would change
/// anything is not implemented. Owner: the event loop.
struct AuthService {
    /// etcd's revision of an empty set of users and roles.
    private static let revision: UInt64 = 1

    let state: LoopState

    func status(_ call: RPCCall) {
        let header = state.currentHeader
        call.reply(size: ProtoSize.message(1, header) + ProtoSize.uint64(3, Self.revision)) { buffer in
            var writer = ProtoWriter(buffer)
            writer.message(1, header)
            writer.uint64(3, Self.revision)
            writer.finish()
        }
    }

    /// It is disabled.
    func disable(_ call: RPCCall) {
        let header = state.currentHeader
        call.reply(size: ProtoSize.message(1, header)) { buffer in
            var writer = ProtoWriter(buffer)
            writer.message(1, header)
            writer.finish()
        }
    }

    func authenticate(_ call: RPCCall) { call.fail(.authenticationNotEnabled) }
}
