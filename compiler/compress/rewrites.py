"""Float networks rewritten before they are quantized: the same function by other layers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..load import floats as fl
from ..load.floats import FloatLayer, FloatNetwork


def rescaled(network: FloatNetwork, factor: float) -> FloatNetwork:
    """The same function of an input that is divided by ``factor``.

    The factor goes into the first weights on each way. Where maps with it and without it meet, a
    layer multiplies by it; of a product, one of the two keeps it.
    """
    if factor == 1:
        return network
    divided, layers = {fl.INPUT}, list[FloatLayer]()
    shapes = dict(network.shapes)
    for layer in network.layers:
        which = [name in divided for name in layer.inputs]
        if isinstance(layer, fl.FloatProduct) and any(which):
            divided.add(layer.name)
            which = [False, all(which)]
        if any(which) and not all(which):
            sources = []
            for name, is_divided in zip(layer.inputs, which, strict=True):
                if is_divided:
                    scale = np.full((shapes[name][2], 1, 1, 1), factor)
                    layers.append(fl.FloatConvolution(
                        _fresh(f"{layer.name}_scale", shapes), scale, np.zeros(len(scale)),
                        groups=len(scale), inputs=(name,)))
                    shapes[layers[-1].name] = shapes[name]
                sources.append(layers[-1].name if is_divided else name)
            layers.append(replace(layer, inputs=tuple(sources)))
        elif not any(which):
            layers.append(layer)
        elif isinstance(layer, fl.FloatMultiply):
            layers.append(replace(layer, weights=layer.weights * factor))
        elif isinstance(layer, fl.FloatUnary):
            layers.append(replace(layer, gain=layer.gain * factor))
        else:
            if isinstance(layer, fl.FloatClamp):
                layer = replace(layer, minimum=layer.minimum / factor,
                                maximum=layer.maximum / factor)
            layers.append(layer)
            divided.add(layer.name)
    return replace(network, layers=tuple(layers))


def _fresh(name: str, taken: dict[str, fl.Shape]) -> str:
    while name in taken:
        name += "_"
    return name


def clamps_first(network: FloatNetwork) -> FloatNetwork:
    """The same function with each clamp before the max pools and flattens that only it reads.

    No two whose ranges meet follow each other.
    """
    layers = {layer.name: layer for layer in network.layers}
    for clamp in network.layers:
        if not isinstance(clamp, fl.FloatClamp):
            continue
        while True:
            before = layers.get(layers[clamp.name].inputs[0])
            if before is None or _readers(layers, before.name) != 1:
                break
            if isinstance(before, fl.FloatMaxPool | fl.FloatFlatten):
                _exchange(layers, before, layers[clamp.name])
                continue
            if isinstance(before, fl.FloatClamp):
                low, high = (min(max(bound, clamp.minimum), clamp.maximum)
                             for bound in (before.minimum, before.maximum))
                if low < high:
                    layers.pop(clamp.name)
                    layers[before.name] = replace(before, minimum=low, maximum=high)
                    _read_instead(layers, clamp.name, before.name)
            break
    return replace(network, layers=tuple(_ordered(layers, network)))


def _readers(layers: dict[str, FloatLayer], name: str) -> int:
    return sum(layer.inputs.count(name) for layer in layers.values())


def _read_instead(layers: dict[str, FloatLayer], old: str, new: str) -> None:
    """Let all who read ``old`` read ``new``."""
    for layer in layers.values():
        if old in layer.inputs:
            layers[layer.name] = replace(layer, inputs=tuple(
                new if name == old else name for name in layer.inputs))


def _exchange(layers: dict[str, FloatLayer], before: FloatLayer, clamp: FloatLayer) -> None:
    """Let ``clamp`` come before the layer that it reads."""
    _read_instead(layers, clamp.name, before.name)
    layers[clamp.name] = replace(clamp, inputs=before.inputs)
    layers[before.name] = replace(before, inputs=(clamp.name,))


def _ordered(layers: dict[str, FloatLayer], network: FloatNetwork) -> list[FloatLayer]:
    """Each behind those that it reads, else in the order of ``network``."""
    done, result = {fl.INPUT}, list[FloatLayer]()
    waiting = [layers[layer.name] for layer in network.layers if layer.name in layers]
    while waiting:
        layer = next(one for one in waiting if done.issuperset(one.inputs))
        waiting.remove(layer)
        done.add(layer.name)
        result.append(layer)
    return result
