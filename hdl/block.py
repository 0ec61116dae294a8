"""The base of blocks: of those that are equal, the Verilog has one module."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import wraps
from typing import Any

from amaranth.hdl import *
from amaranth.lib import wiring

__all__ = ["Block", "Sharing"]


class Sharing(ABC):
    """A platform that elaborates once what several blocks of a design have in common."""

    @abstractmethod
    def instance(self, block: Block) -> Instance | None:
        """What stands for ``block`` in its parent; None where the block itself is wanted."""


class Block(wiring.Component):
    """A component that all equal ones share one module with, if the platform is a `Sharing`.

    Elsewhere, in the simulator and on a board, each block is elaborated as any component. Two are
    equal if they are of one class and have the same signature and attributes, so ``elaborate`` must
    depend on nothing else.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        elaborate = vars(cls).get("elaborate")
        if elaborate is None:
            return

        @wraps(elaborate)
        def shared(self: Block, platform: object) -> Any:
            instance = platform.instance(self) if isinstance(platform, Sharing) else None
            return elaborate(self, platform) if instance is None else instance

        setattr(cls, "elaborate", shared)  # noqa: B010
