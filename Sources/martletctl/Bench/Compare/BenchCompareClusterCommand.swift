import ArgumentParser

struct BenchCompareClusterCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "compare-cluster",
        abstract: "Runs workloads on three members of Martlet and of etcd in alternation and prints how many times "
            + "better Martlet is",
        discussion: CompareOptions.listing(ClusterWorkloads.all))

    @OptionGroup var options: CompareOptions

    func run() async throws {
        try await options.compare(ClusterWorkloads.all, defaultRounds: 1) {
            (workload, isMartlet) throws(CommandError) in
            try await measure(workload, isMartlet: isMartlet)
        }
    }

    /// One workload on a fresh cluster.
    private func measure(
        _ workload: CompareWorkload<ClusterContext>, isMartlet: Bool
    ) async throws(CommandError) -> [(CompareMetric, Double)] {
        let place = options.place(isMartlet: isMartlet)
        let cluster = try ClusterProcesses(path: place.path, directory: place.directory + "-cluster")
        do throws(CommandError) {
            let figures = try await workload.run(
                ClusterContext(cluster: cluster, scale: options.scale, progress: options.progress))
            await cluster.stop()
            cluster.clean()
            return figures
        } catch {
            // The logs stay, to see why.
            await cluster.stop()
            throw error
        }
    }
}
