"""How much of a layer an engine does at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Fold:
    """Products of an engine: ``pe`` outputs at once, each from ``rows * lanes`` inputs.

    ``rows`` kernel rows are read at once, and of each ``lanes`` consecutive inputs, so the engine's
    SIMD width is ``rows * lanes``. None of them need divide a dimension.
    """

    pe: int
    rows: int
    lanes: int

    @property
    def simd(self) -> int:
        """Inputs that each processing element takes in a cycle."""
        return self.rows * self.lanes

    @property
    def products(self) -> int:
        """Products of the engine in a cycle."""
        return self.pe * self.simd

    def steps(self, outputs: int, kernel_height: int, run: int) -> tuple[int, int]:
        """(runs of outputs, beats of each) that a position of ``outputs`` takes.

        A kernel has ``kernel_height`` rows of ``run`` inputs.
        """
        return (-(-outputs // self.pe),
                -(-kernel_height // self.rows) * -(-run // self.lanes))


def quotients(size: int) -> Iterator[int]:
    """Every value of ``ceil(size / n)``, the largest first: other counts only waste hardware."""
    seen = set()
    for n in range(1, size + 1):
        count = -(-size // n)
        if count not in seen:
            seen.add(count)
            yield count
