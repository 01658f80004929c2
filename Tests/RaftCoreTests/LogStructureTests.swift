import Primitives
import Testing

@testable import RaftCore

/// The log's data structures against the simplest model of each: an array.
@Suite struct LogStructureTests {
    @Test(arguments: 0..<60 as Range<UInt64>) func windowAndTermsFollowAnArray(_ seed: UInt64) {
        var random = PRNG(seed: seed)
        var window = EntryWindow(first: LogIndex(1))
        var terms = TermRuns(first: LogIndex(1))
        var model: [Entry] = []
        var term = 1 as UInt64
        for _ in 0..<300 {
            let end = window.end
            switch random.next(in: 0..<5) {
            case 0, 1:
                let entries = (0..<random.next(in: 1..<6)).map { offset in
                    if random.chance(oneIn: 6) { term += UInt64(random.next(in: 1..<3)) }
                    let size = random.next(in: 0..<20)
                    return Entry(
                        term: Term(term), index: end.advanced(by: offset),
                        payload: Bytes([UInt8](repeating: 1, count: size)))
                }
                window.append(entries[...])
                for entry in entries { terms.append(index: entry.index, term: entry.term) }
                model += entries
            case 2:
                guard !model.isEmpty else { continue }
                let index = model[random.next(in: 0..<model.count)].index
                window.truncate(from: index)
                terms.truncate(from: index)
                model.removeAll { $0.index >= index }
                term = max(term, model.last?.term.rawValue ?? 1) + 1
            case 3:
                guard !model.isEmpty, random.chance(oneIn: 3) else { continue }
                let index = model[random.next(in: 0..<model.count)].index
                window.dropFirst(through: index)
                terms.dropFirst(through: index)
                model.removeAll { $0.index <= index }
            default: checkReads(window, terms, model, &random)
            }
            #expect(window.count == model.count)
            #expect(window.bytes == model.reduce(0) { $0 + $1.sizeBytes })
            #expect(terms.isConsistent && terms.first == window.first && terms.end == window.end)
        }
    }

    private func checkReads(_ window: EntryWindow, _ terms: TermRuns, _ model: [Entry], _ random: inout PRNG) {
        for entry in model {
            #expect(window[entry.index] == entry)
            #expect(terms.term(at: entry.index) == entry.term)
        }
        #expect(terms.term(at: window.end) == nil)
        guard let first = model.first, let last = model.last else { return }
        let from = model[random.next(in: 0..<model.count)].index
        let bytesMax = random.next(in: 1..<200)
        var expected: [Entry] = []
        var bytes = 0
        for entry in model where entry.index >= from {
            bytes += entry.sizeBytes
            if bytes > bytesMax, !expected.isEmpty { break }
            expected.append(entry)
        }
        #expect(window.entries(from: from, to: window.end, bytesMax: bytesMax) == expected)
        let bound = Term(UInt64(random.next(in: Int(first.term.rawValue)..<Int(last.term.rawValue) + 2)))
        let found = terms.lastIndex(notAfter: from, termAtMost: bound)
        #expect(found == model.last { $0.index <= from && $0.term <= bound }?.index)
    }

    @Test(arguments: 0..<30 as Range<UInt64>) func inflightsFollowAnArray(_ seed: UInt64) {
        var random = PRNG(seed: seed)
        var inflights = Inflights(messagesMax: 8, bytesMax: 100)
        var model: [(last: LogIndex, bytes: Int)] = []
        var last = LogIndex(0)
        for _ in 0..<300 {
            if random.chance(oneIn: 2), !inflights.isFull {
                last = last.advanced(by: random.next(in: 1..<4))
                let bytes = random.next(in: 0..<40)
                inflights.add(last: last, bytes: bytes)
                model.append((last, bytes))
            } else {
                let index = LogIndex(UInt64(random.next(in: 0..<Int(last.rawValue) + 2)))
                inflights.free(through: index)
                model.removeAll { $0.last <= index }
            }
            let bytes = model.reduce(0) { $0 + $1.bytes }
            #expect(inflights.count == model.count)
            #expect(inflights.bytes == bytes)
            #expect(inflights.isFull == (model.count >= 8 || bytes >= 100))
        }
    }

    @Test func readContextsRoundTrip() {
        for value in [0, 1, 255, 256, .max] as [UInt64] { #expect(ReadQueue.decode(ReadQueue.encode(value)) == value) }
        #expect(ReadQueue.decode("short") == nil)
    }
}
