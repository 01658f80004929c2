/// A span of time in nanoseconds, read and written as etcdctl's flags and output have it: `5s`, `1m30s`, `1.5ms`.
package struct GoDuration: Equatable, Sendable {
    /// The span, in nanoseconds.
    package var nanoseconds: Int64

    package init(nanoseconds: Int64) { self.nanoseconds = nanoseconds }

    /// A whole number of seconds.
    package static func seconds(_ seconds: Int64) -> GoDuration { GoDuration(nanoseconds: seconds * 1_000_000_000) }

    /// Reads a sequence of decimal numbers with units (`ns`, `us`, `ms`, `s`, `m`, `h`); nil when there is none, a
    /// unit is missing or the whole does not fit.
    package init?(_ text: String) {
        var rest = text[...]
        var negative = false
        if let sign = rest.first, sign == "-" || sign == "+" {
            negative = sign == "-"
            rest = rest.dropFirst()
        }
        if rest == "0" {
            nanoseconds = 0
            return
        }
        guard !rest.isEmpty else { return nil }
        var total = 0.0
        while !rest.isEmpty {
            let digits = rest.prefix { $0.isASCII && ($0.isNumber || $0 == ".") }
            guard let amount = Double(digits) else { return nil }
            rest = rest.dropFirst(digits.count)
            let unit = rest.prefix { !($0.isNumber || $0 == ".") }
            guard let scale = Self.units[String(unit)] else { return nil }
            rest = rest.dropFirst(unit.count)
            total += amount * scale
        }
        guard total <= 9.2e18 else { return nil }
        nanoseconds = Int64(total.rounded()) * (negative ? -1 : 1)
    }

    private static let units: [String: Double] = [
        "ns": 1, "us": 1e3, "µs": 1e3, "μs": 1e3, "ms": 1e6, "s": 1e9, "m": 60e9, "h": 3600e9,
    ]
}

extension GoDuration: CustomStringConvertible {
    /// `1.787532ms`, `996.346µs`, `1m30s`, `0s`.
    package var description: String {
        let magnitude = nanoseconds.magnitude
        let sign = nanoseconds < 0 ? "-" : ""
        if magnitude == 0 { return "0s" }
        if magnitude < 1_000 { return "\(sign)\(magnitude)ns" }
        if magnitude < 1_000_000 { return sign + Self.decimal(magnitude, unit: 1_000, digits: 3) + "µs" }
        if magnitude < 1_000_000_000 { return sign + Self.decimal(magnitude, unit: 1_000_000, digits: 6) + "ms" }
        let wholeSeconds = magnitude / 1_000_000_000
        let secondsText =
            Self.decimal(
                magnitude % 60_000_000_000, unit: 1_000_000_000, digits: 9) + "s"
        if wholeSeconds < 60 { return sign + secondsText }
        let minutesText = "\(wholeSeconds / 60 % 60)m" + secondsText
        if wholeSeconds < 3600 { return sign + minutesText }
        return sign + "\(wholeSeconds / 3600)h" + minutesText
    }

    private static func decimal(_ value: UInt64, unit: UInt64, digits: Int) -> String {
        var fraction = String(value % unit)
        fraction = String(repeating: "0", count: digits - fraction.utf8.count) + fraction
        while fraction.hasSuffix("0") { fraction.removeLast() }
        return fraction.isEmpty ? "\(value / unit)" : "\(value / unit).\(fraction)"
    }
}
