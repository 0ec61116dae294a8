"""The FPGA families: a file each."""

from .ecp5 import ECP5
from .family import TOP, Family, LinkCost, Tools
from .generic import GENERIC
from .ice40 import ICE40

__all__ = ["ECP5", "FAMILIES", "GENERIC", "ICE40", "TOP", "Family", "LinkCost", "Tools"]

FAMILIES = (ECP5, ICE40, GENERIC)
"""Every family."""
