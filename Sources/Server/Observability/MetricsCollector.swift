import Leasing
import MVCC
import NIOCore
import Primitives
import StateMachine
import Synchronization
import Transport
import Watch
import Wire

/// Makes the page of metrics: every name stands here, with etcd's names where etcd has the number. Source:
/// etcd-behaviour, section 12.
package final class MetricsCollector: Sendable {
    let context: ServerContext
    private let sources = Mutex<Sources?>(nil)

    private struct Sources: Sendable {
        let servers: [GRPCServer]
        let loops: [NIOLoopBound<LoopState>]
        let eventLoops: [any EventLoop]
    }

    package init(context: ServerContext) { self.context = context }

    /// Names where the transport's and the hubs' numbers come from; once, when the server is up.
    func adopt(servers: [GRPCServer], loops: [NIOLoopBound<LoopState>], eventLoops: [any EventLoop]) {
        sources.withLock { $0 = Sources(servers: servers, loops: loops, eventLoops: eventLoops) }
    }

    /// Makes the page and hands it over, on any thread.
    package func collect(_ deliver: @escaping @Sendable (String) -> Void) {
        let sources = sources.withLock { $0 }
        Task {
            var transport = ServerCounters(methodCount: Wire.RPCMethod.table.count)
            var watch = WatchCounters()
            if let sources {
                for server in sources.servers { transport.add(await server.counters()) }
                for (loop, eventLoop) in zip(sources.loops, sources.eventLoops) {
                    if let counters = try? await eventLoop.submit({ loop.value.hub.counters }).get() {
                        watch.add(counters)
                    }
                }
            }
            var page = MetricsPage()
            addServer(to: &page)
            addStore(to: &page)
            addWatch(watch, to: &page)
            addTransport(transport, to: &page)
            addPeers(to: &page)
            addProcess(to: &page)
            deliver(page.text)
        }
    }

    private func addServer(to page: inout MetricsPage) {
        let metrics = context.metrics
        let leader = context.leader.load(ordering: .relaxed)
        let id = context.identity.memberID
        let applied = Int(context.appliedIndex.load(ordering: .relaxed))
        let committed = Int(context.commitIndex.load(ordering: .relaxed))
        page.gauge(
            "etcd_server_has_leader", "Whether or not a leader exists. 1 is existence, 0 is not.", leader == 0 ? 0 : 1)
        page.gauge("etcd_server_is_leader", "Whether or not this member is a leader.", leader == id.rawValue ? 1 : 0)
        page.gauge(
            "etcd_server_is_learner", "Whether or not this member is a learner.",
            context.isLearner.load(ordering: .relaxed) ? 1 : 0)
        page.counter("etcd_server_leader_changes_seen_total", "Leader changes seen.", metrics.leaderChanges.current)
        page.gauge("etcd_server_proposals_committed_total", "Consensus proposals committed.", committed)
        page.gauge("etcd_server_proposals_applied_total", "Consensus proposals applied.", applied)
        page.gauge(
            "etcd_server_proposals_pending", "Entries in the log that are not applied yet.",
            max(0, Int(context.lastIndex.load(ordering: .relaxed)) - applied))
        page.counter("etcd_server_proposals_failed_total", "Failed proposals seen.", metrics.proposalsFailed.current)
        page.gauge(
            "etcd_server_quota_backend_bytes", "Quota on live bytes.", Double(max(0, context.configuration.quotaBytes)))
        page.family(
            "etcd_server_version", "Which API version is running. 1 for the label's version.", "gauge",
            [("server_version=\"\(ProductVersion.api)\"", 1)])
        page.family(
            "martlet_version", "Which version of Martlet is running. 1 for the label's version.", "gauge",
            [("version=\"\(ProductVersion.product)\"", 1)])
        page.family(
            "etcd_cluster_version", "Which cluster version is running.", "gauge", [("cluster_version=\"3.7\"", 1)])
        page.family(
            "etcd_server_id", "This member's identity, in the label.", "gauge", [("server_id=\"\(id.hex)\"", 1)])
        addHealth(to: &page)
        page.counter("etcd_server_health_success", "Successful health checks.", metrics.healthSuccess.current)
        page.counter("etcd_server_health_failures", "Failed health checks.", metrics.healthFailures.current)
        page.histogram("etcd_disk_wal_fsync_duration_seconds", "Latencies of syncs of the log.", metrics.walFsync)
        page.gauge("etcd_disk_wal_write_bytes_total", "Bytes written to the log.", metrics.walWriteBytes.current)
        page.histogram(
            "etcd_disk_backend_commit_duration_seconds", "Latencies of commits of the store.", metrics.backendCommit)
        page.histogram(
            "etcd_server_apply_duration_seconds", "Durations of applying one batch of entries.", metrics.applyDuration)
        page.counter(
            "etcd_server_slow_apply_total", "Batches of entries that took over 100 ms to apply.",
            metrics.slowApplies.current)
        page.counter(
            "etcd_server_read_indexes_failed_total", "Failed read indexes seen.", metrics.readIndexesFailed.current)
        page.counter(
            "etcd_server_slow_read_indexes_total", "Reads that waited for their index for over half a second.",
            metrics.slowReadIndexes.current)
        page.counter(
            "etcd_server_heartbeat_send_failures_total", "Heartbeats to other members that left late.",
            metrics.heartbeatSendFailures.current)
        page.counter(
            "etcd_server_learner_promote_successes", "Learners promoted while this member led.",
            metrics.learnerPromotions.current)
        page.family(
            "etcd_server_learner_promote_failures", "Refused promotions while this member led, by reason.", "counter",
            metrics.learnerPromotionFailures.current.map { ("Reason=\"\($0.label)\"", Double($0.count)) })
        page.counter(
            "martlet_log_dropped_lines_total", "Log lines lost because the sink was slow.",
            context.logQueue.droppedCount)
        let alarms = context.stateMachine.published.withLock { $0.alarms }
        page.family(
            "etcd_debugging_server_alarms",
            "Alarms for every member in cluster. 1 for 'server_id' label with current alarm.",
            "gauge", alarms.map { ("alarm_type=\"\($0.kind.name)\",server_id=\"\($0.member.hex)\"", 1) })
        addLeases(to: &page)
    }

    /// The checks behind `/livez` and `/readyz`.
    private func addHealth(to page: inout MetricsPage) {
        let checks = context.metrics.healthChecks.current
        page.family(
            "etcd_server_healthcheck", "How a health check came out last: 1 well, 0 not.", "gauge",
            checks.map { ("name=\"\($0.name)\",type=\"\($0.kind)\"", $0.isGood ? 1 : 0) })
        page.family(
            "etcd_server_healthchecks_total", "Health checks, by how they came out.", "counter",
            checks.flatMap { check in
                [("error", check.failed), ("success", check.succeeded)].filter { $0.1 > 0 }.map {
                    ("name=\"\(check.name)\",status=\"\($0.0)\",type=\"\(check.kind)\"", Double($0.1))
                }
            })
    }

    private func addLeases(to page: inout MetricsPage) {
        let lease = context.lessor.counters
        page.counter("etcd_debugging_lease_granted_total", "Granted leases.", Int(lease.granted))
        page.counter("etcd_debugging_lease_revoked_total", "Revoked leases.", Int(lease.revoked))
        page.counter("etcd_debugging_lease_renewed_total", "Renewed leases.", Int(lease.renewed))
        page.counter("etcd_debugging_server_lease_expired_total", "Expired leases.", Int(lease.expired))
        page.gauge("martlet_leases", "Leases that exist.", lease.leases)
        let name = "etcd_debugging_lease_ttl_total"
        page.header(name, "TTLs of granted leases in seconds.", "histogram")
        var total: UInt64 = 0
        for (exponent, count) in lease.ttlCounts.enumerated() {
            total += count
            let bound = exponent < LessorCounters.ttlBucketCount ? "\(1 << exponent)" : "+Inf"
            page.plain("\(name)_bucket{le=\"\(bound)\"}", Double(total))
        }
        page.plain("\(name)_sum", Double(lease.ttlSecondsSum))
        page.plain("\(name)_count", Double(total))
    }

    private func addStore(to page: inout MetricsPage) {
        let numbers = context.store.numbers()
        let sizes = context.store.backendSizes
        let operations = context.stateMachine.operations
        let metrics = context.metrics
        page.gauge("etcd_mvcc_db_total_size_in_bytes", "Disk space that the store's file takes.", sizes.fileBytes)
        page.gauge(
            "etcd_mvcc_db_total_size_in_use_in_bytes", "Bytes of the store's file that hold data.", sizes.inUseBytes)
        page.histogram(
            "etcd_disk_backend_snapshot_duration_seconds", "Durations of snapshots sent to clients.",
            metrics.snapshotDuration)
        page.histogram("etcd_mvcc_hash_duration_seconds", "Durations of hashing all state.", metrics.hashDuration)
        page.histogram(
            "etcd_mvcc_hash_rev_duration_seconds", "Durations of hashing the keys at a revision.",
            metrics.hashRevisionDuration)
        page.gauge("martlet_live_bytes", "Live bytes, as the quota counts them.", numbers.liveBytes)
        page.gauge("etcd_debugging_mvcc_keys_total", "Keys that exist.", numbers.keys)
        page.gauge("etcd_debugging_mvcc_current_revision", "The current revision.", Double(numbers.currentRevision))
        page.gauge(
            "etcd_debugging_mvcc_compact_revision", "The compact revision.", Double(max(0, numbers.compactRevision)))
        page.gauge(
            "etcd_debugging_mvcc_db_compaction_last", "When a compaction's removals were last done, in unix time.",
            metrics.lastCompactionSeconds.load(ordering: .relaxed))
        page.gauge("martlet_mvcc_versions", "Stored versions of keys.", numbers.versions)
        page.gauge("martlet_mvcc_tail_bytes", "Bytes of the newest revisions held in memory.", numbers.tailBytes)
        page.gauge("martlet_mvcc_unpersisted_bytes", "Bytes that wait to be persisted.", numbers.unpersistedBytes)
        page.gauge(
            "martlet_store_disk_full", "1 while the store's disk is full and writes that grow it are refused.",
            context.storeDiskFull.load(ordering: .relaxed) ? 1 : 0)
        page.gauge(
            "martlet_wal_disk_full", "1 while the log's disk is full and writes that grow it are refused.",
            context.logDiskFull.load(ordering: .relaxed) ? 1 : 0)
        page.counter(
            "etcd_mvcc_range_total", "Ranges seen by this member.",
            metrics.rangeTotal.current + operations.ranges.load(ordering: .relaxed))
        page.counter(
            "etcd_mvcc_put_total", "Puts seen by this member.",
            operations.puts.load(ordering: .relaxed))
        page.counter(
            "etcd_mvcc_delete_total", "Deletes seen by this member.",
            operations.deletes.load(ordering: .relaxed))
        page.counter(
            "etcd_mvcc_txn_total", "Transactions seen by this member.",
            operations.transactions.load(ordering: .relaxed))
        page.gauge(
            "etcd_debugging_mvcc_total_put_size_in_bytes", "Bytes of keys and values put.",
            operations.putBytes.load(ordering: .relaxed))
        page.counter(
            "martlet_store_scrubbed_records_total", "Stored records whose checksum was verified in the background.",
            metrics.scrubbedRecords.current)
    }

    private func addWatch(_ watch: WatchCounters, to page: inout MetricsPage) {
        page.gauge("etcd_debugging_mvcc_watch_stream_total", "Open watch streams.", watch.streams)
        page.gauge("etcd_debugging_mvcc_watcher_total", "Watchers.", watch.watchers)
        page.gauge("etcd_debugging_mvcc_slow_watcher_total", "Watchers that lag.", watch.slowWatchers)
        page.gauge(
            "etcd_debugging_mvcc_pending_events_total", "Revisions lagging watchers have to go through.",
            Double(watch.pendingRevisions))
        page.counter("etcd_debugging_mvcc_events_total", "Events sent to watchers.", Int(watch.eventsSent))
    }

    private func addProcess(to page: inout MetricsPage) {
        let process = ProcessNumbers.current()
        page.gauge("process_resident_memory_bytes", "Resident memory size in bytes.", process.residentBytes)
        page.gauge("process_virtual_memory_bytes", "Virtual memory size in bytes.", process.virtualBytes)
        page.family("process_cpu_seconds_total", "User and system CPU time in seconds.", "counter", [])
        page.plain("process_cpu_seconds_total", process.cpuSeconds)
        page.gauge(
            "process_virtual_memory_max_bytes", "Most virtual memory in bytes.", process.virtualBytesMax)
        page.gauge("process_open_fds", "Open file descriptors.", process.openDescriptors)
        page.gauge("process_max_fds", "Most open file descriptors.", process.descriptorsMax)
        page.gauge(
            "process_start_time_seconds", "Start time of the process since unix epoch in seconds.", process.startSeconds
        )
        page.gauge("os_fd_limit", "The file descriptor limit.", process.descriptorsMax)
        page.gauge("os_fd_used", "The number of used file descriptors.", process.openDescriptors)
    }
}

extension WatchCounters {
    mutating func add(_ other: WatchCounters) {
        streams += other.streams
        watchers += other.watchers
        slowWatchers += other.slowWatchers
        pendingRevisions += other.pendingRevisions
        eventsSent += other.eventsSent
        responsesSent += other.responsesSent
        historyScans += other.historyScans
    }
}
