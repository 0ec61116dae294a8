"""What the operators of a file are turned into: a network that grows layer by layer."""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from ... import ir
from ...ir import Integers, PenjingError
from .. import refusal
from ..affine import Affine, range_of
from ..padding import NO_PADDING, Padding
from ..refusal import Obstacle, Refusals
from .file import PACKED_BITS, Model, Operator, Tensor
from .names import short

AGAIN = "convert the network again"
"""The way out of what no converter writes."""

MAX_WEIGHTS = 1 << 25
"""The most weights of one network, zeros of dilated kernels included."""

Shape = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class Value:
    """Who computes a tensor of the file, and what has yet to be done to it.

    ``layer`` puts out a map of ``shape``; around it belong ``padding`` elements of ``pad_value``.
    The tensor's own shape may be another one of as many elements. They are in the same order, or
    ``order`` says of each element of the tensor which one it is of the map, which has no padding.
    """

    layer: str
    shape: Shape
    padding: Padding = NO_PADDING
    pad_value: int = 0
    final: bool = False
    order: Integers | None = None

    @property
    def padded(self) -> Shape:
        """The shape with its padding."""
        top, bottom, left, right = self.padding
        height, width, channels = self.shape
        return height + top + bottom, width + left + right, channels


@dataclass(frozen=True, eq=False)
class Tabulated:
    """A tensor whose elements are functions of those of one int8 tensor, or constants.

    ``values`` (rows, 256) are what becomes of -128 to 127 of the tensor ``source``, in one row or
    one a channel. A constant is (rows, 1) and has no ``source``.
    """

    source: int | None
    values: Integers


@dataclass(frozen=True, eq=False)
class Reals:
    """`Tabulated`, before it is quantized: its values are reals."""

    source: int
    values: NDArray[np.float32]


class Refused(refusal.Refused):
    """An operator that cannot be imported: why, and the way out.

    Its line has ``told`` for the way out, if given. Reading ends at one that is ``last``.
    """

    def __init__(self, operator: Operator, reason: str, way_out: str, *, told: str = "",
                 last: bool = False) -> None:
        text = "; ".join(filter(None, (f"{operator}: {reason}", told or way_out)))
        super().__init__(Obstacle(reason, way_out, operator.kind, f"operator {operator.index}",
                                  text, last))


def unfit(tensor: Tensor, reason: str, way_out: str) -> refusal.Refused:
    """The error that names ``tensor``; who reads the tensor is yet to be named."""
    return refusal.Refused(Obstacle(f"tensor {tensor.index} ({tensor.name:.60}): {reason}",
                                    way_out))


def map_shape(tensor: Tensor) -> Shape:
    """(H, W, C) of one frame: the tensor's shape without the batch, ones in front."""
    _require_plain(tensor)
    if not 1 <= len(tensor.shape) <= 4 or tensor.shape[0] != 1 or 0 in tensor.shape:
        raise unfit(tensor, f"its shape is {tensor.shape}, not 1×H×W×C, 1×W×C or 1×C",
                    "convert the network with a batch of 1")
    _, *sizes = tensor.shape
    height, width, channels = [1] * (3 - len(sizes)) + sizes
    return height, width, channels


def _require_plain(tensor: Tensor) -> None:
    if tensor.odd:
        raise unfit(tensor, tensor.odd, AGAIN)


WIDE = ("INT8", "INT16")
"""What activations may be where a layer is more than a table."""
_KINDS = {"INT8": (8, True), "UINT8": (8, False), "INT16": (16, True)}
"""Bits of what activations may be, and whether it has a sign."""


