"""Make `operators.md` of the importers' own tables.

    python docs/operators.py --write     # without it, tells whether the page is as they are
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from penjing.compiler.load import aten, onnx, pt2e, tflite
from penjing.compiler.load.entries import Entry
from penjing.compiler.load.onnx import qonnx

PAGE = Path(__file__).with_name("operators.md")
Table: TypeAlias = Mapping[Any, Entry[Any]]

_INTRODUCTION = """\
# Operators

What each format may hold, within which limits, and the way out beyond them. `penjing check MODEL`
lists all that a file holds beyond them. This page is made of the importers' tables
(`python docs/operators.py --write`).
"""
_NOTHING = "–"
_HEAD = ("| operators | limits | way out |", "| --- | --- | --- |")


def page() -> str:
    """The text of `operators.md`."""
    return "\n".join([
        _INTRODUCTION,
        *_section("`.tflite`", "import.md#tflite", tflite.OPERATORS, *tflite.BESIDES.values()),
        *_section("`.onnx`", "import.md#onnx", onnx.OPERATORS, _unread(onnx.ADVICE)),
        *_section("QONNX", "import.md#qonnx", qonnx.OPERATORS),
        *_section("PyTorch", "pytorch.md", aten.OPERATORS, aten.PARAMETERS, _unread(aten.HINTS)),
        *_section("PyTorch, quantized by PT2E", "import.md#pytorch-quantized-by-pt2e",
                  pt2e.OPERATORS),
    ])


def _unread(ways_out: Mapping[str, str]) -> Table:
    """The operators that are not read but have a way out of their own."""
    return {name: Entry(None, "not read", way_out) for name, way_out in ways_out.items()}


def _section(title: str, more: str, *tables: Table) -> list[str]:
    rows: list[str] = []
    for table in tables:
        grouped: dict[tuple[str, str], dict[str, None]] = {}
        for key, entry in table.items():
            grouped.setdefault((entry.limits, entry.way_out), {})[_name(key)] = None
        rows += [f"| {', '.join(f'`{name}`' for name in sorted(names))} | {limits or _NOTHING} | "
                 f"{way_out or _NOTHING} |" for (limits, way_out), names in grouped.items()]
    return [f"## {title}", "", f"[More of it]({more}).", "", *_HEAD, *rows, ""]


def _name(key: Hashable) -> str:
    """How people call the operator of a ``key``: without its domain, or namespace and overload."""
    if isinstance(key, tuple):
        return str(key[-1])
    parts = str(key).split(".")
    return parts[1].rstrip("_") if len(parts) == 3 else parts[0]


def main() -> int:
    """Write the page, or tell whether it is as it should be."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--write", action="store_true", help="write the page")
    if parser.parse_args().write:
        PAGE.write_text(page(), encoding="utf-8")
    elif PAGE.read_text(encoding="utf-8") != page():
        sys.stderr.write(f"{PAGE.name} is not as the importers' tables; write it with --write\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
