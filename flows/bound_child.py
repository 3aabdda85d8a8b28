"""Become another program that ends with its parent. In: parent id, command line. Out: that program.

Run by its path: it must start fast, so it imports nothing of this project.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

PR_SET_PDEATHSIG = 1


def bound_command(command: Sequence[str]) -> list[str]:
    """Return the command line that runs `command` as a child that ends with this process."""
    return [sys.executable, __file__, str(os.getpid()), *command]


def main(arguments: list[str]) -> None:
    """Ask the kernel for SIGTERM at the parent's end, then replace this process by the command.

    Parameters
    ----------
    arguments
        The parent's process id, the program's path, the program's arguments.

    Source: prctl(2); the request survives execve.
    """
    parent, *command = arguments
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(parent):
        sys.exit("the parent has ended before its child could start")
    os.execv(command[0], command)  # noqa: S606 - the command is ours, no shell is wanted


if __name__ == "__main__":
    main(sys.argv[1:])
