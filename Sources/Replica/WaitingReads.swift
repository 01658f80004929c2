import Primitives
import RaftCore

/// Reads that wait for their index. They are asked for together: a question carries a number of its own and stands for
/// all reads that had come by then.
struct WaitingReads {
    struct Read {
        let context: UInt64
        let tick: UInt64
    }

    struct Question {
        let number: UInt64
        let reads: [Read]
        let tick: UInt64
        /// Whom it was asked, and when: `.none` for this member itself.
        let leader: MemberID
        let term: Term
    }

    private var waiting: [Read] = []
    /// Oldest first. Of questions to another member there is one at most.
    private var questions: [Question] = []
    private var nextNumber: UInt64
    private var count = 0

    init(firstNumber: UInt64) { nextNumber = firstNumber }

    var hasWaiting: Bool { !waiting.isEmpty }
    var isAsking: Bool { !questions.isEmpty }

    /// Adds a read; false when there are too many.
    mutating func add(context: UInt64, tick: UInt64, countMax: Int) -> Bool {
        guard count < countMax else { return false }
        count += 1
        waiting.append(Read(context: context, tick: tick))
        return true
    }

    /// Makes a question of all that wait and gives its number.
    mutating func ask(leader: MemberID, term: Term, tick: UInt64) -> UInt64 {
        let question = Question(number: nextNumber, reads: waiting, tick: tick, leader: leader, term: term)
        nextNumber += 1
        waiting = []
        questions.append(question)
        return question.number
    }

    /// Removes the question and gives its reads; nothing for one that is not asked any more.
    mutating func answer(_ number: UInt64) -> [Read] {
        guard let position = questions.firstIndex(where: { $0.number == number }) else { return [] }
        let reads = questions.remove(at: position).reads
        count -= reads.count
        return reads
    }

    /// Lets the reads of a question wait again.
    mutating func takeBack(_ number: UInt64) {
        guard let position = questions.firstIndex(where: { $0.number == number }) else { return }
        waiting = questions.remove(at: position).reads + waiting
    }

    /// Takes back the question to another member if it does not lead (in that term) any more, or has not answered since
    /// `tick`.
    mutating func takeBackStale(leader: MemberID, term: Term, askedThrough tick: UInt64?) {
        let stale = questions.filter { question in
            guard question.leader != .none else { return false }
            if question.leader != leader || question.term != term { return true }
            return tick.map { question.tick <= $0 } ?? false
        }
        for question in stale { takeBack(question.number) }
    }

    /// Removes the waiting reads that came at `tick` or before and gives their contexts.
    mutating func expire(through tick: UInt64) -> [UInt64] {
        let expired = waiting.filter { $0.tick <= tick }
        if expired.isEmpty { return [] }
        waiting.removeAll { $0.tick <= tick }
        count -= expired.count
        return expired.map(\.context)
    }
}
