import Glibc

exit(await Martletctl.runToExitCode())
