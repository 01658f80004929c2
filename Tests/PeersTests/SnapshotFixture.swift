import Foundation
import MVCC
import NIOConcurrencyHelpers
import Primitives
import RaftCore
import Snapshots
import Testing
import Transport

@testable import Peers

/// A directory that goes away with the object.
final class TemporaryDirectory: Sendable {
    let path: String

    init() throws {
        path = FileManager.default.temporaryDirectory.appendingPathComponent("peers-\(UUID().uuidString)").path
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }
}

/// A store on disk, to be sent.
final class Image: Sendable {
    let backend: LMDBBackend
    private let directory: TemporaryDirectory

    private init(_ directory: TemporaryDirectory, _ backend: LMDBBackend) {
        self.directory = directory
        self.backend = backend
    }

    static func options() -> LMDBOptions {
        var options = LMDBOptions()
        options.mapBytes = 1 << 32
        options.isSyncOff = true
        return options
    }

    private static func open() throws -> (TemporaryDirectory, LMDBBackend) {
        let directory = try TemporaryDirectory()
        return (directory, try LMDBBackend.open(path: directory.path + "/db", options: options()))
    }

    /// Objects as Kubernetes has them.
    static func kubernetes(objects: Int, seed: UInt64) throws -> Image {
        let (directory, backend) = try open()
        var random = PRNG(seed: seed)
        let store = try Store.open(backend: backend)
        for number in 0..<objects {
            let pod = KubernetesObject.pod(number, &random)
            try put(pod.key, pod.value, store)
            store.entryApplied(index: store.appliedIndex.advanced(by: 1), term: Term(7))
        }
        while let batch = store.nextBatch(maxBytes: 8 << 20) {
            try backend.commit(batch)
            store.persisted(batch)
        }
        return Image(directory, backend)
    }

    /// So many bytes that do not compress, in records of 100 kB.
    static func noise(bytes: Int, seed: UInt64) throws -> Image {
        let (directory, backend) = try open()
        var random = PRNG(seed: seed)
        let store = try Store.open(backend: backend)
        var value = [UInt64](repeating: 0, count: 12_500)
        for number in 0..<bytes / 100_000 {
            for index in stride(from: 0, to: value.count, by: 50) { value[index] = random.next() }
            let bytes = value.withUnsafeBytes { Bytes(copying: $0) }
            try put(Bytes(utf8: "noise/\(number)"), bytes, store)
            store.entryApplied(index: store.appliedIndex.advanced(by: 1), term: Term(7))
            if number % 50 == 49 {
                while let batch = store.nextBatch(maxBytes: 8 << 20) {
                    try backend.commit(batch)
                    store.persisted(batch)
                }
            }
        }
        while let batch = store.nextBatch(maxBytes: 8 << 20) {
            try backend.commit(batch)
            store.persisted(batch)
        }
        return Image(directory, backend)
    }

    private static func put(_ key: Bytes, _ value: Bytes, _ store: Store) throws {
        try store.write { (transaction) throws(StoreError) in
            try key.withUnsafeBytes { (key) throws(StoreError) in
                try value.withUnsafeBytes { (value) throws(StoreError) in
                    _ = try transaction.put(key: key, value: value, lease: .none, wantPrevious: false)
                }
            }
        }
    }

    func source(level: Int32 = 1) throws -> ImageSnapshotSource {
        var options = SnapshotOptions()
        options.compressionLevel = level
        return try ImageSnapshotSource(
            reader: backend.makeReader(), clusterID: 0xc1, memberID: MemberID(1), options: options)
    }

    /// How many chunks a snapshot of it comes in.
    func frameCount() throws -> Int {
        let source = try source()
        var count = 0
        while try source.nextChunk(compressing: false) != nil { count += 1 }
        return count
    }

    /// Totals of all contents: equal for equal stores.
    static func totals(_ backend: any Backend) throws -> SnapshotTotals {
        var options = SnapshotOptions()
        options.compressionLevel = 0
        let writer = try SnapshotWriter(
            reader: backend.makeReader(), clusterID: 1, memberID: MemberID(1), options: options)
        while try writer.nextChunk() != nil {}
        return writer.totals
    }
}

