"""What a search found, for people and in JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..compiler.dataflow.pricing import Cost
from ..compiler.dataflow.report import Table, table_of

if TYPE_CHECKING:
    from ..compiler.compress.search.limits import Aim

__all__ = ["Finding", "Tried"]


@dataclass(frozen=True)
class Tried:
    """A trial: the ``levels`` of all knobs, what the network was like, and whether it ``fits``.

    ``cost`` is None where no plan can be made of it.
    """

    levels: tuple[int, ...]
    accuracy: float
    cost: Cost | None
    fits: bool


@dataclass(frozen=True)
class Finding:
    """The network in the file ``path``, as the ``agent`` found it with ``seed``.

    ``knobs`` are what it decided, ``trials`` all that it tried, ``best`` the one that it took.
    ``accuracy`` and ``integer_accuracy`` are those of the network that was made in the end, on so
    many ``images``, which judged the trials unless it ``is_tested`` on others; ``cost`` is that of
    its own plan, which ``fits`` the ``aim``, as the integers' accuracy does, or not. ``whole`` is
    the network before, on the same images.
    """

    path: Path
    agent: str
    seed: int
    aim: Aim
    knobs: tuple[str, ...]
    whole: Tried
    best: Tried
    trials: tuple[Tried, ...]
    accuracy: float
    integer_accuracy: float
    images: int
    is_tested: bool
    cost: Cost
    fits: bool

    def json(self) -> dict[str, Any]:
        """What ``penjing search --json`` prints."""
        return {**asdict(self), "path": str(self.path)}

    def tables(self) -> Sequence[Table]:
        """The same for people: the knobs, and the network before and after."""
        knobs = table_of(
            f"Found by {self.agent} in {len(self.trials)} trials", ("layers", "of", "left"),
            ((name, whole, left) for name, whole, left in zip(
                self.knobs, self.whole.levels, self.best.levels, strict=True)))
        return knobs, table_of(
            f"{self.path}, accuracy of {self.images:,} images"
            f"{'' if self.is_tested else ', which judged the trials'}",
            ("network", "accuracy", "as integers", *_COLUMNS.values(), "limits"), (
                ("before", f"{self.whole.accuracy:.2%}", "", *_cells(self.whole.cost),
                 "kept" if self.whole.fits else "exceeded"),
                ("found", f"{self.accuracy:.2%}", f"{self.integer_accuracy:.2%}",
                 *_cells(self.cost), "kept" if self.fits else self._missed())))

    def _missed(self) -> str:
        """Which limits the network that was made does not keep."""
        return self.aim.exceeded(self.cost) or (
            f"accuracy {self.integer_accuracy:.2%} of {self.aim.accuracy:.2%} at least")


_COLUMNS: Mapping[str, str] = {
    "cycles": "cycles", "frames_per_second": "frames/s", "luts": "LUTs", "dsps": "DSPs",
    "brams": "block RAMs", "weight_bits": "weight bits"}
"""The costs that people see, and their names."""


def _cells(cost: Cost | None) -> tuple[str, ...]:
    return tuple("" if cost is None else f"{getattr(cost, name):,.0f}" for name in _COLUMNS)
