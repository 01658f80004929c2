/// When the server compacts by itself. Source: etcd's `--auto-compaction-mode` and `--auto-compaction-retention`.
package struct AutoCompaction: Sendable, Equatable {
    package enum Policy: Sendable, Equatable {
        case off
        /// Keep the history of the last so many seconds.
        case periodic(seconds: Double)
        /// Keep the last so many revisions; looked at every five minutes.
        case revisions(Int64)
    }

    package let policy: Policy

    package init(mode: ServerConfiguration.CompactionMode, retention: String) throws(ConfigurationError) {
        guard !retention.isEmpty else {
            policy = .off
            return
        }
        switch mode {
        case .revision:
            guard let count = Int64(retention), count >= 0 else {
                throw ConfigurationError(
                    "--auto-compaction-retention takes a number of revisions in mode revision, got \"\(retention)\"")
            }
            policy = count == 0 ? .off : .revisions(count)
        case .periodic:
            let span = Int64(retention).map { Double($0) * 3600 } ?? seconds(parsingGoDuration: retention)
            guard let span, span >= 0, span <= durationSecondsMax else {
                throw ConfigurationError(
                    "--auto-compaction-retention takes hours or a duration such as 30m, got \"\(retention)\"")
            }
            policy = span == 0 ? .off : .periodic(seconds: span)
        }
    }
}
