import Client
import Foundation
import NIOConcurrencyHelpers
import TestSupport
import Testing
import Transport
import Wire

extension ClusterTests {
    /// What `Maintenance.Status` says of a sole member; `Quorum` and `Membership` look at a member without leader and at a
    /// learner.
    @Suite("status", .besideOthers) struct Status {
        @Test("alarms are among the errors, in etcd's words", arguments: TestServer.Kind.allCases)
        func alarms(_ kind: TestServer.Kind) async throws {
            try await withServer(kind, ["--quota-backend-bytes", String(4 << 20)]) { server in
                try await check(server)
            }
        }

        private func check(_ server: TestServer) async throws {
            let client = try server.client()
            let before = try await client.status()
            let id = before.header.memberID
            #expect(before.errors.isEmpty && before.leader == id && !before.isLearner && before.raftTerm > 0)
            #expect(before.raftTerm == before.header.raftTerm)

            let full = "memberID:\(id) alarm:NOSPACE "
            let indexes = try await fill(client)
            // etcd reads the two one after the other, in the order in which the one may overtake the other.
            if server.kind == .martlet {
                #expect(indexes.allSatisfy { $0.committed >= $0.applied }, "\(indexes)")
            }
            #expect(indexes.count > 10 && indexes.allSatisfy { $0.applied >= before.raftAppliedIndex })
            try await eventually("the alarm is among the errors") { try await client.status().errors == [full] }

            try await set(.activate, id, client)
            #expect(try await errors(client) == [full, "memberID:\(id) alarm:CORRUPT "])
            // An identity of 0 is a field that is not there.
            try await set(.activate, 0, client)
            try await set(.activate, 77, client)
            let all: Set = [full, "memberID:\(id) alarm:CORRUPT ", "memberID:77 alarm:CORRUPT ", "alarm:CORRUPT "]
            #expect(try await errors(client) == all)
            for member in [id, 0, 77] { try await set(.deactivate, member, client) }
            #expect(try await errors(client) == [full])
            let after = try await client.status()
            #expect(after.raftIndex >= after.raftAppliedIndex && after.leader == id)
            await client.close()
        }

        private struct Indexes {
            var committed, applied: UInt64
        }

        /// Writes until there is no space, and asks for the status all the time.
        private func fill(_ client: EtcdClient) async throws -> [Indexes] {
            let isDone = NIOLockedValueBox(false)
            let writing = Task {
                defer { isDone.withLockedValue { $0 = true } }
                let value = Data(repeating: 1, count: 100_000)
                for number in 0..<500 {
                    let error = await failure { try await client.put("/q/\(number)", value) }
                    if error?.code == .resourceExhausted { return true }
                }
                return false
            }
            let polling = Task {
                var indexes: [Indexes] = []
                repeat {
                    let status = try await client.status()
                    indexes.append(Indexes(committed: status.raftIndex, applied: status.raftAppliedIndex))
                } while !isDone.withLockedValue { $0 } || indexes.count <= 10
                return indexes
            }
            let isFull = await writing.value
            let indexes = try await polling.value
            guard isFull else { throw TestFailure("500 writes did not fill the store") }
            return indexes
        }

        private func set(
            _ action: Etcdserverpb_AlarmRequest.AlarmAction, _ member: UInt64, _ client: EtcdClient
        ) async throws {
            var request = Etcdserverpb_AlarmRequest()
            request.action = action
            request.memberID = member
            request.alarm = .corrupt
            _ = try await client.alarm(request)
        }

        /// In no order: etcd's has none.
        private func errors(_ client: EtcdClient) async throws -> Set<String> {
            let errors = try await client.status().errors
            #expect(Set(errors).count == errors.count, "\(errors)")
            return Set(errors)
        }
    }
}
