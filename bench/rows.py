"""Rows of a long study: each is stored as soon as it is known, a rerun adds what is missing."""

from __future__ import annotations

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


def of(result: Mapping[str, Any], study: str) -> list[Row]:
    """The rows of one study."""
    return [row for row in result["rows"].values() if row["study"] == study]
