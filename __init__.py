"""Penjing grows trained neural networks into small FPGAs.

A network becomes a graph of integer operations (`Network`), a golden model says what it computes,
a schedule decides its parallelism, and Amaranth blocks put it into Verilog. The command line is
``penjing``; the names below are the same steps from Python. They load on first use, so that
``import penjing`` costs nothing and never imports torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_NAMES = {
    "compiler.ir": (
        # tensors and networks
        "Bipolar", "Builder", "Network", "PenjingError", "TensorType",
        # weights and how they are stored
        "Bitmap", "Codebook", "Columns", "Constant", "KernelList", "NofM", "Plain", "RelativeIndex",
        "Sums", "Weights",
        # layers
        "Add", "ArgMax", "AveragePool", "Clamp", "Concatenation", "Convolution", "Crop", "Dense",
        "Depthwise", "Flatten", "MaxPool", "Multiply", "Pad", "Permutation", "Repeat", "Reshape",
        "ScaleRequantize", "ShiftRequantize", "Slice", "SlopeRequantize", "Subtract", "SumPool",
        "Table", "Threshold", "TransposedConvolution", "Upsample", "WinogradInput",
        "WinogradOutput", "WinogradProducts",
        # what layers are told
        "Rounding", "ScaleRounding",
        # what the host makes of the outputs
        "Tail", "TailFunction"),
    "compiler.load.arrays": ("ArrayNetwork", "matching"),
    "compiler.file": ("save",),
    "compiler.dataflow.plan": ("Plan",),
    "compiler.dataflow.search": ("schedule",),
    "sim.golden": ("run", "run_all"),
    "flow": ("Effort", "Project", "Quantization", "Target", "build", "compile_model", "compress",
             "evaluate", "explore", "load", "load_weights", "plan", "search", "simulate"),
    "host": ("Link",),
}
_HOME = {name: home for home, names in _NAMES.items() for name in names}

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