/// Pods as JSON, with what differs from one to the next in a real cluster: names, identities, addresses, times, hashes.
enum KubernetesObject {
    static func pod(_ number: Int, _ random: inout PRNG) -> (key: Bytes, value: Bytes) {
        func hex(_ digits: Int) -> String {
            var text = ""
            while text.count < digits { text += String(random.next(), radix: 16) }
            return String(text.prefix(digits))
        }
        let app = "service-\(random.next(in: 0..<40))"
        let namespace = "team-\(random.next(in: 0..<12))"
        let name = "\(app)-\(hex(10))-\(hex(5))"
        let uid = "\(hex(8))-\(hex(4))-4\(hex(3))-\(hex(4))-\(hex(12))"
        let time =
            "2026-0\(random.next(in: 1..<10))-1\(random.next(in: 0..<10))T0\(random.next(in: 0..<10)):30:"
            + "0\(random.next(in: 0..<10))Z"
        let fields = [
            "f:metadata", "f:labels", "f:spec", "f:containers", "f:image", "f:resources", "f:status", "f:phase",
        ]
        .map { "\"\($0)\":{\".\":{}}" }.joined(separator: ",")
        let value = """
            {"apiVersion":"v1","kind":"Pod","metadata":{"name":"\(name)","generateName":"\(app)-",\
            "namespace":"\(namespace)",\
            "uid":"\(uid)","creationTimestamp":"\(time)","labels":{"app":"\(app)","pod-template-hash":"\(hex(10))"},\
            "ownerReferences":[{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"\(app)","uid":"\(hex(32))",\
            "controller":true,"blockOwnerDeletion":true}],"managedFields":[{"manager":"kube-controller-manager",\
            "operation":"Update","apiVersion":"v1","time":"\(time)","fieldsType":"FieldsV1","fieldsV1":{\(fields)}},\
            {"manager":"kubelet","operation":"Update","apiVersion":"v1","time":"\(time)","fieldsType":"FieldsV1",\
            "fieldsV1":{\(fields)},"subresource":"status"}]},"spec":{"volumes":[{"name":"kube-api-access-\(hex(5))",\
            "projected":{"sources":[{"serviceAccountToken":{"expirationSeconds":3607,"path":"token"}},\
            {"configMap":{"name":"kube-root-ca.crt","items":[{"key":"ca.crt","path":"ca.crt"}]}}]}}],\
            "containers":[{"name":"\(app)",\
            "image":"registry.example/\(namespace)/\(app):v1.\(number % 9)@sha256:\(hex(64))",\
            "ports":[{"containerPort":8080,"protocol":"TCP"}],"env":[{"name":"POD_NAME","valueFrom":{"fieldRef":\
            {"apiVersion":"v1","fieldPath":"metadata.name"}}}],"resources":{"limits":{"cpu":"500m","memory":"256Mi"},\
            "requests":{"cpu":"100m","memory":"128Mi"}},"terminationMessagePath":"/dev/termination-log",\
            "imagePullPolicy":"IfNotPresent"}],"restartPolicy":"Always","terminationGracePeriodSeconds":30,\
            "dnsPolicy":"ClusterFirst","nodeName":"node-\(random.next(in: 0..<50)).example","securityContext":{},\
            "schedulerName":"default-scheduler",\
            "tolerations":[{"key":"node.kubernetes.io/not-ready","operator":"Exists",\
            "effect":"NoExecute","tolerationSeconds":300}]},"status":{"phase":"Running","conditions":[{"type":"Ready",\
            "status":"True","lastTransitionTime":"\(time)"},{"type":"PodScheduled","status":"True",\
            "lastTransitionTime":"\(time)"}],"hostIP":"10.0.\(random.next(in: 0..<256)).\(random.next(in: 0..<256))",\
            "podIP":"10.244.\(random.next(in: 0..<256)).\(random.next(in: 0..<256))","startTime":"\(time)",\
            "containerStatuses":[{"name":"\(app)","ready":true,"restartCount":0,\
            "containerID":"containerd://\(hex(64))"}]}}
            """
        return (Bytes(utf8: "/registry/pods/\(namespace)/\(name)"), Bytes(utf8: value))
    }
}

/// Keeps a thread waiting until it is opened.
final class Gate: Sendable {
    private let state = NIOLockedValueBox((bytes: UInt64?.none, isOpen: false))

    /// What was taken before the gate was reached; nil until then.
    var bytes: UInt64? { state.withLockedValue { $0.bytes } }

