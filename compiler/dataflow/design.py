"""What the steps behind the compiler see of the streaming back end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from ...hdl.graph import Graph
from ...hdl.loadable import Loadable
from ...hdl.tech import Technology
from ..cost import Resources
from ..ir import Network, PenjingError
from . import accelerator, plan_file
from .filling import Filling, filling
from .plan import Plan
from .port import Port


@dataclass(frozen=True)
class Part:
    """Hardware that makes the tensor ``result``, whose port is ``o``.

    It is built by ``component()``. ``filling`` is what its memories are filled with before frames
    come, None where none is. ``inputs`` are the tensors that it reads, each with its port, by
    name of the input stream. A frame takes ``cycles``, the first one ``latency`` (None: it is not
    predicted); where they are not ``exact``, these are what no frame exceeds.
    """

    component: Callable[[], Graph | Loadable]
    inputs: Mapping[str, tuple[str, Port]]
    result: str
    o: Port
    cycles: int
    latency: int | None = None
    filling: Filling | None = None
    exact: bool = True


@dataclass(frozen=True)
class Design:
    """A network and its plan: ports, cycles, cells, and the hardware as a whole or in parts."""

    network: Network
    plan: Plan

    @property
    def i(self) -> Port:
        """How the network's input comes in."""
        return self.plan.layers[0].i

    @property
    def o(self) -> Port:
        """How the network's output leaves."""
        return self.plan.layers[-1].o

    @property
    def cycles(self) -> int:
        """Cycles between two frames."""
        return self.plan.cycles_per_frame

    @property
    def latency(self) -> int:
        """Cycles from a frame's first input beat to its last output beat."""
        return self.plan.latency_cycles

    @property
    def resources(self) -> Resources:
        """Predicted cells, those around the accelerator left out."""
        return self.plan.resources

    def whole(self, technology: Technology) -> Part:
        """The accelerator."""
        network = self.network
        return Part(partial(accelerator.whole, network, self.plan, technology),
                    {"i": (network.input, self.i)}, network.layers[-1].name, self.o, self.cycles,
                    self.latency, self.filling(), self.plan.exact)

    def filling(self, network: Network | None = None) -> Filling | None:
        """What fills the accelerator's memories with its network, or with another of its shape.

        None where no memory is filled; `PenjingError` where the other one is of another shape, or
        its weights do not go into the memories.
        """
        if network is None:
            return filling(self.network, self.plan)
        network = plan_file.encoded_as(network, self.network)
        if (name := plan_file.first_of_another_shape(network, self.network)) is not None:
            raise PenjingError(f"network {network.name}: from layer {name} on it differs from "
                               f"{self.network.name} in more than weights and biases; compile it "
                               "for itself")
        return filling(network, self.plan)

    def part(self, name: str, technology: Technology) -> Part:
        """The layer ``name`` alone; `PenjingError` where it has no hardware of its own."""
        made = accelerator.layer(self.network, self.plan, name, technology)
        planned = self.plan.layer(name)
        tensors = next(one.inputs for one in self.network.layers if one.name == name)
        inputs = zip(tensors, planned.kind.inputs, strict=True)
        return Part(lambda: made, dict(zip(made.inputs, inputs, strict=True)), name, planned.o,
                    planned.cycles, filling=filling(self.network, self.plan, name),
                    exact=planned.kind.exact)
