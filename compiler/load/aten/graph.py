"""A float network being read from a program, and how torch sees each of its tensors."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from typing import NoReturn, TypeAlias

import numpy as np

from ...ir import MAX_ELEMENTS, Integers, Names, PenjingError, TailFunction, cleaned
from ..floats import (
    INPUT,
    FloatFlatten,
    FloatLayer,
    FloatNetwork,
    FloatPad,
    Floats,
    Pair,
    Shape,
    output_shape,
)
from ..outputs import needed
from ..padding import NO_PADDING, Padding
from ..pt2 import Node, Program, Reference, Value
from ..refusal import Obstacle, Refusals, Refused

_NAME_LENGTH = 48


def label(node: Node) -> str:
    """How errors name ``node``."""
    return f"node {node.name} ({node.target}{' in ' + node.module if node.module else ''})"


def place(node: Node) -> str:
    """Where ``node`` stands in the program."""
    return f"{node.name} in {node.module}" if node.module else node.name


def caller(node: Node) -> str:
    """The path of the module that ``node`` stands for, or of its caller and the node itself."""
    return node.module if node.leaf else f"{node.module}.{node.name}"


def layer_name(node: Node, path: str) -> str:
    """What a layer that ``node`` becomes is called, which belongs to ``path``."""
    operator = node.target.split(".")[1].strip("_")
    return cleaned((path or operator)[-_NAME_LENGTH:], operator[:8])


def refuse(node: Node, reason: str, way_out: str = "", *, told: str = "", last: bool = False
           ) -> NoReturn:
    """Raise the error that names ``node``, the ``reason`` and the ``way_out``.

    Its line has ``told`` for the way out, if given. Reading ends at one that is ``last``.
    """
    text = "; ".join(filter(None, (f"{label(node)}: {reason}", told or way_out)))
    raise Refused(Obstacle(reason, way_out, node.target, place(node), text, last))


def output_of(node: Node) -> str:
    """The tensor that ``node`` puts out, which must be one."""
    if len(node.outputs) != 1:
        refuse(node, f"it has {len(node.outputs)} outputs, not one", "export the model again")
    return node.outputs[0]


class Arguments:
    """A node's arguments by name, each checked for its type when it is read."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._values = {argument.name: argument.value for argument in node.arguments}

    def get(self, name: str, default: Value = None) -> Value:
        """The argument as it is; ``default`` where the call leaves it out."""
        return self._values.get(name, default)

    def _wrong(self, name: str) -> NoReturn:
        refuse(self._node, f"its argument {name} is missing or of an unexpected kind",
               "export the model again with torch 2.13")

    def number(self, name: str, default: float | None = None) -> float | None:
        """A number, or None where that is given or the default."""
        value = self.get(name, default)
        if value is not None and type(value) not in (int, float):
            self._wrong(name)
        return None if value is None else float(value)  # type: ignore[arg-type]

    def integer(self, name: str, default: int | None = None) -> int:
        """One integer."""
        value = self.get(name, default)
        return value if type(value) is int else self._wrong(name)

    def flag(self, name: str, default: bool) -> bool:
        """True or False."""
        value = self.get(name, default)
        return value if isinstance(value, bool) else self._wrong(name)

    def integers(self, name: str, default: tuple[int, ...] | None = None) -> tuple[int, ...]:
        """A list of integers; one integer is a list of one."""
        value = self.get(name, default)
        if type(value) is int:
            value = (value,)
        if not isinstance(value, tuple) or not all(type(item) is int for item in value):
            self._wrong(name)
        return value  # type: ignore[return-value]

    def pair(self, name: str, default: Pair | None = None) -> Pair:
        """(vertical, horizontal); one integer stands for both, an empty list for the default."""
        values = self.integers(name, default) or default or ()
        if len(values) not in (1, 2):
            self._wrong(name)
        return values[0], values[-1]