    func open() { state.withLockedValue { $0.isOpen = true } }

    func pass(after bytes: Int) {
        state.withLockedValue { $0.bytes = $0.bytes ?? UInt64(bytes) }
        while !state.withLockedValue({ $0.isOpen }) { usleep(1000) }
    }
}

/// Receives snapshots into files of a directory, and lets a test interfere.
final class TestSinks: Sendable {
    struct State {
        var begun = 0
        var finished: [SnapshotStatus] = []
        var aborted = 0
        var messages: [Message] = []
        var beforeAppend: (@Sendable (_ bytesSoFar: Int) throws -> Void)?
        var beforeFinish: (@Sendable () throws -> Void)?
    }

    let directory: TemporaryDirectory
    let state = NIOLockedValueBox(State())

    init() throws { directory = try TemporaryDirectory() }

    var path: String { directory.path + "/incoming.mdb" }

    func begin(_ message: Message, _ member: MemberID) throws -> any SnapshotSink {
        state.withLockedValue { state in
            state.begun += 1
            state.messages.append(message)
        }
        return Sink(sinks: self, incoming: try IncomingSnapshot(path: path, options: Image.options()))
    }

    /// Takes so many bytes, and the next ones only when the gate is opened.
    func stick(afterBytes bytesMax: Int) -> Gate {
        let gate = Gate()
        state.withLockedValue { $0.beforeAppend = { bytes in if bytes > bytesMax { gate.pass(after: bytes) } } }
        return gate
    }

    /// What the file holds now.
    func totals() throws -> SnapshotTotals { try Image.totals(LMDBBackend.open(path: path, options: Image.options())) }

    private final class Sink: SnapshotSink {
        private let sinks: TestSinks
        private let incoming: IncomingSnapshot
        private var bytes = 0

        init(sinks: TestSinks, incoming: IncomingSnapshot) {
            self.sinks = sinks
            self.incoming = incoming
        }

        func append(_ bytes: Bytes) throws {
            try sinks.state.withLockedValue { $0.beforeAppend }?(self.bytes)
            try incoming.append(bytes)
            self.bytes += bytes.count
        }

        func finish() throws {
            try sinks.state.withLockedValue { $0.beforeFinish }?()
            let status = try incoming.finish()
            sinks.state.withLockedValue { $0.finished.append(status) }
        }

        func abort() {
            incoming.abort()
            sinks.state.withLockedValue { $0.aborted += 1 }
        }
    }
}

/// Passes a source's chunks on, and lets a test change or count them, and say how they are encoded.
final class ChangingSource: SnapshotSource {
    private let source: any SnapshotSource
    private let compressing: Bool?
    private let change: (Int, Bytes) throws -> Bytes
    private var number = 0

    init(_ source: any SnapshotSource, compressing: Bool?, _ change: @escaping (Int, Bytes) throws -> Bytes) {
        self.source = source
        self.compressing = compressing
        self.change = change
    }

    func nextChunk(compressing: Bool) throws -> Bytes? {
        guard let chunk = try source.nextChunk(compressing: self.compressing ?? compressing) else { return nil }
        number += 1
        return try change(number, chunk)
    }
}

extension TestMember {
    func snapshotRequest(to other: TestMember, index: UInt64 = 10, term: UInt64 = 3) -> Message {
        Message(
            type: .snapshot, to: other.id, from: id, term: Term(term),
            snapshot: SnapshotMetadata(
                configurationState: ConfigurationState(), index: LogIndex(index), term: Term(term)))
    }

    /// Sends `image` when it is asked for a snapshot, with the image's own index in the message; `compressing` in place of
    /// what the sender decides.
    func sends(
        _ image: Image, level: Int32 = 1, compressing: Bool? = nil,
        change: @escaping @Sendable (Int, Bytes) throws -> Bytes = { $1 }
    ) {
        recorder[\.openSnapshot] = { request in
            let source = try image.source(level: level)
            var message = request
            message.snapshot?.index = source.header.appliedIndex
            return OutgoingSnapshot(
                message: message, source: ChangingSource(source, compressing: compressing, change))
        }
    }

    func receives(into sinks: TestSinks) {
        recorder[\.beginSnapshot] = { try sinks.begin($0, $1) }
    }

    var results: [Bool] { recorder[\.snapshotResults] }
}
