/// What happened, in a form that costs little until somebody wants to read it.
struct TraceEvent {
    /// Words of a line; the numbers behind them are `a`, `b` and `c`.
    enum Kind: UInt8 {
        case begin, turn, deliver, drop, lead, follow, apply, acknowledge, refuse, abandon, invoke, read, watch,
            progress
        case crash, powerLoss, stop, start, startFailed, pause, resume, cut, heal, clog, disk, clock, transfer, change
        case snapshot, snapshotCut, install, compact, resumeWatch, keepAlive, phase, removed
        case damage, broken, accuse
    }

    var time: UInt64
    /// The member concerned, from 0; -1 for none.
    var member: Int
    var kind: Kind
    var a: UInt64
    var b: UInt64
    var c: UInt64
    var text: StaticString

    /// One readable line.
    var line: String {
        let milliseconds = time / 1_000_000
        let fraction = String(1000 + time / 1000 % 1000).dropFirst()
        let place = member < 0 ? "      " : "m\(member)    "
        var line = "\(milliseconds).\(fraction)ms".leftPadded(14) + "  " + place + "\(kind)"
        if text.utf8CodeUnitCount > 0 { line += " \(text)" }
        let names = TraceEvent.names[kind] ?? ("", "", "")
        for (name, value) in [(names.0, a), (names.1, b), (names.2, c)] where !name.isEmpty {
            line += " \(name)=\(value)"
        }
        return line
    }

    /// What the numbers of a kind mean; those without a name are not printed.
    private static let names: [Kind: (String, String, String)] = [
        .begin: ("seed", "", ""), .turn: ("items", "", ""), .deliver: ("from", "term", "index"),
        .drop: ("to", "term", "index"), .lead: ("term", "last", ""), .follow: ("term", "leader", ""),
        .apply: ("index", "term", "revision"), .acknowledge: ("client", "request", "index"),
        .refuse: ("client", "request", ""), .abandon: ("client", "request", ""),
        .invoke: ("client", "request", "key"), .read: ("client", "request", "revision"),
        .watch: ("watcher", "revision", "events"), .progress: ("watcher", "revision", ""),
        .crash: ("life", "", ""), .powerLoss: ("life", "", ""), .stop: ("life", "", ""),
        .start: ("life", "applied", "last"), .startFailed: ("life", "", ""), .pause: ("milliseconds", "", ""),
        .resume: ("life", "", ""), .cut: ("fault", "links", ""), .heal: ("fault", "", ""),
        .clog: ("to", "milliseconds", ""), .disk: ("operations", "", ""), .clock: ("milliseconds", "", ""),
        .transfer: ("to", "", ""), .change: ("member", "", ""), .snapshot: ("to", "index", "transfer"),
        .snapshotCut: ("transfer", "", ""), .install: ("index", "term", "life"), .compact: ("revision", "", ""),
        .resumeWatch: ("watcher", "from", ""), .keepAlive: ("lease", "ttl", ""), .phase: ("step", "", ""),
        .removed: ("id", "", ""), .damage: ("a", "b", ""), .broken: ("life", "", ""), .accuse: ("member", "index", ""),
    ]
}

/// The last events of a run, and a hash over all of them: two runs of one seed have the same.
///
/// Owner: the simulation's thread.
final class Trace {
    private static let keptMax = 48

    private(set) var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    private(set) var count = 0
    private var kept: [TraceEvent] = []
    private var position = 0
    /// Called with every line, if set.
    var print: ((String) -> Void)?

    func note(
        _ kind: TraceEvent.Kind, time: UInt64, member: Int = -1, _ a: UInt64 = 0, _ b: UInt64 = 0, _ c: UInt64 = 0,
        _ text: StaticString = ""
    ) {
        let event = TraceEvent(time: time, member: member, kind: kind, a: a, b: b, c: c, text: text)
        for value in [time, UInt64(bitPattern: Int64(member)), UInt64(kind.rawValue), a, b, c] { mix(value) }
        count += 1
        if kept.count < Self.keptMax {
            kept.append(event)
        } else {
            kept[position] = event
            position = (position + 1) % Self.keptMax
        }
        if let print { print(event.line) }
    }

    /// Adds what is not worth a line.
    func mix(_ value: UInt64) {
        hash = (hash ^ value) &* 0x0000_0100_0000_01b3
        hash ^= hash >> 29
    }

    /// The last events, oldest first.
    var lastLines: [String] { (kept[position...] + kept[..<position]).map(\.line) }
}

extension String {
    fileprivate func leftPadded(_ width: Int) -> String {
        String(repeating: " ", count: max(0, width - count)) + self
    }
}
