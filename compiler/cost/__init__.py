"""What hardware costs: cells counted from structure, and what each kind of cell is worth.

How many multipliers, adders, registers and memories a block has is counted; what synthesis makes
of each is a coefficient of the FPGA family (`Fabric`), fitted by ``bench/resources.py`` on some
layers and judged on others. Carry cells count as the LUTs that they occupy.
"""

from .fabric import Fabric
from .resources import Memory, Resources, Storage

__all__ = ["Fabric", "Memory", "Resources", "Storage"]
