import IOInterfaces
import Logging
import Primitives
import StateMachine
import Synchronization
import Wire

/// Whether a write may go into the log. What does not grow the store always may. Source: etcd-behaviour, section 3.
enum Admission {
    /// Lets a request pass that grows the store by `growth` bytes, or raises the NOSPACE alarm and refuses it.
    static func admit(growth: Int, context: ServerContext) throws(RequestError) {
        guard growth > 0 else { return }
        if context.noSpaceAlarm.load(ordering: .relaxed) || context.logDiskFull.load(ordering: .relaxed)
            || context.storeDiskFull.load(ordering: .relaxed)
        {
            throw .noSpace
        }
        let liveBytes = context.liveBytes.load(ordering: .relaxed)
        guard context.quota.isExceeded(liveBytes: liveBytes, growth: growth) else { return }
        raiseAlarm(context, liveBytes: liveBytes)
        throw .noSpace
    }

    /// Proposes the NOSPACE alarm, once a second until it is active.
    private static func raiseAlarm(_ context: ServerContext, liveBytes: Int) {
        let now = context.clock.now()
        let next = context.nextNoSpaceProposal.load(ordering: .relaxed)
        guard now >= next,
            context.nextNoSpaceProposal.compareExchange(
                expected: next, desired: now + 1_000_000_000, ordering: .relaxed
            ).exchanged
        else { return }
        let request = AlarmRequest(
            action: StateMachine.AlarmAction.activate, memberID: context.identity.memberID.rawValue,
            alarm: AlarmKind.noSpace.rawValue)
        context.proposeInternally(fieldNumber: InternalRaftRequest.FieldNumber.alarm, body: request.encoded())
        context.logger.warning(
            "raising alarm NOSPACE: the quota is used up",
            metadata: ["live-bytes": "\(liveBytes)", "quota-bytes": "\(context.configuration.quotaBytes)"])
    }
}
