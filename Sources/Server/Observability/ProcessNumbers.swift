import Glibc
import Transport

/// What the kernel says of this process, read from `/proc/self`.
struct ProcessNumbers {
    var residentBytes = 0
    var virtualBytes = 0
    /// RLIMIT_AS; 2^64 - 1 without a limit, as other exporters have it.
    var virtualBytesMax = 0.0
    var cpuSeconds = 0.0
    var openDescriptors = 0
    var descriptorsMax = 0
    var startSeconds = 0.0

    static func current() -> ProcessNumbers {
        var numbers = ProcessNumbers()
        var addressSpace = rlimit()
        getrlimit(__rlimit_resource_t(RLIMIT_AS.rawValue), &addressSpace)
        numbers.virtualBytesMax = Double(addressSpace.rlim_cur)
        let pageBytes = sysconf(Int32(_SC_PAGESIZE))
        let ticks = Double(sysconf(Int32(_SC_CLK_TCK)))
        let memory = text(of: "/proc/self/statm").split(separator: " ").compactMap { Int($0) }
        if memory.count > 1 {
            numbers.virtualBytes = memory[0] * pageBytes
            numbers.residentBytes = memory[1] * pageBytes
        }
        // The second field is the name in parentheses and may hold spaces: count from behind it.
        let stat = text(of: "/proc/self/stat")
        if let end = stat.lastIndex(of: ")") {
            let fields = stat[stat.index(after: end)...].split(separator: " ")
            if fields.count > 19, let user = Double(fields[11]), let system = Double(fields[12]),
                let start = Double(fields[19])
            {
                numbers.cpuSeconds = (user + system) / ticks
                numbers.startSeconds = bootSeconds() + start / ticks
            }
        }
        if let directory = opendir("/proc/self/fd") {
            while readdir(directory) != nil { numbers.openDescriptors += 1 }
            closedir(directory)
            // Without `.`, `..` and the directory's own descriptor.
            numbers.openDescriptors = max(0, numbers.openDescriptors - 3)
        }
        numbers.descriptorsMax = DescriptorLimit.current
        return numbers
    }

    private static func bootSeconds() -> Double {
        for line in text(of: "/proc/stat").split(separator: "\n") where line.hasPrefix("btime ") {
            return Double(line.dropFirst(6)) ?? 0
        }
        return 0
    }

    /// The contents of a small file; empty when it cannot be read.
    private static func text(of path: String) -> String {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return "" }
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: 16 << 10)
        let count = read(descriptor, &bytes, bytes.count)
        return count > 0 ? String(decoding: bytes[..<count], as: UTF8.self) : ""
    }
}
