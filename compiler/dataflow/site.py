"""A layer where it stands: its types and what its window slides over, worked out once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from ...hdl.adder_graph import AdderGraph
from ...hdl.sequencer import Rounds
from .. import ir
from ..ir import Network, PenjingError, TensorType
from . import winograd
from .adders import adder_graph
from .geometry import Geometry
from .reach import Reach, every, reaches


@dataclass(frozen=True, eq=False)
class Site:
    """A ``layer`` with the types of the tensors that it reads, and of the one that it makes.

    ``reach`` are the values of the channels of the first, where more than its type is known.
    """

    layer: ir.Layer
    sources: tuple[TensorType, ...]
    result: TensorType
    reach: Reach | None = None

    @property
    def source(self) -> TensorType:
        """The type of the first tensor that it reads."""
        return self.sources[0]

    @property
    def name(self) -> str:
        """The layer's name."""
        return self.layer.name

    @property
    def outputs(self) -> int:
        """Elements that each position of its window makes: of a transposed convolution, those of
        several pixels."""
        return self.result.elements // self.geometry.positions

    @cached_property
    def geometry(self) -> Geometry:
        """What its window slides over; a dense layer is one window over a 1×1 map."""
        layer, shape = self.layer, self.source.shape
        positions = self.result.shape[0] * self.result.shape[1]
        if isinstance(layer, ir.Dense):
            return Geometry(shape, (1, 1), (1, 1), (0, 0, 0, 0), 1)
        if isinstance(layer, ir.Pad):
            return Geometry(shape, (1, 1), (1, 1), layer.padding, positions)
        if isinstance(layer, ir.Upsample):
            # Of each output row, the positions are those of its input row.
            return Geometry(shape, (1, 1), (1, 1), (0, 0, 0, 0), positions // layer.factors[1],
                            layer.factors[0])
        if isinstance(layer, ir.TransposedConvolution):
            # Each pass makes a row of outputs, each window as many pixels as columns are apart.
            return Geometry(shape, layer.taps, (1, 1), layer.padding, positions // layer.stride[1],
                            layer.stride[0])
        if isinstance(layer, ir.WinogradInput):
            return Geometry(shape, layer.kernel, layer.tile, layer.padding,
                            positions // layer.products, gathers=winograd.places(
                                winograd.input_terms(layer.tile)))
        if isinstance(layer, ir.WinogradOutput):
            return Geometry(shape, (1, layer.products), (1, layer.products), (0, 0, 0, 0),
                            positions // layer.tile[1], layer.tile[0], winograd.places(
                                winograd.output_terms(layer.tile)))
        if isinstance(layer, ir.SlidingLayer | ir.PoolLayer):
            return Geometry(shape, layer.kernel, layer.stride, layer.padding, positions)
        raise PenjingError(f"layer {layer.name}: {layer.kind} has no window")

    @property
    def rounds(self) -> Rounds:
        """How the weights of positions follow each other: each pass over a row has its own, or each
        of several columns."""
        if isinstance(self.layer, ir.WinogradProducts):
            return Rounds(self.layer.turns, 1)
        shape = self.geometry
        return Rounds(shape.passes, shape.positions // self.result.shape[0])

    @property
    def takes_pixels(self) -> bool:
        """Whether its layer is dense or a 1×1 convolution: each output takes all channels of a
        pixel."""
        layer = self.layer
        return isinstance(layer, ir.Dense) or (
            isinstance(layer, ir.Convolution) and not any(layer.padding)
            and (layer.kernel, layer.stride, layer.groups) == ((1, 1), (1, 1), 1))

    @cached_property
    def adders(self) -> AdderGraph:
        """The additions that make a position of a layer whose weights are constants in logic.

        Raises `PenjingError` unless each output takes all channels of one pixel.
        """
        layer = self.layer
        if not isinstance(layer, ir.Dense | ir.Convolution) or not self.takes_pixels:
            raise PenjingError(f"layer {layer.name}: only a dense layer, or a 1×1 convolution in "
                               "one group, can have its weights as constants in logic; store them "
                               "plain")
        return adder_graph(layer.weights.values.reshape(len(layer.bias), -1), layer.bias.tolist(),
                           self.reach or every(self.source))


def sites(network: Network) -> Mapping[str, Site]:
    """The site of every layer of ``network``, by name, in order."""
    known = reaches(network)
    return {layer.name: Site(layer, tuple(network.type_of(name) for name in layer.inputs),
                             network.type_of(layer.name), known[layer.inputs[0]])
            for layer in network.layers}
