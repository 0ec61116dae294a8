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
    from .finding import Finding
    from .front import Front

__all__ = ["draw_front", "draw_sizes", "draw_trials", "figure", "require_plots"]


@contextmanager
def figure(path: Path, *, width: float = 6.4, height: float = 3.6, panels: int = 1
           ) -> Iterator[Any]:
    """Axes to draw on, which become the SVG file ``path``; `PenjingError` without matplotlib.

    Several ``panels`` share what lies to their left.
    """
    require_plots(path)
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    made = Figure(figsize=(width, height), layout="constrained")
    axes = made.subplots(1, panels, sharey=True)
    yield axes
    drawn = io.BytesIO()
    # Equal drawings are equal files.
    with rc_context({"svg.hashsalt": path.name}):
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
    with figure(path, width=max(6.4, 1.4 * len(names))) as axes:
        for shift, what, label in ((-0.2, "stored_bits", "stored"),
                                   (0.2, "coded_bits", "Huffman-coded")):
            bars = axes.bar([place + shift for place in places],
                            [stage.total(what) / 1000 for stage in made.stages], 0.4, label=label)
            axes.bar_label(bars, fmt="{:,.1f}", fontsize="x-small")
        # Accuracies lie above the bars, from 0.75 to 0.93 of the height.
        axes.set_ylim(0, 1.6 * axes.dataLim.y1)
        axes.set_ylabel("kbit")
        axes.set_xticks(list(places), [f"{number} {name}" for number, name in enumerate(names)])
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False)
        other = axes.twinx()
        accuracies = [100 * stage.integer_accuracy for stage in made.stages]
        other.plot(list(places), accuracies, "k.-")
        for place, accuracy in zip(places, accuracies, strict=True):
            other.annotate(f"{accuracy:.2f}", (place, accuracy), (0, 4),
                           textcoords="offset points", ha="center", fontsize="x-small")
        least, most = min(accuracies), max(accuracies)
        height = max(most - least, 1) / 0.18
        other.set_ylim(least - 0.75 * height, least + 0.25 * height)
        other.set_yticks(sorted({least, most}), [f"{one:.1f}" for one in sorted({least, most})])
        other.set_ylabel("accuracy of integers, %", y=0.65)


def draw_trials(found: Finding, path: Path) -> None:
    """Accuracy over frames a second of all trials; those that no other surpasses in both joined."""
    tried = [(trial.cost.frames_per_second, 100 * trial.accuracy, trial.fits)
             for trial in found.trials if trial.cost is not None]
    front: list[tuple[float, float]] = []
    for frames, accuracy, _ in sorted(tried, reverse=True):
        if not front or accuracy > front[-1][1]:
            front.append((frames, accuracy))
    with figure(path) as axes:
        for fits, mark, label in ((False, "x", "beyond the limits"), (True, ".", "within them")):
            some = [point[:2] for point in tried if point[2] is fits]
            if some:
                axes.plot(*zip(*some, strict=True), mark, color="C0" if fits else "0.7",
                          label=label)
        axes.step(*zip(*front, strict=True), "k-", where="post", linewidth=0.8,
                  label="Pareto front")
        if found.best.cost is not None:
            axes.plot(found.best.cost.frames_per_second, 100 * found.best.accuracy, "o",
                      color="C3", fillstyle="none", label="the best")
        axes.set_xlabel("frames/s of the plan")
        axes.set_ylabel("accuracy in the trial, %")
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False)


def draw_front(front: Front, path: Path) -> None:
    """Frames a second over LUTs, DSP blocks and block RAMs, in a panel each.

    Darker points may have more DSP blocks; a line joins those that may have all.
    """
    most = max(point.dsps for point in front.points) or 1
    with figure(path, width=9.6, panels=3) as panels:
        for axes, name, title in zip(panels, ("luts", "dsps", "brams"),
                                     ("LUTs", "DSP blocks", "block RAMs"), strict=True):
            places = [(getattr(point.cost, name), point.cost.frames_per_second, point.dsps / most)
                      for point in front.points]
            whole = [place[:2] for place in places if place[2] == 1]
            axes.plot(*zip(*whole, strict=True), "-", color="0.8", linewidth=0.8, zorder=0,
                      label="may have all DSP blocks")
            axes.scatter(*zip(*(place[:2] for place in places), strict=True), s=12, cmap="Blues",
                         c=[place[2] for place in places], vmin=-0.5, vmax=1, edgecolors="none")
            axes.set_xlabel(f"{title} of {front.has[name]:,}" if front.has[name] else title)
            axes.xaxis.set_major_formatter("{x:,.0f}")
            axes.set_xlim(left=-0.02 * max(place[0] for place in places) - 0.5)
        panels[0].legend(loc="lower right", frameon=False)
        panels[0].set_yscale("log")
        panels[0].set_ylabel("frames/s")
