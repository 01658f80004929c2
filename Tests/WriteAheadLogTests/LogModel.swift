import IOInterfaces
import Primitives
import Testing
import WriteAheadLog

/// What a log must hold, record by record: a crash may take back records that no sync covered, from the end only.
struct LogModel {
    enum Record {
        case entry(WALEntry)
        case hardState(WALHardState)
        case restart(WALPosition, WALHardState)
    }

    /// What a number of records add up to.
    struct Contents: Equatable {
        var base = WALPosition.origin
        var entries: [WALEntry] = []
        var hardState = WALHardState()

        var last: LogIndex { entries.last?.index ?? base.index }

        mutating func apply(_ record: Record) {
            switch record {
            case .entry(let entry):
                entries.removeLast(Int(last.rawValue + 1 - entry.index.rawValue))
                entries.append(entry)
            case .hardState(let state): hardState = state
            case .restart(let position, let state):
                base = position
                entries = []
                hardState = state
            }
        }

        func entries(after index: LogIndex) -> [WALEntry] { Array(entries.drop { $0.index <= index }) }
    }

    /// What is surely durable.
    private(set) var durable = Contents()
    /// What was appended since.
    private(set) var unsynced: [Record] = []
    /// All of it.
    private(set) var contents = Contents()

    mutating func append(_ records: [Record]) {
        for record in records { contents.apply(record) }
        unsynced += records
    }

    mutating func sync() {
        durable = contents
        unsynced = []
    }

    /// Takes over what was recovered, if it is all that was durable and a first part of what was not; else an issue.
    mutating func adopt(_ recovered: WALRecovered, after: LogIndex, sourceLocation: SourceLocation = #_sourceLocation) {
        var candidate = durable
        var matches = Self.matches(candidate, recovered, after)
        var match = candidate
        for record in unsynced {
            candidate.apply(record)
            if Self.matches(candidate, recovered, after) {
                matches = true
                match = candidate
            }
        }
        #expect(
            matches,
            """
            recovered \(recovered.entries.count) entries up to \(recovered.lastIndex), \(recovered.hardState); \
            durable: \(durable.last), \(durable.hardState); \(unsynced.count) records after
            """,
            sourceLocation: sourceLocation)
        durable = match
        contents = match
        unsynced = []
    }

    private static func matches(_ contents: Contents, _ recovered: WALRecovered, _ after: LogIndex) -> Bool {
        contents.last == recovered.lastIndex && contents.hardState == recovered.hardState
            && contents.entries(after: after) == recovered.entries
    }
}

let testMetadata = WALMetadata(clusterID: 0xc0ffee, memberID: MemberID(7))

func testEntry(_ index: UInt64, term: UInt64 = 1, kind: UInt8 = 0, payload: Bytes = "payload") -> WALEntry {
    WALEntry(index: LogIndex(index), term: Term(term), kind: kind, payload: payload)
}

/// Makes a log in the directory `wal` of the file system.
func makeLog(
    _ fileSystem: any FileSystem, _ options: WALOptions = WALOptions(segmentBytes: 4096),
    salt: UInt64 = 0x5a17_5a17_0b0b
) throws -> WriteAheadLog {
    try WriteAheadLog.create(in: "wal", fileSystem, metadata: testMetadata, salt: salt, options: options)
}

func openLog(
    _ fileSystem: any FileSystem, after: UInt64 = 0, _ options: WALOptions = WALOptions(segmentBytes: 4096)
) throws -> (log: WriteAheadLog, recovered: WALRecovered) {
    try WriteAheadLog.open(in: "wal", fileSystem, expecting: testMetadata, after: LogIndex(after), options: options)
}

/// The error a call throws, or an issue.
func walError(_ body: () throws -> Void, sourceLocation: SourceLocation = #_sourceLocation) -> WALError? {
    do {
        try body()
        Issue.record("nothing was thrown", sourceLocation: sourceLocation)
        return nil
    } catch {
        let error = error as? WALError
        #expect(error != nil, sourceLocation: sourceLocation)
        return error
    }
}

func segmentPaths(_ fileSystem: any FileSystem) throws -> [String] {
    try fileSystem.list("wal").filter { $0.hasSuffix(".wal") }.map { "wal/\($0)" }
}
