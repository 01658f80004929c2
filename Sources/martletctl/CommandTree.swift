import ArgumentParser

/// The commands by their names, looked at before the parser is asked: it cannot tell a command that does not exist from
/// an argument that is out of place.
enum CommandTree {
    /// What to do instead of commands that etcdctl has and this tool has not.
    private static let missing = [
        "auth": "users and roles are not supported by Martlet yet; for an etcd, use etcdctl",
        "user": "users and roles are not supported by Martlet yet; for an etcd, use etcdctl",
        "role": "users and roles are not supported by Martlet yet; for an etcd, use etcdctl",
        "lock": "locks are not supported by Martlet yet; for an etcd, use etcdctl",
        "elect": "elections are not supported by Martlet yet; for an etcd, use etcdctl",
        "check": "use martletctl bench, or etcdctl check on the same endpoints",
        "make-mirror": "use etcdctl make-mirror on the same endpoints",
        "downgrade": "Martlet refuses every downgrade; for an etcd, use etcdctl",
        "completion": "use martletctl --generate-completion-script bash, zsh or fish",
    ]

    /// The command that `words` lead to from the root, and the words that are left.
    private static func walk(_ words: [String]) -> (command: any ParsableCommand.Type, path: [String], rest: [String]) {
        var command: any ParsableCommand.Type = Martletctl.self
        var path = [Martletctl._commandName]
        var rest = words[...]
        while let word = rest.first {
            let next = command.configuration.subcommands.first {
                $0._commandName == word || $0.configuration.aliases.contains(word)
            }
            guard let next else { break }
            command = next
            path.append(word)
            rest.removeFirst()
        }
        return (command, path, Array(rest))
    }

    /// Whether arguments (without global flags) can only be answered by a help text.
    static func asksForHelp(_ arguments: [String]) -> Bool {
        let words = arguments.filter { !$0.hasPrefix("-") }
        if words.isEmpty || words[0] == "help" { return true }
        if arguments.contains(where: { ["-h", "--help", "-help"].contains($0) }) { return true }
        return !walk(words).command.configuration.subcommands.isEmpty
    }

    /// The command that arguments begin with, as it is written: `martletctl lease grant`.
    static func path(_ arguments: [String]) -> String {
        walk(Array(arguments.prefix { !$0.hasPrefix("-") })).path.joined(separator: " ")
    }

    /// Why the command that arguments name does not exist; nil when it does, or help is asked for.
    static func problem(_ arguments: [String]) -> CommandError? {
        let words = Array(arguments.prefix { !$0.hasPrefix("-") })
        if words.isEmpty || words[0] == "help" { return nil }
        let (command, path, rest) = walk(words)
        guard !command.configuration.subcommands.isEmpty, let unknown = rest.first else { return nil }
        let place = path.joined(separator: " ")
        let advice = path.count == 1 ? missing[unknown] : nil
        return .failure(
            "unknown command \(GoText.quoted(unknown)) for \(GoText.quoted(place))"
                + (advice.map { ": \($0)" } ?? "\nRun '\(place) --help' for usage."))
    }
}
