import Testing

/// Tests of clusters from outside: three and five members, each a process of its own on loopback, real clients, and links
/// between the members that a test can cut.
///
/// `make test` sets the environment as for `ServerTests`: `MARTLET_BIN` and `MARTLET_REFERENCE`. `MARTLET_SOAK=1` lets the
/// chaos test run for hours.
///
/// Every test starts processes that need the machine's time; `MachineShare` says which may run beside others. The limit of
/// time holds for waiting for a share, too.
@Suite("Cluster", .timeLimit(.minutes(20)))
enum ClusterTests {}
