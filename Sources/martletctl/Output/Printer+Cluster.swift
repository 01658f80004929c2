package import Wire

/// What `endpoint health` found at one endpoint.
package struct EndpointHealth: Sendable {
    package var endpoint: String
    package var isHealthy: Bool
    /// How long the check took.
    package var took: GoDuration
    /// Why the endpoint is not healthy; empty when it is.
    package var error: String

    package init(endpoint: String, isHealthy: Bool, took: GoDuration, error: String = "") {
        self.endpoint = endpoint
        self.isHealthy = isHealthy
        self.took = took
        self.error = error
    }
}

extension Printer {
    /// The answers of `endpoint health`. In the simple format each line goes to stdout or, when unhealthy, to stderr;
    /// this is the part for stdout, `unhealthyLines` the other.
    package func endpointHealth(_ results: [EndpointHealth]) throws(CommandError) -> [UInt8] {
        try print(
            nil,
            simple: { text in
                for result in results where result.isHealthy && result.error.isEmpty {
                    text.line(
                        "\(result.endpoint) is healthy: successfully committed proposal: took = \(result.took)")
                }
            },
            json: { json in
                json.array { json in
                    for result in results {
                        json.object { json in
                            json.field("endpoint", result.endpoint)
                            json.field("health", result.isHealthy)
                            json.field("took", result.took.description)
                            json.field("error", unlessEmpty: result.error)
                        }
                    }
                }
            },
            fields: { text in
                for result in results {
                    text.field("Endpoint", quoted: result.endpoint)
                    text.field("Health", result.isHealthy)
                    text.field("Took", result.took)
                    text.field("Error", result.error)
                    text.line()
                }
            },
            table: {
                var table = TableWriter(headings: ["ENDPOINT", "HEALTH", "TOOK", "ERROR"])
                for result in results {
                    table.append([result.endpoint, "\(result.isHealthy)", "\(result.took)", result.error])
                }
                return table
            })
    }

    /// The lines for stderr that the simple format has for unhealthy endpoints; none in other formats.
    package func unhealthyLines(_ results: [EndpointHealth]) -> [String] {
        guard format == .simple else { return [] }
        return results.filter { !$0.error.isEmpty }.map {
            "\($0.endpoint) is unhealthy: failed to commit proposal: \($0.error)"
        }
    }

    /// The answers of `endpoint status`, each with its endpoint.
    package func endpointStatus(
        _ results: [(endpoint: String, status: Etcdserverpb_StatusResponse)]
    ) throws(CommandError) -> [UInt8] {
        try print(
            nil,
            simple: { text in
                for result in results {
                    text.line(statusCells(result.endpoint, result.status).joined(separator: ", "))
                }
            },
            json: { json in
                json.array { json in
                    for result in results {
                        json.object { json in
                            json.field("Endpoint", result.endpoint)
                            json.field("Status", object: { $0.status(result.status) })
                        }
                    }
                }
            },
            fields: { text in
                for result in results { fieldsStatus(result.endpoint, result.status, into: &text) }
            },
            table: {
                var table = TableWriter(headings: [
                    "ENDPOINT", "ID", "VERSION", "DB SIZE", "IS LEADER", "IS LEARNER", "RAFT TERM", "RAFT INDEX",
                    "RAFT APPLIED INDEX", "ERRORS",
                ])
                for result in results { table.append(statusCells(result.endpoint, result.status)) }
                return table
            })
    }

    private func statusCells(_ endpoint: String, _ status: Etcdserverpb_StatusResponse) -> [String] {
        [
            endpoint, GoText.hex(status.header.memberID), status.version,
            GoText.humanBytes(UInt64(max(0, status.dbSize))), "\(status.leader == status.header.memberID)",
            "\(status.isLearner)", "\(status.raftTerm)", "\(status.raftIndex)", "\(status.raftAppliedIndex)",
            status.errors.joined(separator: ", "),
        ]
    }

    private func fieldsStatus(
        _ endpoint: String, _ status: Etcdserverpb_StatusResponse, into text: inout Text
    ) {
        text.header(status.header)
        text.field("Version", quoted: status.version)
        text.field("DBSize", status.dbSize)
        text.field("Leader", status.leader)
        text.field("IsLearner", status.isLearner)
        text.field("RaftIndex", status.raftIndex)
        text.field("RaftTerm", status.raftTerm)
        text.field("RaftAppliedIndex", status.raftAppliedIndex)
        text.field("Errors", "[" + status.errors.joined(separator: " ") + "]")
        text.field("Endpoint", quoted: endpoint)
        text.line()
    }

