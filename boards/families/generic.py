"""Any FPGA: plain Verilog, counted as an ECP5."""

from ...compiler.cost.families.ecp5 import ECP5
from ...hdl.tech import Generic
from .family import Family

GENERIC = Family("generic", ECP5, Generic)