def affine(tensor: Tensor, kinds: tuple[str, ...] = ("INT8",)) -> Affine:
    """What the integers of an activation stand for; `PenjingError` unless it is of ``kinds``."""
    _require_plain(tensor)
    if tensor.kind not in kinds:
        raise unfit(tensor, f"it is {tensor.kind}, not {' or '.join(kinds)}",
                    "quantize the whole network to int8 (representative_dataset and "
                    "TFLITE_BUILTINS_INT8)")
    if len(tensor.scales) != 1 or len(tensor.zero_points) != 1:
        raise unfit(tensor, f"it has {len(tensor.scales)} scales, an activation has one", AGAIN)
    scale, zero_point = float(tensor.scales[0]), int(tensor.zero_points[0])
    bits, signed = _KINDS[tensor.kind]
    low, high = range_of(bits, signed)
    within = zero_point == 0 if bits == 16 else low <= zero_point <= high
    if not 0 < scale < math.inf or not within:
        raise unfit(tensor, f"its scale {scale:g} or zero point {zero_point} is no number of "
                            f"{tensor.kind}", AGAIN)
    return Affine(bits, signed, scale, zero_point)


class Graph(ir.Builder):
    """The network so far, and the `Value` of each tensor that is computed."""

    def __init__(self, model: Model, rounding: ir.ScaleRounding) -> None:
        super().__init__(input="input")
        self.model = model
        self.rounding = rounding
        self.refusals = Refusals()
        self.missing = set[int]()
        """Tensors of which nothing is known, since something refused stands before them."""
        self.values: dict[int, Value] = {}
        self.tables: dict[int, Tabulated] = {}
        self.reals: dict[int, Reals] = {}
        self.uses = Counter(index for operator in model.operators for index in operator.inputs)
        self.uses.update(model.outputs)
        self.entry_order: Integers | None = None
        """Of each element of the input, as the file has them, its place in the network's map."""
        self._finished: dict[tuple[str, Padding, int, Shape], str] = {}
        self._weights = 0

    def stand_in(self, operator: Operator) -> None:
        """Let the outputs of a refused ``operator`` be as the file tells, or missing.

        So is what it reads and nothing computes.
        """
        for index in (*operator.inputs, *operator.outputs):
            tensor = self.model.tensors[index]
            if index < 0 or tensor.data is not None or index in self.values or (
                    index in self.tables or index in self.reals):
                continue
            self.missing.add(index)
            if index in operator.outputs:
                with contextlib.suppress(PenjingError):
                    kind, shape = affine(tensor, tuple(_KINDS)), map_shape(tensor)
                    self.values[index] = Value(self.assume("missing", ir.TensorType(
                        shape, kind.bits, kind.signed, 0, kind.zero_point, kind.scale)), shape)
                    self.missing.remove(index)

    # --- the ends
    def start(self, tensor: Tensor, shape: Shape | None = None, order: Integers | None = None
              ) -> None:
        """Let ``tensor`` be the network's input, of ``shape`` if it is not the tensor's own.

        Its elements, as the file has them, have that ``order`` in the map, as in a `Value`.
        """
        kind = affine(tensor, ("INT8", "UINT8", "INT16"))
        shape = shape or map_shape(tensor)
        self.declare(ir.TensorType(shape, kind.bits, kind.signed, 0, kind.zero_point, kind.scale))
        self.values[tensor.index] = Value(self.input, shape, order=order)
        self.entry_order = self.entry_order if order is None else order

    @property
    def axes(self) -> tuple[int, ...] | None:
        """Which axes of the input (H, W, C) an image of the file has, in its own order.

        Axes of one element are left out. None where that is the input's order.
        """
        if self.entry_order is None:
            return None
        sizes = tuple(size for size in self.types[self.input].shape if size > 1)
        places = np.arange(math.prod(sizes)).reshape(sizes)
        return next(axes for axes in permutations(range(len(sizes)))
                    if np.array_equal(places.transpose(axes).reshape(-1), self.entry_order))

    def is_free_input(self, index: int) -> bool:
        """Whether the tensor ``index`` is the network's input, which nothing else reads.

        It may have another shape.
        """
        value = self.values.get(index)
        return value is not None and value.layer == self.input and value.order is None and (
            not any(value.padding)) and all(
                self.uses[other] == 1 for other, same in self.values.items()
                if same.layer == self.input)

    def network_of(self, name: str, output: int, tail: ir.Tail | None) -> ir.Network:
        """The network whose output is the tensor ``output``; layers that it needs not are left."""
        value = self.values.get(output)
        if value is None:
            raise PenjingError(f"tensor {output}: the network's output is computed by no operator; "
                               f"{AGAIN}")
        if value.order is None:
            last = self._finish(value, map_shape(self.model.tensors[output]))
        elif tail is None or tail.function in (ir.TailFunction.NONE, ir.TailFunction.SIGMOID):
            last = value.layer  # what reads the output knows its order
        else:
            raise PenjingError("a TRANSPOSE comes before its last function; take that over "
                               "channels that are the last axis")
        if last == self.input and self.entry_order is None:
            raise PenjingError("nothing is computed between its input and its output; convert a "
                               "network that has layers")
        if last == self.input:  # images come in the order that it makes: they pass as they are
            kind = self.types[last]
            last = self.add(ir.Clamp(self.unique("same"), last, kind.low, kind.high))
        return self.network(name, last, tail)

    # --- what operators read
    def tensor(self, operator: Operator, position: int, ends: bool = False) -> Tensor:
        """The input of ``operator`` at ``position``, an output with ``ends``."""
        indices = operator.outputs if ends else operator.inputs
        if position >= len(indices) or indices[position] < 0:
            what = "output" if ends else "input"
            raise Refused(operator, f"its {what} {position} is missing", AGAIN)
        return self.model.tensors[indices[position]]

    def value(self, operator: Operator, position: int = 0) -> Value:
        """The `Value` of the activation at ``position``."""
        tensor = self.tensor(operator, position)
        value = self.values.get(tensor.index)
        if value is None and tensor.index in self.reals:
            raise Refused(operator, "it computes with reals inside the network",
                          "quantize the whole network to int8")
        if value is None:
            reason = ("it is a constant, where only activations are supported"
                      if tensor.data is not None else
                      "no earlier operator computes it (the graph has a cycle or a gap)")
            raise Refused(operator, f"its input {position} is tensor {tensor.index} "
                                    f"({tensor.name:.60}): {reason}", AGAIN)
        if value.final:
            raise Refused(operator, "it follows a SOFTMAX, which the host computes",
                          "cut the network after the SOFTMAX")
        return value

    def source(self, operator: Operator, position: int = 0) -> tuple[str, Shape]:
        """The layer that puts out the activation at ``position`` as it is, and its shape."""
        value = self.value(operator, position)
        shape = map_shape(self.tensor(operator, position))
        return self._finish(value, shape), shape

    def layer_of(self, tensor: Tensor) -> str:
        """The layer that puts out ``tensor``, which is computed, as it is."""
        return self._finish(self.values[tensor.index], map_shape(tensor))

    def shaped(self, operator: Operator, shape: Shape, position: int = 0) -> str:
        """The layer that puts out the activation at ``position`` in ``shape``, of as many elements.
        """
        return self._finish(self.value(operator, position), shape)

    def flat(self, operator: Operator) -> str:
        """The layer that puts out the first activation as a vector, in the order of its map."""
        value = self.value(operator)
        return self._finish(replace(value, order=None), (1, 1, math.prod(value.padded)))

    def source_with_padding(self, operator: Operator) -> Value:
        """The first activation in its own shape, its padding left to the reader."""
        value, shape = self.value(operator), map_shape(self.tensor(operator, 0))
        if value.padded == shape and value.order is None:
            return value
        return Value(self._finish(value, shape), shape)

    def _finish(self, value: Value, shape: Shape) -> str:
        """The layer that puts out ``value`` with its padding and in ``shape``."""
        if value.order is not None:
            return self._permuted(value, value.order, shape)
        key = (value.layer, value.padding, value.pad_value, shape)
        if key in self._finished:
            return self._finished[key]
        name = value.layer
        if any(value.padding):
            name = self.add(ir.Pad(self.unique(f"{name}_pad"), name, value.padding,
                                   value.pad_value))
        if value.padded != shape:
            what = "flat" if shape[:2] == (1, 1) else "reshape"
            name = self.add(ir.rewired(self.unique(f"{name}_{what}"), name, shape))
        self._finished[key] = name
        return name

    def _permuted(self, value: Value, order: Integers, shape: Shape) -> str:
        """The layer that puts out ``value`` in ``shape``, in which only channels are mixed."""
        pixels = order.reshape(-1, shape[2])
        channels = pixels[0]
        if channels.max() >= shape[2] or not np.array_equal(
                pixels, np.arange(order.size).reshape(pixels.shape)[:, channels]):
            raise refusal.Refused(Obstacle(
                "a TRANSPOSE has changed the order of the elements that it reads",
                "transpose channels only, or at the ends of the network, before a flatten or "
                "before a mean over height and width"))
        source = self._finish(replace(value, order=None), shape)
        return self.add(ir.Permutation(self.unique(f"{source}_permuted"), source,
                                       tuple(channels.tolist())))

    # --- what operators add
    def name_of(self, operator: Operator, otherwise: str) -> str:
        """A name for ``operator``, from that of its output."""
        return self.unique(short(self.tensor(operator, 0, ends=True).name, otherwise))

    def finish(self, operator: Operator, value: Value, position: int = 0, outputs: int = 1
               ) -> None:
        """Let ``value`` be an output of ``operator``, whose file declares its shape.

        It is that at ``position`` of as many as ``outputs``.
        """
        tensor = self.tensor(operator, position, ends=True)
        if len(operator.outputs) != outputs:
            raise Refused(operator, f"it has {len(operator.outputs)} outputs, not {outputs}",
                          AGAIN)
        if tensor.index in self.values or tensor.data is not None:
            raise Refused(operator, f"its output, tensor {tensor.index}, is computed twice",
                          AGAIN)
        if math.prod(value.padded) != tensor.elements:
            raise Refused(operator, f"its output is {value.padded} (height, width, channels), the "
                                    f"file declares {tensor.shape}", AGAIN)
        self.values[tensor.index] = value

    def finish_layer(self, operator: Operator, layer: str, position: int = 0, outputs: int = 1
                     ) -> None:
        """Let ``layer`` put out an output of ``operator``, as `finish` has it."""
        shape = self.types[layer].shape
        tensor = self.tensor(operator, position, ends=True)
        if map_shape(tensor) != shape:
            raise Refused(operator, f"its output is {shape} (height, width, channels), the file "
                                    f"declares {tensor.shape}", AGAIN)
        self.finish(operator, Value(layer, shape), position, outputs)

    # --- constants
    def constant(self, operator: Operator, position: int, kinds: tuple[str, ...]) -> Tensor:
        """The constant at ``position``, refused unless it is of ``kinds``."""
        tensor = self.tensor(operator, position)
        who = f"its input {position} ({tensor.name:.60})"
        if tensor.odd:
            raise Refused(operator, f"{who}: {tensor.odd}", AGAIN)
        if tensor.data is None:
            raise Refused(operator, f"{who} is no constant", "make it one and convert again")
        if tensor.kind not in kinds:
            raise Refused(operator, f"{who} is {tensor.kind}, not {' or '.join(kinds)}",
                          "quantize the network to int8")
        return tensor

    def integers(self, operator: Operator, position: int, kinds: tuple[str, ...]) -> Integers:
        """The values of the constant at ``position``, in its shape."""
        tensor = self.constant(operator, position, kinds)
        assert tensor.data is not None
        self.charge(operator, tensor.elements)
        bits = PACKED_BITS.get(tensor.kind)
        if bits is not None:  # several to a byte, the lowest bits first
            places = np.arange(8 - bits, -1, -bits, dtype=np.uint8)
            tops = (tensor.data[:, None] << places).view(np.int8)
            flat = (tops >> 8 - bits).reshape(-1)[:tensor.elements]
        else:
            flat = tensor.data.view(f"<i{tensor.data.size // max(1, tensor.elements)}")
        return flat.astype(np.int64).reshape(tensor.shape)

    def charge(self, operator: Operator, elements: int) -> None:
        """Count ``elements`` of weights before they are set aside."""
        self._weights += elements
        if self._weights > MAX_WEIGHTS:
            raise Refused(operator, f"with it the network has more than {MAX_WEIGHTS} weights, "
                                    f"zeros of dilated kernels included", "give a smaller network",
                          last=True)
