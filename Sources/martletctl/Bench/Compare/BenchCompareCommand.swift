import ArgumentParser

struct BenchCompareCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "compare",
        abstract: "Runs workloads on Martlet and etcd in alternation and prints how many times better Martlet is",
        discussion: CompareOptions.listing(CompareWorkloads.all))

    @OptionGroup var options: CompareOptions
    @OptionGroup var sampleOptions: SampleOptions

    func run() async throws {
        let samples = try sampleOptions.load()
        try await options.compare(
            CompareWorkloads.all, defaultRounds: 3, notes: ["kube: values are \(SampleObjects.describe(samples))"]
        ) { (workload, isMartlet) throws(CommandError) in
            try await measure(workload, isMartlet: isMartlet, samples)
        }
    }

    /// One workload on a fresh server.
    private func measure(
        _ workload: CompareWorkload<CompareContext>, isMartlet: Bool, _ samples: SampleObjects?
    ) async throws(CommandError) -> [(CompareMetric, Double)] {
        let place = options.place(isMartlet: isMartlet)
        let server = try ServerProcess(path: place.path, directory: place.directory)
        do throws(CommandError) {
            _ = try await server.start()
            let figures = try await workload.run(
                CompareContext(server: server, scale: options.scale, progress: options.progress, samples: samples))
            await server.stop()
            server.clean()
            return figures
        } catch {
            // The log stays, to see why.
            await server.stop()
            throw error
        }
    }
}
