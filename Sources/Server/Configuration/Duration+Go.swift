/// The longest duration Go knows, in seconds: 2^63 nanoseconds, some 292 years.
let durationSecondsMax = 9_223_372_036.0

/// Seconds from Go's duration notation (`300ms`, `1h30m`, `5s`, `0`), as etcd's flags take it; nil for anything else,
/// and for more than `durationSecondsMax`.
package func seconds(parsingGoDuration text: String) -> Double? {
    if text == "0" { return 0 }
    let units: [(String, Double)] = [
        ("ns", 1e-9), ("us", 1e-6), ("\u{b5}s", 1e-6), ("\u{3bc}s", 1e-6), ("ms", 1e-3), ("s", 1), ("m", 60),
        ("h", 3600),
    ]
    var rest = text[...]
    var total = 0.0
    guard !rest.isEmpty else { return nil }
    while !rest.isEmpty {
        let digits = rest.prefix { $0.isASCII && ($0.isNumber || $0 == ".") }
        guard let number = Double(digits) else { return nil }
        rest = rest.dropFirst(digits.count)
        let letters = rest.prefix { !$0.isNumber && $0 != "." }
        guard let unit = units.first(where: { $0.0 == letters }) else { return nil }
        total += number * unit.1
        rest = rest.dropFirst(letters.count)
    }
    return total <= durationSecondsMax ? total : nil
}
