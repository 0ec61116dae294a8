"""A network in the making."""

from __future__ import annotations

from collections.abc import Mapping

from .layers import Layer
from .names import Names
from .network import Network, checked_type
from .shapes import Crop
from .tail import Tail
from .tensor import Integers, TensorType, require
from .transposed import TransposedConvolution, require_laid, whole_strides
from .weights import Weights


class Builder:
    """The layers so far, the type of every tensor, and names that are free::

        net = Builder(TensorType((8, 8, 3), 8, signed=False))
        net.add(Convolution(net.unique("conv"), net.tail, weights, bias))
        net.add(ShiftRequantize("relu", net.tail, 7, 8, signed=False))
        network = net.network("small")

    Each layer is checked when it is added: `PenjingError` names it.

    Parameters: the ``input_type``, unless it is told by `declare` before the first layer, and the
    name of the ``input``.
    """

    def __init__(self, input_type: TensorType | None = None, input: str = "x") -> None:  # noqa: A002
        self.input = input
        self._layers: dict[str, Layer] = {}
        self._types: dict[str, TensorType] = {}
        self._names = Names(input)
        if input_type is not None:
            self.declare(input_type)

    def declare(self, input_type: TensorType) -> None:
        """Let the input be of ``input_type``.

        When layers read it already, only what its integers stand for may change. `network` then
        finds their types anew.
        """
        self._types[self.input] = input_type

    @property
    def layers(self) -> Mapping[str, Layer]:
        """The layers so far by name, in their order."""
        return self._layers

    @property
    def types(self) -> Mapping[str, TensorType]:
        """The type of each tensor by name: of the input, once declared, and of all layers."""
        return self._types

    @property
    def tail(self) -> str:
        """The name of the last layer, or of the input."""
        return next(reversed(self._layers), self.input)

    @property
    def type(self) -> TensorType:
        """The type of what the last layer puts out, or of the input."""
        return self._types[self.tail]

    def unique(self, wanted: str) -> str:
        """A valid name like ``wanted``, never the same twice: there may be a number behind it.

        Upper and lower case count as one. The name may be used or not.
        """
        return self._names.unique(wanted)

    def reserve(self, name: str) -> None:
        """Never let `unique` give ``name``, which a layer is to have."""
        self._names.take(name)

    def add(self, layer: Layer) -> str:
        """Append ``layer``, which reads the input or earlier layers; its name."""
        self._types[layer.name] = checked_type(layer, self._types)
        self._layers[layer.name] = layer
        self._names.take(layer.name)
        return layer.name

    def assume(self, wanted: str, kind: TensorType) -> str:
        """The name of a tensor of ``kind`` that no layer computes; no `network` may need it."""
        name = self.unique(wanted)
        self._types[name] = kind
        return name

    def add_transposed(self, name: str, source: str, weights: Weights, bias: Integers,
                       stride: tuple[int, int], crop: tuple[int, int, int, int],
                       pad_value: int = 0, groups: int = 1) -> str:
        """Append a `TransposedConvolution` that leaves any ``crop`` (top, bottom, left, right) off,
        by a `Crop` behind it where that is no whole strides; the name of the last layer.

        Negative rows at the bottom and columns at the right are put on. For the other parameters
        see there.
        """
        require(weights.values.ndim == 4 and source in self._types,
                f"layer {name}: weights must be (outputs, height, width, inputs), and its source "
                f"{source!r} a tensor of the network")
        require_laid(name, stride, crop)
        height, width, _ = self._types[source].shape
        _, tall, wide, _ = weights.values.shape
        top, bottom, left, right = crop
        require(top + bottom < stride[0] * (height - 1) + tall
                and left + right < stride[1] * (width - 1) + wide,
                f"layer {name}: crop {crop} leaves nothing of its output")
        whole, kept = whole_strides((height, width), (tall, wide), stride, crop)
        self.add(TransposedConvolution(name, source, weights, bias, stride, whole, pad_value,
                                       groups))
        return self.add(Crop(self.unique(f"{name}_crop"), name, *kept)) if kept else name

    def network(self, name: str = "net", output: str | None = None,
                tail: Tail | None = None) -> Network:
        """The network that puts out the tensor ``output``, without layers that it does not need.

        Without an ``output``, it has all layers and puts out what the last one does; the host makes
        the answer of that as ``tail`` says. `PenjingError` if there is no layer, or no such output.
        """
        require(self.input in self._types, "network: the type of its input is not declared")
        require(output is None or output in self._types,
                f"network: its output {output!r} is no layer")
        layers = tuple(self._layers.values())
        if output is not None:
            needed = {output}
            for layer in reversed(layers):
                if layer.name in needed:
                    needed.update(layer.inputs)
            layers = tuple(layer for layer in layers if layer.name in needed)
        return Network(name, self.input, self._types[self.input], layers, tail)
