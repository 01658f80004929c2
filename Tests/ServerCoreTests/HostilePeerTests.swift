import Primitives
import RaftCore
import Replica
import ServerCore
import Simulator
import Testing

/// Messages that were changed on their way, yet are well formed, are refused or believed; they stop nobody.
@Suite struct HostilePeerTests {
    private static func tamper(_ message: inout Message, _ random: inout PRNG) {
        guard message.type != .snapshot, random.chance(oneIn: 6) else { return }
        func near(_ value: UInt64, _ random: inout PRNG) -> UInt64 {
            switch random.next(in: 0..<8) {
            case 0: return 0
            case 1: return (1 << 62) - 1
            default:
                let step = UInt64(random.next(in: 0..<4))
                return random.chance(oneIn: 2) ? value + step : value - min(value, step)
            }
        }
        switch random.next(in: 0..<9) {
        case 0: message.index = LogIndex(near(message.index.rawValue, &random))
        case 1: message.logTerm = Term(near(message.logTerm.rawValue, &random))
        case 2: message.commit = LogIndex(near(message.commit.rawValue, &random))
        case 3: message.rejectHint = LogIndex(near(message.rejectHint.rawValue, &random))
        case 4: message.reject.toggle()
        case 5: message.type = MessageType.allCases[random.next(in: 0..<MessageType.allCases.count)]
        case 6 where !message.entries.isEmpty:
            let position = random.next(in: 0..<message.entries.count)
            message.entries[position].index = LogIndex(near(message.entries[position].index.rawValue, &random))
        case 7 where !message.entries.isEmpty:
            let position = random.next(in: 0..<message.entries.count)
            message.entries[position].term = Term(near(message.entries[position].term.rawValue, &random))
        default: message.context = Bytes([UInt8](repeating: 0xff, count: random.next(in: 0..<10)))
        }
        // Forwarded messages bind to no term; a snapshot's image is not of this test.
        if message.type == .snapshot { message.type = .heartbeat }
    }

    @Test("Nobody stops", arguments: 0..<40 as Range<UInt64>)
    func nobodyStops(seed: UInt64) throws {
        let world = try ClusterWorld(seed: seed, count: 3)
        try world.elect()
        world.tamper = Self.tamper
        for step in 0..<150 {
            let node = world.nodes[world.random.next(in: 0..<3)]
            world.put(node)
            if step % 4 == 0 { _ = world.read(node) }
            if step % 9 == 0 { node.driver?.deliver(.transferLeadership(to: world.nodes[step % 3].id)) }
            try world.tick(1)
        }
        #expect(world.nodes.allSatisfy { $0.driver != nil })
    }
}
