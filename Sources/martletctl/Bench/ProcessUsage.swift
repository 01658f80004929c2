import Glibc

/// What a process has used, read from `/proc`.
package struct ProcessUsage: Sendable, Equatable {
    /// Processor time in user and system mode since the process began, microseconds.
    package var cpuMicroseconds: Double
    /// Memory in use, bytes: pages of files that are mapped count.
    package var residentBytes: Int
    /// The most that `residentBytes` has been, bytes.
    package var residentPeakBytes: Int
    /// Memory that is not backed by a file, bytes: heap and stacks. What a store keeps in a file that it maps is not
    /// in it.
    package var anonymousBytes: Int

    /// Reads the usage of the process `pid`; nil when there is none or `/proc` cannot be read.
    package init?(pid: Int32) {
        guard let stat = Self.file("/proc/\(pid)/stat"), let status = Self.file("/proc/\(pid)/status"),
            let cpu = Self.cpuTicks(stat: stat)
        else { return nil }
        cpuMicroseconds = Double(cpu) * 1_000_000 / Double(sysconf(Int32(_SC_CLK_TCK)))
        residentBytes = Self.kilobytes("VmRSS", in: status) * 1024
        residentPeakBytes = Self.kilobytes("VmHWM", in: status) * 1024
        let rollup = Self.file("/proc/\(pid)/smaps_rollup") ?? ""
        let anonymous = Self.kilobytes("Anonymous", in: rollup)
        anonymousBytes = (anonymous > 0 ? anonymous : Self.kilobytes("RssAnon", in: status)) * 1024
    }

    /// The sum over several processes; nil when one of them cannot be read.
    package init?(pids: [Int32]) {
        guard var total = pids.first.flatMap(ProcessUsage.init(pid:)) else { return nil }
        for pid in pids.dropFirst() {
            guard let usage = ProcessUsage(pid: pid) else { return nil }
            total.cpuMicroseconds += usage.cpuMicroseconds
            total.residentBytes += usage.residentBytes
            total.residentPeakBytes += usage.residentPeakBytes
            total.anonymousBytes += usage.anonymousBytes
        }
        self = total
    }

    /// Processor time of this process, user and system, microseconds.
    static func ownMicroseconds() -> Double {
        var usage = rusage()
        getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
        let seconds = usage.ru_utime.tv_sec + usage.ru_stime.tv_sec
        return Double(seconds) * 1e6 + Double(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec)
    }

    /// User and system ticks of a `stat` line: fields 14 and 15, counted behind the name, which may hold blanks.
    package static func cpuTicks(stat: String) -> UInt64? {
        guard let end = stat.lastIndex(of: ")") else { return nil }
        let fields = stat[stat.index(after: end)...].split(separator: " ")
        guard fields.count > 12, let user = UInt64(fields[11]), let system = UInt64(fields[12]) else { return nil }
        return user + system
    }

    /// The number on the line `name:   123 kB`; 0 when there is none.
    package static func kilobytes(_ name: String, in text: String) -> Int {
        for line in text.split(separator: "\n") where line.hasPrefix(name + ":") {
            return line.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0
        }
        return 0
    }

    private static func file(_ path: String) -> String? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        while true {
            let chunk = [UInt8](unsafeUninitializedCapacity: 8192) { buffer, count in
                count = max(0, read(descriptor, buffer.baseAddress, buffer.count))
            }
            if chunk.isEmpty { return bytes.isEmpty ? nil : String(decoding: bytes, as: UTF8.self) }
            bytes += chunk
        }
    }
}
