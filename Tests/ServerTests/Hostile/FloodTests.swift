import Client
import Foundation
import NIOConcurrencyHelpers
import TestSupport
import Testing
import Wire

extension ServerTests {
    /// One connection that sends cheap frames as fast as it can must cost the server little, and others no time.
    @Suite("floods") struct Floods {
        enum Flood: String, CaseIterable, Sendable {
            case resets, pings, settings, continuations, emptyContinuations, openStreams, emptyData, priorities

            /// What opens the flood, and what is repeated.
            var frames: (opening: [UInt8], turn: (_ number: Int) -> [UInt8]) {
                let headers = RawCall.headers("/etcdserverpb.Watch/Watch")
                let unfinished = RawCall.frame(type: 1, flags: 0, stream: 1, headers)
                let watch = RawCall.frame(type: 1, flags: 4, stream: 1, headers)
                func repeated(_ frame: [UInt8]) -> (Int) -> [UInt8] {
                    let many = Array(repeatElement(frame, count: 500).joined())
                    return { _ in many }
                }
                switch self {
                case .resets:
                    return (
                        [],
                        { number in
                            let stream = UInt32(2 * number + 1)
                            return RawCall.frame(type: 1, flags: 4, stream: stream, headers)
                                + RawCall.frame(type: 3, flags: 0, stream: stream, RawCall.bigEndian(8))
                        }
                    )
                case .openStreams:
                    return ([], { RawCall.frame(type: 1, flags: 4, stream: UInt32(2 * $0 + 1), headers) })
                case .pings:
                    return ([], repeated(RawCall.frame(type: 6, flags: 0, stream: 0, [1, 2, 3, 4, 5, 6, 7, 8])))
                case .settings: return ([], repeated(RawCall.frame(type: 4, flags: 0, stream: 0, [])))
                case .continuations:
                    let field: [UInt8] = [0, 1, 0x78, 100] + [UInt8](repeating: 0x79, count: 100)
                    return (unfinished, repeated(RawCall.frame(type: 9, flags: 0, stream: 1, field)))
                case .emptyContinuations: return (unfinished, repeated(RawCall.frame(type: 9, flags: 0, stream: 1, [])))
                case .emptyData: return (watch, repeated(RawCall.frame(type: 0, flags: 0, stream: 1, [])))
                case .priorities: return ([], repeated(RawCall.frame(type: 2, flags: 0, stream: 1, [0, 0, 0, 0, 16])))
                }
            }
        }

        /// A flood lasts for a second at least, and until others have been served so often: if they are not, it has no end.
        private static let servedMin = 50

        @Test("a flood is borne or cut off")
        func floods() async throws {
            try await forEach(Flood.allCases, atOnce: 2) { try await flood($0) }
        }

        private func flood(_ flood: Flood) async throws {
            try await withServer { server in
                let client = try server.client()
                try await client.put("a", "b")
                let before = server.memory("RssAnon")
                let port = server.clientPort
                let served = NIOLockedValueBox(0)
                let isOver = NIOLockedValueBox(false)
                async let flooding: Void = onThread {
                    defer { isOver.withLockedValue { $0 = true } }
                    let socket = try RawSocket(port: port, timeoutSeconds: 1)
                    try socket.send(RawCall.preface + RawCall.frame(type: 4, flags: 0, stream: 0, []))
                    let frames = flood.frames
                    try socket.send(frames.opening)
                    let end = ContinuousClock.now + .seconds(1)
                    var number = 0
                    // It never reads; a server that has enough closes, and the next send fails.
                    while ContinuousClock.now < end || served.withLockedValue({ $0 }) < Self.servedMin {
                        guard (try? socket.send(frames.turn(number))) != nil else { return }
                        number += 1
                    }
                }
                var number = 0
                do {
                    while !isOver.withLockedValue({ $0 }) || number < Self.servedMin {
                        number += 1
                        try await client.put("a", "\(number)")
                        served.withLockedValue { [number] in $0 = number }
                        try await Task.sleep(for: .milliseconds(5))
                    }
                } catch {
                    served.withLockedValue { $0 = .max }
                    throw error
                }
                try await flooding
                let growth = server.memory("RssAnon") - before
                #expect(growth < 64 << 20, "\(flood): anonymous memory grew by \(growth >> 20) MiB")
                #expect(try await client.get("a").kvs[0].value == Data("\(number)".utf8), "\(flood)")
                await client.close()
            }
        }
    }
}
