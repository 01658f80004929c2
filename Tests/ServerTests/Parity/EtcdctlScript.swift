import Testing

/// One command line for etcdctl, run against both servers in turn.
struct EtcdctlStep: Sendable {
    var arguments: [String]
    var input = ""

    init(_ line: String, input: String = "") {
        arguments = Self.words(line)
        self.input = input
    }

    /// Words are parted by spaces; within single quotes spaces belong to the word, and `''` is an empty one.
    private static func words(_ line: String) -> [String] {
        var words: [String] = []
        var word = ""
        var isQuoted = false
        var hasWord = false
        for character in line {
            switch character {
            case "'":
                isQuoted.toggle()
                hasWord = true
            case " " where !isQuoted:
                if hasWord { words.append(word) }
                (word, hasWord) = ("", false)
            default:
                word.append(character)
                hasWord = true
            }
        }
        if hasWord { words.append(word) }
        return words
    }
}

/// The commands that etcdctl 3.4 shares with us. Each script starts on fresh servers.
///
/// `FOLDER` stands for a folder of the script's own, `MEMBER` for the identity of the server's member in hexadecimal.
/// Out of scope, because the services behind them are answered UNIMPLEMENTED: `lock`, `elect`, `auth`, `user`, `role`,
/// `downgrade`, and changes of the membership.
struct EtcdctlScript: Sendable, CustomTestStringConvertible {
    var name: String
    var steps: [EtcdctlStep]
    var testDescription: String { name }

    init(_ name: String, _ steps: [EtcdctlStep]) {
        self.name = name
        self.steps = steps
    }

    init(_ name: String, lines: [String]) { self.init(name, lines.map { EtcdctlStep($0) }) }

    static let all: [EtcdctlScript] = [
        puts, gets, deletes, transactions, compactions, leases, members, formats, errors,
    ]

    private static let puts = EtcdctlScript(
        "put",
        [
            EtcdctlStep("put k1 v1"),
            EtcdctlStep("put k1 v2 --prev-kv"),
            EtcdctlStep("put new v --prev-kv"),
            EtcdctlStep("put k1 --ignore-value"),
            EtcdctlStep("put missing --ignore-value"),
            EtcdctlStep("put k1 v3 --ignore-lease"),
            EtcdctlStep("put missing v --ignore-lease"),
            EtcdctlStep("put k2 v --lease=1234"),
            EtcdctlStep("put ''  v"),
            EtcdctlStep("put empty ''"),
            EtcdctlStep("get empty -w fields"),
            EtcdctlStep("put from-stdin", input: "value from standard input"),
            EtcdctlStep("get from-stdin"),
            EtcdctlStep("put -- -dash -value"),
            EtcdctlStep("get -- -dash"),
            EtcdctlStep("put \u{e4}\u{f6} \u{1f426}"),
            EtcdctlStep("get \u{e4}\u{f6} --hex"),
            EtcdctlStep("get \u{e4}\u{f6} -w json"),
            EtcdctlStep("put k1 v4 -w json --prev-kv"),
            EtcdctlStep("put k1 v5 -w fields --prev-kv"),
            EtcdctlStep("put k1 v6 -w protobuf --prev-kv"),
            EtcdctlStep("get k1 -w fields"),
        ])

    private static let gets = EtcdctlScript(
        "get",
        lines: (0..<12).map { "put /r/k\($0) value\(97 - $0)" } + ["put /r/k3 again", "put /s other"]
            + [
                "get /r/ --prefix", "get /r/ --prefix --keys-only", "get /r/ --prefix --count-only",
                "get /r/ --prefix --count-only -w fields", "get /r/ --prefix --print-value-only",
                "get /r/ --prefix --limit=3", "get /r/ --prefix --limit=3 -w json",
                "get /r/ --prefix --limit=12 -w json",
                "get /r/ --prefix --rev=5", "get /r/ --prefix --rev=5 -w fields", "get /r/ --prefix --rev=500",
                "get /r/ --prefix --order=DESCEND", "get /r/ --prefix --order=ASCEND --sort-by=VALUE",
                "get /r/ --prefix --order=DESCEND --sort-by=MODIFY --limit=2",
                "get /r/ --prefix --sort-by=CREATE", "get /r/ --prefix --sort-by=VERSION --order=DESCEND",
                "get /r/ --prefix --sort-by=KEY --order=DESCEND --limit=1", "get /r/k4 --from-key",
                "get /r/k4 --from-key --limit=2", "get '' --from-key --keys-only", "get '' --prefix --keys-only",
                "get /r/k1 /r/k3", "get /r/k3 /r/k1", "get /r/k1 /r/k1", "get /r/k1 --consistency=s",
                "get /r/k1 --consistency=l", "get nothing", "get nothing -w json", "get nothing -w fields",
                "get /r/ --prefix --keys-only -w json", "get /r/ --prefix --keys-only --limit=1 -w fields",
                "get /r/ --prefix -w simple --hex --limit=1", "get /r/ --prefix -w table",
                "get /r/k1 --sort-by=WRONG", "get /r/k1 --order=WRONG", "get", "get /r/k1 /r/k2 --prefix",
            ])

