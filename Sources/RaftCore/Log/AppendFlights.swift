import Primitives

/// The Readys that were handed out to be made durable and are not yet. When the log is truncated under an append in
/// flight, what that append will make durable *of the present log* shrinks with it: a later entry that happens to have
/// the same index (and even the same term, by way of a leader that came back) is never taken for durable because an
/// earlier one was.
struct AppendFlights {
    struct Flight {
        var number: UInt64
        /// The last entry of the present log that is durable once this flight is; zero for none.
        var last: LogIndex
        var hardState: HardState?
        var snapshot: EntryID?
    }

    /// In order of number.
    private var flights: [Flight] = []
    private var head = 0

    var isEmpty: Bool { head == flights.count }

    mutating func add(_ flight: Flight) { flights.append(flight) }

    mutating func truncate(from index: LogIndex) {
        for position in head..<flights.count where flights[position].last >= index {
            flights[position].last = index.advanced(by: -1)
        }
    }

    /// Forgets all entries in flight: a snapshot takes the place of the log.
    mutating func dropEntries() {
        for position in head..<flights.count { flights[position].last = .zero }
    }

    /// Removes and gives the oldest flight if its number is at most `number`.
    mutating func landFirst(through number: UInt64) -> Flight? {
        guard head < flights.count, flights[head].number <= number else { return nil }
        let flight = flights[head]
        head += 1
        if head == flights.count {
            flights.removeAll(keepingCapacity: true)
            head = 0
        } else if head > 64, head > flights.count - head {
            flights.removeFirst(head)
            head = 0
        }
        return flight
    }

    /// The last entry any flight carries, for invariants.
    var last: LogIndex { flights[head...].reduce(.zero) { max($0, $1.last) } }
}
