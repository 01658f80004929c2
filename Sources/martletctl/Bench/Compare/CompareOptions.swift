import ArgumentParser

/// One line of work of a comparison, on servers that are made for it alone.
struct CompareWorkload<Context>: Sendable {
    /// The name for `--only`.
    var name: String
    /// What it does, for the report.
    var summary: String
    /// Why it cannot be measured on this machine, if so.
    var obstacle: @Sendable () -> String? = { nil }
    /// Runs on what the context has and gives its figures.
    var run: @Sendable (Context) async throws(CommandError) -> [(CompareMetric, Double)]
}

/// The flags that all comparisons of Martlet with etcd share, and the loop behind them.
struct CompareOptions: ParsableArguments {
    @Option(help: "Martlet's server executable.")
    var martlet: String

    @Option(help: "etcd's server executable.")
    var etcd: String

    @Option(help: "A folder for data directories; they are removed afterwards.")
    var work = ".bench"

    @Option(help: "How often each workload runs on each server: 3 times, and once for clusters, unless given.")
    var rounds: Int?

    @Option(help: "Only these workloads, separated by commas.")
    var only = ""

    @Option(help: "Part of the full sizes, times and counts, for a quick look.")
    var scale = 1.0

    @Flag(help: "Print the table in Markdown.")
    var markdown = false

    @Flag(help: "Print one JSON object with the values of every round.")
    var json = false

    func validate() throws {
        guard rounds ?? 1 > 0, scale > 0, scale <= 1 else {
            throw ValidationError("--rounds must be positive, --scale above 0 and at most 1")
        }
    }

    /// Where workloads show how far they are.
    var progress: Progress { json ? .none : .onTerminal() }

    /// The executable of one of the two servers, and the folder for its data.
    func place(isMartlet: Bool) -> (path: String, directory: String) {
        (isMartlet ? martlet : etcd, "\(work)/\(isMartlet ? "martlet" : "etcd")")
    }

    /// Runs the chosen workloads on both servers in turn and prints the report; fails when a workload does.
    ///
    /// - Parameters:
    ///   - defaultRounds: rounds where the flag is not given.
    ///   - notes: what the report says of how it was measured.
    ///   - measure: one workload on a fresh server or cluster.
    func compare<Context>(
        _ all: [CompareWorkload<Context>], defaultRounds: Int, notes: [String] = [],
        measure: (CompareWorkload<Context>, _ isMartlet: Bool) async throws(CommandError) -> [(CompareMetric, Double)]
    ) async throws(CommandError) {
        let rounds = rounds ?? defaultRounds
        var report = CompareReport(rounds: rounds, martletPath: martlet, etcdPath: etcd)
        report.notes = notes
        for workload in try selected(all) {
            if let obstacle = workload.obstacle() {
                report.notes.append("\(workload.name): not measured: \(obstacle)")
                continue
            }
            for round in 0..<rounds {
                // A B A B: what changes slowly on the machine falls on both alike.
                for isMartlet in [true, false] {
                    let name = isMartlet ? "martlet" : "etcd"
                    Output.error("\(workload.name), round \(round + 1) of \(rounds): \(name)")
                    do throws(CommandError) {
                        for (metric, value) in try await measure(workload, isMartlet) {
                            report.add(value, metric, workload: workload.name, isMartlet: isMartlet)
                        }
                    } catch {
                        report.failures.append("\(workload.name) on \(name): \(error.message)")
                    }
                }
            }
        }
        let text = json ? report.json() + "\n" : markdown ? report.markdown() : report.text()
        Output.write(Array(text.utf8))
        if let failure = report.failures.first { throw .failure(failure) }
    }

    private func selected<Context>(
        _ all: [CompareWorkload<Context>]
    ) throws(CommandError) -> [CompareWorkload<Context>] {
        let names = only.split(separator: ",").map(String.init)
        for name in names where !all.contains(where: { $0.name == name }) {
            let known = all.map(\.name).joined(separator: ", ")
            throw .badArguments("there is no workload \(GoText.quoted(name)); there are: \(known)")
        }
        return all.filter { names.isEmpty || names.contains($0.name) }
    }

    /// The workloads, for a command's help.
    static func listing<Context>(_ all: [CompareWorkload<Context>]) -> String {
        "Workloads: " + all.map { "\($0.name) (\($0.summary))" }.joined(separator: "; ")
    }
}
