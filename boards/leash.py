"""Run a command that ends with whoever started it: ``python leash.py PID COMMAND ...``.

Tools of a worker that dies would go on for minutes otherwise. This file is started by its path, so
it imports nothing of Penjing. Where there is no such thing but on Linux, the command runs as it is.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_SET_DEATH_SIGNAL = 1
"""Linux' ``PR_SET_PDEATHSIG``; it outlasts `os.execv`."""


def main(parent: int, *command: str) -> None:
    """Become ``command``, unless the process ``parent``, which started this one, is gone."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() == parent:
        os.execv(command[0], command)


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
