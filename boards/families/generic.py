"""Any FPGA: plain Verilog, counted as an ECP5."""

from ...compiler.cost import families
from ...hdl.tech import Generic
from .family import Family

GENERIC = Family("generic", families.ECP5, Generic)