    /// The answers of `endpoint hashkv`, each with its endpoint.
    package func endpointHashKV(
        _ results: [(endpoint: String, hash: Etcdserverpb_HashKVResponse)]
    ) throws(CommandError) -> [UInt8] {
        try print(
            nil,
            simple: { text in for result in results { text.line("\(result.endpoint), \(result.hash.hash)") } },
            json: { json in
                json.array { json in
                    for result in results {
                        json.object { json in
                            json.field("Endpoint", result.endpoint)
                            json.field("HashKV", object: { $0.hashKV(result.hash) })
                        }
                    }
                }
            },
            fields: { text in
                for result in results {
                    text.header(result.hash.header)
                    text.field("Endpoint", quoted: result.endpoint)
                    text.field("Hash", result.hash.hash)
                    text.line()
                }
            },
            table: {
                var table = TableWriter(headings: ["ENDPOINT", "HASH"])
                for result in results { table.append([result.endpoint, "\(result.hash.hash)"]) }
                return table
            })
    }

    /// The answer of `alarm list` and `alarm disarm`.
    package func alarm(_ response: Etcdserverpb_AlarmResponse) throws(CommandError) -> [UInt8] {
        try print(
            response,
            simple: { text in
                for alarm in response.alarms {
                    text.line("memberID:\(alarm.memberID) alarm:\(Self.name(alarm.alarm)) ")
                }
            },
            json: { json in
                json.object { json in
                    json.header(response.header, isPresent: response.hasHeader)
                    if response.alarms.isEmpty { return }
                    json.field(
                        "alarms",
                        array: { json in
                            for alarm in response.alarms {
                                json.object { json in
                                    json.field("memberID", unlessZero: alarm.memberID)
                                    json.field("alarm", unlessZero: alarm.alarm.rawValue)
                                }
                            }
                        })
                }
            },
            fields: { text in
                text.header(response.header)
                for alarm in response.alarms {
                    text.field("MemberID", alarm.memberID)
                    text.field("AlarmType", Self.name(alarm.alarm))
                    text.line()
                }
            })
    }

    /// An alarm's name as etcd writes it.
    static func name(_ alarm: Etcdserverpb_AlarmType) -> String {
        switch alarm {
        case .none: "NONE"
        case .nospace: "NOSPACE"
        case .corrupt: "CORRUPT"
        case .UNRECOGNIZED(let number): "\(number)"
        }
    }

    /// The answer of `move-leader`.
    package func moveLeader(
        _ response: Etcdserverpb_MoveLeaderResponse, from leader: UInt64, to target: UInt64
    ) throws(CommandError) -> [UInt8] {
        try print(
            response,
            simple: { $0.line("Leadership transferred from \(GoText.hex(leader)) to \(GoText.hex(target))") },
            json: { json in
                json.object { $0.header(response.header, isPresent: response.hasHeader) }
            })
    }

    /// What `snapshot status` found in a file.
    package func snapshotStatus(_ status: SnapshotFileStatus) throws(CommandError) -> [UInt8] {
        let cells = [
            GoText.hex(UInt64(status.hash)), "\(status.revision)", "\(status.keyCount)",
            GoText.humanBytes(UInt64(status.sizeBytes)),
        ]
        return try print(
            nil, simple: { $0.line(cells.joined(separator: ", ")) },
            json: { json in
                json.object { json in
                    json.field("hash", status.hash)
                    json.field("revision", status.revision)
                    json.field("totalKey", status.keyCount)
                    json.field("totalSize", status.sizeBytes)
                }
            },
            fields: { text in
                text.field("Hash", status.hash)
                text.field("Revision", status.revision)
                text.field("Keys", status.keyCount)
                text.field("Size", status.sizeBytes)
            },
            table: {
                var table = TableWriter(headings: ["HASH", "REVISION", "TOTAL KEYS", "TOTAL SIZE"])
                table.append(cells)
                return table
            })
    }
}

extension JSONText {
    fileprivate mutating func status(_ status: Etcdserverpb_StatusResponse) {
        header(status.header, isPresent: status.hasHeader)
        field("version", unlessEmpty: status.version)
        field("dbSize", unlessZero: status.dbSize)
        field("leader", unlessZero: status.leader)
        field("raftIndex", unlessZero: status.raftIndex)
        field("raftTerm", unlessZero: status.raftTerm)
        field("raftAppliedIndex", unlessZero: status.raftAppliedIndex)
        field("errors", unlessEmpty: status.errors)
        field("dbSizeInUse", unlessZero: status.dbSizeInUse)
        field("isLearner", unlessFalse: status.isLearner)
        field("storageVersion", unlessEmpty: status.storageVersion)
        field("dbSizeQuota", unlessZero: status.dbSizeQuota)
        if status.hasDowngradeInfo {
            field(
                "downgradeInfo",
                object: { json in
                    json.field("enabled", unlessFalse: status.downgradeInfo.enabled)
                    json.field("targetVersion", unlessEmpty: status.downgradeInfo.targetVersion)
                })
        }
    }

    fileprivate mutating func hashKV(_ hash: Etcdserverpb_HashKVResponse) {
        header(hash.header, isPresent: hash.hasHeader)
        field("hash", unlessZero: hash.hash)
        field("compact_revision", unlessZero: hash.compactRevision)
        field("hash_revision", unlessZero: hash.hashRevision)
    }
}
