import Peers
import Primitives
import StateMachine
import Synchronization

extension MetricsCollector {
    /// What is known of the other members; their identities are in the labels.
    func addPeers(to page: inout MetricsPage) {
        let peers = context.peers?.statuses() ?? []
        let own = context.identity.memberID.hex
        func family(_ name: String, _ help: String, _ kind: String, _ value: (PeerStatus) -> Double) {
            page.family(name, help, kind, peers.map { ("To=\"\($0.member.hex)\"", value($0)) })
        }
        page.family(
            "etcd_network_known_peers", "The members that this one knows.", "gauge",
            peers.map { ("Local=\"\(own)\",Remote=\"\($0.member.hex)\"", 1) })
        page.family(
            "etcd_network_active_peers", "The members that this one can talk to.", "gauge",
            peers.map { ("Local=\"\(own)\",Remote=\"\($0.member.hex)\"", $0.isConnected ? 1 : 0) })
        page.family(
            "etcd_network_disconnected_peers_total", "Connections to a member that broke.", "counter",
            peers.map { ("Local=\"\(own)\",Remote=\"\($0.member.hex)\"", Double($0.failures)) })
        family("etcd_network_peer_sent_bytes_total", "Bytes sent to a member.", "counter") { Double($0.bytesSent) }
        family("etcd_network_peer_sent_failures_total", "Messages to a member that were dropped.", "counter") {
            Double($0.messagesDropped)
        }
        page.family(
            "etcd_network_peer_received_bytes_total", "Bytes received from a member.", "counter",
            peers.map { ("From=\"\($0.member.hex)\"", Double($0.bytesReceived)) })
        family("etcd_network_snapshot_send_success", "Snapshots sent to a member.", "counter") {
            Double($0.snapshotsSent)
        }
        family("etcd_network_snapshot_send_failures", "Snapshots to a member that failed.", "counter") {
            Double($0.snapshotsSendFailed)
        }
        family("etcd_network_snapshot_send_inflights_total", "Snapshots being sent to a member.", "gauge") {
            $0.snapshotBytesConsumed == nil ? 0 : 1
        }
        func received(_ name: String, _ help: String, _ value: (PeerStatus) -> UInt64) {
            page.family(
                name, help, "counter", peers.map { ("From=\"\($0.member.hex)\"", Double(value($0))) })
        }
        received("etcd_network_snapshot_receive_success", "Snapshots received from a member.") { $0.snapshotsReceived }
        received("etcd_network_snapshot_receive_failures", "Snapshots from a member that failed.") {
            $0.snapshotsReceiveFailed
        }
        page.family(
            "martlet_snapshot_chunks_total", "Chunks of snapshots made for a member, by how they were encoded.",
            "counter",
            peers.flatMap { peer in
                [("zlib", peer.snapshotChunksCompressed), ("stored", peer.snapshotChunksStored)].map {
                    ("To=\"\(peer.member.hex)\",encoding=\"\($0.0)\"", Double($0.1))
                }
            })
        family("martlet_peer_queued_bytes", "Bytes that wait to be sent to a member.", "gauge") {
            Double($0.queuedBytes)
        }
        let matches = context.matchIndexes.withLock { $0 }
        page.family(
            "martlet_raft_match_index", "The last entry that a member is known to have, on the leader.", "gauge",
            matches.sorted { $0.key < $1.key }.map { ("member=\"\($0.key.hex)\"", Double($0.value.rawValue)) })
        addRoundTrips(peers, to: &page)
    }

    private func addRoundTrips(_ peers: [PeerStatus], to page: inout MetricsPage) {
        let name = "etcd_network_peer_round_trip_time_seconds"
        page.header(name, "Round-trip times to other members.", "histogram")
        for peer in peers {
            let label = "To=\"\(peer.member.hex)\""
            var sum: UInt64 = 0
            for (place, bound) in PeerStatus.roundTripBounds.enumerated() {
                sum += peer.roundTripCounts[place]
                page.plain("\(name)_bucket{\(label),le=\"\(bound)\"}", Double(sum))
            }
            sum += peer.roundTripCounts[PeerStatus.roundTripBounds.count]
            page.plain("\(name)_bucket{\(label),le=\"+Inf\"}", Double(sum))
            page.plain("\(name)_sum{\(label)}", Double(peer.roundTripNanosecondsSum) / 1e9)
            page.plain("\(name)_count{\(label)}", Double(sum))
        }
    }
}
