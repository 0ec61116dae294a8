"""Convolutions of 3×3 taps in Winograd's form: the same integers with fewer products."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from typing import TypeAlias

import numpy as np

from .ir import (
    WINOGRAD_TILES,
    Convolution,
    Crop,
    Integers,
    Layer,
    Names,
    Network,
    PenjingError,
    Plain,
    TensorType,
    Weights,
    WinogradInput,
    WinogradOutput,
    WinogradProducts,
    signed_bits,
)

Tile: TypeAlias = tuple[int, int]
"""Outputs (rows, columns) that are made together."""
Worth: TypeAlias = tuple[int, ...]
"""What a network takes: the less, the better."""

KERNEL = np.array([[2, 0, 0], [1, 1, 1], [1, -1, 1], [0, 0, 2]])
"""Twice the transform of three taps for two outputs along an axis."""
MAX_WEIGHT_BITS = 16


def eligible(layer: Layer) -> bool:
    """Whether ``layer`` has the form: a dense 3×3 convolution of stride 1 and plain weights.

    Weights of three values have engines of their own, those that are loaded have no transform.
    """
    return (isinstance(layer, Convolution) and layer.kernel == (3, 3) and layer.stride == (1, 1)
            and layer.groups == 1 and layer.weights.encoding == Plain()
            and not layer.weights.loadable and layer.weights.ternary is None
            and _bits(_transformed(layer.weights.values, (2, 2))) <= MAX_WEIGHT_BITS)


def rewritten(network: Network, tiles: Mapping[str, Tile]) -> Network:
    """``network`` with the layers named in ``tiles`` in Winograd's form; what it computes stays.

    `PenjingError` for a layer that does not exist or has no such form.
    """
    layers = {layer.name: layer for layer in network.layers}
    for name in tiles:
        if name not in layers or not eligible(layers[name]):
            able = ", ".join(layer.name for layer in network.layers if eligible(layer))
            among = f"name one of {able}" if able else "the network has none"
            raise PenjingError(f"winograd: {name!r:.80} is no dense 3×3 convolution of stride 1 "
                               f"with plain weights; {among}")
    names = Names(network.input)
    for name in layers:
        names.take(name)
    made: list[Layer] = []
    for layer in network.layers:
        if layer.name in tiles:
            assert isinstance(layer, Convolution)
            made += _form(layer, network.type_of(layer.name), tiles[layer.name], names)
        else:
            made.append(layer)
    return replace(network, layers=tuple(made))


def improved(network: Network, worth: Callable[[Network], Worth | None], fixed: Collection[str] = ()
             ) -> Network:
    """``network`` with those layers in Winograd's form that make its ``worth`` less.

    All that can have it do at first, unless that is worse than none; then one layer after the
    other, that of most products first, tries each form. Those that are ``fixed`` stay; a worth of
    None says that a network is no good.
    """
    able = {layer.name: layer.macs(network.type_of(layer.name)) for layer in network.layers
            if eligible(layer) and layer.name not in fixed}
    names = sorted(able, key=able.__getitem__, reverse=True)
    best, least = dict[str, Tile | None](), worth(network) if able else None
    trials: list[dict[str, Tile | None]] = [dict.fromkeys(names, (2, 2))]
    trials += [{name: tile} for name in names for tile in (None, *WINOGRAD_TILES)]
    for changes in trials if able else ():
        tiles = {**best, **changes}
        if tiles == best:
            continue
        found = worth(_with(network, tiles))
        if found is not None and (least is None or found < least):
            best, least = tiles, found
    return _with(network, best)


def _with(network: Network, tiles: Mapping[str, Tile | None]) -> Network:
    return rewritten(network, {name: tile for name, tile in tiles.items() if tile})


def _form(layer: Convolution, result: TensorType, tile: Tile, names: Names) -> Iterator[Layer]:
    """The layers that make the ``result`` of ``layer``, the last one under its name."""
    height, width, _ = result.shape
    top, bottom, left, right = layer.padding
    spare = -height % tile[0], -width % tile[1]
    tiles, products = (names.unique(f"{layer.name}_{what}") for what in ("tiles", "products"))
    weights, bias = layer.weights.values, layer.bias
    # A border that the products put around is of zeros, which the pad value becomes.
    outer, inner, zero = (top, bottom + spare[0], left, right + spare[1]), (0, 0, 0, 0), 0
    if tile[0] == 1:
        outer, inner = (0, 0, left, right + spare[1]), (top, bottom, 0, 0)
        zero = layer.pad_value if top or bottom else 0
        bias = bias + zero * weights.sum((1, 2, 3))
    transformed = _transformed(weights, tile)
    halvings = tile.count(2)
    yield WinogradInput(tiles, layer.input, tile, outer, layer.pad_value, zero)
    yield WinogradProducts(
        products, tiles,
        Weights(transformed.reshape(-1, *transformed.shape[2:]), _bits(transformed),
                layer.weights.fraction + halvings),
        np.zeros(len(transformed) * len(bias), np.int64), padding=inner, turns=len(transformed))
    if not any(spare):
        yield WinogradOutput(layer.name, products, tile, result.bits, bias)
        return
    whole = names.unique(f"{layer.name}_whole")
    yield WinogradOutput(whole, products, tile, result.bits, bias)
    yield Crop(layer.name, whole, (0, height, 1), (0, width, 1))


def _transformed(weights: Integers, tile: Tile) -> Integers:
    """(products, outputs, kernel height, 1, inputs) of ``weights`` (outputs, 3, 3, inputs)."""
    if tile[0] == 1:
        return np.einsum("jx,nyxc->jnyc", KERNEL, weights)[:, :, :, None]
    found = np.einsum("iy,jx,nyxc->ijnc", KERNEL, KERNEL, weights)
    return found.reshape(-1, len(weights), 1, 1, weights.shape[3])


def _bits(values: Integers) -> int:
    return signed_bits(int(values.min()), int(values.max()))
