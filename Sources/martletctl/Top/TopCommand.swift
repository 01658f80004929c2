import ArgumentParser
import Client
import Glibc

struct TopCommand: AsyncParsableCommand {
    /// Samples that the distribution of syncs is taken over.
    private static let windowSamplesMax = 10

    static let configuration = CommandConfiguration(
        commandName: "top", abstract: "Shows the members of a cluster, their roles, progress and speed, live",
        discussion: """
            LAG is what the leader's log holds and the member has not applied. FSYNC P99 is of the last ten intervals, with \
            --once since the member started, and needs the member's /metrics on its client URL. Ctrl-C ends it.
            """)

    @Option(help: "How often the members are asked.")
    var interval = GoDuration.seconds(1)

    @Flag(help: "Print one table, with rates over one interval, and end.")
    var once = false

    @Flag(help: "Show resources instead of members: live keys, bytes, revisions and writes per second of each.")
    var keys = false

    @OptionGroup var resources: ResourceOptions
    @OptionGroup var global: GlobalOptions

    func run() async throws {
        if keys {
            var usage = UsageOptions()
            // All of it: the parser's defaults are for options that it has read.
            usage.interval = interval
            usage.exact = false
            usage.sort = .bytes
            return try await UsageTable.follow(global, resources, usage, iterations: once ? 1 : 0)
        }
        guard interval.nanoseconds >= 10_000_000 else {
            throw CommandError.badArguments("--interval must be 10ms at least")
        }
        let sampler = try ClusterSampler(global)
        do {
            try await once ? printOnce(sampler) : refresh(sampler)
        } catch {
            await sampler.close()
            throw error
        }
        await sampler.close()
    }

    private func printOnce(_ sampler: ClusterSampler) async throws {
        let before = try await sampler.sample()
        try await Task.sleep(for: .nanoseconds(interval.nanoseconds))
        let view = TopView(try await sampler.sample(), before: before, base: nil)
        Output.write(Array((view.lines().joined(separator: "\n") + "\n").utf8))
    }

    private func refresh(_ sampler: ClusterSampler) async throws {
        let isTerminal = isatty(1) == 1
        var window: [ClusterSample] = []
        if isTerminal { Output.write(Array("\u{1b}[2J".utf8)) }
        while true {
            let start = ContinuousClock.now
            let sample = try await sampler.sample()
            let lines = TopView(sample, before: window.last, base: window.first).lines()
            Output.write(Array((isTerminal ? Self.redrawn(lines) : lines.joined(separator: "\n") + "\n\n").utf8))
            window.append(sample)
            if window.count > Self.windowSamplesMax { window.removeFirst() }
            try await Task.sleep(until: start + .nanoseconds(interval.nanoseconds), clock: .continuous)
        }
    }

    /// From the upper left corner on, each line's rest and what is below erased; lines are cut at the screen's edge, since
    /// one that wraps would shift all below it.
    private static func redrawn(_ lines: [String]) -> String {
        var size = winsize()
        let columns = ioctl(1, UInt(TIOCGWINSZ), &size) == 0 && size.ws_col > 0 ? Int(size.ws_col) : Int.max
        let rows = size.ws_row > 1 ? Int(size.ws_row) - 1 : Int.max
        let screen = lines.prefix(rows).map { $0.prefix(columns) + "\u{1b}[K\r\n" }
        return "\u{1b}[H" + screen.joined() + "\u{1b}[J"
    }
}
