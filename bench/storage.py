"""What a compressed network takes in memory, and how fast it is, before anything is routed."""

from __future__ import annotations

import contextlib
from collections import Counter
from dataclasses import replace
from typing import Any

from penjing import flow
from penjing.compiler import ir
from penjing.compiler.compress.sizes import sizes, stored_bits
from penjing.compiler.encode import AUTOMATIC, encode, maker
from penjing.compiler.ir import Network, PenjingError
from penjing.compiler.reduce import reduce
from penjing.sim import golden

BOARD = "ulx3s-85f"
ENCODINGS = tuple(name for name in AUTOMATIC if ":" not in name)
"""Those in memory for zeros anywhere."""


def planned(network: Network, multipliers: int) -> dict[str, Any]:
    """Bits of weights and biases, cycles and predicted cells of ``network`` with so many
    ``multipliers`` at most; channels that nobody reads are taken out first."""
    encoded = smallest(reduce(network, golden.execute).network)
    plan = flow.plan(encoded, flow.Target(BOARD, budget={"multipliers": multipliers}))
    return {"weight_bits": sum(one.stored_bits for one in sizes(encoded)),
            "board": BOARD, "multipliers_asked": multipliers, "multipliers": plan.multipliers,
            "cycles": plan.cycles_per_frame, "luts": plan.resources.luts,
            "brams": plan.resources.brams,
            "encodings": encodings(encoded)}


def encodings(network: Network) -> Counter[str]:
    """How many layers of ``network`` have each encoding."""
    return Counter(layer.weights.encoding.name for layer in network.layers
                   if isinstance(layer, ir.MultiplyAccumulate))


def smallest(network: Network) -> Network:
    """``network`` with the encoding of fewest bits in each layer, however many weights are zeros.

    That is more than layers get without being asked.
    """
    chosen = {}
    for layer in network.layers:
        if isinstance(layer, ir.MultiplyAccumulate):
            bits = {}
            for name in ENCODINGS:
                with contextlib.suppress(PenjingError):  # It cannot hold these weights.
                    encoding = maker(name)(layer.weights.rows, layer.weights.bits)
                    bits[name] = stored_bits(replace(layer.weights, encoding=encoding))
            chosen[layer.name] = min(bits, key=bits.__getitem__)
    return encode(network, chosen)
