import Testing

/// Tests of the running server from outside: real processes, real clients, a real etcd beside it.
///
/// `make test` sets two variables of the environment:
/// - `MARTLET_BIN`: the folder of the `martlet` binary under test; without it, the debug binary beside this bundle;
/// - `MARTLET_REFERENCE`: the folder of the `etcd` and `etcdctl` that the server is compared with.
///
/// The suites run one after another: several of them measure, and all of them start processes.
@Suite("Server", .serialized, .timeLimit(.minutes(6)))
enum ServerTests {}
