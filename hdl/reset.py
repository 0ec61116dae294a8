"""A reset of a part of the hardware."""

from __future__ import annotations

from amaranth.hdl import *
from amaranth.lib import wiring

__all__ = ["resettable"]


def resettable(component: wiring.Component, reset: Signal, platform: object) -> Fragment:
    """``component`` elaborated for ``platform``, in its initial state behind each cycle in which
    ``reset`` is 1, besides that of all hardware; only what needs a reset has it."""
    inserted: Fragment = _Inserter(reset)(Fragment.get(component, platform))
    return inserted


class _Inserter(ResetInserter):
    """Also for blocks that are instances of modules of their own, see `penjing.hdl.emit`."""

    def map_ports(self, fragment: Instance, new_fragment: Instance) -> None:
        """Let the ``rst`` of an instance be 1 too."""
        super().map_ports(fragment, new_fragment)
        if "rst" in new_fragment.ports:
            value, direction = new_fragment.ports["rst"]
            new_fragment.ports["rst"] = value | self.controls["sync"], direction
