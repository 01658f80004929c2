/// What the command line asks for.
package enum ServerCommand: Sendable {
    case run(ServerConfiguration)
    case printVersion
    case printHelp(String)
}

extension ServerCommand {
    /// Reads flags and environment: a flag beats its variable, a variable beats the default, and a configuration file
    /// (`--config-file` or `ETCD_CONFIG_FILE`) replaces both, as in etcd.
    ///
    /// Flags are written `--name=value`, `--name value` or `-name`; a boolean may stand alone.
    package init(
        arguments: [String], environment: [String: String],
        readFile: (String) throws(ConfigurationError) -> [(name: String, value: String)]
    ) throws(ConfigurationError) {
        let given = try Self.split(arguments)
        if given.contains(where: { $0.name == "version" && $0.value != "false" }) {
            self = .printVersion
            return
        }
        if given.contains(where: { $0.name == "help" || $0.name == "h" }) {
            self = .printHelp(Self.help)
            return
        }
        var configuration = ServerConfiguration()
        // As everywhere, an empty variable is one that is not set.
        let files = [given.last { $0.name == "config-file" }?.value, environment["ETCD_CONFIG_FILE"]]
        if let file = files.compactMap({ $0 }).first(where: { !$0.isEmpty }) {
            for (name, value) in try readFile(file) {
                try configuration.apply(flag: name, value: value, source: "\(file): \(name)")
            }
        } else {
            for flag in FlagTable.all {
                guard let value = environment[flag.environmentName], !value.isEmpty,
                    !given.contains(where: { $0.name == flag.name })
                else { continue }
                try configuration.apply(flag: flag.name, value: value, source: flag.environmentName)
            }
            for (name, value) in given { try configuration.apply(flag: name, value: value, source: "--\(name)") }
        }
        try configuration.validate()
        self = .run(configuration)
    }

    /// Splits the words after the program's name into names and values; unknown names and stray words are errors.
    private static func split(_ arguments: [String]) throws(ConfigurationError) -> [(name: String, value: String)] {
        var result: [(name: String, value: String)] = []
        var rest = arguments[...]
        while let word = rest.popFirst() {
            guard word.hasPrefix("-"), word != "-", word != "--" else {
                throw ConfigurationError("'\(word)' is not a valid flag: flags are written --name=value")
            }
            let body = word.drop { $0 == "-" }
            let name = String(body.prefix { $0 != "=" })
            if name == "version" || name == "help" || name == "h" {
                result.append((name, body.contains("=") ? String(body.dropFirst(name.count + 1)) : "true"))
                continue
            }
            let flag = FlagTable.all.first { $0.name == name }
            guard flag != nil || name == "config-file" else { throw unknown(name) }
            if body.contains("=") {
                result.append((name, String(body.dropFirst(name.count + 1))))
            } else if flag?.isBoolean == true, rest.first.map({ $0.hasPrefix("-") }) ?? true {
                result.append((name, "true"))
            } else if flag?.isBoolean == true, case .set? = flag?.effect {
                result.append((name, "true"))
            } else if let value = rest.popFirst() {
                result.append((name, value))
            } else {
                throw ConfigurationError("flag needs an argument: --\(name)")
            }
        }
        return result
    }

    private static func unknown(_ name: String) -> ConfigurationError {
        let near = FlagTable.all.map(\.name).min { distance($0, name) < distance($1, name) }
        let hint = near.flatMap { distance($0, name) <= 4 ? " (did you mean --\($0)?)" : nil } ?? ""
        return ConfigurationError("flag provided but not defined: --\(name)\(hint); see --help")
    }

    /// Levenshtein's edit distance: how many characters are to be changed.
    private static func distance(_ a: String, _ b: String) -> Int {
        let (x, y) = (Array(a.utf8), Array(b.utf8))
        var row = Array(0...y.count)
        for i in x.indices {
            var diagonal = row[0]
            row[0] = i + 1
            for j in y.indices {
                let substituted = diagonal + (x[i] == y[j] ? 0 : 1)
                diagonal = row[j + 1]
                row[j + 1] = min(substituted, row[j] + 1, diagonal + 1)
            }
        }
        return row[y.count]
    }

    private static var help: String {
        var text = "Usage: martlet [--flag=value ...]\n\nEach flag is also an environment variable: --data-dir is "
        text += "ETCD_DATA_DIR.\n\n  --config-file FILE\n      YAML file that replaces flags and environment\n"
        for flag in FlagTable.all {
            text += "  --\(flag.name)\(flag.placeholder.isEmpty ? "" : " " + flag.placeholder)\n      \(flag.help)\n"
        }
        return text + "  --version\n      print the version and exit\n"
    }
}

extension ServerConfiguration {
    /// Applies one flag; `source` names it in errors.
    mutating func apply(flag name: String, value: String, source: String) throws(ConfigurationError) {
        if name == "config-file" { return }
        guard let flag = FlagTable.all.first(where: { $0.name == name }) else {
            throw ConfigurationError("\(source): no such flag; see --help")
        }
        given.insert(name)
        switch flag.effect {
        case .set(let setter):
            do throws(ConfigurationError) { try setter(&self, value) } catch {
                throw source == "--\(name)" ? error : ConfigurationError("\(source): \(error.description)")
            }
        case .noEffect(let reason):
            notes.append("--\(name) has no effect: \(reason)")
        case .only(let values, let instead):
            guard values.contains(value) else {
                throw ConfigurationError("\(source)=\(value) is not supported: \(instead)")
            }
        }
    }
}
