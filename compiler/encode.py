"""Which encoding the weights of each layer get: that of fewest memory bits, or one by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

from .ir import (
    Bitmap,
    Codebook,
    Columns,
    Constant,
    Convolution,
    Dense,
    Depthwise,
    Encoding,
    Integers,
    KernelList,
    MultiplyAccumulate,
    Network,
    NofM,
    PenjingError,
    Plain,
    RelativeIndex,
    Sparse,
    Sums,
)

Maker: TypeAlias = Callable[[Integers, int], Encoding]
"""The encoding for weights (outputs, taps, channels) of so many bits, before it is checked."""

MOST_DENSITY = 0.4
"""The part of its weights that are not 0, up to which a layer is encoded without being asked; more
where groups of its channels have as few as n of m."""
FEWEST_WEIGHTS = 64
"""The weights from which on it is."""
MOST_VALUES = 32
"""The different weights of a layer up to which it gets a codebook without being asked, whatever its
zeros: a table of so many takes few LUTs at each multiplier."""


def _sparse(kind: type[Sparse]) -> dict[str, Maker]:
    """The best of a ``kind`` alone, and with a codebook."""
    return {kind.stem: lambda rows, bits: kind.best(rows, bits, Plain()),
            f"{kind.stem}+codebook": lambda rows, bits: kind.best(rows, bits, Codebook())}


_IN_MEMORY: Mapping[str, Maker] = {
    "plain": lambda rows, bits: Plain(), "codebook": lambda rows, bits: Codebook(),
    **_sparse(RelativeIndex), **_sparse(Bitmap), **_sparse(KernelList)}
_ASKED: Mapping[str, Maker] = {
    "constant": lambda rows, bits: Constant(), "columns": lambda rows, bits: Columns(),
    "columns+codebook": lambda rows, bits: Columns(Codebook()),
    "sums": lambda rows, bits: Sums()}
MAKERS: Mapping[str, Maker] = {**_IN_MEMORY, **_ASKED}
"""The encodings that have names of their own; see `maker` for those with numbers in their names."""

_GAPPED: Mapping[str, type[RelativeIndex] | type[KernelList]] = {
    kind.stem: kind for kind in (RelativeIndex, KernelList)}

NAMES: Sequence[str] = (*MAKERS, *(f"{what}{values}" for what in (
    "N:M", *(f"{stem}:BITS" for stem in _GAPPED)) for values in ("", "+codebook")))
"""All encodings as users know them; numbers such as 2:4 stand for N:M, and one for the BITS of
gaps."""

AUTOMATIC: Sequence[str] = (*_IN_MEMORY, *(f"{groups}{values}" for groups in (
    "2:4", "1:4", "1:2", "4:8", "8:16") for values in ("", "+codebook")))
"""Those that a layer may get without being asked. What needs no memory takes logic for all products
at once, what skips inputs is as fast as they have zeros, and sums are made of any codebook where
they cost less. Of n of m, those where more may be left than pays where weights are anywhere."""

LOADABLE: Sequence[str] = ("plain", "codebook")
"""Those that a layer may get without being asked where other weights come in later: they fit,
whichever of them are 0."""


def maker(name: str) -> Maker:
    """What makes the encoding called ``name``, such as ``bitmap``, ``2:4`` or ``relative:7``.

    Gaps of fewer bits than the best take less memory where filling costs little, and more cycles.
    `PenjingError` for a name that none has.
    """
    if name in MAKERS:
        return MAKERS[name]
    parts = re.fullmatch(rf"([0-9]{{1,9}}|{'|'.join(_GAPPED)}):([0-9]{{1,9}})(\+codebook)?", name)
    if not parts:
        raise PenjingError(f"{name!r:.40} is no encoding; name one of {', '.join(NAMES)}")
    what, number, values = parts[1], int(parts[2]), Codebook() if parts[3] else Plain()
    found = (_GAPPED[what](number, values) if what in _GAPPED
             else NofM(int(what), number, values))
    return lambda rows, bits: found


def encode(network: Network, chosen: Mapping[str, str], automatic: Sequence[str] = AUTOMATIC
           ) -> Network:
    """``network`` with its weights encoded; what it computes stays the same.

    A layer that ``chosen`` names gets the encoding called so there. Of the others, convolutions,
    depthwise and dense layers of 64 weights and more get the ``automatic`` one that takes the
    fewest memory bits, the first of equal ones: any where at most 40 % of the weights are not 0, a
    codebook where they take at most 32 values, n of m where channels come in whole groups. Encoded
    weights, and those of three values, stay as they are. `PenjingError` for a layer or an encoding
    that does not exist, or one that cannot hold the layer's weights.
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
            layers[layer.name] = _cheapest(layer, automatic)
    return replace(network, layers=tuple(layers.get(layer.name, layer)
                                         for layer in network.layers))


def grouped(network: Network) -> Network:
    """``network`` with n of m where `encode` would choose that; if nowhere, the object itself.

    Channels that are taken out of it go in whole groups then, see `reduce`.
    """
    chosen = encode(network, {})
    layers = tuple(found if isinstance(found, MultiplyAccumulate)
                   and isinstance(found.weights.encoding, NofM) else layer
                   for layer, found in zip(network.layers, chosen.layers, strict=True))
    if all(kept is layer for kept, layer in zip(layers, network.layers, strict=True)):
        return network
    return replace(network, layers=layers)


def _named(layer: MultiplyAccumulate, name: str) -> MultiplyAccumulate:
    """``layer`` with the encoding called ``name``."""
    try:
        return _with(layer, maker(name)(layer.weights.rows, layer.weights.bits))
    except PenjingError as error:
        prefix = f"layer {layer.name}: "
        raise PenjingError(f"{prefix}{str(error).removeprefix(prefix)}") from None


def _with(layer: MultiplyAccumulate, encoding: Encoding) -> MultiplyAccumulate:
    return replace(layer, weights=replace(layer.weights, encoding=encoding))


def _is_eligible(layer: MultiplyAccumulate) -> bool:
    """Whether ``layer`` is encoded without being asked. What has signs only has no zeros."""
    weights = layer.weights
    return (isinstance(layer, Convolution | Dense | Depthwise) and weights.encoding == Plain()
            and weights.values.size >= FEWEST_WEIGHTS and weights.ternary is None)


def _cheapest(layer: MultiplyAccumulate, names: Sequence[str]) -> MultiplyAccumulate:
    """``layer`` with the encoding among ``names`` that takes the fewest bits, of those that can be.
    """
    weights = layer.weights
    rows, thin = weights.rows, weights.nonzeros <= MOST_DENSITY * weights.values.size
    best = layer
    few = len(weights.codebook) <= MOST_VALUES
    for name in names:
        if name in MAKERS and not (thin or (few and name == "codebook")):
            continue
        encoding = maker(name)(rows, weights.bits)
        if isinstance(encoding, NofM) and rows.shape[2] % encoding.m:
            continue
        try:
            found = _with(layer, encoding)
        except PenjingError:
            continue
        if found.weights.memory_bits < best.weights.memory_bits:
            best = found
    return best
