package import Wire

extension Printer {
    /// The answer of `lease grant`.
    package func leaseGrant(_ response: Etcdserverpb_LeaseGrantResponse) throws(CommandError) -> [UInt8] {
        try print(
            response,
            simple: { $0.line("lease \(GoText.leaseHex(response.id)) granted with TTL(\(response.ttl)s)") },
            json: { json in
                json.object { json in
                    json.headerFields(response.header)
                    json.field("ID", response.id)
                    json.field("TTL", response.ttl)
                    json.field("Error", response.error)
                }
            },
            fields: { text in
                text.header(response.header)
                text.field("ID", response.id)
                text.field("TTL", response.ttl)
            })
    }

    /// The answer of `lease revoke` for `lease`.
    package func leaseRevoke(
        _ response: Etcdserverpb_LeaseRevokeResponse, lease: Int64
    ) throws(CommandError) -> [UInt8] {
        try print(
            response, simple: { $0.line("lease \(GoText.leaseHex(lease)) revoked") },
            json: { $0.object { $0.header(response.header, isPresent: response.hasHeader) } },
            fields: { $0.header(response.header) })
    }

    /// One answer of `lease keep-alive`; a lease that is gone has a TTL of 0 and prints `expired or revoked.`
    package func leaseKeepAlive(_ response: Etcdserverpb_LeaseKeepAliveResponse) throws(CommandError) -> [UInt8] {
        try print(
            response,
            simple: { text in
                if response.ttl == 0 {
                    text.line("lease \(GoText.leaseHex(response.id)) expired or revoked.")
                } else {
                    text.line("lease \(GoText.leaseHex(response.id)) keepalived with TTL(\(response.ttl))")
                }
            },
            json: { json in
                json.object { json in
                    json.headerFields(response.header)
                    json.field("ID", response.id)
                    json.field("TTL", response.ttl)
                }
            },
            fields: { text in
                text.header(response.header)
                text.field("ID", response.id)
                text.field("TTL", response.ttl)
            })
    }

    /// The answer of `lease timetolive`; `withKeys` as the flag `--keys`.
    package func leaseTimeToLive(
        _ response: Etcdserverpb_LeaseTimeToLiveResponse, withKeys: Bool
    ) throws(CommandError) -> [UInt8] {
        try print(
            response, simple: { simpleTimeToLive(response, withKeys: withKeys, into: &$0) },
            json: { json in
                json.object { json in
                    json.headerFields(response.header)
                    json.field("id", response.id)
                    json.field("ttl", response.ttl)
                    json.field("granted-ttl", response.grantedTtl)
                    json.name("keys")
                    if response.keys.isEmpty {
                        json.null()
                    } else {
                        json.array { json in for key in response.keys { json.value(key) } }
                    }
                }
            },
            fields: { text in
                text.header(response.header)
                text.field("ID", response.id)
                text.field("TTL", response.ttl)
                text.field("GrantedTTL", response.grantedTtl)
                for key in response.keys { text.field("Key", quoted: key) }
            })
    }

    private func simpleTimeToLive(
        _ response: Etcdserverpb_LeaseTimeToLiveResponse, withKeys: Bool, into text: inout Text
    ) {
        let lease = GoText.leaseHex(response.id)
        if response.grantedTtl == 0, response.ttl == -1 {
            text.line("lease \(lease) already expired")
            return
        }
        let granted = "lease \(lease) granted with TTL(\(response.grantedTtl)s), remaining(\(response.ttl)s)"
        guard withKeys else {
            text.line(granted)
            return
        }
        var line = Array((granted + ", attached keys([").utf8)
        for (index, key) in response.keys.enumerated() {
            if index > 0 { line.append(UInt8(ascii: " ")) }
            line += key
        }
        text.line(raw: line + Array("])".utf8))
    }

    /// The answer of `lease list`.
    package func leaseList(_ response: Etcdserverpb_LeaseLeasesResponse) throws(CommandError) -> [UInt8] {
        try print(
            response,
            simple: { text in
                text.line("found \(response.leases.count) leases")
                for lease in response.leases { text.line(GoText.leaseHex(lease.id)) }
            },
            json: { json in
                json.object { json in
                    json.headerFields(response.header)
                    json.field(
                        "leases",
                        array: { json in for lease in response.leases { json.object { $0.field("id", lease.id) } } })
                }
            },
            fields: { text in
                text.header(response.header)
                for lease in response.leases { text.field("ID", lease.id) }
            })
    }
}
