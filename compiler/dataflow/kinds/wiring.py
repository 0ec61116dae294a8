"""Kinds that are wiring alone: no cells, and no cycle of their own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from ....hdl.repeat import Repeater
from ....hdl.tech import Technology
from ... import ir
from ...ir import TensorType
from .. import timing
from ..port import Port
from ..site import Site
from .ask import Ask
from .kind import Stages, carried_as_is, shape_of
from .passing import Passing


@dataclass(frozen=True, kw_only=True)
class Wires(Passing):
    """The same elements in another shape."""

    @classmethod
    def candidates(cls, site: Site, ask: Ask) -> Iterator[Self]:
        """The beats that come in."""
        yield cls(inputs=ask.inputs, o=ask.inputs[0])

    def carried(self, site: Site) -> tuple[TensorType, ...]:
        """Bits of signs as they come, but at the network's end."""
        return carried_as_is(site)

    def cycles(self, site: Site) -> int:
        """None, unless bits become integers here."""
        return super().cycles(site) if self.carried(site) != site.sources else 0

    def stage(self, site: Site) -> timing.Stage | None:
        """None, unless bits become integers here."""
        return super().stage(site) if self.carried(site) != site.sources else None

    def blocks(self, site: Site, technology: Technology) -> Stages:
        """None."""
        return []


@dataclass(frozen=True, kw_only=True)
class Copies(Passing):
    """Each element several times, next to each other."""

    @classmethod
    def candidates(cls, site: Site, ask: Ask) -> Iterator[Self]:
        """As many beats as come in, wider ones."""
        times, i = _times(site), ask.inputs[0]
        yield cls(inputs=ask.inputs, o=Port(i.lanes * times, i.group * times))

    def carried(self, site: Site) -> tuple[TensorType, ...]:
        """Bits of signs as they come."""
        return carried_as_is(site)

    def blocks(self, site: Site, technology: Technology) -> Stages:
        """The wires."""
        return [("repeat", Repeater(shape_of(self.carried(site)[0]), lanes=self.i.lanes,
                                    times=_times(site)))]


def _times(site: Site) -> int:
    assert isinstance(site.layer, ir.Repeat)
    return site.layer.times
