"""What a stream fills an accelerator's memories with."""

from __future__ import annotations

from dataclasses import dataclass

from ...hdl.loader import DIGEST_BYTES
from ..ir import Network
from . import plan_file
from .plan import Plan
from .site import sites


@dataclass(frozen=True)
class Filling:
    """Symbols of all ``memories``, in the order in which symbols pass them, and the ``digest`` of
    the shape that they are for."""

    digest: bytes
    memories: tuple[bytes, ...]

    @property
    def symbols(self) -> int:
        """Of all memories together."""
        return sum(map(len, self.memories))


def filling(network: Network, plan: Plan, name: str | None = None) -> Filling | None:
    """What the hardware of ``plan``, or that of its layer ``name``, is filled with.

    None where it has no memory that is filled; `PenjingError` where ``network`` does not go in.
    """
    memories = tuple(symbols for site, planned in zip(sites(network).values(), plan.layers,
                                                      strict=True)
                     if name in (None, site.name) for symbols in planned.kind.fillings(site))
    digest = plan_file.shape_digest(plan, network)[:DIGEST_BYTES]
    return Filling(digest, memories) if memories else None
