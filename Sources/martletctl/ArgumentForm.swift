import ArgumentParser

/// How users write arguments, and the form that the parser takes.
extension GlobalOptions {
    /// The long names of the global flags that have a value, and those that have none.
    static let valueNames = [
        "endpoints", "write-out", "dial-timeout", "command-timeout", "keepalive-time", "keepalive-timeout", "cert",
        "key", "cacert", "user", "password", "auth-jwt-token", "discovery-srv", "discovery-srv-name",
        "max-request-bytes", "max-recv-bytes",
    ]
    static let switchNames = ["hex", "debug", "insecure-transport", "insecure-skip-tls-verify", "insecure-discovery"]

    /// The flags whose value may be empty, which says the same as leaving them out.
    private static let emptyNames: Set<String> = [
        "cert", "key", "cacert", "user", "password", "auth-jwt-token", "discovery-srv", "discovery-srv-name",
    ]

    /// The flags without a value of the single commands, which like those above may be written `--prefix=true`.
    private static let commandSwitchNames: Set<String> = [
        "prefix", "prev-kv", "from-key", "keys-only", "count-only", "print-value-only", "ignore-value",
        "ignore-lease", "interactive", "progress-notify", "physical", "once", "keys", "cluster", "learner", "range",
        "skip-hash-check", "mark-compacted", "all-namespaces", "watch",
    ]

    /// Those of all that have a form which says no: what they say is not the same as not being given.
    private static let invertedNames: Set<String> = ["insecure-transport", "insecure-discovery", "mark-compacted"]

    /// Puts command-line arguments into the form that the parser takes: global flags, which may stand before the
    /// command, go behind it (but before `--`), and away where only help is asked for; `--flag=true` becomes `--flag`,
    /// `--flag=false` nothing; flags from the environment are added; see also `ObjectForm`.
    package static func arrange(_ arguments: [String], environment: (String) -> String?) -> [String] {
        let head = Array(arguments.prefix { $0 != "--" })
        let tail = arguments.dropFirst(head.count)
        let form = ObjectForm(head)
        var own: [String] = []
        var global: [String] = []
        var given: Set<String> = []
        var rest = form.split(head)[...]
        while let argument = rest.popFirst() {
            if form.isWatch(argument, next: rest.first) {
                own.append("--watch")
                continue
            }
            guard argument.hasPrefix("-"), argument != "-" else {
                own.append(argument)
                continue
            }
            let (name, value) = parts(argument)
            if let name, valueNames.contains(name) {
                given.insert(name)
                if let value = value ?? rest.popFirst() {
                    global += valueForm(name, value)
                } else {
                    own.append(argument)
                }
            } else if let name, switchNames.contains(name) || commandSwitchNames.contains(name) {
                given.insert(name)
                let target = switchForm(name, value)
                if switchNames.contains(name) { global += target } else { own += target }
            } else {
                own.append(argument)
            }
        }
        for name in valueNames + switchNames where !given.contains(name) {
            let variable = "ETCDCTL_" + name.uppercased().map { $0 == "-" ? "_" : String($0) }.joined()
            guard let value = environment(variable), !value.isEmpty else { continue }
            global += switchNames.contains(name) ? switchForm(name, value) : valueForm(name, value)
        }
        // etcdctl's `endpoint` has a flag of its own, which may stand before what is asked for.
        if own.first == "endpoint", own.count > 2, own[1] == "--cluster" { own.append(own.remove(at: 1)) }
        return own + (CommandTree.asksForHelp(own) ? [] : global) + tail
    }

    /// The words among `arguments` that are neither flags nor values of global flags.
    static func words(_ arguments: [String]) -> [String] {
        var words: [String] = []
        var rest = arguments[...]
        while let argument = rest.popFirst() {
            guard argument.hasPrefix("-") else {
                words.append(argument)
                continue
            }
            let (name, value) = parts(argument)
            if let name, valueNames.contains(name), value == nil { _ = rest.popFirst() }
        }
        return words
    }

