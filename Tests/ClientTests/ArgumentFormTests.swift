import ArgumentParser
import Client
import Testing

@testable import martletctl

/// What `-w`, short flags, empty values and requests for help become before the parser sees them.
struct ArgumentFormTests {
    private func arrange(_ text: String, _ environment: [String: String] = [:]) -> [String] {
        GlobalOptions.arrange(
            text.split(separator: " ").map { $0 == "''" ? "" : String($0) }, environment: { environment[$0] })
    }

    @Test(
        "-w is --write-out before a format, and --watch where nothing else can be meant",
        arguments: [
            ("get foo -w json", "get foo --write-out=json"), ("get foo -w wrong", "get foo --write-out=wrong"),
            ("get -w pods x", "get x --write-out=pods"), ("get foo -wjson", "get foo --write-out=json"),
            ("get foo -w=json", "get foo --write-out=json"), ("get pods -w", "get pods --watch"),
            ("get pods -w -A", "get pods --watch -A"), ("get pods -A -w", "get pods -A --watch"),
            ("get pods -A -w json", "get pods -A --write-out=json"), ("get -w pods -n x", "get --watch pods -n x"),
            ("get pods -Aw", "get pods -A --watch"), ("resource get -w pods", "resource get --watch pods"),
            ("--hex res get pods -w", "res get pods --watch --hex"), ("put foo -w json", "put foo --write-out=json"),
            ("put foo -w", "put foo -w"), ("put get -w x", "put get --write-out=x"),
            ("get foo -- -w", "get foo -- -w"), ("get foo -w x -- -A", "get foo --write-out=x -- -A"),
        ])
    func watchOrWriteOut(line: String, expected: String) {
        #expect(arrange(line).joined(separator: " ") == expected)
    }

    @Test(
        "the value of a short flag of objects may follow at once",
        arguments: [
            ("get pods -oyaml -nkube-system", "get pods -o yaml -n kube-system"),
            ("res get pods -lapp=web -o=wide", "res get pods -l app=web -o wide"), ("apply -ffile", "apply -f file"),
            ("put -nfoo x", "put -nfoo x"),
        ])
    func attachedValues(line: String, expected: String) {
        #expect(arrange(line).joined(separator: " ") == expected)
    }

    @Test("where only help can come, global flags and those of the environment go away")
    func help() {
        let environment = ["ETCDCTL_ENDPOINTS": "b:2"]
        #expect(arrange("--endpoints a:1 help", environment) == ["help"])
        #expect(arrange("--endpoints a:1 help get", environment) == ["help", "get"])
        #expect(arrange("--endpoints a:1", environment) == [])
        #expect(arrange("--endpoints a:1 endpoint", environment) == ["endpoint"])
        #expect(arrange("lease grant -h", environment) == ["lease", "grant", "-h"])
        #expect(arrange("get help", environment) == ["get", "help", "--endpoints=b:2"])
    }

    @Test func emptyValues() {
        #expect(arrange("get a --cert '' --endpoints ''") == ["get", "a", "--endpoints=,"])
        #expect(arrange("get a --user=", ["ETCDCTL_USER": "x"]) == ["get", "a"])
    }

    @Test("flags of 3.5 and 3.6, also from the environment; the reason of those that are refused")
    func refused() throws {
        #expect(
            arrange("get a -d b.c --insecure-discovery=false") == [
                "get", "a", "--discovery-srv=b.c", "--no-insecure-discovery",
            ])
        #expect(arrange("get a", ["ETCDCTL_DISCOVERY_SRV": "b.c"]) == ["get", "a", "--discovery-srv=b.c"])
        for (line, text) in [
            ("get -d b.c", "--discovery-srv"), ("get --max-recv-bytes=-1", "--max-recv-bytes"),
            ("get --max-request-bytes=-1", "--max-request-bytes"),
        ] {
            let options = try GlobalOptions.parse(Array(arrange(line).dropFirst()))
            let error = #expect(throws: CommandError.self) { try options.checkRefused() }
            #expect(error?.message.hasPrefix(text) == true)
        }
        let accepted =
            "get --insecure-discovery --discovery-srv-name x --max-recv-bytes 2147483647 --max-request-bytes 9"
        try GlobalOptions.parse(Array(arrange(accepted).dropFirst())).checkRefused()

        let line = "get --auth-jwt-token x --max-recv-bytes 5"
        let given = try GlobalOptions.parse(Array(arrange(line).dropFirst())).clientConfiguration()
        #expect(given.token == "x" && given.receivedMessageBytesMax == 5)
        let unset = try GlobalOptions.parse(Array(arrange("get").dropFirst())).clientConfiguration()
        #expect(unset.token == nil && unset.receivedMessageBytesMax == Int(Int32.max))
    }

    @Test("a command that does not exist is named, with what to do instead")
    func unknownCommands() {
        #expect(CommandTree.problem(["get", "nonsense"]) == nil)
        #expect(CommandTree.problem(["help", "nonsense"]) == nil)
        #expect(CommandTree.problem(["endpoint"]) == nil)
        let unknown = CommandTree.problem(["nonsense", "a"])
        #expect(unknown?.message.hasPrefix("unknown command \"nonsense\" for \"martletctl\"\nRun") == true)
        #expect(CommandTree.problem(["endpoint", "x"])?.message.contains("\"martletctl endpoint\"") == true)
        #expect(CommandTree.problem(["user", "list"])?.message.contains("etcdctl") == true)
    }

    @Test("words that are a kind say how to read objects, others nothing")
    func advice() {
        #expect(ObjectWords.advice(["pods", "web"])?.hasSuffix("martletctl resource get pods web") == true)
        #expect(ObjectWords.advice(["cm/a"])?.hasSuffix("martletctl resource get cm a") == true)
        #expect(ObjectWords.advice(["/registry/pods"]) == nil && ObjectWords.advice(["foo"]) == nil)
    }

    @Test("every workload of bench ends in seconds unless told otherwise")
    func benchDefaults() throws {
        let plain = try BenchOptions.parse([])
        #expect(plain.plan().total == 100_000 && plain.duration == nil && plain.conns == 10)
        let list = plain.filled(BenchDefaults(clients: 1, keys: 10_000))
        #expect(list.plan().total == nil && list.duration?.nanoseconds == 10_000_000_000)
        #expect(list.clients == 1 && list.keySpaceSize == 10_000)
        let given = try BenchOptions.parse(["--total", "5", "--clients", "7", "--rate", "0", "--key-space-size", "9"])
        let kept = given.filled(BenchDefaults(clients: 1, rate: 500, keys: 1))
        #expect(kept.plan().total == 5 && kept.duration == nil)
        #expect(kept.clients == 7 && kept.rate == 0 && kept.keySpaceSize == 9)
    }
}
