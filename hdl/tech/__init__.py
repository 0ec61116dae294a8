"""FPGA families: the cells that differ from one to the next, behind one interface."""

from .count import counter_latency
from .ecp5 import Ecp5
from .generic import Generic
from .ice40 import Ice40
from .memory import BANK_WORDS, MEMORY_LATENCY, REGISTERED_LATENCY
from .multiply import MULTIPLIER_LATENCY
from .select import Selection, selected_sum_latency
from .technology import MemoryStyle, Technology

__all__ = ["BANK_WORDS", "MEMORY_LATENCY", "MULTIPLIER_LATENCY", "REGISTERED_LATENCY", "Ecp5",
           "Generic", "Ice40", "MemoryStyle", "Selection", "Technology", "counter_latency",
           "selected_sum_latency"]
