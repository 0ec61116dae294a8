"""Tensors of -1 and +1: which layers take their bits, and which take integers instead."""

from __future__ import annotations

from . import ir
from .geometry import sliding
from .ir import Network, TensorType
from .plan import Fold


def may_be_binary(network: Network, layer: ir.Layer) -> bool:
    """Whether the products of ``layer`` are of signs alone: XORs, under a suitable fold.

    A product with padding of 0 is none, nor is one with the zeros that stand for other groups.
    """
    if not (isinstance(layer, ir.Convolution | ir.Dense) and layer.weights.bipolar
            and isinstance(network.source_type(layer), ir.Bipolar)):
        return False
    return isinstance(layer, ir.Dense) or (
        layer.groups == 1 and (layer.pad_value != 0 or not any(layer.padding)))


def is_binary(network: Network, layer: ir.Layer, fold: Fold) -> bool:
    """Whether ``layer`` counts signs under ``fold``, which then must leave no lane to spare."""
    if not may_be_binary(network, layer):
        return False
    shape = sliding(network, layer)
    return shape.kernel[0] % fold.rows == 0 and shape.run % fold.lanes == 0


def taken_type(network: Network, layer: ir.Layer, *, binary: bool = False) -> TensorType:
    """The type in which the blocks of ``layer`` take its input.

    That is bits if ``binary`` says that an engine counts them, or if ``layer`` only selects and
    moves values; integers of 2 bits in all other layers, and where such are wanted at the end of
    the network or for a padding of 0.
    """
    source = network.source_type(layer)
    moves = (isinstance(layer, ir.MaxPool | ir.Pad | ir.Rewiring)
             and isinstance(network.type_of(layer.name), ir.Bipolar))
    return source if binary or moves else source.widened
