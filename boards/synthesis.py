"""Run one Yosys script: ``python synthesis.py SCRIPT``, in a process of its own.

Yosys runs inside the interpreter (the ``pyosys`` wheel) and ends the process where it fails. This
file is started by its path, so it imports nothing of Penjing.
"""

from __future__ import annotations

import sys


def main(script: str) -> None:
    """Run the commands of the file ``script``; the log goes to standard output."""
    from pyosys import libyosys

    libyosys.run_pass(f"script {script}", libyosys.Design())


if __name__ == "__main__":
    main(sys.argv[1])
