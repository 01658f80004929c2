import TestSupport

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
