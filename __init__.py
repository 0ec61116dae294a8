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

_HOME = {
    "ArgMax": "compiler.ir",
    "AveragePool": "compiler.ir",
    "Clamp": "compiler.ir",
    "Convolution": "compiler.ir",
    "Dense": "compiler.ir",
    "Flatten": "compiler.ir",
    "MaxPool": "compiler.ir",
    "Network": "compiler.ir",
    "PenjingError": "compiler.ir",
    "Reshape": "compiler.ir",
    "ShiftRequantize": "compiler.ir",
    "TensorType": "compiler.ir",
    "Weights": "compiler.ir",
    "ArrayNetwork": "compiler.load.arrays",
    "matching": "compiler.load.arrays",
    "save": "compiler.file",
    "Plan": "compiler.dataflow.plan",
    "schedule": "compiler.dataflow.search",
    "run": "sim.golden",
    "run_all": "sim.golden",
    "Project": "flow",
    "Quantization": "flow",
    "Target": "flow",
    "build": "flow",
    "compile_model": "flow",
    "evaluate": "flow",
    "load": "flow",
    "plan": "flow",
    "simulate": "flow",
    "Link": "host",
}

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
