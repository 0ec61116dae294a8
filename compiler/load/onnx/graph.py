"""The integer network that grows while the nodes of an ONNX graph are read."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import NoReturn, TypeAlias, TypeVar

import numpy as np

from ... import ir
from ...ir import PenjingError
from .. import refusal
from ..entries import Entry
from ..refusal import Obstacle, Refusals
from .model import Array, ElementType, Graph, Node
from .values import Activation, FloatInput, Integers, Known, Layout, Scales, Value

MAX_WEIGHTS = 1 << 23
"""The most weights of one network, zeros of dilated kernels included."""
MAX_FOLDED = 1 << 25
"""The most elements that operators on constants may compute."""

INPUT = "input"
T = TypeVar("T")

Convert: TypeAlias = "Callable[[Operands], Value | tuple[Value, ...]]"
"""What a node becomes: the value of its first output, or those of several."""
Operators: TypeAlias = "Mapping[tuple[str, str], Entry[Convert]]"
"""What is known of operators, by domain and name."""

_MOVES = ("QuantizeLinear", "DequantizeLinear", "Identity", "Cast", "Flatten", "Reshape",
          "Squeeze", "Unsqueeze", "Transpose", "Dropout")
"""What may follow the function at the end, which the host computes."""
_LONGEST = 40


class Refused(refusal.Refused):
    """A node that cannot be imported: why, and the way out.

    Its line has ``told`` for the way out, if given. Reading ends at one that is ``last``.
    """

    def __init__(self, node: Node, reason: str, way_out: str, *, told: str = "",
                 last: bool = False) -> None:
        text = "; ".join(filter(None, (f"{node}: {reason}", told or way_out)))
        super().__init__(Obstacle(reason, way_out, node.kind, node.place, text, last))


@dataclass(frozen=True)
class Quantized:
    """What the integers of a tensor stand for, by a QuantizeLinear or DequantizeLinear."""

    scale: np.float32
    zero: int
    type: ElementType

    @property
    def range(self) -> tuple[int, int]:
        """The least and the greatest integer."""
        return self.type.range

    def integer(self, real: float) -> int:
        """The integer that ONNX makes of ``real``: in float32, halves to even."""
        low, high = self.range
        with np.errstate(over="ignore"):
            steps = float(np.float32(real) / self.scale)
        return int(min(max(np.rint(steps) + self.zero, low), high))


@dataclass(frozen=True)
class End:
    """That the network ends before the end of the graph: the host computes ``function``.

    It makes the tensor ``answer``, which lies in the network's output as ``layout`` tells, of the
    tensor ``input``.
    """

    input: str
    function: ir.TailFunction
    answer: str
    layout: Layout


def real_input(output: str) -> str:
    """The tensor of reals that a QLinear operator at the end reads, by the name of its output."""
    return f"{output}_of_reals"


def real_output(output: str) -> str:
    """The tensor of reals that it quantizes to its ``output``."""
    return f"{output}_in_reals"


class Builder(ir.Builder):
    """The network so far, and the value of each tensor of the graph by name."""

    def __init__(self, graph: Graph, rounding: ir.ScaleRounding) -> None:
        super().__init__(input=INPUT)
        self.graph = graph
        self.rounding = rounding
        self.values: dict[str, Value] = {}
        self.entry: Quantized | None = None
        self.end: End | None = None
        self.refusals = Refusals(graph.obstacles)
        self.missing = set(graph.missing)
        """Tensors of which nothing is known, since something refused stands before them."""
        self._weights = self._folded = 0

    # --- the network's input
    def start(self, layout: Layout) -> None:
        """Let the graph's input be a map of ``layout``."""
        port = self.graph.input
        self.layout = layout
        if port.type.integer:
            if port.type.bits > 16:
                raise PenjingError(f"its input {port.name:.80} holds {port.type.name}; export a "
                                   f"network of uint8, int8 or float32")
            self.declare_integers(port.type)
            self.values[port.name] = Integers(INPUT, layout)
        elif port.type.name in ("float32", "float16", "float64"):
            self.values[port.name] = FloatInput(layout)
        else:
            raise PenjingError(f"its input {port.name:.80} holds {port.type.name}; export a "
                               f"network of uint8, int8 or float32")

    def declare_integers(self, kind: ElementType) -> None:
        """Let the network's input be integers of ``kind``."""
        self.declare(ir.TensorType(self.layout.shape, kind.bits, kind.signed))

    def declares(self, kind: ir.TensorType) -> bool:
        """Whether the network's input is of ``kind``, as it will be if nothing else is told."""
        if INPUT not in self.types:
            self.declare(kind)
        return self.types[INPUT] == kind

    def describe(self, name: str, scale: np.float32, zero: int) -> None:
        """Note what the integers of the input stand for, the first time that it is told."""
        kind = self.types[name]
        if name == INPUT and kind.scale is None and kind.low <= zero <= kind.high:
            self.declare(replace(kind, scale=float(scale), zero_point=zero))

    def finish(self, operands: Operands, function: ir.TailFunction, layout: Layout,
               source: str | None = None, answer: str | None = None) -> None:
        """End the network before a node, which the host computes as ``function``.

        What the node makes lies in the output as ``layout`` tells. Only what moves or quantizes it
        may follow. ``source`` and ``answer`` are the tensors of reals that it reads and makes, by
        default its own.
        """
        node = operands.node
        if self._feeds_more_than_ends(node):
            operands.refuse("it is not at the end of the network",
                            "remove it, or what follows it")
        self.end = End(source or node.inputs[0], function, answer or node.outputs[0], layout)

    def _feeds_more_than_ends(self, node: Node) -> bool:
        """Whether anything but moving, quantizing and the end follows ``node``."""
        reached = set(node.outputs)
        for other in self.graph.nodes:
            if other.index > node.index and reached.intersection(other.inputs):
                if other.operator not in _MOVES:
                    return True
                reached.update(other.outputs)
        return self.graph.output not in reached

    # --- layers
    def name(self, node: Node, suffix: str = "") -> str:
        """A new valid layer name; upper and lower case count as one."""
        text = ir.cleaned(ir.cleaned(node.name or f"{node.operator}_{node.index}")[-_LONGEST:])
        text = text or node.operator.lower()[:_LONGEST]
        if not ir.NAME.fullmatch(text):
            text = f"node_{node.index}"
        return self.unique(text + suffix)

    def spend_weights(self, node: Node, count: int) -> None:
        """Refuse ``node`` if its weights are too many, before they are set aside."""
        self._weights += count
        if self._weights > MAX_WEIGHTS:
            raise Refused(node, f"the network has more than {MAX_WEIGHTS} weights, zeros of "
                                f"dilated kernels counted", "give a smaller network", last=True)

    def spend_folded(self, node: Node, count: int) -> None:
        """Refuse ``node`` if it computes too much on constants."""
        self._folded += count
        if self._folded > MAX_FOLDED:
            raise Refused(node, f"operators on constants compute more than {MAX_FOLDED} values",
                          "simplify the model, for example with onnxsim", last=True)


