import Primitives
import RaftCore
import Replica
import Testing

@Suite struct MessageCodecTests {
    private static func message(_ random: inout PRNG) -> Message {
        func number() -> UInt64 { random.next() >> UInt64(random.next(in: 2..<64)) }
        func bytes(_ most: Int) -> Bytes {
            Bytes((0..<random.next(in: 0..<most)).map { _ in UInt8.random(in: 0...255, using: &random) })
        }
        func members() -> [MemberID] { (0..<random.next(in: 0..<4)).map { _ in MemberID(number()) } }
        var message = Message(
            type: MessageType.allCases[random.next(in: 0..<MessageType.allCases.count)], to: MemberID(random.next()),
            from: MemberID(random.next()), term: Term(number()), logTerm: Term(number()), index: LogIndex(number()),
            commit: LogIndex(number()), vote: MemberID(random.next()), reject: random.chance(oneIn: 2),
            rejectHint: LogIndex(number()), context: bytes(20))
        let first = number()
        for offset in 0..<random.next(in: 0..<5) {
            let kind = [EntryKind.normal, .configurationChange, .configurationChangeV2][random.next(in: 0..<3)]
            message.entries.append(
                Entry(
                    term: Term(number()), index: LogIndex((first >> 1) + UInt64(offset)), kind: kind,
                    payload: bytes(300)))
        }
        if message.type == .snapshot {
            let state = ConfigurationState(
                voters: members(), learners: members(), votersOutgoing: members(), learnersNext: members(),
                autoLeave: random.chance(oneIn: 2))
            message.snapshot = SnapshotMetadata(
                configurationState: state, index: LogIndex(number()), term: Term(number()))
        }
        return message
    }

    private static func decode(_ bytes: [UInt8]) throws(MessageCodec.Failure) -> Message {
        try Bytes(bytes).withUnsafeBytes { (bytes) throws(MessageCodec.Failure) in try MessageCodec.decode(bytes) }
    }

    @Test("What is encoded is decoded again", arguments: 0..<50 as Range<UInt64>)
    func roundTrip(seed: UInt64) throws {
        var random = PRNG(seed: seed)
        for _ in 0..<50 {
            let message = Self.message(&random)
            #expect(try Self.decode(MessageCodec.encode(message).array) == message)
        }
    }

    @Test("Damaged bytes are an error or a message, never more", arguments: 0..<50 as Range<UInt64>)
    func mutations(seed: UInt64) throws {
        var random = PRNG(seed: seed)
        var refused = 0
        for _ in 0..<200 {
            var bytes = MessageCodec.encode(Self.message(&random)).array
            for _ in 0..<random.next(in: 1..<4) {
                switch random.next(in: 0..<4) {
                case 0: bytes.removeLast(random.next(in: 0..<bytes.count))
                case 1:
                    let byte = UInt8.random(in: 0...255, using: &random)
                    bytes.insert(byte, at: random.next(in: 0..<bytes.count + 1))
                case 2: bytes[random.next(in: 0..<bytes.count)] ^= 1 << UInt8(random.next(in: 0..<8))
                default: bytes += [UInt8](repeating: 0xff, count: random.next(in: 0..<12))
                }
                if bytes.isEmpty { break }
            }
            do throws(MessageCodec.Failure) {
                let message = try Self.decode(bytes)
                #expect(try Self.decode(MessageCodec.encode(message).array) == message)
            } catch {
                refused += 1
                #expect(!"\(error)".contains("\n"))
            }
        }
        #expect(refused > 20)
    }

    @Test("Numbers that arithmetic could overflow, unknown types and misplaced parts are refused")
    func impossible() {
        let most = UInt64(1) << 62
        let heartbeat = Message(type: .heartbeat, to: MemberID(1), from: MemberID(2), term: Term(3))
        func refuses(_ change: (inout Message) -> Void) -> Bool {
            var message = heartbeat
            change(&message)
            do throws(MessageCodec.Failure) {
                _ = try Self.decode(MessageCodec.encode(message).array)
                return false
            } catch { return true }
        }
        #expect(!refuses { _ in })
        #expect(refuses { $0.term = Term(most) })
        #expect(refuses { $0.logTerm = Term(most) })
        #expect(refuses { $0.index = LogIndex(most) })
        #expect(refuses { $0.commit = LogIndex(.max) })
        #expect(refuses { $0.rejectHint = LogIndex(most) })
        #expect(refuses { $0.entries = [Entry(term: Term(1), index: LogIndex(most))] })
        #expect(refuses { $0.entries = [Entry(term: Term(most), index: LogIndex(1))] })
        #expect(refuses { $0.type = .snapshot })
        #expect(
            refuses {
                $0.snapshot = SnapshotMetadata(
                    configurationState: ConfigurationState(), index: LogIndex(1), term: Term(1))
            })
        #expect(
            refuses {
                $0.type = .snapshot
                $0.snapshot = SnapshotMetadata(
                    configurationState: ConfigurationState(), index: LogIndex(most), term: Term(1))
            })
        for type in [0, 1, 10, 11, 12, 19, 200] as [UInt8] {
            #expect(throws: MessageCodec.Failure.self) { try Self.decode([8, type] + (type > 127 ? [1] : [])) }
        }
    }
}
