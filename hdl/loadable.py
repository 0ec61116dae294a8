"""An accelerator whose memories a stream fills: images in, and frames only behind a good one."""

from __future__ import annotations

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .gate import Gate
from .graph import Graph
from .loader import Loader, Status
from .reset import resettable
from .tech import Technology

__all__ = ["Loadable"]


class Loadable(wiring.Component):
    """A ``graph`` whose memories images fill: no frame comes in before a good one is in.

    As soon as a byte is on offer no frame begins; it is taken when those on their way are through.
    Blocks may begin before a frame comes in, with the padding around it: once an image is in, the
    graph is reset. Latency and rate of frames are those of the graph.

    Parameters
    ----------
    graph : with members ``load`` and ``loaded``, and one input ``i``.
    digest, symbols, memories, technology : see `Loader`.

    Members
    -------
    i, o : those of the graph.
    load : stream of bytes, images as `Loader` takes them.
    status : Out(Status).
    quiet : Out(1), bytes are taken at once.
    """

    def __init__(self, graph: Graph, digest: bytes, *, symbols: int, memories: int,
                 technology: Technology) -> None:
        self._graph = graph
        self._loader = Loader(digest, symbols=symbols, memories=memories, technology=technology)
        self._gate = Gate(graph.i.payload.shape())
        super().__init__({"i": In(graph.i.signature.flip()), "o": Out(graph.o.signature),
                          "load": In(stream.Signature(8)), "status": Out(Status),
                          "quiet": Out(1)})

    @property
    def graph(self) -> Graph:
        """The accelerator itself."""
        return self._graph

    @property
    def names(self) -> list[str]:
        """Names of the graph's stages, in their order."""
        return self._graph.names

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the input streams of frames."""
        return self._graph.inputs

    def elaborate(self, platform: object) -> Module:
        m = Module()
        graph = self._graph
        m.submodules.loader = loader = self._loader
        m.submodules.graph = resettable(graph, loader.reset, platform)
        m.submodules.gate = gate = self._gate
        wiring.connect(m, wiring.flipped(self.i), gate.i)
        wiring.connect(m, gate.o, graph.i)
        wiring.connect(m, graph.o, wiring.flipped(self.o))
        wiring.connect(m, wiring.flipped(self.load), loader.load)
        wiring.connect(m, loader.fill, graph.load)
        m.d.comb += [
            gate.permit.eq((loader.status == Status.READY) & ~self.load.valid),
            gate.left.eq(self.o.valid & self.o.ready & self.o.p.last),
            loader.permit.eq(gate.quiet), self.status.eq(loader.status), self.quiet.eq(gate.quiet),
        ]
        return m
