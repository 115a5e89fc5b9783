"""Becomes another program that dies with the process that started it: tether.py PARENT PROGRAM ARGUMENT...

The kernel sends SIGKILL when the parent ends in whatever way, SIGKILL included, where no handler and no pipe's reader
has to be alive. A preexec_fn could set the same, but it may deadlock after a fork in a process with threads.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    parent, command = int(sys.argv[1]), sys.argv[2:]
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    # The parent may have ended before the line above: then no signal comes any more.
    if os.getppid() != parent:
        sys.exit(1)
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
