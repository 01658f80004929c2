import MVCC
package import Primitives

/// What an alarm is about. Raw values are `etcdserverpb.AlarmType`.
package enum AlarmKind: Int32, Sendable, CaseIterable {
    case noSpace = 1
    case corrupt = 2
}

/// One active alarm.
package struct Alarm: Sendable, Hashable {
    package let member: MemberID
    package let kind: AlarmKind

    package init(member: MemberID, kind: AlarmKind) {
        self.member = member
        self.kind = kind
    }
}

/// The alarms of the cluster: set and cleared only through the log, kept in the store's meta table.
///
/// Owner: the apply thread.
struct AlarmTable {
    /// Sorted by kind, then member.
    private(set) var active: [Alarm] = []

    /// Reads what the store holds.
    init(store: Store) {
        for (key, _) in store.metaEntries(prefix: MetaKeys.alarmPrefix) {
            guard let (kind, member) = MetaKeys.parseAlarm(key), let kind = AlarmKind(rawValue: kind) else { continue }
            active.append(Alarm(member: member, kind: kind))
        }
        sort()
    }

    func contains(_ kind: AlarmKind) -> Bool { active.contains { $0.kind == kind } }

    /// Adds an alarm; one that is active already stays.
    mutating func activate(_ alarm: Alarm, in store: Store) {
        guard !active.contains(alarm) else { return }
        active.append(alarm)
        sort()
        store.setMeta(MetaKeys.alarm(alarm.kind.rawValue, member: alarm.member), Bytes())
    }

    /// Removes an alarm; returns whether it was active.
    mutating func deactivate(_ alarm: Alarm, in store: Store) -> Bool {
        guard let position = active.firstIndex(of: alarm) else { return false }
        active.remove(at: position)
        store.setMeta(MetaKeys.alarm(alarm.kind.rawValue, member: alarm.member), nil)
        return true
    }

    /// Removes what is active about a member that is none any more.
    mutating func forget(_ member: MemberID, in store: Store) {
        for alarm in active where alarm.member == member { _ = deactivate(alarm, in: store) }
    }

    private mutating func sort() {
        active.sort { ($0.kind.rawValue, $0.member) < ($1.kind.rawValue, $1.member) }
    }
}
