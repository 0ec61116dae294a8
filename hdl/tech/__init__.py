"""FPGA families: the cells that differ from one to the next, behind one interface."""

from .ecp5 import Ecp5
from .generic import Generic
from .ice40 import Ice40
from .select import Selection
from .technology import MemoryStyle, Technology

__all__ = ["Ecp5", "Generic", "Ice40", "MemoryStyle", "Selection", "Technology"]
