/// What the API's fields hold, as far as a readable file must know: JSON has no bytes, and keys are relative to a
/// prefix.
enum FieldKind {
    /// Bytes that are a key: relative to the case's prefix.
    case key
    case bytes
    case plain

    /// `method`: `KV/Range`. Only locks and elections have names that are bytes.
    init(_ field: String?, method: String) {
        switch field {
        case "key", "range_end", "keys": self = .key
        case "value", "blob": self = .bytes
        case "name" where method.hasPrefix("Lock/") || method.hasPrefix("Election/"): self = .key
        default: self = .plain
        }
    }

    /// The names of enumerators that are zero, which JSON leaves out, by field.
    static let zeroNames: [String: String] = [
        "type": "PUT", "alarm": "NONE", "action": "GET", "sort_order": "NONE", "sort_target": "KEY", "result": "EQUAL",
        "target": "VERSION", "status": "UNKNOWN",
    ]

    /// Every field name of the API's messages: an expectation with another name would be true of any answer.
    /// Source: spec `api-fields.tsv`.
    static let names: Set<String> = Set(
        """
        header cluster_id member_id revision raft_term key range_end limit sort_order sort_target serializable
        keys_only count_only min_mod_revision max_mod_revision min_create_revision max_create_revision kvs more
        count value lease prev_kv ignore_value ignore_lease deleted prev_kvs request_range request_put
        request_delete_range request_txn response_range response_put response_delete_range response_txn result
        target version create_revision mod_revision compare success failure succeeded responses physical hash
        compact_revision hash_revision remaining_bytes blob create_request cancel_request progress_request
        start_revision progress_notify filters watch_id fragment created canceled cancel_reason events type kv TTL
        ID error keys grantedTTL leases name peerURLs clientURLs isLearner linearizable member members alarms
        memberID alarm action dbSize leader raftIndex raftTerm raftAppliedIndex errors dbSizeInUse storageVersion
        dbSizeQuota downgradeInfo enabled targetVersion targetID range_response status service
        """.split(whereSeparator: { $0 == " " || $0 == "\n" }).map(String.init))
}
