import Foundation
import SwiftProtobuf
import Wire

/// The forms of `-w`.
package enum OutputFormat: String, CaseIterable, Sendable {
    case simple
    case json
    case fields
    case table
    case protobuf
}

/// Turns responses into the bytes that etcdctl prints for them, in the chosen format. Pure: it prints nothing itself.
///
/// The bytes are those of etcdctl 3.5.1, except where that one crashes.
package struct Printer: Sendable {
    /// The chosen format.
    package var format: OutputFormat
    /// Keys and values as `\x2a` in the simple format, and member IDs in hexadecimal in JSON.
    package var isHex: Bool

    package init(format: OutputFormat, isHex: Bool = false) {
        self.format = format
        self.isHex = isHex
    }

    /// The error for a command that does not have the chosen format.
    var unsupported: CommandError {
        .badFeature("\(format.rawValue) not supported as output format")
    }

    /// Prints `message` in whichever of the formats is chosen; `fields` and `table` are for the commands that have them.
    func print(
        _ message: @autoclosure () throws -> (any Message)?,
        simple: (inout Text) -> Void,
        json: (inout JSONText) -> Void,
        fields: ((inout Text) -> Void)? = nil,
        table: (() -> TableWriter)? = nil
    ) throws(CommandError) -> [UInt8] {
        switch format {
        case .simple:
            var text = Text()
            simple(&text)
            return text.bytes
        case .json:
            var writer = JSONText()
            json(&writer)
            return Array((writer.text + "\n").utf8)
        case .fields:
            guard let fields else { throw unsupported }
            var text = Text()
            fields(&text)
            return text.bytes
        case .table:
            guard let table else { throw unsupported }
            return Array(table().render().utf8)
        case .protobuf:
            guard let message = try? message(), let bytes = try? message.serializedData() else { throw unsupported }
            return Array(bytes)
        }
    }
}

/// Bytes being put together for stdout: text, and keys and values as they are.
package struct Text {
    /// What was written so far.
    package private(set) var bytes: [UInt8] = []

    package init() {}

    /// Adds `line` and a newline.
    mutating func line(_ line: String = "") {
        bytes += Array(line.utf8)
        bytes.append(UInt8(ascii: "\n"))
    }

    /// Adds raw bytes and a newline.
    mutating func line(raw: some Collection<UInt8>) {
        bytes += raw
        bytes.append(UInt8(ascii: "\n"))
    }

    /// Adds `"Name" : value`, the form of the fields format.
    mutating func field(_ name: String, _ value: some CustomStringConvertible) {
        line("\"\(name)\" : \(value)")
    }

    /// Adds `"Name" : "quoted bytes"`.
    mutating func field(_ name: String, quoted value: some Collection<UInt8>) {
        line("\"\(name)\" : \(GoText.quoted(value))")
    }

    /// Adds `"Name" : "quoted text"`.
    mutating func field(_ name: String, quoted value: String) {
        line("\"\(name)\" : \(GoText.quoted(value))")
    }

    /// The four fields of a response header.
    mutating func header(_ header: Etcdserverpb_ResponseHeader) {
        field("ClusterID", header.clusterID)
        field("MemberID", header.memberID)
        field("Revision", header.revision)
        field("RaftTerm", header.raftTerm)
    }

    /// The six fields of a record, each name after `prefix`.
    mutating func record(_ record: Mvccpb_KeyValue, prefix: String = "") {
        field(prefix + "Key", quoted: record.key)
        field(prefix + "CreateRevision", record.createRevision)
        field(prefix + "ModRevision", record.modRevision)
        field(prefix + "Version", record.version)
        field(prefix + "Value", quoted: record.value)
        field(prefix + "Lease", record.lease)
    }
}

extension JSONText {
    /// A response header's fields, into the object that is open.
    mutating func headerFields(_ header: Etcdserverpb_ResponseHeader) {
        field("cluster_id", unlessZero: header.clusterID)
        field("member_id", unlessZero: header.memberID)
        field("revision", unlessZero: header.revision)
        field("raft_term", unlessZero: header.raftTerm)
    }

    /// A response header as `header`, left out when the response has none.
    mutating func header(_ header: Etcdserverpb_ResponseHeader, isPresent: Bool = true) {
        if isPresent { field("header", object: { $0.headerFields(header) }) }
    }

    /// A record as an object.
    mutating func record(_ record: Mvccpb_KeyValue) {
        object { json in
            json.field("key", unlessEmpty: record.key)
            json.field("create_revision", unlessZero: record.createRevision)
            json.field("mod_revision", unlessZero: record.modRevision)
            json.field("version", unlessZero: record.version)
            json.field("value", unlessEmpty: record.value)
            json.field("lease", unlessZero: record.lease)
        }
    }
}
