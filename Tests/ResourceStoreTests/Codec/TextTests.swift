import Foundation
import Testing

@testable import ResourceStore

/// A small generator of numbers from a seed (SplitMix64).
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64
    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }
}

extension ResourceStoreTests {
    /// JSON and YAML, read and written.
    @Suite("texts") struct Texts {
        private static let awkward = [
            "", " ", "a b", "yes", "No", "on", "null", "~", "true", "0x1f", "0o17", "0644", "1e3", "1.5", ".5", "-1",
            "+2",
            "1_000", "22:22", "2001-12-14", "2001-12-14T21:59:43.10-05:00", "- a", "a: b", "a:", ": a", "a #b", "#a",
            "*a", "&a", "!a", "%a", "@a", "`a", "|", ">", "'a'", "\"a\"", "[a", "{a", "a]", "?", "? a", "-", "--- ",
            "---",
            "...", "=", "<<", "line\n", "two\nlines", "two\nlines\n", "two\nlines\n\n", "\nlead", " lead\nx",
            "trail \nx", "tab\tx", "a\u{0}b", "\u{1F426}", "x\u{feff}", "\u{7f}", "\u{85}", "\u{2028}", "y", "n",
            "a\\b", "é",
            "1.2.3", "v1", "10Gi", "500m", "1e", "0b", "12e03", "1:2:3", ".inf", "-.INF", ".nan", "9223372036854775808",
            "a,b", "key: |\n  x", "'", "\"", "\\", "x\r\ny", "64Mi", "100%", "1d", "5m30s", "0.1.2-rc.1",
        ]

        private static func value(_ random: inout SeededGenerator, depth: Int) -> JSONValue {
            switch Int.random(in: 0..<(depth > 3 ? 6 : 9), using: &random) {
            case 0: return .null
            case 1: return .bool(Bool.random(using: &random))
            case 2:
                return .integer(
                    [0, -1, .max, .min, 420, Int64.random(in: -1000...1000, using: &random)].randomElement(
                        using: &random) ?? 0)
            case 3:
                return .number([0.5, -1e300, .leastNonzeroMagnitude, 3, 1e21, 0.1].randomElement(using: &random) ?? 0)
            case 4, 5: return .string(awkward.randomElement(using: &random) ?? "")
            case 6:
                return .array((0..<Int.random(in: 0..<4, using: &random)).map { _ in value(&random, depth: depth + 1) })
            default:
                var members: [String: JSONValue] = [:]
                for _ in 0..<Int.random(in: 0..<5, using: &random) {
                    members[awkward.randomElement(using: &random) ?? ""] = value(&random, depth: depth + 1)
                }
                return .object(members)
            }
        }

        @Test("what is written is read back the same", arguments: 0..<200)
        func roundTrip(_ seed: UInt64) throws {
            var random = SeededGenerator(seed: seed)
            for _ in 0..<10 {
                let value = Self.value(&random, depth: 0)
                #expect(try JSONValue(parsing: value.bytes) == value)
                #expect(try JSONValue(parsing: Array(value.prettyPrinted.utf8)) == value)
                // An empty document is no document.
                if value == .null { continue }
                let yaml = YAMLWriter.text(of: value)
                let read = try? YAMLDocument.single(yaml).value
                #expect(read == value, "seed \(seed):\n\(yaml)")
                // JSON is YAML.
                if let json = try? YAMLDocument.single(value.prettyPrinted).value { #expect(json == value) }
            }
        }

        @Test("each awkward text alone, as value and as key", arguments: awkward)
        func awkwardTexts(_ text: String) throws {
            for value: JSONValue in [.object(["k": .string(text)]), .object([text: 1]), .array([.string(text)])] {
                let yaml = YAMLWriter.text(of: value)
                #expect(try YAMLDocument.single(yaml).value == value, "\(yaml)")
            }
        }

        @Test("scalars mean what Kubernetes' tools read in them")
        func scalars() throws {
            let text = """
                a: yes
                b: 0644
                c: 22:22
                d: 2001-12-14
                e: "1"
                f: 1e3
                g:
                h: 0x1F
                i: !!str 5
                j: 12345678901234567890
                k: |
                  two
                  lines
                l: *anchor
                """.replacing("l: *anchor", with: "l: &x {m: 1}\nn: *x\no: {<<: *x, p: 2}")
            let value = try YAMLDocument.single(text).value
            #expect(
                value == [
                    "a": true, "b": 420, "c": "22:22", "d": "2001-12-14", "e": "1", "f": 1000.0, "g": nil, "h": 31,
                    "i": "5", "j": 12_345_678_901_234_567_890.0, "k": "two\nlines\n", "l": ["m": 1], "n": ["m": 1],
                    "o": ["m": 1, "p": 2],
                ])
        }

