import Foundation
import Wire

/// One call of a random sequence.
enum Operation: Sendable, CustomStringConvertible {
    case range(Etcdserverpb_RangeRequest)
    case put(Etcdserverpb_PutRequest)
    case deleteRange(Etcdserverpb_DeleteRangeRequest)
    case txn(Etcdserverpb_TxnRequest)
    case compact(Etcdserverpb_CompactionRequest)
    case leaseGrant(Etcdserverpb_LeaseGrantRequest)
    case leaseRevoke(Int64)
    case leaseTimeToLive(Int64)
    case leases
    case hashKV(Int64)
    case watch(Etcdserverpb_WatchCreateRequest)
    case cancelWatch(Int64)

    /// Whether events that are on their way could be lost or kept by chance when this call overtakes them.
    var needsQuietWatches: Bool {
        switch self {
        case .compact, .cancelWatch, .watch: true
        default: false
        }
    }

    var description: String {
        switch self {
        case .range(let request): "Range " + Self.text(request)
        case .put(let request): "Put " + Self.text(request)
        case .deleteRange(let request): "DeleteRange " + Self.text(request)
        case .txn(let request): "Txn " + Self.text(request)
        case .compact(let request): "Compact " + Self.text(request)
        case .leaseGrant(let request): "LeaseGrant " + Self.text(request)
        case .leaseRevoke(let id): "LeaseRevoke \(id)"
        case .leaseTimeToLive(let id): "LeaseTimeToLive \(id)"
        case .leases: "LeaseLeases"
        case .hashKV(let revision): "HashKV \(revision)"
        case .watch(let request): "Watch create " + Self.text(request)
        case .cancelWatch(let id): "Watch cancel \(id)"
        }
    }

    private static func text(_ message: some CustomDebugStringConvertible) -> String {
        message.debugDescription.split(separator: "\n").dropFirst().map { $0.trimmingCharacters(in: .whitespaces) }
            .joined(separator: " ")
    }
}
