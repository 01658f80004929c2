// swift-tools-version: 6.2
import PackageDescription

/// One set of settings for every target of ours, so that no module is checked more loosely than another.
/// `MARTLET_STRICT=1` (set by CI) turns every warning into an error.
let settings: [SwiftSetting] =
    [
        .swiftLanguageMode(.v6),
        .enableUpcomingFeature("ExistentialAny"),
        .enableUpcomingFeature("InternalImportsByDefault"),
        .enableUpcomingFeature("MemberImportVisibility"),
    ] + (Context.environment["MARTLET_STRICT"] == "1" ? [.treatAllWarnings(as: .error)] : [])

let nio: Target.Dependency = .product(name: "NIOCore", package: "swift-nio")
let posix: Target.Dependency = .product(name: "NIOPosix", package: "swift-nio")
let http1: Target.Dependency = .product(name: "NIOHTTP1", package: "swift-nio")
let embedded: Target.Dependency = .product(name: "NIOEmbedded", package: "swift-nio")
let concurrencyHelpers: Target.Dependency = .product(name: "NIOConcurrencyHelpers", package: "swift-nio")
let protobuf: Target.Dependency = .product(name: "SwiftProtobuf", package: "swift-protobuf")
let arguments: Target.Dependency = .product(name: "ArgumentParser", package: "swift-argument-parser")
let logging: Target.Dependency = .product(name: "Logging", package: "swift-log")
let yams: Target.Dependency = .product(name: "Yams", package: "Yams")
let collections: Target.Dependency = .product(name: "DequeModule", package: "swift-collections")
let heap: Target.Dependency = .product(name: "HeapModule", package: "swift-collections")

func library(
    _ name: String, _ dependencies: [Target.Dependency], path: String? = nil, exclude: [String] = []
) -> Target {
    .target(name: name, dependencies: dependencies, path: path, exclude: exclude, swiftSettings: settings)
}

func executable(_ name: String, _ dependencies: [Target.Dependency], path: String? = nil) -> Target {
    .executableTarget(name: name, dependencies: dependencies, path: path, swiftSettings: settings)
}

func tests(_ name: String, _ dependencies: [Target.Dependency], resources: [Resource] = []) -> Target {
    .testTarget(name: name, dependencies: dependencies, resources: resources, swiftSettings: settings)
}

