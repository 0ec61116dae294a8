"""Ranks of all layers under one budget, by the energy that they keep (Zhang 2015, section 3.4)."""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...ir import PenjingError

__all__ = ["Spectrum", "ranks_by_energy"]


@dataclass(frozen=True)
class Spectrum:
    """The ``eigenvalues`` of a layer's responses, falling, and what it costs.

    As one layer it costs ``whole``, as two, ``each`` for every dimension between them.
    """

    eigenvalues: Sequence[float]
    each: int
    whole: int

    def cost(self, rank: int) -> int:
        """The less of both."""
        return min(self.whole, rank * self.each)


def ranks_by_energy(layers: Mapping[str, Spectrum], budget: int, others: int = 0
                    ) -> dict[str, int]:
    """The rank of each layer that becomes two, so that all cost at most ``budget``.

    ``others`` is what the network's other layers cost, which stay. The product of all layers'
    energies, sums of the eigenvalues that stay, is to be large: of all layers' last eigenvalues
    that goes first which takes the least share of its layer's energy for what it saves.
    `PenjingError` where even one dimension a layer is too much.
    """
    ranks = {name: len(layer.eigenvalues) for name, layer in layers.items()}
    energies = {name: sum(layer.eigenvalues) for name, layer in layers.items()}
    least = others + sum(layer.cost(1) for layer in layers.values())
    if least > budget:
        whole = others + sum(layer.whole for layer in layers.values())
        # Rounded down, so that what is told can be asked for.
        most = math.floor((1 - least / whole) * 1000) / 1000
        raise PenjingError(f"low rank: one dimension a layer leaves {least:,} of {whole:,} "
                           f"multiply-accumulates, and at most {budget:,} are asked for; the ratio "
                           f"can be {most:g} at most")
    total = others + sum(layer.cost(ranks[name]) for name, layer in layers.items())

    def entry(name: str) -> tuple[float, str]:
        layer = layers[name]
        share = layer.eigenvalues[ranks[name] - 1] / energies[name] if energies[name] else 0.0
        return share / layer.each, name

    queue = [entry(name) for name in layers if ranks[name] > 1]
    heapq.heapify(queue)
    while total > budget:
        _, name = heapq.heappop(queue)
        layer = layers[name]
        total -= layer.cost(ranks[name]) - layer.cost(ranks[name] - 1)
        ranks[name] -= 1
        energies[name] -= layer.eigenvalues[ranks[name]]
        if ranks[name] > 1:
            heapq.heappush(queue, entry(name))
    return {name: rank for name, rank in ranks.items()
            if rank * layers[name].each < layers[name].whole}
