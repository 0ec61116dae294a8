"""Faults that a tool puts into a design, and whether a test of its streams catches them.

Yosys draws faults from all cells of the design and puts them side by side, each in force when an
input says so: one simulator serves them all. The test is that of a network: values, the rules of
the stream, the cycle of every beat without stalls, four stall patterns, a reset in mid-frame, a
watchdog.
"""

from __future__ import annotations

import enum
import random
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, repeat
from pathlib import Path

from ..hdl.emit import Verilog
from .netlist import build, run_yosys
from .streams import pauses

__all__ = ["Mutant", "Verdict", "judge"]

_PAUSES = 4096
_CLOCKS = ("C", "RD_CLK", "WR_CLK")
_GATES = """synth -flatten -top top -run begin:fine
opt -fast -full
opt -undriven -fine
techmap
opt -fast
abc -g AND,XOR,MUX
opt -fast
opt_clean
"""
"""To gates and memories. In larger cells, most bits of constants, and of values that never are so
large, have no effect, and neither have faults in them."""


class Verdict(enum.Enum):
    """What caught a mutant first; the value is that in `cells/mutants.sv`."""

    SURVIVED = 0
    VALUE = 1
    HOLD = 2
    SURPLUS = 3
    STANDSTILL = 4
    CYCLE = 5


@dataclass(frozen=True)
class Mutant:
    """A fault: what is done (see Yosys' ``help mutate``) to a port of a cell, which has a wire."""

    mode: str
    cell: str
    port: str
    wire: str
    verdict: Verdict


def judge(verilog: Verilog, inputs: Sequence[int], wanted: Sequence[int], mask: Sequence[int], *,
          i_bits: int, o_bits: int, count: int, seed: int = 1, timeout: int = 10_000
          ) -> list[Mutant]:
    """Put ``count`` faults into the module ``top`` of ``verilog`` and tell which are caught.

    Parameters
    ----------
    verilog : all modules; ``top`` has the ports clk, rst, i__payload, i__valid, ....
    inputs : payloads to send, as raw bits.
    wanted, mask : payloads that must come out, and which of their bits count.
    i_bits, o_bits : payload widths.
    count : how many faults, drawn evenly from all cells.
    seed : of what is drawn, pauses too.
    timeout : cycles without an output beat after which a design stands still.

    Takes Yosys (the ``pyosys`` wheel) and Verilator. Raises `RuntimeError` with a tool's last words
    where it fails, and `AssertionError` where the design fails without a fault.
    """
    select = count.bit_length()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        verilog.write(folder, "emitted.v")
        run_yosys(folder, "read_verilog -sv emitted.v\n" + _GATES +
                  "write_rtlil gates.il\n"
                  f"mutate -list {2 * count} -seed {seed} -o faults.ys\n", "mutate")
        lines = (folder / "faults.ys").read_text().splitlines()
        # A clock is the simulator's.
        lines = [line for line in lines if _options(line)["port"] not in _CLOCKS][:count]
        faults = [_options(line) for line in lines]
        apply = "\n".join(f"{line} -ctrl mutant {select} {n}" for n, line in enumerate(lines, 1))
        run_yosys(folder, f"read_rtlil gates.il\n{apply}\nopt_clean\n"
                  "write_verilog -noattr -noparallelcase design.v\n", "mutate")
        for file, payloads in (("inputs", inputs), ("wanted", wanted), ("mask", mask)):
            (folder / f"{file}.hex").write_text("\n".join(f"{one:x}" for one in payloads))
        stops = zip(_pauses(seed), _pauses(seed + 1), strict=True)
        (folder / "pauses.hex").write_text(
            "\n".join(f"{a + 2 * b}" for a, b in islice(stops, _PAUSES)))
        simulator = build(folder, {
            "I_BITS": i_bits, "O_BITS": o_bits, "INPUTS": len(inputs), "OUTPUTS": len(wanted),
            "PAUSES": _PAUSES, "TIMEOUT": timeout, "MUTANTS": len(faults) + 1,
            "SELECT_BITS": select}, "mutants.sv")
        result = subprocess.run([simulator], cwd=folder, capture_output=True, text=True)
        if result.returncode != 0:
            raise RuntimeError(f"simulation: {(result.stdout + result.stderr)[-2000:]}")
        verdicts = [Verdict(int(line.split()[1]))
                    for line in (folder / "verdicts.txt").read_text().splitlines()]
    if verdicts[0] is not Verdict.SURVIVED:
        raise AssertionError(f"without a fault the design is found to be wrong: {verdicts[0].name}")
    return [Mutant(options["mode"], options["cell"], options["port"],
                   f"{options.get('wire', '?')}[{options.get('wirebit', '?')}]", verdict)
            for options, verdict in zip(faults, verdicts[1:], strict=True)]


def _pauses(seed: int) -> Iterator[bool]:
    """As `pauses`, but now and then one side pauses until all is full, or dry."""
    generator = random.Random(seed)
    usual = pauses(True, seed)
    while True:
        yield from islice(usual, generator.randrange(100, 300))
        yield from repeat(True, generator.randrange(30, 200))


def _options(line: str) -> dict[str, str]:
    """The options of a call of ``mutate``, each with the first of its values."""
    words = line.split()
    return {word[1:]: words[n + 1] for n, word in enumerate(words[:-1]) if word.startswith("-")}