    /// The long name of a flag, also of the two short ones, and its value if it has one in the same argument.
    private static func parts(_ argument: String) -> (name: String?, value: String?) {
        for (short, name) in [("-w", "write-out"), ("-d", "discovery-srv")]
        where argument.hasPrefix(short) && !argument.hasPrefix("--") {
            let value = argument.dropFirst(2)
            return (name, value.isEmpty ? nil : String(value.first == "=" ? value.dropFirst() : value))
        }
        guard argument.hasPrefix("--") else { return (nil, nil) }
        let parts = argument.dropFirst(2).split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
        return (parts.first.map(String.init), parts.count == 2 ? String(parts[1]) : nil)
    }

    private static func valueForm(_ name: String, _ value: String) -> [String] {
        guard value.isEmpty else { return ["--\(name)=\(value)"] }
        if emptyNames.contains(name) { return [] }
        // No endpoint at all: the parser takes no empty value, and the client says what is wrong.
        return name == "endpoints" ? ["--endpoints=,"] : ["--\(name)="]
    }

    private static func switchForm(_ name: String, _ value: String?) -> [String] {
        switch value {
        case nil, "true", "1", "t", "T", "TRUE", "True": ["--\(name)"]
        case "false", "0", "f", "F", "FALSE", "False":
            invertedNames.contains(name) ? ["--no-\(name)"] : []
        case let value?: ["--\(name)=\(value)"]
        }
    }
}

/// What is different on command lines about objects, which are written as kubectl's: `-w` may mean `--watch`, and the
/// value of a short flag may follow without a space (`-oyaml`).
struct ObjectForm {
    /// The commands that work on objects; `get` does when a flag says so.
    private static let commands: Set<String> = ["get", "resource", "res", "apply", "diff", "delete", "describe", "du"]
    /// The flags by which `get` reads objects.
    private static let longFlags = [
        "--namespace", "--all-namespaces", "--output", "--selector", "--watch", "--resource",
    ]
    private static let valueFlags: Set<Character> = ["n", "o", "l", "f"]

    private let isOfObjects: Bool
    private let isGet: Bool
    private let isObjectGet: Bool

    /// `head`: the arguments before `--`.
    init(_ head: [String]) {
        let words = GlobalOptions.words(head)
        isOfObjects = words.first.map(Self.commands.contains) ?? false
        let isResource = words.first == "resource" || words.first == "res"
        isGet = words.first == "get" || (isResource && words.dropFirst().first == "get")
        isObjectGet = isGet && (isResource || head.contains(where: Self.isObjectFlag))
    }

    private static func isObjectFlag(_ argument: String) -> Bool {
        if argument.hasPrefix("--") {
            return longFlags.contains { argument == $0 || argument.hasPrefix($0 + "=") }
        }
        return ["-n", "-o", "-l", "-A"].contains { argument.hasPrefix($0) } || argument == "-wA"
    }

    /// `-oyaml` and `-o=yaml` as two arguments, `-Aw` and `-wA` as the two flags that they are.
    func split(_ head: [String]) -> [String] {
        guard isOfObjects else { return head }
        return head.flatMap { argument -> [String] in
            if isGet, argument == "-Aw" || argument == "-wA" { return ["-A", "--watch"] }
            let letters = Array(argument)
            guard letters.count > 2, letters[0] == "-", Self.valueFlags.contains(letters[1]) else { return [argument] }
            return [String(letters[..<2]), String(letters[(letters[2] == "=" ? 3 : 2)...])]
        }
    }

    /// Whether `argument` is a `-w` that means `--watch`: in a `get` of objects where no output format follows, and in any
    /// `get` where nothing follows, which etcdctl's could not mean.
    func isWatch(_ argument: String, next: String?) -> Bool {
        guard isGet, argument == "-w" else { return false }
        guard let next else { return true }
        return isObjectGet && OutputFormat(rawValue: next) == nil
    }
}