@dataclass(frozen=True, eq=False)
class Seen:
    """A tensor of the program: who computes it, and how torch sees it.

    ``layer`` puts out a map of ``shape`` (H, W, C); ``dims`` is the tensor's shape in torch without
    the batch; ``padding`` zeros not yet given to a layer; ``order`` says of each element, as torch
    orders them, which one it is of the map in raster order, None where ``dims`` are that map's
    channels, height and width; ``positive`` that no value is negative; ``final`` why no layer may
    follow, if so; ``function`` what the host makes of it.
    """

    layer: str
    shape: Shape
    dims: tuple[int, ...]
    padding: Padding = NO_PADDING
    order: Integers | None = None
    positive: bool = False
    final: str = ""
    function: TailFunction = TailFunction.NONE

    @property
    def padded(self) -> tuple[int, int, int]:
        """(C, H, W) of the map with the padding that waits, as torch sees it."""
        (height, width, channels), (top, bottom, left, right) = self.shape, self.padding
        return channels, height + top + bottom, width + left + right

    @property
    def is_map(self) -> bool:
        """Whether torch sees a map of channels."""
        return self.dims == self.padded and self.order is None

    @property
    def is_line(self) -> bool:
        """Whether torch sees channels along one axis, which is a map of height 1."""
        channels, height, width = self.padded
        return self.dims == (channels, width) and height == 1 and self.order is None

    @property
    def is_vector(self) -> bool:
        """Whether torch sees features."""
        return len(self.dims) == 1

    @property
    def is_channels_last(self) -> bool:
        """Whether torch sees a map, or a line, whose channels are its last axis."""
        height, width, channels = self.shape
        return self.order is not None and bool((np.diff(self.order) == 1).all()) and (
            self.dims == (height, width, channels)
            or (height == 1 and self.dims == (width, channels)))

    @property
    def channel_axis(self) -> int | None:
        """The axis of the channels, the batch being the first; None where they are none."""
        if self.is_channels_last:
            return len(self.dims)
        return 1 if self.is_map or self.is_line or (
            self.is_vector and self.order is None) else None

    def with_padding(self, padding: Padding) -> Seen:
        """The same map, or line, with this ``padding`` waiting."""
        padded = replace(self, padding=padding)
        channels, height, width = padded.padded
        return replace(padded, dims=(channels, width) if self.is_line else (channels, height,
                                                                            width))


