import Client
import TestSupport
import Transport

/// Repeats what depends on how promptly the machine lets everybody run, until one round goes well. Whatever stops processes
/// for a moment may spoil a round; what the servers cannot do fails in all of them.
///
/// - Parameters:
///   - wanted: so many rounds have to go well.
///   - rounds: there are no more in all.
///   - round: returns what went wrong; nil: nothing.
func inSomeRounds(
    _ wanted: Int = 1, of rounds: Int = 6, isolation: isolated (any Actor)? = #isolation,
    _ round: () async throws -> String?
) async throws {
    var complaints: [String] = []
    for number in 1...rounds {
        guard let complaint = try await round() else {
            if number - complaints.count == wanted { return }
            continue
        }
        complaints.append(complaint)
    }
    throw TestFailure("of \(rounds) rounds these went wrong: \(complaints.joined(separator: "; "))")
}

/// Carries a write out again while what became of it is unknown: a lead that changes at the wrong moment proves nothing. For
/// writes that may be done twice.
@discardableResult
func surely<T: Sendable>(
    isolation: isolated (any Actor)? = #isolation, _ write: () async throws -> T
) async throws -> T {
    try await counted(write).result
}

/// The same, with how often it was tried.
func counted<T: Sendable>(
    isolation: isolated (any Actor)? = #isolation, _ write: () async throws -> T
) async throws -> (result: T, attempts: Int) {
    let deadline = ContinuousClock.now + .seconds(60)
    var attempts = 1
    while true {
        do { return (try await write(), attempts) } catch let error as ClientError {
            guard error.code == .unavailable || error.code == .deadlineExceeded, ContinuousClock.now < deadline else {
                throw error
            }
        }
        attempts += 1
        try await Task.sleep(for: .milliseconds(20))
    }
}
