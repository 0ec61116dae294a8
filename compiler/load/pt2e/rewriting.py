"""The graph of ONNX's operators that grows while the nodes of a program are read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..aten.graph import (
    Arguments,
    caller,
    label,
    layer_name,
    output_of,
    place,
    references,
    refuse,
    refuse_read,
)
from ..onnx import model
from ..onnx.model import Array, ElementType
from ..pt2 import Node, Program, Reference, Value
from ..refusal import Refusals

TYPES = {kind.name: kind for kind in model.TYPES.values()}
"""The types of elements by name."""
_FLOAT, _INDEX = TYPES["float32"], TYPES["int64"]
_MOST_QUANTIZED = 1 << 25
"""The most constants that are quantized on reading."""


class Rewriting:
    """The nodes and constants so far; tensors keep the names that they have in ``program``."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.nodes: list[model.Node] = []
        self.constants: dict[str, model.Constant] = {}
        self.refusals = Refusals()
        self.missing = set[str]()
        """The outputs of nodes that are refused."""
        self._quantized = 0

    def graph(self) -> model.Graph:
        """The whole graph; its input may hold any number of images."""
        program = self.program
        port = model.Port(program.input, _FLOAT,
                          (None, *program.sizes.get(program.input, ())[1:]))
        return model.Graph(tuple(self.nodes), self.constants, port, program.output,
                           {name: (None, *sizes[1:]) for name, sizes in program.sizes.items()},
                           frozenset(self.missing), self.refusals.found)

    def constant(self, values: Array, kind: ElementType = _INDEX) -> str:
        """The name of a new constant."""
        return self.store(f"constant {len(self.constants)}", values, kind)

    def store(self, name: str, values: Array, kind: ElementType) -> str:
        """The ``name`` of a constant that gets it."""
        self.constants[name] = model.Constant(values, kind)
        return name

    def spend(self, node: Node, count: int) -> None:
        """Refuse ``node`` if the constants that are quantized on reading become too many."""
        self._quantized += count
        if self._quantized > _MOST_QUANTIZED:
            refuse(node, f"more than {_MOST_QUANTIZED} constants are quantized on reading",
                   "give a smaller network", last=True)


@dataclass(frozen=True)
class Call:
    """One node of the program, to be written as nodes of ONNX."""

    graph: Rewriting
    node: Node
    arguments: Arguments

    # --- what it reads
    def tensor(self, name: str = "", value: Value = None) -> str:
        """The tensor that is the argument ``name`` (else the first), or ``value``."""
        if value is None:
            first = self.node.arguments[0].value if self.node.arguments else None
            value = self.arguments.get(name) if name else first
        if not isinstance(value, Reference):
            refuse(self.node, f"its {name or 'input'} is no tensor", "export the model again")
        weight = self.graph.program.weights.get(value.name)
        if weight is not None and value.name not in self.graph.constants:
            values = weight.values
            kind = TYPES.get(values.dtype.name, _FLOAT)
            if values.dtype.kind == "f":
                with np.errstate(over="ignore"):
                    values, kind = values.astype(np.float32), _FLOAT
            self.graph.store(value.name, values, kind)
        return value.name

    def optional(self, name: str) -> str:
        """The tensor that is the argument ``name``; "" where there is none."""
        return "" if self.arguments.get(name) is None else self.tensor(name)

    def operand(self, name: str) -> str:
        """The tensor or the number that is the argument ``name``."""
        value = self.arguments.get(name)
        if type(value) in (int, float):
            return self.graph.constant(np.array(value, np.float32), _FLOAT)
        return self.tensor(name)

    def known(self, name: str) -> Array:
        """The values of the constant that is the argument ``name``."""
        constant = self.graph.constants.get(self.tensor(name))
        if constant is None:
            refuse(self.node, f"its {name} is computed",
                   "make it a parameter or buffer of the model")
        return constant.values

    def dims(self, name: str = "") -> tuple[int, ...]:
        """Shape of a tensor, without the batch, as the program tells it."""
        sizes = self.graph.program.sizes.get(self.tensor(name), ())[1:]
        known = tuple(size for size in sizes if type(size) is int)
        if len(known) != len(sizes) or not known:
            refuse(self.node, f"its input has shape (N, {', '.join(map(str, sizes))}), of which "
                              f"only N may be dynamic", "export the model again")
        return known

    # --- what it becomes
    def add(self, operator: str, *inputs: str, **attributes: model.Attribute) -> str:
        """Append the node that makes the output of this one."""
        return self.make(self.output, operator, *inputs, **attributes)

    def make(self, output: str, operator: str, *inputs: str, **attributes: model.Attribute) -> str:
        """Append the node that makes the tensor ``output``."""
        graph = self.graph
        if len(graph.nodes) == model.MAX_NODES:
            refuse(self.node, f"the network has more than {model.MAX_NODES} operators",
                   "give a smaller one", last=True)
        graph.nodes.append(model.Node(
            len(graph.nodes), operator, "", layer_name(self.node, caller(self.node)), inputs,
            (output,), attributes, label(self.node), (self.node.target, place(self.node))))
        return output

    @property
    def output(self) -> str:
        """The name of its one output."""
        return output_of(self.node)

    def only(self, position: int, what: str) -> str:
        """The name of its output at ``position``, where nothing reads the others, ``what``."""
        outputs, program = self.node.outputs, self.graph.program
        others = {*outputs[:position], *outputs[position + 1:]}
        read = {program.output, *(one.name for node in program.nodes for argument in node.arguments
                                  for one in references(argument.value))}
        if len(outputs) <= position or others & read:
            refuse_read(self.node, what)
        return outputs[position]

    def between(self) -> str:
        """A name for a tensor that only the next node reads."""
        return f"{self.node.name} {len(self.graph.nodes)}"