class Graph:
    """The layers so far, and each tensor of the program that they compute.

    ``nodes`` are those of the program that compute tensors.
    """

    def __init__(self, program: Program, nodes: Sequence[Node]) -> None:
        self.program = program
        self.layers: dict[str, FloatLayer] = {}
        self._names = Names(INPUT)
        self._uses = Counter(reference.name for node in nodes
                             for argument in node.arguments
                             for reference in references(argument.value))
        self._uses[program.output] += 1
        self._same = set[str]()
        self.refusals = Refusals()
        self.missing = set[str]()
        """Tensors of which nothing is known, since something refused stands before them."""
        first = self._input(nodes)
        self.seen = {program.input: first}
        """The program's tensors that were read, by name."""
        self.input_shape = first.shape

    def _input(self, nodes: Sequence[Node]) -> Seen:
        program = self.program
        sizes = program.sizes.get(program.input, ())
        dims = tuple(d for d in sizes[1:] if type(d) is int and 0 < d <= 1 << 24)
        if not 1 <= len(dims) <= 3 or len(dims) != len(sizes) - 1:
            raise PenjingError(f"the program's input has shape {sizes}; export it for (N, C, H, "
                               f"W), (N, C, L), (N, H, W) or (N, F), of which only N may be "
                               f"dynamic")
        if len(dims) == 1:
            return Seen(INPUT, (1, 1, dims[0]), dims)
        if len(dims) == 2 and any("1d" in node.target for node in nodes):
            return Seen(INPUT, (1, dims[1], dims[0]), dims)
        channels, height, width = (1,) * (3 - len(dims)) + dims
        return Seen(INPUT, (height, width, channels), dims)

    # --- what operators read
    def waiting(self, node: Node, position: int = 0) -> Seen:
        """The tensor that is the argument of ``node`` at ``position``, for who takes its padding.
        """
        value = node.arguments[position].value if len(node.arguments) > position else None
        return self._of(node, value)

    def source(self, node: Node, position: int = 0) -> Seen:
        """The tensor that is the argument of ``node`` at ``position``, padded."""
        return self.padded(self.waiting(node, position), node)

    def ended(self, node: Node) -> Seen:
        """The first argument of ``node``, of which the host may make something."""
        value = node.arguments[0].value if node.arguments else None
        seen = self.seen.get(value.name) if isinstance(value, Reference) else None
        return self.source(node) if seen is None or seen.function is TailFunction.NONE else seen

    def is_read(self, name: str) -> bool:
        """Whether a node, or the output, reads the program's tensor ``name``."""
        return self._uses[name] > 0

    def padded(self, seen: Seen, reader: Node | None) -> Seen:
        """``seen`` with the padding that waits put around it, since ``reader`` does not take it."""
        if seen.padding == NO_PADDING:
            return seen
        # The reader's own name stays its own, so that it is called so again when it is saved.
        name = self._names.unique(
            f"{layer_name(reader, caller(reader))}_pad" if reader else "pad")
        return self.add(FloatPad(name, seen.padding), seen.with_padding(NO_PADDING),
                        positive=seen.positive)

    def sources(self, node: Node) -> list[Seen]:
        """The tensors of the list that is the first argument of ``node``."""
        value = node.arguments[0].value if node.arguments else None
        if not isinstance(value, tuple) or not value:
            refuse(node, "it takes a list of tensors", "export the model again")
        return [self.padded(self._of(node, item), node) for item in value]

    def _of(self, node: Node, value: Value) -> Seen:
        if not isinstance(value, Reference):
            refuse(node, "it takes a tensor where the program gives a number",
                   "compute with tensors of the network only")
        if value.name in self.program.weights:
            refuse(node, f"it takes the parameter {self.program.weights[value.name].path} as a "
                         f"map", "compute what is of parameters alone before the export, or use a "
                                 "layer that has parameters, such as BatchNorm2d")
        if value.name not in self.seen:
            refuse(node, f"it reads {value.name}, which no supported node before it computes")
        seen = self.seen[value.name]
        if seen.final:
            refuse(node, seen.final)
        return seen

    def constant(self, node: Node, position: int) -> Floats | None:
        """The number or parameter that is the argument at ``position``; None if it is neither."""
        value = node.arguments[position].value if len(node.arguments) > position else None
        if type(value) in (int, float):
            return np.array([value], np.float64)
        if isinstance(value, Reference) and value.name in self.program.weights:
            return self.weight(node, "constant", value)[1]
        return None

    def is_read_once(self, node: Node, position: int = 0) -> bool:
        """Whether ``node`` alone reads what the layer of its argument at ``position`` puts out."""
        return self.readers(self.waiting(node, position).layer) == 1

    def readers(self, layer: str) -> int:
        """How many nodes read what ``layer`` puts out, but for those that only hand it on."""
        names = [name for name, seen in self.seen.items() if seen.layer == layer]
        return sum(self._uses[name] for name in names) - len(self._same.intersection(names))

    def weight(self, node: Node, name: str, value: Value) -> tuple[Reference, Floats]:
        """The values of the parameter that is the argument ``name``."""
        if not isinstance(value, Reference) or value.name not in self.program.weights:
            refuse(node, f"its {name} is no parameter of the model", "make it one")
        weight = self.program.weights[value.name]
        if not np.isfinite(weight.values).all():
            raise PenjingError(f"layer {weight.path.rpartition('.')[0]}: its {name} hold NaN or "
                               f"infinite values; train the model again or repair them")
        return value, weight.values.astype(np.float64, copy=False)

    # --- what operators add
    def name(self, node: Node, weight: Reference | None = None) -> str:
        """A new valid name: the module's path, or that of its caller and the operator.

        A ``weight`` that several modules share has the path of one of them alone.
        """
        path = caller(node)
        if weight is not None:
            owner = self.program.weights[weight.name].path.rpartition(".")[0]
            if not node.leaf or f"{owner}.".startswith(f"{node.module}."):
                path = owner
        return self._names.unique(layer_name(node, path))

    def add(self, layer: FloatLayer, *sources: Seen, positive: bool = False) -> Seen:
        """Append ``layer``, which reads ``sources``; torch sees its output like the first."""
        layer = replace(layer, inputs=tuple(source.layer for source in sources))
        shape = output_shape(layer, *(source.shape for source in sources))
        self.layers[layer.name] = layer
        height, width, channels = shape
        first = sources[0]
        dims: tuple[int, ...] = channels, height, width
        if first.order is not None:
            dims = first.dims  # what is single elements' matter
        elif first.is_vector:
            dims = (channels,)
        elif first.is_line:
            dims = channels, width
        return Seen(layer.name, shape, dims, order=first.order, positive=positive)

    def flatten(self, node: Node, source: Seen) -> Seen:
        """``source`` as a vector."""
        return self.add(FloatFlatten(self.name(node)), source)

    def take(self, node: Node, operator: Operator) -> None:
        """Let ``operator`` compute the outputs of ``node``."""
        results = operator(self, node, Arguments(node))
        outputs = results if isinstance(results, tuple) else (results,)
        if len(node.outputs) != len(outputs):
            refuse(node, f"it has {len(node.outputs)} outputs, {len(outputs)} by its arguments",
                   "export the model again")
        for name, seen in zip(node.outputs, outputs, strict=True):
            recorded = self.program.sizes.get(name, ())[1:]
            if any(size is not None for size in recorded) and recorded != seen.dims:
                refuse(node, f"its output has shape {recorded} in the file, {seen.dims} by its "
                             f"arguments", "export the model again")
            self.seen[name] = seen
            read = [one.name for argument in node.arguments for one in references(argument.value)]
            if any(seen.layer == self.seen[one].layer for one in read if one in self.seen):
                self._same.add(name)

    def stand_in(self, node: Node) -> None:
        """Let the outputs of ``node`` that nothing has made be as the program tells, or missing."""
        for name in node.outputs:
            _, *sizes = self.program.sizes.get(name, ()) or (None,)
            dims = tuple(size for size in sizes if type(size) is int and size > 0)
            if name in self.seen:
                continue
            if not 1 <= len(dims) <= 3 or len(dims) != len(sizes) or (
                    math.prod(dims) > MAX_ELEMENTS):
                self.missing.add(name)
                continue
            channels, height, width = {1: (*dims, 1, 1), 2: (dims[0], 1, dims[-1])}.get(
                len(dims), dims)
            self.seen[name] = Seen(self._names.unique("missing"), (height, width, channels), dims)

    def network(self) -> FloatNetwork:
        """The network whose output is the program's; layers that it needs not are left."""
        last = self.seen.get(self.program.output)
        if last is not None:
            last = self.padded(last, None)
        if last is None or last.layer == INPUT:
            raise PenjingError("the program has no layers; export one that has")
        if last.order is not None and not last.is_channels_last:
            raise PenjingError("the program ends with a map that is flattened or turned, whose "
                               "order differs in hardware; leave that to the host")
        layers = tuple(self.layers.values())
        kept = needed([(layer.inputs, (layer.name,)) for layer in layers], last.layer)
        return FloatNetwork(self.input_shape, tuple(compress(layers, kept)), last.function,
                            last.is_channels_last)


