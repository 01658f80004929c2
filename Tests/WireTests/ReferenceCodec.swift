import Foundation
import Primitives
import SwiftProtobuf

@testable import Wire

/// A hot decoder's counterpart in swift-protobuf.
struct ReferenceCodec {
    /// A random message, encoded by swift-protobuf.
    let sample: (inout RandomValues) throws -> [UInt8]
    /// Decodes with swift-protobuf, copies field by field *by name* into the hot type and encodes that.
    let canonical: ([UInt8]) throws -> Bytes
    /// The embedded messages, to find the bytes on which merging duplicates matters.
    let shape: MessageShape

    init<M: Message>(
        _ shape: MessageShape = MessageShape(), _ sample: @escaping (inout RandomValues) -> M,
        hot: @escaping (M, Arena) -> any WireEncodable
    ) {
        self.shape = shape
        self.sample = { (random: inout RandomValues) in try sample(&random).serializedBytes() }
        canonical = { bytes in
            var options = BinaryDecodingOptions()
            options.discardUnknownFields = true
            let message = try M(serializedBytes: bytes, partial: true, options: options)
            let arena = Arena()
            return withExtendedLifetime(arena) { hot(message, arena).encoded() }
        }
    }
}

/// Which fields of a message hold messages.
final class MessageShape: @unchecked Sendable {  // never changed once its static is made
    var single: [Int: MessageShape] = [:]
    var repeated: [Int: MessageShape] = [:]
    /// Fields that must not follow one another: the members of a oneof.
    var oneOf: Set<Int> = []
    /// The highest number of each proto2 enum; swift-protobuf drops higher ones, the hot codecs keep them.
    var closedEnums: [Int: UInt64] = [:]

    init(
        single: [Int: MessageShape] = [:], repeated: [Int: MessageShape] = [:], oneOf: Set<Int> = [],
        closedEnums: [Int: UInt64] = [:]
    ) {
        self.single = single
        self.repeated = repeated
        self.oneOf = oneOf
        self.closedEnums = closedEnums
    }

    /// False where the hot codecs differ from swift-protobuf on purpose: an embedded message occurs twice where one
    /// is expected (protobuf merges them, the hot codecs take the last), or a closed enum has an unknown number.
    func isComparable(_ bytes: UnsafeRawBufferPointer) -> Bool {
        var reader = ProtoReader(bytes)
        var seen: Set<Int> = []
        do {
            while let tag = try reader.nextField() {
                let number = tag.number
                if tag.wireType == .lengthDelimited, let shape = single[number] ?? repeated[number] {
                    let slice = try reader.bytes()
                    if single[number] != nil, !seen.insert(number).inserted { return false }
                    if oneOf.contains(number), !seen.intersection(oneOf).subtracting([number]).isEmpty { return false }
                    if !shape.isComparable(slice) { return false }
                } else if tag.wireType == .varint, let highest = closedEnums[number] {
                    if UInt32(truncatingIfNeeded: try reader.varint()) > highest { return false }
                } else {
                    try reader.skip(tag)
                }
            }
        } catch { return true }
        return true
    }

    static let header = MessageShape()
    static let keyValue = MessageShape()
    static let rangeResponse = MessageShape(single: [1: header], repeated: [2: keyValue])
    static let putResponse = MessageShape(single: [1: header, 2: keyValue])
    static let deleteRangeResponse = MessageShape(single: [1: header], repeated: [3: keyValue])
    static let txnRequest: MessageShape = {
        let leaf = MessageShape()
        let operation = MessageShape(single: [1: leaf, 2: leaf, 3: leaf], oneOf: [1, 2, 3, 4])
        let txn = MessageShape(repeated: [1: leaf, 2: operation, 3: operation])
        operation.single[4] = txn
        return txn
    }()
    static let txnResponse: MessageShape = {
        let operation = MessageShape(
            single: [1: rangeResponse, 2: putResponse, 3: deleteRangeResponse], oneOf: [1, 2, 3, 4])
        let txn = MessageShape(single: [1: header], repeated: [3: operation])
        operation.single[4] = txn
        return txn
    }()
    static let watchRequest = MessageShape(
        single: [1: MessageShape(), 2: MessageShape(), 3: MessageShape()], oneOf: [1, 2, 3])
    static let watchResponse = MessageShape(
        single: [1: header], repeated: [11: MessageShape(single: [2: keyValue, 3: keyValue])])
    static let raftSnapshot = MessageShape(single: [2: MessageShape(single: [1: MessageShape()])])
    static let raftEntry = MessageShape(closedEnums: [1: 2])
    static let raftConfChange = MessageShape(closedEnums: [2: 3])
    static let raftConfChangeV2 = MessageShape(
        repeated: [2: MessageShape(closedEnums: [1: 3])], closedEnums: [1: 2])
    static let raftMessage: MessageShape = {
        let message = MessageShape(single: [9: raftSnapshot], repeated: [7: raftEntry], closedEnums: [1: 23])
        message.repeated[14] = message
        return message
    }()
}
