"""Tensors of -1 and +1: which layers take their bits, and which take integers instead."""

from __future__ import annotations

from . import ir
from .geometry import Sliding, sliding
from .ir import Network, TensorType
from .plan import Fold


def may_be_binary(network: Network, layer: ir.Layer) -> bool:
    """Whether the products of ``layer`` are of signs alone: XORs, under a suitable fold.

    A product with padding of 0 is none, nor is one with the zeros that stand for other groups.
    """
    if not (isinstance(layer, ir.Convolution | ir.Dense) and layer.weights.bipolar
            and isinstance(network.source_type(layer), ir.Bipolar)):
        return False
    return isinstance(layer, ir.Dense) or (layer.groups == 1 and not pads_zeros(layer))


def pads_zeros(layer: ir.Layer) -> bool:
    """Whether ``layer`` puts zeros around its input, which are no signs."""
    return (isinstance(layer, ir.SlidingLayer) and layer.pad_value == 0
            and any(layer.padding))


def is_binary(network: Network, layer: ir.Layer, fold: Fold) -> bool:
    """Whether ``layer`` counts signs under ``fold``, which then must leave no lane to spare."""
    if not may_be_binary(network, layer):
        return False
    return fills_lanes(sliding(network, layer), fold)


def fills_lanes(shape: Sliding, fold: Fold) -> bool:
    """Whether every lane of every beat takes an input of the kernel."""
    return shape.kernel[0] % fold.rows == 0 and shape.run % fold.lanes == 0


def taken_type(network: Network, layer: ir.Layer, *, bits: bool = False) -> TensorType:
    """The type in which the blocks of ``layer`` take its input.

    That is bits if ``bits`` says that an engine counts or adds them, or if ``layer`` only selects
    and moves values; integers of 2 bits in all other layers, and where such are wanted at the end
    of the network or for a padding of 0.
    """
    source = network.source_type(layer)
    moves = (isinstance(layer, ir.MaxPool | ir.Pad | ir.Repeat | ir.Rewiring)
             and isinstance(network.type_of(layer.name), ir.Bipolar))
    return source if moves or (bits and not pads_zeros(layer)) else source.widened
