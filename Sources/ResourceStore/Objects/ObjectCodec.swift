import Foundation

/// Turns objects into the bytes that are stored, and back.
public protocol ObjectCodec<Object>: Sendable {
    associatedtype Object: Sendable

    /// The bytes to store. The resource version is not among them: it is the revision of the write itself.
    func encode(_ object: Object) throws -> [UInt8]

    /// The object that is stored in `bytes`, at the place and in the version of `identity`.
    func decode(_ bytes: [UInt8], at identity: ObjectIdentity) throws -> Object

    /// Where an object lies and which one it is.
    func identity(of object: Object) -> ObjectIdentity

    /// Fills in what the store gives a new object. Nothing, unless implemented.
    func prepareForCreation(_ object: inout Object)

    /// Keeps what an update may not change. Nothing, unless implemented.
    func prepareForUpdate(_ object: inout Object, from stored: Object)
}

extension ObjectCodec {
    public func prepareForCreation(_ object: inout Object) {}
    public func prepareForUpdate(_ object: inout Object, from stored: Object) {}
}

/// How objects are written as text. Both are read, whichever is written.
public enum ObjectFormat: Sendable, Hashable {
    /// As API servers store custom resources.
    case json
    case yaml

    /// The tree in stored bytes, which are JSON or YAML.
    static func parse(_ bytes: [UInt8]) throws(ObjectStoreError) -> [String: JSONValue] {
        if ObjectHeader.isProtobuf(bytes) {
            throw ObjectStoreError(.undecodable, "the object is stored as protobuf, which only OpaqueCodec carries")
        }
        let value: JSONValue
        if bytes.first == UInt8(ascii: "{") {
            value = try JSONValue(parsing: bytes)
        } else {
            do throws(YAMLDocument.Failure) {
                value = try YAMLDocument.single(String(decoding: bytes, as: UTF8.self)).value
            } catch { throw .invalid(error.description) }
        }
        guard case .object(let fields) = value else { throw .invalid("what is stored is not an object") }
        return fields
    }

    func write(_ value: JSONValue) -> [UInt8] {
        switch self {
        case .json: value.bytes
        case .yaml: Array(YAMLWriter.text(of: value).utf8)
        }
    }
}

/// Stores values of a type as JSON or YAML.
public struct TypedCodec<Object: ResourceObject>: ObjectCodec {
    /// What is written.
    public let format: ObjectFormat

    public init(_ type: Object.Type = Object.self, format: ObjectFormat = .json) { self.format = format }

    public func encode(_ object: Object) throws -> [UInt8] {
        var object = object
        object.metadata.resourceVersion = nil
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        let json = Array(try encoder.encode(object))
        return format == .json ? json : format.write(try JSONValue(parsing: json))
    }

    public func decode(_ bytes: [UInt8], at identity: ObjectIdentity) throws -> Object {
        var json = bytes
        if bytes.first != UInt8(ascii: "{") { json = JSONValue.object(try ObjectFormat.parse(bytes)).bytes }
        var object = try JSONDecoder().decode(Object.self, from: Data(json))
        object.metadata.resourceVersion = identity.resourceVersion
        return object
    }

    public func identity(of object: Object) -> ObjectIdentity {
        let metadata = object.metadata
        return ObjectIdentity(
            namespace: metadata.namespace, name: metadata.name, uid: metadata.uid,
            resourceVersion: metadata.resourceVersion)
    }

    public func prepareForCreation(_ object: inout Object) { object.metadata.prepareForCreation() }

    public func prepareForUpdate(_ object: inout Object, from stored: Object) {
        object.metadata.prepareForUpdate(from: stored.metadata)
    }
}

/// Stores objects of any kind as JSON or YAML, with all their fields.
public struct UnstructuredCodec: ObjectCodec {
    /// What is written.
    public let format: ObjectFormat

    public init(format: ObjectFormat = .json) { self.format = format }

    public func encode(_ object: Unstructured) throws -> [UInt8] {
        var object = object
        object.resourceVersion = nil
        return format.write(object.fields)
    }

    public func decode(_ bytes: [UInt8], at identity: ObjectIdentity) throws -> Unstructured {
        var object = Unstructured(fields: try ObjectFormat.parse(bytes))
        object.resourceVersion = identity.resourceVersion
        return object
    }

    public func identity(of object: Unstructured) -> ObjectIdentity {
        ObjectIdentity(
            namespace: object.namespace, name: object.name, uid: object.uid, resourceVersion: object.resourceVersion)
    }

    public func prepareForCreation(_ object: inout Unstructured) { object.prepareForCreation() }

    public func prepareForUpdate(_ object: inout Unstructured, from stored: Unstructured) {
        object.prepareForUpdate(from: stored)
    }
}

/// Carries objects untouched, in whatever form they are stored.
public struct OpaqueCodec: ObjectCodec {
    public init() {}

    public func encode(_ object: OpaqueObject) throws -> [UInt8] { object.bytes }

    public func decode(_ bytes: [UInt8], at identity: ObjectIdentity) throws -> OpaqueObject {
        OpaqueObject(identity: identity, bytes: bytes)
    }

    public func identity(of object: OpaqueObject) -> ObjectIdentity {
        var identity = object.identity
        identity.uid = identity.uid ?? object.header?.uid
        return identity
    }
}
