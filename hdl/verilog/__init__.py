"""Amaranth's fragments to SystemVerilog that people and tools read quickly."""

from .module import FOLDER_MACRO, MEMORY, Memory, write
from .text import identifier

__all__ = ["FOLDER_MACRO", "MEMORY", "Memory", "identifier", "write"]