class Operands:
    """The inputs and attributes of a node, each checked when it is read."""

    def __init__(self, builder: Builder, node: Node) -> None:
        self.builder = builder
        self.node = node

    def refuse(self, reason: str, way_out: str = "export the network again") -> NoReturn:
        """Raise what names the node, the ``reason`` and the ``way_out``."""
        raise Refused(self.node, reason, way_out)

    def has(self, position: int) -> bool:
        """Whether the input is given."""
        return position < len(self.node.inputs) and bool(self.node.inputs[position])

    def value(self, position: int) -> Value:
        """An input, whatever it is."""
        if not self.has(position):
            self.refuse(f"its input {position} is missing")
        name = self.node.inputs[position]
        if name not in self.builder.values:
            constant = self.builder.graph.constants.get(name)
            if constant is None:
                self.refuse(f"its input {name:.80} is made by no earlier node, or is a constant "
                            f"of unknown type")
            self.builder.values[name] = Known(constant.values, constant.type)
        return self.builder.values[name]

    def activation(self, position: int = 0) -> Activation:
        """An input that is no constant."""
        value = self.value(position)
        if isinstance(value, Known):
            self.refuse(f"its input {position} is a constant", "let it read an activation")
        return value

    def known(self, position: int, what: str) -> Known:
        """An input that is a constant."""
        value = self.value(position)
        if not isinstance(value, Known):
            self.refuse(f"its {what} are computed from the network's input",
                        "make them constants")
        if not value.values.size:
            self.refuse(f"its {what} are empty")
        return value

    def numbers(self, position: int, what: str) -> Array:
        """A constant that nothing has quantized, all of it finite."""
        known = self.known(position, what)
        if known.scale is not None:
            self.refuse(f"its {what} are quantized", "store them as they are")
        if known.values.dtype.kind == "f" and not np.isfinite(known.values).all():
            self.refuse(f"its {what} hold NaN or infinite values", "repair the network")
        return known.values

    def integers(self, position: int, attribute: str) -> tuple[int, ...] | None:
        """A list of integers, an input of newer operator sets and an attribute of older ones."""
        if self.has(position):
            values = self.numbers(position, attribute).reshape(-1)
            if values.dtype.kind not in "iu" or values.size > 16:
                self.refuse(f"its {attribute} are no short list of integers")
            return tuple(map(int, values))
        return self.ints(attribute)

    def attribute(self, name: str, kind: type[T], default: T) -> T:
        """An attribute of the type ``kind``."""
        value = self.node.attributes.get(name, default)
        if not isinstance(value, kind):
            self.refuse(f"its attribute {name} is of an unexpected kind")
        return value

    def integer(self, name: str, default: int) -> int:
        """An integer attribute."""
        return self.attribute(name, int, default)

    def text(self, name: str, default: str) -> str:
        """A text attribute."""
        return self.attribute(name, str, default)

    def number(self, name: str, default: float) -> float:
        """A number that is finite, unless that is the default."""
        value = self.attribute(name, float, default)
        if not math.isfinite(value) and value != default:
            self.refuse(f"its attribute {name} is {value}")
        return value

    def ints(self, name: str) -> tuple[int, ...] | None:
        """A list of integers; None where it is not given."""
        if name not in self.node.attributes:
            return None
        values = self.attribute(name, tuple, ())
        if not all(type(v) is int for v in values):
            self.refuse(f"its attribute {name} is no list of integers")
        return values

    def scales(self, position: int) -> Scales:
        """Scales as float32, each positive."""
        values = self.numbers(position, "scales")
        if values.dtype.kind != "f" or values.ndim > 1:
            self.refuse("its scales are no list of floats")
        return positive(self, values.reshape(-1).astype(np.float32))

    def zeros(self, position: int) -> Array:
        """Zero points; 0 where they are not given."""
        if not self.has(position):
            return np.zeros(1, np.int64)
        values = self.numbers(position, "zero points")
        if values.dtype.kind not in "iu" or values.ndim > 1:
            self.refuse("its zero points are no list of integers")
        return values.reshape(-1).astype(np.int64)

    def scalar(self, values: Array, what: str) -> np.generic:
        """The one entry of ``values``."""
        if values.size != 1:
            self.refuse(f"its input has {values.size} {what}",
                        "quantize activations by tensor, not by channel")
        one: np.generic = values[0]
        return one


def positive(operands: Operands, scale: Scales) -> Scales:
    """``scale``, refused unless each entry is a positive finite number."""
    if not (np.isfinite(scale).all() and (scale > 0).all()):
        operands.refuse("a scale is not positive, not finite, or out of the range of float32",
                        "quantize the network again")
    return scale
