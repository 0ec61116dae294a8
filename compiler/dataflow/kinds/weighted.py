"""What becomes of a layer with weights: it tells which folds it may have."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Self

from ... import ir
from ..fold import Fold
from ..site import Site
from .ask import Ask
from .kind import Kind


class Limits(NamedTuple):
    """The least and the most that each number of a fold may be."""

    pe: tuple[int, int]
    rows: tuple[int, int]
    lanes: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Weighted(Kind):
    """Hardware of a layer with weights of its ``encodings``."""

    encodings: ClassVar[tuple[type[ir.Encoding], ...]]

    @classmethod
    @abstractmethod
    def candidates(cls, site: Site, ask: Ask) -> Iterator[Self]:
        """What does as ``ask`` says; nothing for weights of other `encodings`."""

    @abstractmethod
    def reads(self, site: Site) -> int:
        """Cycles of a frame, however many its inputs and outputs take."""

    def all_weight_bits(self, site: Site) -> int:
        """Bits of all weights of the layer: those of their encoding, unless it says otherwise."""
        layer = site.layer
        assert isinstance(layer, ir.MultiplyAccumulate)
        return layer.weights.memory_bits

    @classmethod
    @abstractmethod
    def limits(cls, site: Site) -> Limits:
        """Those of all folds; `PenjingError` where it can have none."""

    @classmethod
    def check(cls, site: Site, fold: Fold) -> None:
        """`PenjingError` for a ``fold`` within the `limits` that the layer cannot have."""

    @classmethod
    @abstractmethod
    def of_simd(cls, site: Site, pe: int, simd: int) -> list[Fold]:
        """The folds of ``pe`` that take at most ``simd`` inputs a cycle.

        `PenjingError` where there can be none.
        """

    @classmethod
    def suited(cls, site: Site, folds: list[Fold]) -> list[Fold]:
        """Those of the ``folds`` that leave the layer to it where it would be best."""
        return folds

    @classmethod
    def wider(cls, site: Site, fold: Fold) -> Fold:
        """``fold``, or the next of more lanes that the layer can have."""
        return fold

    @classmethod
    def least(cls, site: Site) -> Fold | None:
        """The fold of the fewest products; None where it has none."""
        return cls.wider(site, Fold(1, 1, 1))
