"""Sums of shifted nodes as plain numbers: what a `ConstantMatrix` is built from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from .ranges import width

__all__ = ["AdderGraph", "Addition", "Term"]


@dataclass(frozen=True)
class Term:
    """``node << shift``, or that times -1 if it is ``negative``."""

    node: int
    shift: int = 0
    negative: bool = False


@dataclass(frozen=True)
class Addition:
    """``low + high``, two terms of which ``low`` has the lesser shift, worked out in a ``stage``.

    ``values`` are the exact bounds of the sum.
    """

    low: Term
    high: Term
    values: range
    stage: int

    @property
    def copies(self) -> int:
        """The lowest bits of the sum, which are those of ``low``."""
        return 0 if self.low.negative else self.high.shift - self.low.shift

    @property
    def adder_bits(self) -> int:
        """Bits of the adder: those of the sum, but for the copies."""
        return max(0, width(self.values) - self.low.shift - self.copies)


@dataclass(frozen=True)
class AdderGraph:
    """Constants times variables: additions of shifted nodes, and outputs that are such nodes.

    The first nodes are the inputs, the next the constants, then come the additions in an order in
    which each finds its terms. Stages are counted from 1, in which the inputs are there.

    Parameters
    ----------
    inputs : the values of each input, both bounds as they may come.
    constants : integers.
    additions : sums of two terms of nodes before, in a stage not before theirs.
    outputs : a term each, never a negative one; None is 0.
    """

    inputs: tuple[range, ...]
    constants: tuple[int, ...]
    additions: tuple[Addition, ...]
    outputs: tuple[Term | None, ...]

    def __post_init__(self) -> None:
        first = self.first_addition
        for n, addition in enumerate(self.additions, first):
            for term in (addition.low, addition.high):
                if not 0 <= term.node < n or self.stage(term.node) > addition.stage:
                    raise ValueError(f"addition {n} must come after its terms, not {addition!r}")
            if addition.low.shift > addition.high.shift or (
                    addition.low.negative and addition.high.negative):
                raise ValueError("an addition must have a positive term, and the lesser shift "
                                 f"first, not {addition!r}")
        if any(output and output.negative for output in self.outputs):
            raise ValueError("outputs must not be negative terms")

    @property
    def first_addition(self) -> int:
        """The node of the first addition."""
        return len(self.inputs) + len(self.constants)

    @cached_property
    def values(self) -> tuple[range, ...]:
        """The exact bounds of each node."""
        return (*self.inputs, *(range(constant, constant + 1) for constant in self.constants),
                *(addition.values for addition in self.additions))

    def stage(self, node: int) -> int:
        """The stage in which a ``node`` is worked out; that of inputs is 1."""
        first = self.first_addition
        return 1 if node < first else self.additions[node - first].stage

    @cached_property
    def depth(self) -> int:
        """Stages, with a register behind each."""
        return max((addition.stage for addition in self.additions), default=1)

    @cached_property
    def held(self) -> tuple[int, ...]:
        """Registers in a row behind each node, as its last reader is so many stages behind it.

        Outputs are read in the last stage; the register behind that is not among them.
        """
        last = [self.stage(node) for node in range(len(self.values))]
        for addition in self.additions:
            for term in (addition.low, addition.high):
                last[term.node] = max(last[term.node], addition.stage)
        for output in self.outputs:
            if output:
                last[output.node] = self.depth
        constants = range(len(self.inputs), self.first_addition)
        return tuple(0 if node in constants else end - self.stage(node)
                     for node, end in enumerate(last))

    @property
    def register_bits(self) -> int:
        """Bits of all registers, those of the outputs among them."""
        held = sum(width(values) * count
                   for values, count in zip(self.values, self.held, strict=True))
        return held + sum(width(self.values[node]) for node in
                          {output.node for output in self.outputs if output})

    def results(self, inputs: Sequence[int]) -> list[int]:
        """The outputs for ``inputs``, in integers of any width."""
        nodes = [*inputs, *self.constants]
        for addition in self.additions:
            nodes.append(sum(-(nodes[term.node] << term.shift) if term.negative
                             else nodes[term.node] << term.shift
                             for term in (addition.low, addition.high)))
        return [nodes[output.node] << output.shift if output else 0 for output in self.outputs]
