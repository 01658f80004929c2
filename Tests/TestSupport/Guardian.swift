package import Foundation

/// A shell that ends what is left of the tests' processes, and unmounts what is left of their file systems, when the test
/// program ends, in whatever way: the pipe from it then has no writer any more.
package final class Guardian: Sendable {
    package static let shared = Guardian()

    /// glibc's POSIX_SPAWN_SETSID, which Swift does not import.
    private static let newSession: Int16 = 0x80

    /// Takes lines: `p PID` and `m FOLDER` to look after, `-p PID` and `-m FOLDER` when there is no need any more. A file
    /// system is thawed first, so that its processes can end.
    private static let script = """
        n='
        '; p=$n; m=$n; PATH=/usr/sbin:/sbin:$PATH
        without() { case $1 in *"$n$2$n"*) printf '%s' "${1%%"$n$2$n"*}$n${1#*"$n$2$n"}x";; *) printf '%sx' "$1";; esac; }
        while read -r a x; do case $a in
        p) p="$p$x$n";; m) m="$m$x$n";;
        -p) p=$(without "$p" "$x"); p=${p%x};;
        -m) m=$(without "$m" "$x"); m=${m%x};;
        esac; done
        IFS=$n
        for x in $m; do fsfreeze -u "$x" 2> /dev/null; done
        for x in $p; do kill -9 "$x" 2> /dev/null; done
        for x in $m; do for try in 1 2 3 4 5 6 7 8 9 10; do umount "$x" 2> /dev/null && break; sleep 0.3; done; done
        """

    private let descriptor: Int32

    package init() {
        var ends: [Int32] = [0, 0]
        // At once, so that no process that another test starts meanwhile keeps it open.
        let kind = Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue)
        let made = socketpair(AF_UNIX, kind, 0, &ends)
        guard made == 0 else { fatalError("no pair of sockets: \(String(cString: strerror(errno)))") }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        posix_spawn_file_actions_adddup2(&actions, ends[0], 0)
        // Its own session, so that an interrupt from the terminal leaves it alive to do its work.
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        posix_spawnattr_setflags(&attributes, Self.newSession)
        var pid: pid_t = 0
        let words: [String] = ["/bin/sh", "-c", Self.script]
        let argv: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) } + [nil]
        let result = posix_spawn(&pid, "/bin/sh", &actions, &attributes, argv, environ)
        for pointer in argv { free(pointer) }
        posix_spawn_file_actions_destroy(&actions)
        posix_spawnattr_destroy(&attributes)
        guard result == 0 else { fatalError("cannot start a shell: \(String(cString: strerror(result)))") }
        close(ends[0])
        descriptor = ends[1]
    }

    /// Ends everything that it still looks after.
    deinit { close(descriptor) }

    package func watch(_ pid: pid_t) { send("p \(pid)") }
    package func forget(_ pid: pid_t) { send("-p \(pid)") }
    package func watch(mount folder: String) { send("m \(folder)") }
    package func forget(mount folder: String) { send("-m \(folder)") }

    /// A line is short enough to be written whole.
    private func send(_ line: String) { _ = (line + "\n").withCString { write(descriptor, $0, strlen($0)) } }
}
