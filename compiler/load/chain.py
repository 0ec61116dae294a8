"""A network being read from a graph: its layers so far, and how torch sees their last output."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NoReturn, TypeAlias

import numpy as np

from ..ir import Names, PenjingError, cleaned
from .floats import INPUT, FloatArgMax, FloatLayer, Floats, Padding, Pair, Shape, output_shape
from .pt2 import Node, Program, Reference, Value

NO_PADDING: Padding = (0, 0, 0, 0)

_NAME_LENGTH = 48


def label(node: Node) -> str:
    """How errors name ``node``."""
    return f"node {node.name} ({node.target}{' in ' + node.module if node.module else ''})"


def refuse(node: Node, reason: str) -> NoReturn:
    """Raise the `PenjingError` that names ``node`` and the ``reason``."""
    raise PenjingError(f"{label(node)}: {reason}")


class Arguments:
    """A node's arguments by name, each checked for its type when it is read."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._values = {argument.name: argument.value for argument in node.arguments}

    def get(self, name: str, default: Value = None) -> Value:
        """The argument as it is; ``default`` where the call leaves it out."""
        return self._values.get(name, default)

    def _wrong(self, name: str) -> NoReturn:
        refuse(self._node, f"its argument {name} is missing or of an unexpected kind; export the "
                            f"model again with torch 2.13")

    def number(self, name: str, default: float | None = None) -> float | None:
        """A number, or None where that is given or the default."""
        value = self.get(name, default)
        if value is not None and type(value) not in (int, float):
            self._wrong(name)
        return None if value is None else float(value)  # type: ignore[arg-type]

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


@dataclass
class Chain:
    """The network as far as it is read: its layers, and how torch sees their last output.

    ``skipped`` are operators that compute no tensor;
    ``dims`` is the tensor's shape in torch without the batch; ``shape`` (H, W, C) of the map;
    ``padding`` zeros not yet given to a layer; ``order`` the (C, H, W) of a flattened map whose
    elements torch keeps in another order; ``positive`` that no value is negative.
    """

    program: Program
    skipped: frozenset[str]
    layers: list[FloatLayer] = field(default_factory=list)
    padding: Padding = NO_PADDING
    order: Shape | None = None
    positive: bool = False

    def __post_init__(self) -> None:
        sizes = self.program.sizes.get(self.program.input, ())
        dims = sizes[1:]
        if not 1 <= len(dims) <= 3 or not all(type(d) is int and 0 < d <= 1 << 24 for d in dims):
            raise PenjingError(f"the program's input has shape {sizes}; export it for (N, C, H, "
                               f"W), (N, H, W) or (N, F), of which only N may be dynamic")
        self.dims: tuple[int, ...] = tuple(d for d in dims if d is not None)
        channels, height, width = ((1,) * (3 - len(self.dims)) + self.dims if len(self.dims) != 1
                                   else (self.dims[0], 1, 1))
        self.shape = self.input_shape = (height, width, channels)
        self.current = self.program.input
        self._names = Names(INPUT)
        self._uses: dict[str, list[Node]] = {}
        for node in self.program.nodes:
            if node.target not in self.skipped:
                for value in (argument.value for argument in node.arguments):
                    if isinstance(value, Reference):
                        self._uses.setdefault(value.name, []).append(node)

    def take(self, node: Node, operator: Operator | None, refusal: str) -> None:
        """Append what ``node`` computes by its ``operator``, or raise the ``refusal`` if None."""
        users = self._uses.get(self.current, [])
        if len(users) > 1:
            refuse(node, f"{self.current} is also read by {users[-1].name}: residual and branching "
                          f"networks are not supported yet; use a chain of layers")
        if operator is None:
            refuse(node, refusal)
        if self.layers and isinstance(self.layers[-1], FloatArgMax):
            refuse(node, "it follows an argmax; nothing may")
        first = node.arguments[0].value if node.arguments else None
        if first != Reference(self.current) or len(node.outputs) != 1:
            refuse(node, f"it does not continue {self.current}: residual and branching networks "
                          f"are not supported yet; use a chain of layers")
        operator(self, node, Arguments(node))
        self.current = node.outputs[0]
        recorded = self.program.sizes.get(self.current, ())[1:]
        if any(size is not None for size in recorded) and recorded != self.dims:
            refuse(node, f"its output has shape {recorded} in the file, {self.dims} by its "
                          f"arguments; export the model again")

    def finish(self) -> None:
        """Check that nothing is left over at the end of the program."""
        if self.current != self.program.output:
            raise PenjingError(f"the program returns {self.program.output}, not the end of its "
                               f"chain, {self.current}; export a chain of layers")
        if self.padding != NO_PADDING:
            raise PenjingError("the program ends with a padding; let a layer follow it")
        if self.order is not None:
            raise PenjingError("the program ends with a flattened map, whose order differs in "
                               "hardware; remove the flatten at its end")
        if not self.layers:
            raise PenjingError("the program has no layers; export one that has")

    def add(self, layer: FloatLayer, dims: tuple[int, ...] | None = None) -> None:
        """Append ``layer``; ``dims`` where torch's shape is not that of the map."""
        self.shape = output_shape(layer, self.shape)
        self.layers.append(layer)
        self.dims = self.padded() if dims is None else dims

    def name(self, node: Node, weight: Reference | None = None) -> str:
        """A new valid name: the module's path, or that of its caller and the operator."""
        if weight is not None:
            path = self.program.weights[weight.name].path.rpartition(".")[0]
        else:
            path = node.module if node.leaf else f"{node.module}.{node.name}"
        operator = node.target.split(".")[1].strip("_")
        return self._names.unique(cleaned((path or operator)[-_NAME_LENGTH:], operator[:8]))

    def weight(self, node: Node, name: str, value: Value) -> tuple[Reference, Floats]:
        """The values of the parameter that is the argument ``name``."""
        if not isinstance(value, Reference) or value.name not in self.program.weights:
            refuse(node, f"its {name} is no parameter of the model; make it one")
        weight = self.program.weights[value.name]
        if not np.isfinite(weight.values).all():
            raise PenjingError(f"layer {weight.path.rpartition('.')[0]}: its {name} hold NaN or "
                               f"infinite values; train the model again or repair them")
        return value, weight.values

    def padded(self) -> tuple[int, int, int]:
        """(C, H, W) of the map with the padding that waits, as torch sees it."""
        (height, width, channels), (top, bottom, left, right) = self.shape, self.padding
        return channels, height + top + bottom, width + left + right

    def is_map(self) -> bool:
        """Whether torch sees a map of channels."""
        return self.dims == self.padded() and self.order is None

    def require_map(self, node: Node) -> None:
        """Refuse ``node`` unless torch sees a map of channels."""
        if not self.is_map():
            refuse(node, f"it takes (N, C, H, W), not a tensor of shape (N, "
                          f"{', '.join(map(str, self.dims))}); reshape its input")

    def take_padding(self, own: Padding) -> Padding:
        """``own`` padding together with that which waits; none waits afterwards."""
        total = tuple(a + b for a, b in zip(own, self.padding, strict=True))
        self.padding = NO_PADDING
        return total  # type: ignore[return-value]

    def refuse_padding(self, node: Node) -> None:
        """Refuse ``node`` if a padding waits, since it cannot take it."""
        if self.padding != NO_PADDING:
            refuse(node, "a zero padding comes before it; pad in front of a convolution or a "
                          "pooling layer only")


Operator: TypeAlias = Callable[[Chain, Node, Arguments], None]
"""What one ATen operator appends to a chain."""
