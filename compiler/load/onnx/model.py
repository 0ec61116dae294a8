"""A graph of ONNX's operators as plain checked data, whatever it was read from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from numpy.typing import NDArray

from ..affine import range_of
from ..refusal import Obstacle

MAX_NODES = 10_000
"""The most nodes of a graph."""

Array: TypeAlias = NDArray[Any]
Attribute: TypeAlias = "int | float | str | tuple[int, ...] | tuple[float, ...] | Array | None"


@dataclass(frozen=True)
class ElementType:
    """How the elements of a tensor are stored: in ``bits``, as the numpy type ``dtype``."""

    name: str
    dtype: str
    bits: int
    field: str

    @property
    def integer(self) -> bool:
        """Whether the elements are integers."""
        return self.dtype[1] in "iu"

    @property
    def signed(self) -> bool:
        """Whether they may be negative."""
        return self.dtype[1] != "u"

    @property
    def range(self) -> tuple[int, int]:
        """The least and the greatest, of integers."""
        return range_of(self.bits, self.signed)


TYPES: Mapping[int, ElementType] = {
    1: ElementType("float32", "<f4", 32, "float_data"),
    2: ElementType("uint8", "<u1", 8, "int32_data"),
    3: ElementType("int8", "<i1", 8, "int32_data"),
    4: ElementType("uint16", "<u2", 16, "int32_data"),
    5: ElementType("int16", "<i2", 16, "int32_data"),
    6: ElementType("int32", "<i4", 32, "int32_data"),
    7: ElementType("int64", "<i8", 64, "int64_data"),
    9: ElementType("bool", "<?1", 8, "int32_data"),
    10: ElementType("float16", "<f2", 16, "int32_data"),
    11: ElementType("float64", "<f8", 64, "double_data"),
    21: ElementType("uint4", "<u1", 4, "int32_data"),
    22: ElementType("int4", "<i1", 4, "int32_data"),
    25: ElementType("uint2", "<u1", 2, "int32_data"),
    26: ElementType("int2", "<i1", 2, "int32_data"),
}
"""The types of elements that are read, by the number that stands for them."""


@dataclass(frozen=True, eq=False)
class Constant:
    """An array of the file, and the type of its elements."""

    values: Array
    type: ElementType


@dataclass(frozen=True, eq=False)
class Node:
    """One operation: its place in the graph, its operator, and the names of its tensors.

    An input or output that is left out is "". An attribute of a kind that no supported operator has
    is None. ``label`` is how errors name it where it is not the file's own, ``source`` then what it
    was made from: an operator, and the place of that.
    """

    index: int
    operator: str
    domain: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute | Constant]
    label: str = ""
    source: tuple[str, str] | None = None

    def __str__(self) -> str:
        if self.label:
            return self.label
        name = f' "{self.name:.80}"' if self.name else ""
        return f"node {self.index} ({self.kind}{name})"

    @property
    def kind(self) -> str:
        """The operator in the file, with its domain."""
        if self.source is not None:
            return self.source[0]
        return f"{self.domain}.{self.operator}" if self.domain else self.operator

    @property
    def place(self) -> str:
        """Which one of the file it is: its name, or its number."""
        if self.source is not None:
            return self.source[1]
        return f"{self.name:.80}" or f"node {self.index}"


@dataclass(frozen=True)
class Port:
    """The graph's input: ``dims`` are its dimensions, None where they are not fixed."""

    name: str
    type: ElementType
    dims: tuple[int | None, ...]


@dataclass(frozen=True)
class Graph:
    """A graph of one input and one output, in order of execution.

    ``dims`` are the dimensions of tensors, as far as the file tells them. Of the ``missing`` ones
    nothing is known, since ``obstacles`` stand in the way of what makes them.
    """

    nodes: tuple[Node, ...]
    constants: Mapping[str, Constant]
    input: Port
    output: str
    dims: Mapping[str, tuple[int | None, ...]] = field(default_factory=dict)
    missing: frozenset[str] = frozenset()
    obstacles: tuple[Obstacle, ...] = ()
