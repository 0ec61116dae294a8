"""The Verilog: the same from run to run, readable, small, and taken by the tools."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import penjing
import pytest
from networks import PLENTY, Builder, random_network, random_plan
from penjing.compiler import ir
from penjing.compiler.cost.families import ECP5
from penjing.compiler.dataflow import accelerator
from penjing.compiler.dataflow.plan import Fold
from penjing.compiler.dataflow.search import Budget, Goal, schedule
from penjing.compiler.ir import TensorType
from penjing.hdl.emit import Verilog, emit
from penjing.hdl.tech import Generic

SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
from networks import random_network, random_plan
from penjing.compiler.dataflow import accelerator
from penjing.hdl.emit import emit
from penjing.hdl.tech import Generic
network = random_network(3)
verilog = emit(accelerator.whole(network, random_plan(network, 3), Generic()), "net")
sys.stdout.write("".join([verilog.text, *verilog.files, *verilog.files.values()]))
"""


@pytest.fixture(scope="module")
def verilog() -> Verilog:
    network = random_network(3)
    return emit(accelerator.whole(network, random_plan(network, 3), Generic()), "net")


def test_the_text_is_the_same_in_every_process(verilog: Verilog) -> None:
    script = SCRIPT.format(tests=str(Path(__file__).parent))
    for seed in ("0", "12345"):
        run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True,
                             check=True, env={"PYTHONHASHSEED": seed, "PATH": "/usr/bin:/bin",
                                              "PYTHONPATH": os.environ.get("PYTHONPATH", "")})
        assert run.stdout == "".join([verilog.text, *verilog.files, *verilog.files.values()])


def test_the_text_does_not_tell_where_it_was_made(verilog: Verilog) -> None:
    assert str(Path(penjing.__file__).parent) not in verilog.text


def test_instances_bear_the_layers_names(verilog: Verilog) -> None:
    for layer in random_network(3).layers:
        if not isinstance(layer, ir.Rewiring):
            assert f"\\net.{layer.name}  {layer.name} (" in verilog.text


def test_icarus_and_yosys_take_it(verilog: Verilog, tmp_path: Path) -> None:
    source = tmp_path / "net.v"
    verilog.write(tmp_path, source.name)
    if shutil.which("iverilog"):
        subprocess.run(["iverilog", "-g2012", "-o", str(tmp_path / "net"), str(source)], check=True)
    pytest.importorskip("pyosys", reason="needs the fpga extra")
    script = (f"from pyosys import libyosys as ys; ys.run_pass('read_verilog -sv {source}; "
              f"hierarchy -check -top net; proc; check -assert', ys.Design())")
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)


def test_a_convolution_engine_is_small() -> None:
    rng = np.random.default_rng(0)
    grow = Builder(TensorType((8, 8, 16), 8, False))
    grow.add(ir.Convolution("conv", "x", ir.Weights(rng.integers(-128, 128, (16, 3, 3, 16)), 8),
                            np.zeros(16, np.int64), (1, 1), (1, 1, 1, 1)))
    network = grow.network()
    plan = schedule(network, Budget(ECP5, PLENTY, 16),
                    Goal(folds={"conv": Fold(1, 1, 16)}))
    text = emit(accelerator.whole(network, plan, Generic()), "net").text
    assert text.count("\n") < 1_500

