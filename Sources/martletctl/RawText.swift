import Glibc

/// Carries bytes that need not be UTF-8 through `String`, as command-line arguments are strings to the parser but
/// keys and values are bytes to the store. A byte that is not part of valid UTF-8 becomes one of the last 256 code
/// points (a private range); so does each byte of such a code point, so that nothing is lost.
package enum RawText {
    private static let base: UInt32 = 0x10ff00

    /// `bytes` as a string that `bytes(_:)` turns back into them.
    package static func string(_ bytes: some Collection<UInt8>) -> String {
        var text = String.UnicodeScalarView()
        var rest = Array(bytes)[...]
        while let first = rest.first {
            var decoder = UTF8()
            var iterator = rest.makeIterator()
            if case .scalarValue(let scalar) = decoder.decode(&iterator), scalar.value < base {
                text.append(scalar)
                rest = rest.dropFirst(UTF8.width(scalar))
            } else {
                text.append(Unicode.Scalar(base + UInt32(first)).unsafelyUnwrapped)
                rest = rest.dropFirst()
            }
        }
        return String(text)
    }

    /// The bytes that `string(_:)` was made from.
    package static func bytes(_ string: String) -> [UInt8] {
        var bytes: [UInt8] = []
        for scalar in string.unicodeScalars {
            if scalar.value >= base {
                bytes.append(UInt8(scalar.value - base))
            } else {
                bytes += UTF8.encode(scalar).unsafelyUnwrapped
            }
        }
        return bytes
    }

    /// The process's arguments without its name.
    package static func commandLine() -> [String] {
        (1..<max(1, Int(CommandLine.argc))).compactMap { index in
            CommandLine.unsafeArgv[index].map { pointer in
                string(UnsafeRawBufferPointer(start: pointer, count: strlen(pointer)))
            }
        }
    }
}
