"""Rows of a long study: each is stored as soon as it is known, a rerun adds what is missing."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import common

Row: TypeAlias = dict[str, Any]


def measure(file: str, rows: Mapping[str, Callable[[], Row]], only: Sequence[str], command: str,
            *packages: str) -> dict[str, Any]:
    """The ``file`` with all ``rows``, by their keys, in this order.

    Measured are those that it lacks, or, of any, those whose keys begin with one of ``only``.
    """
    stored: dict[str, Row] = common.read(file).get("rows", {})
    chosen = [key for key in rows
              if (key.startswith(tuple(only)) if only else key not in stored)]
    with common.progress_bar() as bar:
        task = bar.add_task("", total=len(chosen))
        for key in chosen:
            bar.update(task, description=key)
            started = time.process_time()
            row = rows[key]()
            # Read again: another run may have stored its rows meanwhile.
            stored = common.read(file).get("rows", {})
            stored[key] = {**row, "cpu_seconds": round(time.process_time() - started, 1),
                           **common.stamp(command, *packages)}
            common.write(file, {"rows": {one: stored[one] for one in rows if one in stored}})
            bar.advance(task)
    return common.read(file)


def options(parser: argparse.ArgumentParser, such_as: str) -> None:
    """Those of a bench of rows, of which ``such_as`` is a key's beginning."""
    parser.add_argument("--run", action="store_true", help="measure what is missing")
    parser.add_argument("--only", nargs="*", default=[], metavar="KEY",
                        help=f"measure rows anew whose keys begin so, such as {such_as}")
    parser.add_argument("--json", action="store_true", help="one object on stdout, no table")


def of(result: Mapping[str, Any], study: str) -> list[Row]:
    """The rows of one study."""
    return [row for row in result["rows"].values() if row["study"] == study]
