"""The network without channels that somebody chose, as a search does to learn what is left costs.

What goes is missed: unlike `reduce`, this changes the integers of the output.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import partial

import numpy as np

from ..ir import Builder, Network, PenjingError
from .channels import Mask, widen
from .kernels import kernel
from .network import settled, smaller_layer
from .uses import Uses

__all__ = ["narrowed"]


def narrowed(network: Network, kept: Mapping[str, Mask]) -> Network:
    """``network`` of which layers with weights keep some of their outputs.

    ``kept`` (outputs,) tells which, by layer; what has the same channels, as a sum has, keeps all
    that one of them keeps. Layers that are not named keep all, depthwise ones what they read.
    `PenjingError` for masks that do not suit.
    """
    uses, masks = {}, {network.input: np.full(network.input_type.shape[2], True)}
    for layer in network.layers:
        kind = network.type_of(layer.name)
        view = kernel(layer, network.source_type(layer), kind)
        is_whole = layer is network.layers[-1] or (
            view is not None and (view.groups == 1 or view.weights.shape[3] > 1))
        masks[layer.name] = np.full(kind.shape[2], is_whole)
        if view is not None:
            nothing = np.zeros((len(view.weights), view.weights.shape[3]), np.int64)
            uses[layer.name] = Uses(view, nothing.astype(np.bool_), nothing)
    for name, mask in kept.items():
        if name not in uses or mask.shape != masks[name].shape or not mask.any():
            raise PenjingError(f"layer {name}: it has no outputs to choose from, others than the "
                               f"{mask.shape} given, or is to keep none")
        masks[name] = mask.copy()
    # From the input on, so that nothing is empty where `settled` begins, at the output.
    for layer in network.layers:
        grow = uses[layer.name].widen if layer.name in uses else partial(widen, layer)
        grow(masks[layer.name], *(masks[name] for name in layer.inputs))
    masks = settled(network, masks, uses, Counter())
    made = Builder(network.input_type, network.input)
    for layer in network.layers:
        made.add(smaller_layer(layer, masks, uses))
    return made.network(network.name, tail=network.tail)
