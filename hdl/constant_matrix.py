"""Constants times a vector: an adder graph, in a pipeline that moves as one."""

from __future__ import annotations

from amaranth.hdl import *
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from .adder_graph import AdderGraph, Addition, Term
from .ranges import narrowed, shape_of, width
from .stream import Beat, PassesReady, payload_register

__all__ = ["ConstantMatrix"]


class ConstantMatrix(PassesReady):
    """``o[n] = sum(w[n][k] * i[k]) + b[n]`` of constants ``w`` and ``b``, as additions of a graph.

    Latency ``graph.depth``, one beat a cycle: a whole vector comes in a beat, and a whole one goes
    out. All stages move on, or all wait for the last one to be taken.

    Parameters
    ----------
    i_shape, o_shape : element shapes.
    graph : the additions; its inputs are of ``i_shape``, and its outputs fit ``o_shape``.

    Members
    -------
    i : stream of ``Beat(i_shape, len(graph.inputs))``.
    o : stream of ``Beat(o_shape, len(graph.outputs))``.
    """

    def __init__(self, i_shape: ShapeLike, o_shape: ShapeLike, graph: AdderGraph) -> None:
        given, taken = Shape.cast(i_shape), Shape.cast(o_shape)
        if any(width(values) > given.width for values in graph.inputs):
            raise ValueError(f"inputs of the graph must fit {given!r}")
        for output in graph.outputs:
            if output and width(graph.values[output.node]) + output.shift > taken.width:
                raise ValueError(f"outputs of the graph must fit {taken!r}")
        self._graph = graph
        super().__init__({"i": In(stream.Signature(Beat(given, len(graph.inputs)))),
                          "o": Out(stream.Signature(Beat(taken, len(graph.outputs))))})

    @property
    def latency(self) -> int:
        """Cycles from a beat to its results."""
        return self._graph.depth

    def elaborate(self, platform: object) -> Module:
        m = Module()
        graph, depth = self._graph, self._graph.depth
        payload = payload_register(m, self.o)
        flow, valid = Signal(), Signal(depth)
        last = Signal(depth - 1, reset_less=True)
        m.d.comb += [flow.eq(self.o.ready | ~self.o.valid), self.i.ready.eq(flow),
                     self.o.valid.eq(valid[-1])]
        nodes = self._nodes(m, flow)
        with m.If(flow):
            lasts = Cat(self.i.p.last, last)
            m.d.sync += [valid.eq(Cat(self.i.valid, valid)), last.eq(lasts),
                         payload.last.eq(lasts[-1])]
            for lane, output in enumerate(graph.outputs):
                result = nodes[output.node][-1] << output.shift if output else Const(0, 1)
                m.d.sync += payload.data[lane].eq(result)
        return m

    def _nodes(self, m: Module, flow: Value) -> list[list[Value]]:
        """Each node, and what its registers hold."""
        graph = self._graph
        inputs, first = len(graph.inputs), graph.first_addition
        nodes: list[list[Value]] = []
        for n, values in enumerate(graph.values):
            if n < inputs:
                value = narrowed(self.i.p.data[n], values)
            elif n < first:
                value = Const(values[0], shape_of(values))
            else:
                addition = graph.additions[n - first]
                value = Signal(shape_of(values), name=f"sum{n}")
                m.d.comb += value.eq(self._sum(addition, nodes))
            nodes.append([value])
            for stage in range(graph.held[n]):
                register = Signal(value.shape(), name=f"node{n}_{stage}", reset_less=True)
                with m.If(flow):
                    m.d.sync += register.eq(nodes[n][-1])
                nodes[n].append(register)
        return nodes

    def _sum(self, addition: Addition, nodes: list[list[Value]]) -> Value:
        def operand(term: Term) -> Value:
            held, since = nodes[term.node], self._graph.stage(term.node)
            return held[0] if len(held) == 1 else held[addition.stage - since]

        low, high = (operand(term) for term in (addition.low, addition.high))
        shift = addition.high.shift - addition.low.shift
        if addition.low.negative:
            total = (high << shift) - low
        else:
            # The lowest bits are those of the one term.
            above = low.shift_right(shift)
            total = above - high if addition.high.negative else above + high
            total = Cat(low[:shift], _extended(low, shift), total).as_signed()
        return total << addition.low.shift


def _extended(low: Value, shift: int) -> Value:
    """What stands above ``low`` and below ``shift``."""
    missing = max(0, shift - len(low))
    return low[-1:].replicate(missing) if low.shape().signed else Const(0, missing)
