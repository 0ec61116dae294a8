"""Plots for people, as SVG beside the numbers that they show; matplotlib is an extra."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..compiler import file
from .load import needing

if TYPE_CHECKING:
    from .compression import Compression

__all__ = ["draw_sizes", "figure", "require_plots"]


@contextmanager
def figure(path: Path, *, width: float = 6.4, height: float = 3.6) -> Iterator[Any]:
    """Axes to draw on, which become the SVG file ``path``; `PenjingError` without matplotlib."""
    require_plots(path)
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    made = Figure(figsize=(width, height), layout="constrained")
    axes = made.subplots()
    yield axes
    drawn = io.BytesIO()
    # Equal drawings are equal files.
    FigureCanvasSVG(made).print_svg(drawn, metadata={"Date": None})
    file.write_atomically(path, drawn.getvalue())


def require_plots(path: Path) -> None:
    """`PenjingError` where nothing can draw ``path``."""
    with needing(path, "plots"):
        import matplotlib.backends.backend_svg
        import matplotlib.figure  # noqa: F401


def draw_sizes(made: Compression, path: Path) -> None:
    """Bits that are stored and Huffman-coded behind each step, and accuracy over them."""
    names = [stage.do or "before" for stage in made.stages]
    places = range(len(names))
    with figure(path) as axes:
        for shift, what, label in ((-0.2, "stored_bits", "in the hardware's memories"),
                                   (0.2, "coded_bits", "Huffman-coded")):
            axes.bar([place + shift for place in places],
                     [stage.total(what) / 1000 for stage in made.stages], 0.4, label=label)
        axes.set_yscale("log")
        axes.set_ylabel("kbit")
        axes.set_xticks(list(places), [f"{number} {name}" for number, name in enumerate(names)])
        other = axes.twinx()
        other.plot(list(places), [100 * stage.integer_accuracy for stage in made.stages], "k.-")
        other.set_ylabel("accuracy of integers, %")
        axes.legend(loc="upper right")
