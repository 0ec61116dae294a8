"""What Yosys does with a design, and ``python synthesis.py SCRIPT``, which lets it do so.

Yosys runs inside the interpreter (the ``pyosys`` wheel) and ends the process where it fails, so it
has a process of its own. This file is started by its path, so it imports nothing of Penjing.
"""

from __future__ import annotations

import sys


def steps(command: str, *, tables_apart: bool) -> list[str]:
    """The commands from a design that was read to its netlist; ``command`` is the family's own.

    With ``tables_apart`` each table of constants is mapped by itself: with all of a large design
    before it, abc9 makes seven LUTs of a bit of 64 words, which takes four and three wide
    multiplexers.
    """
    # abc9 (pyosys 0.70) can end in a failed assertion on the widths of two wires that it joins;
    # wires of one bit have no other width.
    mapped = [f"{command} -run begin:map_luts", "splitnets", f"{command} -run map_luts:map_cells"]
    if tables_apart:
        mapped = ["select -set tables a:rom_style=distributed %m",
                  "setattr -mod -set keep_hierarchy 1 @tables", *mapped,
                  "setattr -mod -unset keep_hierarchy *", "flatten", "opt_clean"]
    return [*mapped, f"{command} -run map_cells:"]


def main(script: str) -> None:
    """Run the commands of the file ``script``; the log goes to standard output."""
    from pyosys import libyosys

    libyosys.run_pass(f"script {script}", libyosys.Design())


if __name__ == "__main__":
    main(sys.argv[1])
