import IOInterfaces
import Membership
import Primitives
import RaftCore
import Replica
import ServerCore
import Simulator
import StateMachine

/// The simulator's driver as these tests use it: turns taken at once, until nothing is left to do.
extension MemberDriver {
    convenience init(core: ServerCore, now: UInt64, begins: Bool = false) {
        // Identities of requests that the member proposes itself are far from those of the tests.
        self.init(core: core, now: now, firstInternalID: 1 << 62, random: PRNG(seed: 1), begins: begins)
    }

    func campaign() throws(MemberStop) {
        core.replica.campaign()
        try take(.replica, itemsMax: 0)
    }

    func deliver(_ message: Message) { deliver(.message(message)) }

    func change(id: UInt64, _ change: MemberTable.Change) {
        let change = MemberChange(requestID: id, change)
        deliver(
            .proposeChange(
                id: id, change: change.configurationChange, kind: .configurationChangeV2, payload: change.encoded()))
    }

    /// Takes turns until replica, log and apply have nothing left; a full disk ends it too.
    func drain() throws(MemberStop) {
        while true {
            let turns: [MemberTurn] = isLogFull ? [.replica, .tick, .apply] : [.replica, .tick, .log, .apply]
            guard let turn = turns.first(where: { hasWork($0) }) else { return }
            try take(turn, itemsMax: .max)
            core.replica.checkInvariants()
        }
    }

    /// What left the member since this was last asked.
    func takeOutput() -> Output {
        defer { output = Output() }
        return output
    }
}
