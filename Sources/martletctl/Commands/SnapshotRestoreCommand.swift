import ArgumentParser
import Membership
import Primitives
import ServerCore

struct SnapshotRestoreCommand: ParsableCommand {
    /// What is added to the revision unless the flag says otherwise: more than a cluster writes between two backups.
    private static let revisionBump: UInt64 = 1_000_000_000

    static let configuration = CommandConfiguration(
        commandName: "restore", abstract: "Restores an etcd member snapshot to an etcd directory",
        discussion: """
            Restore every member of the new cluster from the same file, each with its own --name, --data-dir and \
            --initial-advertise-peer-urls, and all other flags equal. The revision is bumped and everything before it \
            marked as compacted, so that clients that watch or cache start anew; --bump-revision 0 leaves both out.
            """)

    @Argument(help: "The snapshot file, as snapshot save has written it.")
    var words: [String] = []

    @Option(help: "Path to the output data directory.")
    var dataDir = ""

    @Option(help: "Path to the WAL directory (use --data-dir if none given).")
    var walDir = ""

    @Option(help: "Human-readable name for this member.")
    var name = "default"

    @Option(help: "Initial cluster configuration for restore bootstrap.")
    var initialCluster = ""

    @Option(help: "Initial cluster token for the etcd cluster during restore bootstrap.")
    var initialClusterToken = "etcd-cluster"

    @Option(
        name: .customLong("initial-advertise-peer-urls"),
        help: "List of this member's peer URLs to advertise to the rest of the cluster.")
    var initialAdvertisePeerURLs = "http://localhost:2380"

    @Flag(help: "Ignore snapshot integrity hash value.")
    var skipHashCheck = false

    @Option(help: "How much to increase the latest revision after restore; \(Self.revisionBump) unless given.")
    var bumpRevision: UInt64?

    @Flag(inversion: .prefixedNo, help: "Mark everything before the latest revision after restore as compacted.")
    var markCompacted: Bool?

    @OptionGroup var global: GlobalOptions

    func run() throws {
        guard words.count == 1 else {
            throw CommandError.badArguments("snapshot restore requires exactly one argument")
        }
        guard !dataDir.isEmpty else { throw CommandError.failure("required flag(s) \"data-dir\" not set") }
        let bump = bumpRevision ?? Self.revisionBump
        let marks = markCompacted ?? (bump > 0)
        guard marks == (bump > 0) else {
            throw CommandError.badArguments("--mark-compacted required if --revision-bump > 0")
        }
        guard let bump = Int64(exactly: bump) else { throw CommandError.badArguments("--bump-revision is too large") }
        let cluster = try InitialMembers(
            initialCluster.isEmpty ? "\(name)=http://localhost:2380" : initialCluster)
        try cluster.check(name: name, advertised: initialAdvertisePeerURLs)
        let members = cluster.identified(token: initialClusterToken)
        guard let own = members.first(where: { $0.name == name })?.member else {
            throw CommandError.failure("couldn't find local name \"\(name)\" in the initial cluster configuration")
        }
        var random = SystemRandomNumberGenerator()
        var plan = DataDirectoryRestore.Plan(
            dataDirectory: Self.withoutSlashes(dataDir), members: members.map(\.member), memberID: own.id,
            revisionBump: bump, marksCompacted: marks, salt: random.next())
        plan.walDirectory = Self.withoutSlashes(walDir)
        let restoring = try SnapshotRestoring(path: words[0], skipsHashCheck: skipHashCheck)
        let result = try restoring.restore(plan)
        var text =
            "Snapshot restored to \(plan.dataDirectory): member \(GoText.hex(own.id.rawValue)) of cluster "
            + "\(GoText.hex(result.clusterID)), revision \(result.currentRevision)"
        if result.compactRevision > 0 { text += ", compacted at \(result.compactRevision)" }
        Output.write(Array((text + "\n").utf8))
    }

    private static func withoutSlashes(_ path: String) -> String {
        var path = path
        while path.count > 1, path.hasSuffix("/") { path.removeLast() }
        return path
    }
}
