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
            if isinstance(layer, fl.FloatRelu) and layer.maximum is not None:
                layer = replace(layer, maximum=layer.maximum / factor)
            layers.append(layer)
            divided.add(layer.name)
    return FloatNetwork(network.input_shape, tuple(layers))


def _fresh(name: str, taken: dict[str, fl.Shape]) -> str:
    while name in taken:
        name += "_"
    return name


def relus_first(network: FloatNetwork) -> FloatNetwork:
    """The same function with each ReLU before the max pools and flattens that only it reads.

    No two follow each other.
    """
    layers = {layer.name: layer for layer in network.layers}
    for relu in network.layers:
        if not isinstance(relu, fl.FloatRelu):
            continue
        while True:
            before = layers.get(layers[relu.name].inputs[0])
            if before is None or _readers(layers, before.name) != 1:
                break
            if isinstance(before, fl.FloatMaxPool | fl.FloatFlatten):
                _exchange(layers, before, layers[relu.name])
            elif isinstance(before, fl.FloatRelu):
                now = layers.pop(relu.name)
                assert isinstance(now, fl.FloatRelu)
                limits = [limit for limit in (before.maximum, now.maximum) if limit is not None]
                layers[before.name] = replace(before, maximum=min(limits, default=None))
                _read_instead(layers, relu.name, before.name)
                break
            else:
                break
    return FloatNetwork(network.input_shape, tuple(_ordered(layers, network)))


def _readers(layers: dict[str, FloatLayer], name: str) -> int:
    return sum(layer.inputs.count(name) for layer in layers.values())


def _read_instead(layers: dict[str, FloatLayer], old: str, new: str) -> None:
    """Let all who read ``old`` read ``new``."""
    for layer in layers.values():
        if old in layer.inputs:
            layers[layer.name] = replace(layer, inputs=tuple(
                new if name == old else name for name in layer.inputs))


def _exchange(layers: dict[str, FloatLayer], before: FloatLayer, relu: FloatLayer) -> None:
    """Let ``relu`` come before the layer that it reads."""
    _read_instead(layers, relu.name, before.name)
    layers[relu.name] = replace(relu, inputs=before.inputs)
    layers[before.name] = replace(before, inputs=(relu.name,))


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
