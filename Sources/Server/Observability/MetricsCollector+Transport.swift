import Transport
import Wire

extension MetricsCollector {
    /// What the transport counts: connections, calls and messages of clients.
    func addTransport(_ transport: ServerCounters, to page: inout MetricsPage) {
        page.counter(
            "etcd_network_client_grpc_received_bytes_total", "Bytes received from clients.",
            Int(transport.receivedBytes))
        page.counter("etcd_network_client_grpc_sent_bytes_total", "Bytes sent to clients.", Int(transport.sentBytes))
        page.gauge(
            "martlet_client_connections", "Open client connections.",
            Int(transport.connectionsOpened) - Int(transport.connectionsClosed))
        page.counter(
            "martlet_client_connections_refused_total", "Client connections closed because a limit was reached.",
            Int(transport.connectionsRefused))
        page.counter("martlet_http_requests_total", "Plain HTTP requests.", Int(transport.httpRequests))
        page.family(
            "etcd_server_client_requests_total", "Calls begun, by what the client says of its API version.", "counter",
            transport.clients.flatMap { client in
                [("stream", client.streams), ("unary", client.unary)].filter { $0.1 > 0 }.map {
                    ("client_api_version=\"\(client.version)\",type=\"\($0.0)\"", Double($0.1))
                }
            })
        addCalls(transport, to: &page)
        if context.configuration.metricsLevel == .extensive { addHandling(transport, to: &page) }
    }

    private func addCalls(_ transport: ServerCounters, to page: inout MetricsPage) {
        var started: [(labels: String, value: Double)] = []
        var handled: [(labels: String, value: Double)] = []
        var received: [(labels: String, value: Double)] = []
        var sent: [(labels: String, value: Double)] = []
        for description in Wire.RPCMethod.table {
            let index = description.method.rawValue
            let labels = Self.labels(of: description)
            started.append((labels, Double(transport.started[index])))
            received.append((labels, Double(transport.messagesReceived[index])))
            sent.append((labels, Double(transport.messagesSent[index])))
            for code in RPCCode.allCases {
                let count = transport.handled(index, code)
                guard count > 0 || code == .ok else { continue }
                handled.append(("grpc_code=\"\(code.metricLabel)\",\(labels)", Double(count)))
            }
        }
        page.family("grpc_server_started_total", "Calls started on the server.", "counter", started)
        page.family("grpc_server_handled_total", "Calls completed on the server, by code.", "counter", handled)
        page.family("grpc_server_msg_received_total", "Messages received from clients.", "counter", received)
        page.family("grpc_server_msg_sent_total", "Messages sent to clients.", "counter", sent)
    }

    /// The durations of calls, by method. Only with `--metrics extensive`.
    private func addHandling(_ transport: ServerCounters, to page: inout MetricsPage) {
        let bounds = ServerCounters.handlingBounds
        page.header("grpc_server_handling_seconds", "How long calls took until they were over.", "histogram")
        for description in Wire.RPCMethod.table {
            let index = description.method.rawValue
            guard transport.started[index] > 0 else { continue }
            let labels = Self.labels(of: description)
            var total: UInt64 = 0
            for bucket in 0...bounds.count {
                total += transport.handlingCounts[index * (bounds.count + 1) + bucket]
                let bound = bucket < bounds.count ? "\(bounds[bucket])" : "+Inf"
                page.plain("grpc_server_handling_seconds_bucket{\(labels),le=\"\(bound)\"}", Double(total))
            }
            page.plain(
                "grpc_server_handling_seconds_sum{\(labels)}", Double(transport.handlingNanoseconds[index]) / 1e9)
            page.plain("grpc_server_handling_seconds_count{\(labels)}", Double(total))
        }
    }

    private static func labels(of description: RPCMethodDescription) -> String {
        let kind =
            switch description.streaming {
            case .unary: "unary"
            case .serverStreaming: "server_stream"
            case .bidirectional: "bidi_stream"
            }
        return "grpc_method=\"\(description.name)\",grpc_service=\"\(description.service)\",grpc_type=\"\(kind)\""
    }
}

extension RPCCode {
    /// The code's name as gRPC's Prometheus metrics write it.
    var metricLabel: String {
        switch self {
        case .ok: "OK"
        case .cancelled: "Canceled"
        case .unknown: "Unknown"
        case .invalidArgument: "InvalidArgument"
        case .deadlineExceeded: "DeadlineExceeded"
        case .notFound: "NotFound"
        case .alreadyExists: "AlreadyExists"
        case .permissionDenied: "PermissionDenied"
        case .resourceExhausted: "ResourceExhausted"
        case .failedPrecondition: "FailedPrecondition"
        case .aborted: "Aborted"
        case .outOfRange: "OutOfRange"
        case .unimplemented: "Unimplemented"
        case .internal: "Internal"
        case .unavailable: "Unavailable"
        case .dataLoss: "DataLoss"
        case .unauthenticated: "Unauthenticated"
        }
    }
}
