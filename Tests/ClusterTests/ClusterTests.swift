import Testing

/// Tests of clusters from outside: three and five members, each a process of its own on loopback, real clients, and links
/// between the members that a test can cut, either way or both, break and slow down (`Links`).
///
/// `make test` sets the environment as for `ServerTests`: `MARTLET_BIN` and `MARTLET_REFERENCE`. `MARTLET_SOAK=1` lets the
/// chaos test run for hours; `MARTLET_CHAOS_SEED` repeats the schedule of a seed that it named. Its runs share the faults out
/// among them: each `make test` makes every fault of the links, and fails when one met no traffic.
///
/// Every test starts processes that need the machine's time; `MachineShare` says which may run beside others. The limit of
/// time holds for waiting for a share, too.
@Suite("Cluster", .timeLimit(.minutes(20)))
enum ClusterTests {}
