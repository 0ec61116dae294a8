"""Simulation after synthesis: Yosys' netlist, models of the family's cells, Verilator."""

from __future__ import annotations

import enum
import os
import subprocess
import tempfile
from collections.abc import Sequence
from importlib import import_module
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

from ..boards.synthesis import steps
from ..hdl.emit import Verilog
from .streams import Stalls, pauses

__all__ = ["Family", "build", "cell_models", "run_yosys", "synthesize", "transfer"]

_CELLS = Path(__file__).with_name("cells")
_PAUSES = 4096


class Family(enum.Enum):
    """An FPGA family; the value is Yosys' command."""

    ECP5 = "synth_ecp5"
    ICE40 = "synth_ice40 -dsp -device u"


def synthesize(verilog: Verilog, top: str, family: Family) -> str:
    """Verilog netlist of the family's cells for ``top`` of ``verilog``; same name, same ports.

    Takes Yosys (the ``pyosys`` wheel). Raises `RuntimeError` with Yosys' last words if it fails.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        verilog.write(folder, "design.v")
        done = steps(f"{family.value} -top {top}", tables_apart=family is Family.ECP5)
        run_yosys(folder, "\n".join(("read_verilog -sv design.v", *done,
                                     "write_verilog -noattr netlist.v", "")),
                  f"synthesis of {top}")
        return (folder / "netlist.v").read_text()


def run_yosys(folder: Path, script: str, what: str) -> None:
    """Run a ``script`` of Yosys in ``folder``.

    Raises `RuntimeError` with Yosys' last words, and ``what`` it was for, if it fails.
    """
    (folder / "script.ys").write_text(script)
    # Yosys ends its process where it fails.
    process = get_context("spawn").Process(target=_run_script, args=(str(folder),))
    process.start()
    process.join()
    if process.exitcode != 0:
        log = (folder / "yosys.log").read_text().strip().splitlines()
        raise RuntimeError(f"{what}: {log[-1] if log else 'Yosys did not start'}")


def _run_script(folder: str) -> None:
    os.chdir(folder)
    log = os.open("yosys.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    from pyosys import libyosys

    libyosys.run_pass("script script.ys", libyosys.Design())


def cell_models(family: Family) -> str:
    """Verilog of the cells in a netlist: Yosys' own models and, for its black boxes, ours."""
    share = _package("pyosys") / "share"
    if family is Family.ICE40:
        return (share / "ice40" / "cells_sim.v").read_text()
    sources = [share / "ecp5" / "common_sim.vh", share / "ecp5" / "ccu2c_sim.vh",
               _CELLS / "ecp5.v"]
    return "`define NO_INCLUDES\n" + "\n".join(source.read_text() for source in sources)


def transfer(verilog: str, inputs: Sequence[int], outputs: int, *, i_bits: int, o_bits: int,
             stalls: Stalls = Stalls.NONE, seed: int = 0, timeout: int = 200_000
             ) -> tuple[list[int], list[int]]:
    """Send ``inputs`` through the stream component ``top`` of ``verilog``, simulated by Verilator.

    The counterpart of `penjing.sim.streams.transfer` for Verilog text: returns the payloads and the
    cycle in which each left.

    Parameters
    ----------
    verilog : all modules; ``top`` has the ports clk, rst, i__payload, i__valid, ....
    inputs : payloads as raw bits.
    outputs : payloads to wait for.
    i_bits, o_bits : payload widths.
    stalls, seed : who pauses, and when.
    timeout : cycles without an output after which to give up.

    Raises `TimeoutError` where nothing moves for ``timeout`` cycles, and `AssertionError` where
    ``o`` breaks the hold rule or a beat too many follows.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "design.v").write_text(verilog)
        parameters = {"I_BITS": i_bits, "O_BITS": o_bits, "INPUTS": len(inputs),
                      "OUTPUTS": outputs, "PAUSES": _PAUSES, "TIMEOUT": timeout}
        simulator = build(folder, parameters)
        _write_stimuli(folder, inputs, stalls, seed)
        result = subprocess.run([simulator], cwd=folder, capture_output=True, text=True)
        if result.returncode != 0:
            raise AssertionError((result.stdout + result.stderr).strip())
        lines = [line.split() for line in (folder / "outputs.txt").read_text().splitlines()]
    if len(lines) < outputs:
        raise TimeoutError(f"{len(lines)} of {outputs} beats came out, then none in "
                           f"{timeout} cycles")
    if len(lines) > outputs:
        raise AssertionError(f"more than {outputs} beats came out")
    return [int(payload, 16) for _, payload in lines], [int(cycle) for cycle, _ in lines]


def _write_stimuli(folder: Path, inputs: Sequence[int], stalls: Stalls, seed: int) -> None:
    (folder / "inputs.hex").write_text("\n".join(f"{payload:x}" for payload in inputs))
    source = islice(pauses(stalls.at_input, seed), _PAUSES)
    sink = islice(pauses(stalls.at_output, seed + 1), _PAUSES)
    (folder / "pauses.hex").write_text(
        "\n".join(f"{a + 2 * b}" for a, b in zip(source, sink, strict=True)))


def build(folder: Path, parameters: dict[str, int], bench: str = "bench.sv") -> Path:
    """The simulator of ``design.v`` in ``folder``, with a ``bench`` of `penjing.sim.cells`.

    Takes Verilator; raises `RuntimeError` with its last words if it fails.
    """
    return compiled(folder, "bench", (str(_CELLS / bench), "design.v"),
                    *(f"-G{name}={value}" for name, value in parameters.items()))


def compiled(folder: Path, top: str, sources: Sequence[str], *options: str) -> Path:
    """The simulator of the module ``top``, which drives its own clock; fails as `build` does."""
    tool = _package("verilator") / "bin" / "verilator"
    command = [
        str(tool), "--binary", "--timing", "-j", "2", "--top-module", top, "-Wno-fatal",
        "-Wno-lint", "-Wno-style", "-Wno-SPECIFYIGN", "-Mdir", "build",
        "-CFLAGS", "-O1", *options, *sources]
    # The wheel's make settings lack what a precompiled header needs.
    environment = dict(os.environ, MAKEFLAGS="-- CFG_CXXFLAGS_PCH_I=-include "
                       "CFG_LDLIBS_THREADS=-pthread CFG_CXXFLAGS_STD=-std=gnu++20")
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    simulator = folder / "build" / f"V{top}"
    if result.returncode != 0 or not simulator.exists():
        raise RuntimeError(f"Verilator: {(result.stdout + result.stderr)[-2000:]}")
    return simulator


def _package(name: str) -> Path:
    """Folder of an installed package."""
    return Path(str(import_module(name).__file__)).parent