    private static let deletes = EtcdctlScript(
        "del",
        lines: (0..<10).map { "put d\($0) v\($0)" }
            + [
                "del d0", "del d0", "del d1 --prev-kv", "del d2 d4", "del d4 d2", "del d4 --prev-kv -w json",
                "del d5 -w fields --prev-kv", "del d --prefix --prev-kv", "put e1 v", "put e2 v", "put f v",
                "del e --prefix", "del e --from-key --prev-kv", "del '' --from-key", "get '' --from-key -w json", "del",
                "del a b --prefix", "put z z", "del '' --prefix", "get z -w json",
            ])

    private static let transactions = EtcdctlScript(
        "txn",
        [
            EtcdctlStep("put a 1"), EtcdctlStep("put b 2"),
            EtcdctlStep("txn", input: "value(\"a\") = \"1\"\n\nput a 2\nget b\n\nget a\n\n"),
            EtcdctlStep("txn", input: "value(\"a\") = \"1\"\n\nput a 3\n\nget a\nget b\n\n"),
            EtcdctlStep("txn", input: "mod(\"a\") > \"2\"\nver(\"a\") = \"2\"\ncreate(\"b\") < \"9\"\n\ndel b\n\n\n"),
            EtcdctlStep("txn", input: "create(\"nothing\") = \"0\"\n\nput nothing x --lease=77\n\n\n"),
            EtcdctlStep("txn", input: "create(\"nothing\") = \"0\"\n\nput nothing x\n\nget nothing\n\n"),
            EtcdctlStep("txn", input: "lease(\"a\") = \"0\"\n\nget a\n\n\n"),
            EtcdctlStep("txn", input: "\nput twice 1\nput twice 2\n\n\n"),
            EtcdctlStep("txn", input: "\nput p 1\ndel p\n\n\n"),
            EtcdctlStep("txn", input: "\nput p1 1\nput p2 2\nget p --prefix\ndel p1\n\n\n"),
            EtcdctlStep("txn", input: "\n\n\n"),
            EtcdctlStep("txn", input: "wrong(\"a\") = \"1\"\n\nput a 2\n\n\n"),
            EtcdctlStep("txn", input: "value(\"a\") ~ \"1\"\n\nput a 2\n\n\n"),
            EtcdctlStep("txn -w json", input: "value(\"a\") = \"2\"\n\nput a 2\nget a\ndel a --prev-kv\n\n\n"),
            EtcdctlStep("txn -w json", input: "value(\"a\") = \"2\"\n\nput c 2 --prev-kv\nget a\n\n\n"),
            EtcdctlStep("txn -w fields", input: "\nput a 7 --prev-kv\nget a\n\n\n"),
            EtcdctlStep("txn -w protobuf", input: "\nput q 7\nget q\n\n\n"),
            EtcdctlStep("txn --hex", input: "\nput q 8\nget q\n\n\n"),
            EtcdctlStep("get '' --prefix -w json"),
        ])

    private static let compactions = EtcdctlScript(
        "compaction",
        lines: (0..<8).map { "put c v\($0)" }
            + [
                "compaction 100", "compaction 4", "compaction 4", "compaction 3", "get c --rev=3", "get c --rev=4",
                "get c --rev=4 -w json", "compaction 6 --physical", "get c --rev=5", "get c --rev=6 -w fields",
                "compaction 0", "compaction x", "compaction", "endpoint hashkv", "endpoint hashkv --rev=8",
                "del c", "compaction 10", "get c --rev=10", "get c --rev=10 -w json", "get c",
            ])

    private static let leases = EtcdctlScript(
        "lease",
        lines: [
            "lease list", "lease grant 100 -w json", "lease grant 1 -w json", "lease grant 0", "lease grant -- -5",
            "lease grant 9000000001", "lease grant", "lease grant x", "lease revoke 1234", "lease revoke zz",
            "lease timetolive 1234", "lease timetolive 1234 --keys -w json", "lease timetolive 1234 -w fields",
            "lease keep-alive --once 1234", "lease keep-alive", "put k v --lease=zz",
        ])

    private static let members = EtcdctlScript(
        "cluster",
        lines: [
            "member list", "member list -w json", "member list -w fields", "member list -w table", "member list --hex",
            "endpoint health", "endpoint health -w json", "endpoint health --cluster", "endpoint status",
            "endpoint status -w json", "endpoint status -w fields", "endpoint status -w table",
            "endpoint status --cluster -w json", "put a b", "endpoint hashkv", "endpoint hashkv -w json",
            "endpoint hashkv --cluster -w json", "alarm list", "alarm disarm", "alarm list -w json",
            "move-leader MEMBER",
            "move-leader 1", "move-leader", "move-leader zz", "defrag", "defrag --cluster",
            "snapshot save",
        ])

    private static let formats = EtcdctlScript(
        "write-out",
        lines: ["put a b", "put c d"]
            + ["simple", "json", "fields", "protobuf", "table", "wrong"].flatMap { format in
                [
                    "get a c -w \(format)", "get a -w \(format)", "put a b -w \(format)",
                    "del a -w \(format) --prev-kv",
                    "compaction 2 -w \(format)", "lease list -w \(format)", "alarm list -w \(format)",
                    "get a --rev=2 -w \(format)", "put a x -w \(format)",
                ]
            })

    private static let errors = EtcdctlScript(
        "errors",
        lines: [
            "get --rev=7 a", "watch", "put onlykey --ignore-value extra", "put a b --ignore-value",
            "put a b c", "nonsense", "get a --command-timeout=1ns",
            "--endpoints 127.0.0.1:1 --dial-timeout=100ms get a",
            "put a b --lease=1", "version",
        ])
}