        @Test("block style is what kubectl prints")
        func style() {
            let value: JSONValue = [
                "spec": [
                    "ports": [["port": 80, "name": "http"], ["port": 443]], "empty": [], "none": [:],
                    "list": [[1, 2], []],
                ],
                "kind": "Service",
            ]
            #expect(
                YAMLWriter.text(of: value) == """
                    kind: Service
                    spec:
                      empty: []
                      list:
                      - - 1
                        - 2
                      - []
                      none: {}
                      ports:
                      - name: http
                        port: 80
                      - port: 443

                    """)
        }

        @Test(
            "JSON that is none is refused with its place",
            arguments: [
                ("", 1), ("{", 1), ("{\"a\":1,}", 1), ("[1,]", 1), ("{\"a\" 1}", 1), ("01", 1), ("+1", 1), ("1.", 1),
                ("tru", 1), ("\"a", 1), ("{\n\"a\":\n  x}", 3), ("{}\n{}", 2), ("{\"a\":1,\"a\":2}", 1), ("\"\\x\"", 1),
                ("\"a\nb\"", 1), ("1e999", 1), ("[" + String(repeating: "[", count: 600), 1), ("-", 1), ("NaN", 1),
            ])
        func badJSON(_ text: String, line: Int) {
            let error = #expect(throws: ObjectStoreError.self) { try JSONValue(parsing: Array(text.utf8)) }
            #expect(error?.code == .invalid && error?.message.hasPrefix("line \(line), column ") == true)
        }

        @Test(
            "YAML that is none is refused with its place",
            arguments: [
                ("a: 1\nb: [", 3, ""), ("a: 1\na: 2", 2, ""), ("a:\n  b: .inf", 2, "a.b"), ("a: 1\n b: 2", 2, ""),
                ("? {x: 1}\n: y", 1, ""), ("a: *none", 1, ""), ("\t- a", 1, ""), ("a: \"x", 2, ""),
            ])
        func badYAML(_ text: String, line: Int, field: String) {
            let error = #expect(throws: YAMLDocument.Failure.self) { try YAMLDocument.documents(in: text) }
            #expect(error.map { abs($0.position.line - line) <= 1 } == true, "\(String(describing: error))")
            #expect(error?.field == field)
        }

        @Test("fields know their places, in any document of a file")
        func positions() throws {
            let text = "# c\n---\na: 1\n---\nkind: X\nspec:\n  ports:\n  - name: a\n  - name: b\n    port: 1\n---\n"
            let documents = try YAMLDocument.documents(in: text)
            #expect(documents.count == 2)
            #expect(documents[1].position(of: "spec.ports[1].port").line == 10)
            #expect(documents[1].position(of: "spec.ports[1].name").line == 9)
            #expect(documents[1].position(of: "spec.ports[1].protocol").line == 9, "the nearest place around it")
            #expect(documents[1].position(of: "metadata.name").line == 5)
        }

        @Test("aliases cannot make a document grow without bound")
        func aliasBomb() {
            var text = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
            for level in 1..<9 {
                let previous = Array(repeating: "*a\(level - 1)", count: 10).joined(separator: ",")
                text += "a\(level): &a\(level) [\(previous)]\n"
            }
            let error = #expect(throws: YAMLDocument.Failure.self) { try YAMLDocument.documents(in: text) }
            #expect(error?.message == "the document has too many fields")
        }

        @Test("no bytes make the readers trap", arguments: 0..<50)
        func garbage(_ seed: UInt64) {
            var random = SeededGenerator(seed: seed)
            let alphabet = Array("{}[]\",:\\ue0-19.etrufalsn \n\t#&*!|>%@`k8s\u{0}\u{ff}<~".utf8)
            for _ in 0..<100 {
                let bytes = (0..<Int.random(in: 0..<60, using: &random)).map { _ in
                    alphabet.randomElement(using: &random) ?? 0
                }
                _ = try? JSONValue(parsing: bytes)
                _ = try? YAMLDocument.documents(in: String(decoding: bytes, as: UTF8.self))
                _ = ObjectHeader(bytes)
                _ = ObjectHeader(ObjectHeader.protobufMagic + bytes)
                _ = try? ContinueToken(String(decoding: bytes, as: UTF8.self))
                _ = try? LabelSelector(String(decoding: bytes, as: UTF8.self))
            }
        }
    }
}
