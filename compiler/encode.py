"""Which encoding the weights of each layer get: that of fewest memory bits, or one by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

from .ir import (
    Bitmap,
    Codebook,
    Convolution,
    Dense,
    Depthwise,
    Encoding,
    Integers,
    KernelList,
    MultiplyAccumulate,
    Network,
    PenjingError,
    Plain,
    RelativeIndex,
    Sparse,
    Weights,
)

Maker: TypeAlias = Callable[[Integers, int], Encoding]
"""The encoding for weights (outputs, taps, channels) of so many bits, before it is checked."""

MOST_DENSITY = 0.4
"""The part of its weights that are not 0, up to which a layer is encoded without being asked."""
FEWEST_WEIGHTS = 64
"""The weights from which on it is."""


def _sparse(kind: type[Sparse]) -> dict[str, Maker]:
    """The best of a ``kind`` alone, and with a codebook."""
    return {kind.stem: lambda rows, bits: kind.best(rows, bits, Plain()),
            f"{kind.stem}+codebook": lambda rows, bits: kind.best(rows, bits, Codebook())}


MAKERS: Mapping[str, Maker] = {
    "plain": lambda rows, bits: Plain(), "codebook": lambda rows, bits: Codebook(),
    **_sparse(RelativeIndex), **_sparse(Bitmap), **_sparse(KernelList)}
"""All encodings, by the names that users know."""

AUTOMATIC: Sequence[str] = tuple(MAKERS)
"""Those that a layer may get without being asked."""
LOADABLE: Sequence[str] = ("plain", "codebook")
"""Those that fit weights which come in later, whichever of them are 0."""


def encode(network: Network, chosen: Mapping[str, str], automatic: Sequence[str] = AUTOMATIC
           ) -> Network:
    """``network`` with its weights encoded; what it computes stays the same.

    A layer that ``chosen`` names gets the encoding called so there. Of the others, convolutions,
    depthwise and dense layers of 64 weights and more, of which at most 40 % are not 0, get the
    ``automatic`` one that takes the fewest memory bits, the first of equal ones; encoded weights,
    and those of three values, stay as they are. `PenjingError` for a layer or an encoding that does
    not exist, or one that cannot hold the layer's weights.
    """
    layers = {layer.name: layer for layer in network.layers
              if isinstance(layer, MultiplyAccumulate)}
    for name in chosen:
        if name not in layers:
            among = f"name one of {', '.join(layers)}" if layers else "the network has none"
            raise PenjingError(f"encoding: {name!r:.80} is no layer with weights; {among}")
    for layer in layers.values():
        if layer.name in chosen:
            layers[layer.name] = _named(layer, chosen[layer.name])
        elif _is_eligible(layer):
            layers[layer.name] = _with(layer, _cheapest(layer.weights, automatic))
    return replace(network, layers=tuple(layers.get(layer.name, layer)
                                         for layer in network.layers))


def _named(layer: MultiplyAccumulate, name: str) -> MultiplyAccumulate:
    """``layer`` with the encoding called ``name``."""
    if name not in MAKERS:
        raise PenjingError(f"layer {layer.name}: {name!r:.40} is no encoding; name one of "
                           f"{', '.join(MAKERS)}")
    try:
        return _with(layer, MAKERS[name](layer.weights.rows, layer.weights.bits))
    except PenjingError as error:
        prefix = f"layer {layer.name}: "
        raise PenjingError(f"{prefix}{str(error).removeprefix(prefix)}") from None


def _with(layer: MultiplyAccumulate, encoding: Encoding) -> MultiplyAccumulate:
    return replace(layer, weights=replace(layer.weights, encoding=encoding))


def _is_eligible(layer: MultiplyAccumulate) -> bool:
    """Whether ``layer`` is encoded without being asked. What has signs only has no zeros."""
    weights, count = layer.weights, layer.weights.values.size
    return (isinstance(layer, Convolution | Dense | Depthwise) and weights.encoding == Plain()
            and count >= FEWEST_WEIGHTS and weights.nonzeros <= MOST_DENSITY * count
            and weights.ternary is None)


def _cheapest(weights: Weights, names: Sequence[str]) -> Encoding:
    """The encoding among ``names`` that takes the fewest bits, of those that can be."""
    rows, bits = weights.rows, weights.bits
    found: list[tuple[int, Encoding]] = []
    for name in names:
        encoding = MAKERS[name](rows, bits)
        try:
            encoding.check(rows)
        except PenjingError:
            continue
        found.append((encoding.memory_bits(rows, bits), encoding))
    return min(found, key=lambda one: one[0], default=(0, weights.encoding))[1]
