import ArgumentParser
import Foundation

struct BenchCompareCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "compare",
        abstract: "Runs workloads on Martlet and etcd in alternation and prints how many times better Martlet is",
        discussion: "Workloads: " + CompareWorkloads.all.map { "\($0.name) (\($0.summary))" }.joined(separator: "; "))

    @Option(help: "Martlet's server executable.")
    var martlet: String

    @Option(help: "etcd's server executable.")
    var etcd: String

    @Option(help: "A folder for data directories; they are removed afterwards.")
    var work = ".bench"

    @Option(help: "How often each workload runs on each server.")
    var rounds = 3

    @Option(help: "Only these workloads, separated by commas.")
    var only = ""

    @Option(help: "Part of the full sizes and times, for a quick look.")
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
        let workloads = try selected()
        var report = CompareReport(rounds: rounds, martletPath: martlet, etcdPath: etcd)
        for workload in workloads {
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
        let text = json ? report.json() + "\n" : markdown ? report.markdown() : report.text()
        Output.write(Array(text.utf8))
        if let failure = report.failures.first { throw CommandError.failure(failure) }
    }

    private func selected() throws(CommandError) -> [CompareWorkload] {
        let names = only.split(separator: ",").map(String.init)
        for name in names where !CompareWorkloads.all.contains(where: { $0.name == name }) {
            throw .badArguments("there is no workload \(GoText.quoted(name))")
        }
        return CompareWorkloads.all.filter { names.isEmpty || names.contains($0.name) }
    }

    /// One workload on a fresh server.
    private func measure(
        _ workload: CompareWorkload, isMartlet: Bool
    ) async throws(CommandError) -> [(CompareMetric, Double)] {
        let server = try ServerProcess(
            path: isMartlet ? martlet : etcd, directory: "\(work)/\(isMartlet ? "martlet" : "etcd")")
        do throws(CommandError) {
            _ = try await server.start()
            let context = CompareContext(
                server: server, scale: scale, progress: json ? Progress(isShown: false) : .onTerminal())
            let figures = try await workload.run(context)
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
