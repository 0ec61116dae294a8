"""What a network costs on a target, as a search asks thousands of times."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ..compiler.dataflow.cost_oracle import Cost, CostOracle
from ..compiler.ir import Network, PenjingError
from .compile import Target, asked

if TYPE_CHECKING:
    from ..compiler.compress.search.limits import Aim

__all__ = ["Pricing"]


@dataclass(frozen=True)
class Pricing:
    """The price of networks on the ``target`` whose limits are those of the ``aim``.

    It is that of the fastest plan; where frames a second are asked for, that of the least hardware
    that makes them, if any does.
    """

    target: Target
    aim: Aim
    oracle: CostOracle = field(default_factory=CostOracle)

    def __post_init__(self) -> None:
        if self.target.fps is not None:
            raise PenjingError("search: ask for frames a second as a limit, frames=5000")

    def __call__(self, network: Network) -> Cost:
        """The price of ``network``; `TooSmall` where no plan fits."""
        fastest = self.oracle.cost(network, *asked(network, self.target))
        if self.aim.frames is None or fastest.frames_per_second < self.aim.frames:
            return fastest
        lean = replace(self.target, fps=self.aim.frames)
        return self.oracle.cost(network, *asked(network, lean))
