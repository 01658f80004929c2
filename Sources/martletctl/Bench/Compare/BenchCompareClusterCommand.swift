import ArgumentParser
import Foundation

struct BenchCompareClusterCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "compare-cluster",
        abstract: "Runs workloads on three members of Martlet and of etcd in alternation and prints how many times "
            + "better Martlet is",
        discussion: "Workloads: " + ClusterWorkloads.all.map { "\($0.name) (\($0.summary))" }.joined(separator: "; "))

    @Option(help: "Martlet's server executable.")
    var martlet: String

    @Option(help: "etcd's server executable.")
    var etcd: String

    @Option(help: "A folder for data directories; they are removed afterwards.")
    var work = ".bench"

    @Option(help: "How often each workload runs on each server.")
    var rounds = 1

    @Option(help: "Only these workloads, separated by commas.")
    var only = ""

    @Option(help: "Part of the full sizes, times and counts, for a quick look.")
    var scale = 1.0

    @Flag(help: "Print the table in Markdown.")
    var markdown = false

    @Flag(help: "Print one JSON object with the values of every round.")
    var json = false

    func validate() throws {
        guard rounds > 0, scale > 0, scale <= 1 else {
            throw ValidationError("--rounds must be positive, --scale above 0 and at most 1")
        }
    }

    func run() async throws {
        var report = CompareReport(rounds: rounds, martletPath: martlet, etcdPath: etcd)
        var notes: [String] = []
        for workload in try selected() {
            if let obstacle = workload.obstacle() {
                notes.append("\(workload.name): not measured: \(obstacle)")
                continue
            }
            for round in 0..<rounds {
                // A B A B: what changes slowly on the machine falls on both alike.
                for isMartlet in [true, false] {
                    let name = isMartlet ? "martlet" : "etcd"
                    Output.error("\(workload.name), round \(round + 1) of \(rounds): \(name)")
                    do throws(CommandError) {
                        for (metric, value) in try await measure(workload, isMartlet: isMartlet) {
                            report.add(value, metric, workload: workload.name, isMartlet: isMartlet)
                        }
                    } catch {
                        report.failures.append("\(workload.name) on \(name): \(error.message)")
                    }
                }
            }
        }
        for note in notes { Output.error(note) }
        let text = json ? report.json() + "\n" : markdown ? report.markdown() : report.text()
        Output.write(Array(text.utf8))
        if let failure = report.failures.first { throw CommandError.failure(failure) }
    }

    private func selected() throws(CommandError) -> [ClusterWorkload] {
        let names = only.split(separator: ",").map(String.init)
        for name in names where !ClusterWorkloads.all.contains(where: { $0.name == name }) {
            throw .badArguments("there is no workload \(GoText.quoted(name))")
        }
        return ClusterWorkloads.all.filter { names.isEmpty || names.contains($0.name) }
    }

    /// One workload on a fresh cluster.
    private func measure(
        _ workload: ClusterWorkload, isMartlet: Bool
    ) async throws(CommandError) -> [(CompareMetric, Double)] {
        let cluster = try ClusterProcesses(
            path: isMartlet ? martlet : etcd, directory: "\(work)/\(isMartlet ? "martlet" : "etcd")-cluster")
        do throws(CommandError) {
            let figures = try await workload.run(
                ClusterContext(
                    cluster: cluster, scale: scale, progress: json ? Progress(isShown: false) : .onTerminal()))
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
