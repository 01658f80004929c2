import Primitives
import Testing

@testable import Wire

@Suite struct ServicesTests {
    @Test func rowsStandInTheOrderOfTheCases() {
        #expect(RPCMethod.table.map(\.method) == RPCMethod.allCases)
    }

    @Test func pathsLeadBackToTheirMethods() {
        for method in RPCMethod.allCases {
            for path in method.description.gatewayPaths { #expect(RPCMethod(gatewayPath: path) == method) }
        }
        #expect(RPCMethod.put.path == "/etcdserverpb.KV/Put")
        #expect(RPCMethod.healthWatch.path == "/grpc.health.v1.Health/Watch")
        #expect(RPCMethod(gatewayPath: "/v3/kv/lease/revoke") == .leaseRevoke)
    }

    @Test(arguments: ["", "/", "/etcdserverpb.KV/Pux", "/etcdserverpb.KV/Put/", "etcdserverpb.KV/Put"])
    func otherPathsLeadNowhere(_ path: String) {
        #expect(!RPCMethod.allCases.contains { $0.path == Bytes(utf8: path) })
        #expect(RPCMethod(gatewayPath: path) == nil)
    }

    @Test func streamsAreMarked() {
        let bidirectional = RPCMethod.allCases.filter { $0.description.streaming == .bidirectional }
        #expect(bidirectional == [.watch, .leaseKeepAlive])
        let serverStreaming = RPCMethod.allCases.filter { $0.description.streaming == .serverStreaming }
        #expect(serverStreaming == [.rangeStream, .snapshot, .electionObserve, .healthWatch])
    }
}