let package = Package(
    name: "martlet",
    products: [
        .executable(name: "martlet", targets: ["martlet"]),
        .executable(name: "martletctl", targets: ["martletctl"]),
        .executable(name: "martlet-simulate", targets: ["martlet-simulate"]),
        .executable(name: "martlet-conformance", targets: ["martlet-conformance"]),
        .library(name: "ResourceStore", targets: ["ResourceStore"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.0"),
        .package(url: "https://github.com/apple/swift-protobuf", from: "1.39.0"),
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.0"),
        .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
        .package(url: "https://github.com/jpsim/Yams", from: "6.2.0"),
    ],
    targets: [
        // System libraries.
        .systemLibrary(name: "CLMDB", providers: [.apt(["liblmdb-dev"])]),
        .systemLibrary(name: "CNghttp2", providers: [.apt(["libnghttp2-dev"])]),
        .systemLibrary(name: "COpenSSL", providers: [.apt(["libssl-dev"])]),
        .systemLibrary(name: "CZlib", providers: [.apt(["zlib1g-dev"])]),
        .target(name: "CPlatform"),

        // The core: no I/O of its own, no clock, no threads.
        library("Primitives", ["CPlatform"]),
        library("IOInterfaces", ["Primitives", "CPlatform"]),
        library("Wire", ["Primitives", protobuf], exclude: ["Protos"]),
        library("RaftCore", ["Primitives"]),
        library("WriteAheadLog", ["Primitives", "IOInterfaces"]),
        library("MVCC", ["Primitives", "Wire", "CLMDB", "CPlatform", collections]),
        library("Watch", ["Primitives", "Wire", "MVCC", collections]),
        library("Snapshots", ["Primitives", "MVCC", "CZlib"]),
        library("Leasing", ["Primitives", heap]),
        library("Membership", ["Primitives"]),
        library("StateMachine", ["Primitives", "Wire", "RaftCore", "MVCC", "Leasing", "Membership"]),
        library("Replica", ["Primitives", "Wire", "RaftCore", collections]),
        library(
            "ServerCore",
            [
                "Primitives", "IOInterfaces", "Wire", "RaftCore", "WriteAheadLog", "MVCC", "Leasing", "Membership",
                "StateMachine", "Replica",
            ]),

        // A whole cluster of cores from one seed.
        library(
            "Simulator",
            [
                "Primitives", "IOInterfaces", "Wire", "RaftCore", "WriteAheadLog", "MVCC", "Watch", "Snapshots",
                "Leasing", "Membership", "StateMachine", "Replica", "ServerCore", collections, heap,
            ]),
        executable("martlet-simulate", ["Simulator", "Primitives", arguments]),

        // The shell: sockets, threads, configuration.
        library("TransportSecurity", ["COpenSSL", "CPlatform", nio, posix, concurrencyHelpers]),
        library(
            "Transport",
            [
                "Primitives", "CNghttp2", "CZlib", "TransportSecurity", nio, posix, http1, concurrencyHelpers,
                collections,
            ]),
        library(
            "Client",
            ["Primitives", "Wire", "Transport", "TransportSecurity", nio, posix, concurrencyHelpers, protobuf]),
        library(
            "Peers",
            [
                "Primitives", "IOInterfaces", "Wire", "RaftCore", "MVCC", "Snapshots", "Membership", "Transport",
                "TransportSecurity", nio, posix, logging, concurrencyHelpers, collections,
            ]),
        library(
            "Server",
            [
                "Primitives", "IOInterfaces", "Wire", "RaftCore", "WriteAheadLog", "MVCC", "Watch", "Leasing",
                "Membership", "Snapshots", "StateMachine", "Replica", "ServerCore", "Transport", "TransportSecurity",
                "Peers", "COpenSSL", "CPlatform", nio, posix, logging, collections, yams,
            ]),
        library(
            "ResourceStore",
            ["Server", "Client", "Wire", "Primitives", "Transport", "TransportSecurity", nio, posix, logging, yams]),
        executable("martlet", ["Server"]),
        executable(
            "martletctl",
            [
                "Client", "Wire", "Primitives", "Snapshots", "COpenSSL", "Transport", "TransportSecurity",
                "ResourceStore", "ServerCore", "MVCC", "Membership", "IOInterfaces", arguments, nio, posix,
                concurrencyHelpers, protobuf, yams,
            ]),

        // The conformance suite: knows the API, and nothing of the server.
        library(
            "Conformance",
            ["Client", "Wire", "Primitives", "Transport", "TransportSecurity", nio, posix, protobuf, yams],
            path: "conformance/Sources/Conformance"),
        executable(
            "martlet-conformance", ["Conformance", "Client", "TransportSecurity", arguments],
            path: "conformance/Sources/martlet-conformance"),

        tests("PrimitivesTests", ["Primitives"]),
        tests("WireTests", ["Wire", "Primitives", protobuf]),
        tests("RaftCoreTests", ["RaftCore", "Primitives"], resources: [.copy("Data")]),
        tests("WriteAheadLogTests", ["WriteAheadLog", "IOInterfaces", "Primitives"]),
        tests("MVCCTests", ["MVCC", "Wire", "Primitives"]),
        tests("WatchTests", ["Watch", "MVCC", "Wire", "Primitives"]),
        tests(
            "SnapshotsTests",
            [
                "Snapshots", "MVCC", "Wire", "Primitives", "Server", "StateMachine", "Client", "Transport", nio, posix,
                logging,
            ]),
        tests("LeasingTests", ["Leasing", "Primitives"]),
        tests(
            "ServerCoreTests",
            [
                "ServerCore", "StateMachine", "Replica", "RaftCore", "WriteAheadLog", "IOInterfaces", "MVCC", "Wire",
                "Leasing", "Membership", "Snapshots", "Primitives", "Simulator",
            ]),
        tests("TransportSecurityTests", ["TransportSecurity", nio, posix, embedded]),
        tests(
            "TransportTests", ["TestSupport", "Transport", "TransportSecurity", "Primitives", nio, posix, embedded]),
        tests(
            "PeersTests",
            [
                "TestSupport", "Peers", "Primitives", "IOInterfaces", "Wire", "RaftCore", "MVCC", "Snapshots",
                "Membership", "Transport", "TransportSecurity", nio, posix, logging,
            ]),
        tests(
            "SimulatorTests",
            [
                "Simulator", "Primitives", "IOInterfaces", "RaftCore", "ServerCore", "Replica", "StateMachine", "MVCC",
                "Wire",
            ]),
        tests("ConformanceTests", ["Conformance", "Client", "Transport", "Wire", "Primitives", nio, posix, protobuf]),
        tests("ResourceStoreTests", ["ResourceStore", "Client", "Wire", nio, logging, yams]),
        tests("ClientTests", ["Client", "martletctl", "ResourceStore", "Wire", "Primitives", arguments, protobuf]),
        // Processes, clients and folders for the tests from outside.
        library(
            "TestSupport", ["Client", "Transport", "Wire", nio, posix, concurrencyHelpers], path: "Tests/TestSupport"),
        tests(
            "ServerTests",
            [
                "TestSupport", "Server", "StateMachine", "Client", "Transport", "Wire", "Primitives", nio, posix,
                concurrencyHelpers, protobuf,
            ]),
        tests(
            "ClusterTests",
            [
                "TestSupport", "Client", "Transport", "Wire", "Primitives", nio, posix, concurrencyHelpers, protobuf,
            ]),
    ]
)

// The fuzzer has libFuzzer's main function, so it is a part of the package only when `make fuzz` asks for it.
if Context.environment["MARTLET_FUZZ"] == "1" {
    package.targets.append(
        executable("martlet-fuzz", ["Wire", "Transport", nio, embedded]))
}
