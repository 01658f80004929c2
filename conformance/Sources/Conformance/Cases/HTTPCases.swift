import Foundation
import Transport
import Wire

/// Cases of the http area that data cannot express.
enum HTTPCases {
    static let all: [Case] = [
        Case(
            "http", "one-connection-for-two-requests",
            doc: "A connection stays open for the next request [RFC 9112, persistence]"
        ) { context in
            let host = HTTPClient.authority(context.target, context.endpoint)
            let text =
                "GET /health HTTP/1.1\r\nHost: \(host)\r\n\r\n"
                + "GET /version HTTP/1.1\r\nHost: \(host)\r\nConnection: close\r\n\r\n"
            let bytes = try await HTTPClient.exchange(context.target, endpoint: context.endpoint, Array(text.utf8))
            let answer = String(decoding: bytes, as: UTF8.self)
            try context.expect(answer.contains("\"health\""), "no answer to the first request: \(answer.prefix(200))")
            try context.expect(answer.contains("etcdserver"), "no answer to the second request: \(answer.prefix(400))")
        },
        Case(
            "http", "metrics-count",
            doc: "Counters count: so many calls, so much more [op-guide/monitoring]", needs: [.private]
        ) { context in
            let name = "grpc_server_handled_total{grpc_code=\"OK\",grpc_method=\"Put\""
            let before = try await counter(context, name)
            for number in 0..<25 { try await context.put("a", "\(number)") }
            // A call is counted when it has ended, of which its answer may tell a moment earlier.
            let deadline = ContinuousClock.now + Duration.seconds(5).patient
            while try await counter(context, name) < before + 25, ContinuousClock.now < deadline {
                try await Task.sleep(for: .milliseconds(10))
            }
            try context.expectEqual(try await counter(context, name) - before, 25, "puts counted")
        },
        Case(
            "http", "grpc-on-the-same-port",
            doc: "gRPC and HTTP share the client port [op-guide/configuration, --listen-client-urls]"
        ) { context in
            let watch = try await context.watch("a")
            for _ in 0..<10 {
                let answer = try await HTTPClient.request(
                    context.target, endpoint: context.endpoint, method: "GET", path: "/version")
                try context.expectEqual(answer.status, 200, "status of /version")
            }
            try await context.put("a", "1")
            try context.expectEqual(try await watch.events(1).count, 1, "events")
        },
        Case(
            "http", "many-probes",
            doc: "Probes by the hundred are answered [kubelet]"
        ) { context in
            try await withThrowingTaskGroup(of: Void.self) { group in
                for _ in 0..<100 {
                    group.addTask {
                        let answer = try await HTTPClient.request(
                            context.target, endpoint: context.endpoint, method: "GET", path: "/health")
                        try context.expectEqual(answer.status, 200, "status of /health")
                    }
                }
                try await group.waitForAll()
            }
        },
    ]

    /// The value of the first sample whose line begins with `name`.
    private static func counter(_ context: CaseContext, _ name: String) async throws -> Int {
        let answer = try await HTTPClient.request(
            context.target, endpoint: context.endpoint, method: "GET", path: "/metrics")
        for line in String(decoding: answer.body, as: UTF8.self).split(separator: "\n") where line.hasPrefix(name) {
            return Int(Double(line.split(separator: " ").last ?? "") ?? 0)
        }
        return 0
    }
}
