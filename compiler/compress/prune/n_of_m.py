"""All but n of m channels are pruned, as hardware takes them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ...ir import PenjingError
from ...ir.n_of_m import MOST_CHANNELS
from .amounts import Amount, Scores
from .layers import Layer


@dataclass(frozen=True)
class NofM(Amount):
    """All but the ``n`` highest of each ``m`` channels side by side, ``1 <= n < m <= 16``.

    Groups are those of the encoding (`ir.NofM`): channels of an output at one tap, of which the
    last group may have fewer; it keeps ``n`` too, if it has so many.
    """

    n: int
    m: int

    def __post_init__(self) -> None:
        if not (type(self.n) is type(self.m) is int and 1 <= self.n < self.m <= MOST_CHANNELS):
            raise PenjingError(f"pruning: n of m must be integers with 1 <= n < m <= "
                               f"{MOST_CHANNELS}, not {self.n!r} of {self.m!r}")

    def suits(self, layer: Layer) -> bool:
        """Whether it has more channels than ``n``."""
        return layer.arranged(layer.weight).shape[-1] > self.n

    def kept(self, scores: Scores) -> dict[str, Tensor]:
        """The highest of each group."""
        return {name: self._of_layer(name, one) for name, one in scores.items()}

    def _of_layer(self, name: str, scores: Tensor) -> Tensor:
        channels = scores.shape[-1]
        if channels <= self.n:
            raise PenjingError(f"layer {name}: {self.n} of {self.m} channels keeps all, since it "
                               f"has {channels} in a group; leave it out")
        padded = torch.nn.functional.pad(scores, (0, -channels % self.m), value=-math.inf)
        groups = padded.unflatten(-1, (-1, self.m))
        ascending = groups.argsort(dim=-1, stable=True)
        kept = torch.zeros_like(groups, dtype=torch.bool)
        kept.scatter_(-1, ascending[..., self.m - self.n:], True)
        return kept.flatten(-2)[..., :channels]
