"""Progress on stderr and tables on stdout, for people."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import rich.table
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from ..compiler.dataflow.report import Table
from .progress import Progress

__all__ = ["print_tables", "show_progress"]

_HEARTBEAT = 10.0
"""Seconds between signs of life where stderr is no terminal."""
_FILE_WIDTH = 200
"""Columns of a table where stdout is no terminal."""


def print_tables(*tables: Table) -> None:
    """Print ``tables`` on stdout."""
    console = Console()
    if not console.is_terminal:
        console.width = _FILE_WIDTH
    for table in tables:
        grid = rich.table.Table(title=table.title, title_justify="left",
                                show_header=any(table.columns))
        for index, column in enumerate(table.columns):
            grid.add_column(column, justify="left" if index < table.text else "right")
        for row in table.rows:
            grid.add_row(*map(escape, row))
        # Where a terminal is too narrow, it folds the lines, and no cell is cut off.
        console.width = max(console.width, console.measure(
            grid, options=console.options.update(max_width=_FILE_WIDTH)).maximum)
        console.print(grid)


@contextmanager
def show_progress() -> Iterator[Progress]:
    """Bars on stderr, or a line now and then where it is no terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _heartbeat()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[steps]}"),
               TimeElapsedColumn())
    with Bars(*columns, console=console, transient=True) as bars:
        task = bars.add_task("", total=None, steps="")

        def show(what: str, done: int, total: int) -> None:
            bars.update(task, description=what, completed=done, total=total or None,
                        steps=f"{done}/{total}" if total else "")

        yield show


def _heartbeat() -> Progress:
    """Progress as a line every few seconds: a short run leaves stderr to the errors."""
    last = time.monotonic()

    def show(what: str, done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last >= _HEARTBEAT:
            last = time.monotonic()
            steps = f" {done}/{total}" if total else ""
            sys.stderr.write(f"penjing: {what}{steps}\n")

    return show
