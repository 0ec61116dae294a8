"""Programs that PT2E has quantized to integer networks.

Such a program says in ATen's operators what a QDQ file says in ONNX's: `quantized_decomposed`
operators stand around those that compute with reals. So each of its nodes is written as nodes of
ONNX (`operators` and `quantizers`, into the graph of `rewriting`), and what they become is decided
there, once. Where the two differ in what they compute, it is spelled out on the way: torch
multiplies by 1 / scale where ONNX divides, which tells for constants only, and it quantizes to
parts of a type's range.
"""

from __future__ import annotations

from pathlib import Path

from ... import ir
from .. import onnx
from ..onnx import Import
from ..pt2 import Program, read
from ..refusal import naming
from .operators import OPERATORS, translate

__all__ = ["OPERATORS", "convert", "is_quantized", "load"]

_NAMESPACE = "quantized_decomposed."


def is_quantized(program: Program) -> bool:
    """Whether ``program`` computes with integers."""
    return any(node.target.startswith(_NAMESPACE) for node in program.nodes)


def load(path: str | Path, name: str, rounding: ir.ScaleRounding = ir.ScaleRounding.EVEN,
         result: str | None = None) -> ir.Network:
    """The integer network of the ``.pt2`` file ``path``, called ``name``.

    Of several outputs, that called ``result`` is taken.

    `PenjingError` tells in one line what is wrong with the file, or which node cannot be imported.
    """
    return convert(read(path, result), str(path), name, rounding).network


def convert(program: Program, origin: str, name: str,
            rounding: ir.ScaleRounding = ir.ScaleRounding.EVEN) -> Import:
    """The integer network that ``program`` computes; ``origin`` names it in errors."""
    with naming(origin):
        return onnx.convert(translate(program), name, rounding)
