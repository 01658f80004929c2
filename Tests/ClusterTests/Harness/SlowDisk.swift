import Foundation
import TestSupport

/// Makes one process wait at each sync and each write of its files, for as long as the test says while it runs.
///
/// A library that is loaded before the process's own stands before `fsync`, `fdatasync`, `sync_file_range`, `msync`,
/// `pwrite` and `pwritev`, and finds the times in a file that both map. That works wherever there is a C compiler, and one
/// comes with Swift; device mapper, network block devices and limits of control groups are not in every container.
struct SlowDisk: Sendable {
    private static let variable = "MARTLET_TEST_SLOW_DISK"

    /// The library, or why there is none. Built once.
    private static let library = Task<String, any Error> { try await build() }

    static var isAvailable: Bool { get async { (try? await library.value) != nil } }

    private let path: String

    /// Makes the file with the times inside a folder.
    init(in folder: TemporaryFolder) throws {
        path = folder.path("slow-disk")
        guard FileManager.default.createFile(atPath: path, contents: Data(count: 4096)) else {
            throw TestFailure("cannot make \(path)")
        }
    }

    /// What the process has to be started with.
    func environment() async throws -> [String: String] {
        ["LD_PRELOAD": try await Self.library.value, Self.variable: path]
    }

    /// From now on every sync takes at least that long, and every write likewise; also those under way that have not
    /// begun to wait.
    func set(sync syncTime: Duration, write writeTime: Duration = .zero) throws {
        let times = [syncTime, writeTime].map { time in
            let (seconds, attoseconds) = time.components
            return UInt32(clamping: seconds * 1_000_000 + attoseconds / 1_000_000_000_000).littleEndian
        }
        let descriptor = open(path, O_WRONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw TestFailure("cannot open \(path): \(String(cString: strerror(errno)))") }
        defer { close(descriptor) }
        let written = times.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
        guard written == 8 else { throw TestFailure("cannot write \(path)") }
    }

    func reset() throws { try set(sync: .zero) }

    private static func build() async throws -> String {
        // It stays until the machine's temporary files go: processes that outlive this program may still load it.
        let folder = try TemporaryFolder("slow-disk")
        try source.write(toFile: folder.path("slow.c"), atomically: false, encoding: .utf8)
        let library = folder.path("slow.so")
        var reasons: [String] = []
        for compiler in ["cc", "clang", "gcc"] {
            do {
                let result = try await Shell.run(
                    [compiler, "-shared", "-fPIC", "-O1", "-o", library, folder.path("slow.c"), "-ldl"])
                guard result.exitStatus == 0 else {
                    reasons.append("\(compiler): \(result.errors)")
                    continue
                }
                return library
            } catch {
                reasons.append("\(error)")
            }
        }
        throw TestFailure("no library to slow disks down: " + reasons.joined(separator: "; "))
    }

    /// Sleeps in small pieces, so that a time that is shortened ends sooner.
    private static let source = """
        #define _GNU_SOURCE
        #include <dlfcn.h>
        #include <errno.h>
        #include <fcntl.h>
        #include <stdint.h>
        #include <stdlib.h>
        #include <sys/mman.h>
        #include <sys/types.h>
        #include <sys/uio.h>
        #include <time.h>
        #include <unistd.h>

        static volatile uint32_t *times;

        __attribute__((constructor)) static void start(void) {
            const char *path = getenv("\(variable)");
            int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
            if (file < 0) return;
            void *map = mmap(0, 4096, PROT_READ, MAP_SHARED, file, 0);
            if (map != MAP_FAILED) times = map;
            close(file);
        }

        static void wait_for(int which) {
            uint64_t waited = 0;
            int saved = errno;
            while (times && waited < times[which]) {
                uint64_t left = times[which] - waited, piece = left < 10000 ? left : 10000;
                struct timespec pause = {0, (long)piece * 1000};
                nanosleep(&pause, 0);
                waited += piece;
            }
            errno = saved;
        }

        #define BEFORE(which, type, name, parameters, arguments) \\
            type name parameters { \\
                static type (*next) parameters; \\
                if (!next) next = (type (*) parameters)dlsym(RTLD_NEXT, #name); \\
                wait_for(which); \\
                return next arguments; \\
            }

        BEFORE(0, int, fsync, (int file), (file))
        BEFORE(0, int, fdatasync, (int file), (file))
        BEFORE(0, int, msync, (void *address, size_t size, int flags), (address, size, flags))
        BEFORE(0, int, sync_file_range, (int file, off64_t from, off64_t size, unsigned flags), (file, from, size, flags))
        BEFORE(1, ssize_t, pwrite, (int file, const void *bytes, size_t size, off_t at), (file, bytes, size, at))
        BEFORE(1, ssize_t, pwrite64, (int file, const void *bytes, size_t size, off64_t at), (file, bytes, size, at))
        BEFORE(1, ssize_t, pwritev, (int file, const struct iovec *parts, int count, off_t at), (file, parts, count, at))
        BEFORE(1, ssize_t, pwritev64, (int file, const struct iovec *parts, int count, off64_t at), (file, parts, count, at))

        """
}
