import ArgumentParser
import Foundation
import ResourceStore
import Testing

@testable import martletctl

struct SampleObjectsTests {
    private static let folder =
        URL(fileURLWithPath: #filePath).deletingLastPathComponent().appending(path: "../../manifests/samples").path

    /// What is stored is an object as any other: JSON, of its size, with the name and namespace that its key says.
    @Test func valuesAreObjects() throws {
        let prefixes = KubeSource.prefixes.map { String(decoding: $0, as: UTF8.self) }
        let samples = try SampleObjects(folder: Self.folder, prefixes: prefixes)
        #expect(samples.count >= 60)
        var filling = ValuePool(sizeMax: 10_240, seed: 1, isText: true)
        var keys: Set<String> = []
        var uids: Set<String> = []
        var kinds: Set<String> = []
        for (index, prefix) in KubeSource.prefixes.enumerated() {
            for number in 0..<40 {
                let identity = number * 64 + 3
                let size = 1024 + number * 200
                let value = samples.value(index: index, number: identity, size: size, filling: &filling)
                let header = try #require(ObjectHeader(value))
                let key = String(decoding: samples.key(prefix, index: index, number: identity), as: UTF8.self)
                let path = (header.namespace.map { $0 + "/" } ?? "") + header.name
                #expect(key == prefixes[index] + path)
                #expect(value.count == size || value.count > size && value.count < size + 2048)
                let uid = try #require(header.uid)
                #expect(keys.insert(key).inserted && uids.insert(uid).inserted)
                #expect(UUID(uuidString: uid) != nil && header.creationSeconds != nil)
                kinds.insert(header.kind)
                let next = samples.value(index: index, number: identity, size: size, filling: &filling)
                #expect(next != value, "an update changes something")
            }
        }
        #expect(kinds.count > 20)
        // Kinds lie where they belong.
        let deployments = try #require(prefixes.firstIndex(of: "/registry/deployments/"))
        let value = samples.value(index: deployments, number: 64, size: 2048, filling: &filling)
        #expect(ObjectHeader(value)?.kind == "Deployment")
    }

    @Test func aFolderThatIsNamedMustBeGood() throws {
        var options = try SampleOptions.parse(["--samples", "/nowhere"])
        #expect(throws: CommandError.self) { try options.load() }
        options = try SampleOptions.parse(["--samples", ""])
        #expect(try options.load()?.count == nil)
        options = try SampleOptions.parse(["--samples", Self.folder])
        #expect(SampleObjects.describe(try options.load()).contains("objects of"))
        #expect(SampleObjects.describe(nil) == "synthetic")
    }
}
