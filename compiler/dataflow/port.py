"""How tensors travel: elements a beat, and where fresh beats begin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..ir import Integers


@dataclass(frozen=True)
class Port:
    """How a tensor travels: ``lanes`` elements a beat, a fresh beat every ``group`` elements."""

    lanes: int
    group: int

    def beat_of(self, elements: Integers) -> Integers:
        """Index of the beat that carries each of ``elements``."""
        per_group = -(-self.group // self.lanes)
        return elements // self.group * per_group + elements % self.group // self.lanes

    def ends(self, elements: int) -> Integers:
        """Elements of a frame of ``elements`` up to the end of each beat."""
        ends = np.minimum(np.arange(self.lanes, self.group + self.lanes, self.lanes), self.group)
        return (np.arange(elements // self.group)[:, None] * self.group + ends).reshape(-1)

    def beats(self, elements: int) -> int:
        """Beats of a frame of ``elements``."""
        return elements // self.group * -(-self.group // self.lanes)
