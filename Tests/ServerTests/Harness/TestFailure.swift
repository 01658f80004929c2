/// Why a test cannot go on, in words for the person who reads the log.
struct TestFailure: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) { self.description = description }
}
