"""The fabrics of the FPGA families: a file each, with the coefficients that were measured.

``python bench/resources.py --fit --board BOARD`` prints logic and control as they stand there, for
a board of the family.
"""

from .ecp5 import ECP5
from .ice40 import ICE40

__all__ = ["ECP5", "ICE40"]
