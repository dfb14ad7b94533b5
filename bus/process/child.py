"""Runs a program that dies with its parent: ``python -m bus.process.child PROGRAM ARGUMENT...``.

supervisord starts everything through this, so that no process outlives a supervisord that was killed with
SIGKILL. It is a program rather than a call in each process so that it also covers the simulator, which must
not import `bus`. A process that forks workers calls `die_with_parent` in them: it is not inherited.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def die_with_parent(parent_pid: int) -> None:
    """Have the kernel kill this process when `parent_pid`, its parent, dies. A no-op except on Linux.

    SIGKILL, since an orphan has nobody to follow up a SIGTERM; every process recovers from it anyway.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent_pid:  # it died before the call
            os.kill(os.getpid(), signal.SIGKILL)


def main(arguments: list[str]) -> None:
    """Become the program that the arguments name, or say why not and exit with 2."""
    usage = "usage: python -m bus.process.child PROGRAM ARGUMENT..."
    if arguments and arguments[0] in ("-h", "--help"):
        sys.stdout.write(f"{usage}\n\nRuns a program that dies with its parent.\n")
        return
    if not arguments or arguments[0].startswith("-"):
        sys.stderr.write(f"{usage}\npython -m bus.process.child: error: expected a program\n")
        sys.exit(2)
    # `bus.process.supervise` becomes supervisord, so its pid is the parent's; the setting survives exec
    # (prctl(2)).
    die_with_parent(int(os.environ.get("SUPERVISE_PID") or os.getppid()))
    try:
        os.execvp(arguments[0], arguments)
    except (OSError, ValueError) as error:
        sys.stderr.write(f"python -m bus.process.child: error: {arguments[0]}: {error}\n")
        sys.exit(2)


if __name__ == "__main__":
    main(sys.argv[1:])
