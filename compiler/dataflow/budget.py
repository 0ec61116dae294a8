"""What a design may use, and what a plan needs beyond it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from ..cost import Fabric, Resources
from ..ir import Network, PenjingError
from .plan import Plan

BLOCK_RAMS = "block RAMs"


@dataclass(frozen=True)
class Budget:
    """What the design may use, and of what family it is.

    ``multipliers`` bounds all multipliers together; those beyond ``resources.dsps`` are built from
    logic. ``link`` tells what cells of the ``resources`` a plan leaves to the board's serial link,
    whose ports are the plan's; None where there is none. ``speed_luts`` are the most that speed may
    cost above the slowest plan's, where ``resources`` have no end; None where they have.
    """

    fabric: Fabric
    resources: Resources
    multipliers: int
    link: Callable[[Network, Plan], Resources] | None = None
    speed_luts: int | None = None


@dataclass(frozen=True)
class Shortage:
    """That a plan needs more of ``what`` than is ``available``; ``linked`` of them for the link."""

    what: str
    needed: int
    linked: int
    available: int


class TooSmall(PenjingError):
    """A network that a board or a limit cannot hold, or not at that pace."""

    page = "docs/place_and_route.md"


def linked(budget: Budget, network: Network, plan: Plan) -> Resources:
    """What the board's serial link takes beside the ``plan`` of a ``network``."""
    return budget.link(network, plan) if budget.link else Resources()


def shortages(budget: Budget, network: Network, plan: Plan) -> Iterator[Shortage]:
    """Everything in which the ``plan`` of a ``network`` exceeds the ``budget``."""
    link, limits = linked(budget, network, plan), budget.resources
    used = plan.resources + link
    for one in (Shortage("multipliers", plan.multipliers, 0, budget.multipliers),
                Shortage("LUTs", used.luts, link.luts, limits.luts),
                Shortage("flip-flops", used.ffs, link.ffs, limits.ffs),
                Shortage("DSPs", used.dsps, link.dsps, limits.dsps),
                Shortage(BLOCK_RAMS, used.brams, link.brams, limits.brams)):
        if one.needed > one.available:
            yield one


def require(network: Network, board: str, missing: Iterable[Shortage]) -> None:
    """Refuse the first of what is ``missing`` on a ``board``, if anything is."""
    for short in missing:
        share = f" ({short.linked} of them for the serial link)" if short.linked else ""
        raise TooSmall(
            f"network {network.name}: it needs {short.needed} {short.what}{share} on {board}, "
            f"where it may have {short.available}; take a larger board or limit, a lower frame "
            f"rate, fewer bits or multipliers, or a smaller network")
