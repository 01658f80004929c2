import Client
import Foundation
import NIOCore
import Transport
import Wire

/// What a run is asked to do.
package struct RunOptions: Sendable {
    /// The shared server or cluster; nil: a private one is started in its place.
    package var target: Target?
    /// Starts private servers; nil: cases that need one are skipped.
    package var launcher: ServerLauncher?
    /// Members of the private cluster that takes the place of `target`, and of those that cases need for themselves.
    package var memberCount = 1
    /// The endpoints serve nothing but this suite: cases that disturb others run on them.
    package var isExclusive = false
    /// Nil: the level that the server's version claims.
    package var level: Level?
    /// Names of areas; empty: all.
    package var areas: Set<String> = []
    /// Parts of identities of cases, of which one must occur; empty: all.
    package var filters: [String] = []
    /// Leaves out cases that need a server of their own.
    package var isSharedOnly = false
    package var stopsAtFirstFailure = false
    /// How long is waited for what has to come, whatever cases say; zero: as long as they say.
    package var patience: Duration = .seconds(60)
    /// Failures that are known and meant, with their reasons.
    package var deviations = Deviations()

    package init() {}
}

/// Runs cases one after another: their expectations of revisions allow no other writer. When its task is cancelled, the
/// case that runs is broken off and cleaned up after, and the others are left out.
///
/// Owner: the task that calls `run`.
package final class Runner {
    private let cases: [Case]
    private let options: RunOptions
    private let progress: (Int, Int, CaseResult?, Case) -> Void
    private var shared: [ServerProcess] = []
    private var own: OwnServers?
    private let runName = String(UInt32.random(in: 0...UInt32.max), radix: 36)

    /// A server or cluster that cases have for themselves.
    private struct OwnServers {
        let flags: [String]
        let members: [ServerProcess]
        let target: Target
    }

    /// `progress` is told the number of cases done and of all, the last result, and the case that begins.
    package init(
        _ cases: [Case], options: RunOptions,
        progress: @escaping (Int, Int, CaseResult?, Case) -> Void = { _, _, _, _ in }
    ) {
        self.cases = cases
        self.options = options
        self.progress = progress
    }

    /// Runs them all. Throws `SuiteError` when there is no server, or a case file is wrong.
    package func run() async throws -> RunReport {
        try await Patience.$least.withValue(options.patience) { try await runAll() }
    }

    private func runAll() async throws -> RunReport {
        let target = try await sharedTarget()
        let status: Etcdserverpb_StatusResponse
        do throws(RPCStatus) {
            status = try await target.call(Paths.status, Etcdserverpb_StatusRequest())
        } catch {
            await end(target)
            throw SuiteError("the server does not answer: \(error)")
        }
        let level = options.level ?? Level(status.version) ?? .v37
        let members: Etcdserverpb_MemberListResponse? = try? await target.call(
            Paths.memberList, Etcdserverpb_MemberListRequest())
        var report = RunReport(
            endpoints: target.endpoints.map(\.description), version: status.version, level: level,
            memberCount: members?.members.count ?? 1)
        let chosen = cases.filter { isChosen($0, level) }
        // Cases that share a server first, then those with servers of their own, by flags.
        let ordered = chosen.filter { !$0.needsOwnServer } + chosen.filter { $0.needsOwnServer }
        for (index, item) in ordered.enumerated() {
            progress(index, ordered.count, report.results.last, item)
            let result = await run(item, number: index, on: target, report)
            if Task.isCancelled { break }
            report.results.append(result)
            if case .failed = result.outcome, options.stopsAtFirstFailure { break }
        }
        if let last = ordered.last { progress(report.results.count, ordered.count, report.results.last, last) }
        await end(target)
        return report
    }

    private func sharedTarget() async throws -> Target {
        if let target = options.target { return target }
        guard let launcher = options.launcher else {
            throw SuiteError("name the server: --endpoints URL, or --server-command COMMAND to start one")
        }
        if options.memberCount > 1 {
            shared = try await launcher.startCluster(of: options.memberCount)
            return Target(endpoints: shared.flatMap(\.target.endpoints))
        }
        let server = try await launcher.start()
        shared = [server]
        return server.target
    }

    private func end(_ target: Target) async {
        // A write that was under way when its case was broken off may have come through since.
        if shared.isEmpty { await CaseContext.remove("conformance/\(runName)/", from: target) }
        await target.close()
        for server in shared { await server.discard() }
        shared = []
        await endOwn()
    }

    private func isChosen(_ item: Case, _ level: Level) -> Bool {
        guard item.level <= level, item.until.map({ level <= $0 }) ?? true else { return false }
        guard options.areas.isEmpty || options.areas.contains(item.area) else { return false }
        if options.isSharedOnly, item.needsOwnServer { return false }
        return options.filters.isEmpty || options.filters.contains { item.id.contains($0) }
    }

    // MARK: One case

    private func run(_ item: Case, number: Int, on target: Target, _ report: RunReport) async -> CaseResult {
        let start = ContinuousClock.now
        var outcome: Outcome
        do {
            let place = try await place(item, number: number, target, report)
            let context = CaseContext(
                target: place.target, prefix: "conformance/\(runName)/\(number)/", endpoint: number,
                level: report.level, server: place.server, launcher: options.launcher)
            outcome = await judge(item, context)
            if case .failed = outcome, item.needs.contains(.private) { await context.disarm() }
            await context.cleanUp()
            // A case that ended its server leaves none for the next.
            if item.needs.contains(.fresh) || item.needs.contains(.process) { await endOwn() }
        } catch let skip as CaseSkip {
            outcome = .skipped(skip.description)
        } catch {
            outcome = .failed("\(error)")
        }
        if case .failed(let message) = outcome, let reason = options.deviations.reason(item.id, failure: message) {
            outcome = .deviates(message, reason: reason)
        }
        return CaseResult(item, outcome, seconds: (ContinuousClock.now - start) / .seconds(1))
    }

    /// Where the case runs; throws `CaseSkip` when there is no such place.
    private func place(
        _ item: Case, number: Int, _ target: Target, _ report: RunReport
    ) async throws -> (target: Target, server: ServerProcess?) {
        if item.needs.contains(.openssl) { try Shell.requireOpenSSL() }
        if item.needs.contains(.cluster), report.memberCount < 3 { throw CaseSkip("needs a cluster of three members") }
        if item.needs.contains(.single), report.memberCount != 1, !item.needsOwnServer {
            throw CaseSkip("needs a cluster of one member")
        }
        guard item.needsOwnServer else { return (target, nil) }
        let isProcessNeeded = !item.needs.isDisjoint(with: [.fresh, .process])
        if options.isExclusive || options.memberCount > 1, !isProcessNeeded { return (target, nil) }
        if item.needs.contains(.single), options.memberCount > 1 { throw CaseSkip("is of one member alone") }
        guard let launcher = options.launcher else {
            throw CaseSkip(
                isProcessNeeded
                    ? "starts a server of its own: needs --server-command"
                    : "disturbs other users of the server: needs --server-command or --exclusive")
        }
        if own?.flags != item.serverFlags || isProcessNeeded {
            await endOwn()
            own = try await start(launcher, flags: item.serverFlags)
        }
        guard let own else { throw SuiteError("no server") }
        // The process is the one behind the endpoint that takes the case's calls.
        return (own.target, own.members[number % own.members.count])
    }

    private func start(_ launcher: ServerLauncher, flags: [String]) async throws -> OwnServers {
        guard options.memberCount > 1 else {
            let server = try await launcher.start(flags: flags)
            return OwnServers(flags: flags, members: [server], target: server.target)
        }
        let members = try await launcher.startCluster(of: options.memberCount, flags: flags)
        return OwnServers(
            flags: flags, members: members, target: Target(endpoints: members.flatMap(\.target.endpoints)))
    }

    private func endOwn() async {
        await own?.target.close()
        for server in own?.members ?? [] { await server.discard() }
        own = nil
    }

    private func judge(_ item: Case, _ context: CaseContext) async -> Outcome {
        // Several waits may follow each other.
        let limit = max(item.timeout, Patience.least * 3)
        return await withTaskGroup(of: Outcome?.self) { group in
            group.addTask {
                do {
                    try await item.body(context)
                    return .passed
                } catch let skip as CaseSkip {
                    return .skipped(skip.description)
                } catch is CancellationError {
                    return nil
                } catch {
                    return .failed("\(error)")
                }
            }
            group.addTask {
                try? await Task.sleep(for: limit)
                return Task.isCancelled ? nil : .failed("not done within \(limit)")
            }
            var outcome: Outcome?
            while outcome == nil, let next = await group.next() { outcome = next }
            group.cancelAll()
            return outcome ?? .failed("cancelled")
        }
    }
}