Operator: TypeAlias = Callable[[Graph, Node, Arguments], Seen | tuple[Seen, ...]]
"""What the outputs of one ATen operator are, layers appended where it takes some."""


def references(value: Value) -> list[Reference]:
    """The tensors that an argument names."""
    if isinstance(value, Reference):
        return [value]
    return [item for item in value if isinstance(item, Reference)] if isinstance(value, tuple) \
        else []


# --- what is refused of quantized programs too
def refuse_training(node: Node) -> None:
    """Refuse ``node`` if it computes as in training."""
    if any(argument.name in ("training", "train") and argument.value is True
           for argument in node.arguments):
        refuse(node, "exported in training mode", "call model.eval() before torch.export.export")


def refuse_alpha(node: Node, arguments: Arguments) -> None:
    """Refuse a sum or difference whose second operand has a factor."""
    if arguments.number("alpha", 1.0) != 1:
        refuse(node, "its alpha is not 1", "scale the weights of the layer before it instead")


def refuse_divisor(node: Node, arguments: Arguments, area: int) -> None:
    """Refuse an average pool that divides by another number than the ``area`` of its window."""
    if arguments.number("divisor_override") not in (None, area):
        refuse(node, "divisor_override is not supported", "scale the next layer's weights instead")


def refuse_read(node: Node, what: str) -> NoReturn:
    """Refuse ``node`` because ``what`` it puts out besides is read."""
    refuse(node, f"{what} are read, which are not supported", "leave them away")


def refuse_power(node: Node, arguments: Arguments) -> None:
    """Refuse a power that is no square."""
    if arguments.number("exponent", 2.0) != 2:
        refuse(node, f"its exponent is {arguments.get('exponent')}", "only squares are supported")


def refuse_scaled_elu(node: Node, arguments: Arguments) -> None:
    """Refuse what a CELU or SELU makes of an ELU."""
    if any(arguments.number(name, 1.0) != 1 for name in ("scale", "input_scale")):
        refuse(node, "it scales its input or output", "use ELU")


# --- what quantized programs ask too
def clamp_bounds(arguments: Arguments, low: float, high: float) -> tuple[float, float]:
    """The bounds of a clamp or Hardtanh, ``low`` and ``high`` where it gives none."""
    given = [arguments.number(name) for name in ("min_val", "min", "max_val", "max")]
    least, most = (next((value for value in pair if value is not None), default)
                   for pair, default in ((given[:2], low), (given[2:], high)))
    return least, most


def rrelu_slope(arguments: Arguments) -> float:
    """The slope of a RReLU below 0 where it is not trained."""
    lower, upper = (arguments.number(name, default)
                    for name, default in (("lower", 1 / 8), ("upper", 1 / 3)))
    return ((lower or 0.0) + (upper or 0.0)) / 2


def threshold_of(node: Node, arguments: Arguments) -> tuple[float, float]:
    """The threshold of ``node`` and the value below it: 0, or the threshold itself."""
    least, value = (arguments.number(name) for name in ("threshold", "value"))
    if least is None or value not in (0, least) or not math.isfinite(least):
        refuse(node, f"it puts {value} where its input is not above {least}", f"use 0 or {least}")
    return least, value


def equal_windows(node: Node, size: tuple[int, ...], wanted: tuple[int, ...]) -> tuple[int, ...]:
    """The windows of an adaptive pool that makes ``wanted`` of a map of ``size``; all are equal."""
    if any(part < 1 or whole % part for whole, part in zip(size, wanted, strict=True)):
        refuse(node, f"a map of {size} has no equal windows for {wanted}",
               "use an output size that divides it, such as 1")
    return tuple(whole // part for whole, part in zip(size, wanted, strict=True))


def whole_factors(node: Node, program: Program, size: tuple[int, ...], scales: Value
                  ) -> tuple[int, ...]:
    """By what an upsampling to the nearest element multiplies a map of ``size``."""
    wanted = [new or 0 for new in program.sizes.get(output_of(node), ())[2:]]
    whole = [divmod(new, old) for new, old in zip(wanted, size, strict=False)]
    factors = tuple(factor for factor, _ in whole)
    if len(wanted) != len(size) or any(factor < 1 or rest for factor, rest in whole) or (
            isinstance(scales, tuple) and scales != factors):
        refuse(node, f"it makes {tuple(wanted)} of {size} by {scales}, only whole factors are "
                     f"supported", "use a scale_factor of 2 or 3, say")
    return factors


def refuse_other_axes(node: Node, arguments: Arguments, rank: int) -> None:
    """Refuse a mean or maximum that is not over height and width, or over the length of a line."""
    axes = {axis % rank for axis in arguments.integers("dim", ())}
    if axes != set(range(2, rank)) or arguments.get("dtype") is not None:
        refuse(node, "only over height and width, dim=(2, 3), or over a length, dim=2, is it "
                     "supported")


# --- what several operators ask
def require_map(node: Node, seen: Seen) -> None:
    """Refuse ``node`` unless torch sees a map of channels, or a line of them."""
    if seen.order is not None and len(seen.dims) in (2, 3):
        refuse(node, "the axes of its input are turned or divided", "turn them back before it")
    if not (seen.is_map or seen.is_line):
        refuse(node, f"it takes (N, C, H, W) or (N, C, L), not a tensor of shape (N, "
                     f"{', '.join(map(str, seen.dims))})", "reshape its input")


def same_order(first: Seen, second: Seen) -> bool:
    """Whether the hardware has the elements of both in one order."""
    if first.order is None or second.order is None:
        return first.order is second.order
    return np.array_equal(first.order, second.order)


def window(arguments: Arguments, seen: Seen, name: str, neutral: int,
           default: Pair | None = None) -> Pair:
    """(vertical, horizontal) of the argument ``name``; of a line, ``neutral`` is the first."""
    vertical, horizontal = arguments.pair(name, default)
    return (neutral, horizontal) if seen.is_line else (vertical, horizontal)
