"""The Verilog: the same from run to run, readable, small, and taken by the tools."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import penjing
import pytest
from amaranth.hdl import *
from amaranth.lib import wiring
from networks import PLENTY, Builder, random_network, random_plan
from penjing.compiler import ir
from penjing.compiler.cost.families import ECP5
from penjing.compiler.dataflow import accelerator
from penjing.compiler.dataflow.budget import Budget
from penjing.compiler.dataflow.plan import Fold
from penjing.compiler.dataflow.search import Goal, schedule
from penjing.compiler.ir import TensorType
from penjing.hdl.block import Block
from penjing.hdl.emit import INLINE_WORDS, Verilog, emit
from penjing.hdl.sequencer import Sequencer
from penjing.hdl.tech import Ecp5, Generic, MemoryStyle
from penjing.hdl.tech.memory import Rom
from penjing.hdl.tech.multiply import Multiplier

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


def test_the_top_may_have_another_name(verilog: Verilog) -> None:
    renamed = verilog.renamed("net", "module")
    assert renamed.text.replace("module \\module (", "module net(", 1) == verilog.text
    assert renamed.text != verilog.text


def test_icarus_and_yosys_take_it(verilog: Verilog, tmp_path: Path) -> None:
    source = tmp_path / "net.v"
    verilog.write(tmp_path, source.name)
    if shutil.which("iverilog"):
        subprocess.run(["iverilog", "-g2012", "-o", str(tmp_path / "net"), str(source)], check=True)
    pytest.importorskip("pyosys", reason="needs the fpga extra")
    script = (f"from pyosys import libyosys as ys; ys.run_pass('read_verilog -sv {source}; "
              f"hierarchy -check -top net; proc; check -assert', ys.Design())")
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)


class Twins(wiring.Component):
    """Blocks side by side, each with an input and an output of its own."""

    def __init__(self, blocks: Sequence[Block]) -> None:
        self._blocks = blocks
        super().__init__({f"b{n}_{port}": member for n, block in enumerate(blocks)
                          for port, member in block.signature.members.items()})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for n, block in enumerate(self._blocks):
            m.submodules[f"block_{n}"] = block
            for port, member in block.signature.members.items():
                inside, outside = getattr(block, port), getattr(self, f"b{n}_{port}")
                m.d.comb += (outside.eq(inside) if member.flow == wiring.Out
                             else inside.eq(outside))
        return m


def modules(text: str) -> list[str]:
    return re.findall(r"^module (\S+?) ?\(", text, re.MULTILINE)


class Counts(Block):
    """Puts out the first of a range of numbers, and how many they are."""

    def __init__(self, numbers: range) -> None:
        self._numbers = numbers
        super().__init__({"i": wiring.In(1), "o": wiring.Out(8)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += self.o.eq(Mux(self.i, self._numbers.start, len(self._numbers)))
        return m


def test_blocks_of_different_ranges_are_not_equal() -> None:
    """Though the ranges take the same bits as shapes."""
    text = emit(Twins([Counts(numbers) for numbers in (range(3), range(1, 4), range(3))]),
                "top").text
    assert modules(text) == ["top", "top$counts_2", "top$counts"]


def test_equal_blocks_are_one_module() -> None:
    shapes = [(8, 8), (8, 8), (8, 7), (signed(8), 8), (8, 8)]
    text = emit(Twins([Multiplier(a, b) for a, b in shapes]), "top").text
    assert modules(text) == ["top", "top$multiplier_3", "top$multiplier_2", "top$multiplier"]
    assert len(re.findall(r"top\$multiplier block_", text)) == 3


def test_blocks_of_other_words_are_other_modules() -> None:
    words = [[1, 2, 3], [1, 2, 3], [1, 2, 4], [True, 2, 3]]
    text = emit(Twins([Rom(some, 3) for some in words]), "top").text
    assert len(modules(text)) == 3
    with_parts = [Sequencer([5, 6], 3, style=MemoryStyle.LOGIC, technology=technology)
                  for technology in (Generic(), Generic(), Ecp5())]
    assert [name for name in modules(emit(Twins(with_parts), "top").text)
            if "sequencer" in name] == ["top$sequencer_2", "top$sequencer"]


@pytest.mark.parametrize(("words", "files"), [(INLINE_WORDS, 0), (INLINE_WORDS + 1, 1)])
def test_large_tables_are_files(words: int, files: int, tmp_path: Path) -> None:
    rom = [n * 7 % 1000 for n in range(words)]
    verilog = emit(Rom(rom, 10), "rom")
    assert len(verilog.files) == files
    assert verilog.text.count("$readmemh") == files
    if files:
        (contents,) = verilog.files.values()
        assert [int(word, 16) for word in contents.split()] == rom
        verilog.write(tmp_path, "rom.v")
        assert Verilog.read(tmp_path / "rom.v") == verilog
    inline = emit(Rom(rom, 10), "rom", inline_memories=True)
    assert not inline.files
    assert [int(word, 16) for word in re.findall(r"memory\[\d+\] = 10'h(\w+);", inline.text)] == rom


def test_tools_find_the_files(tmp_path: Path) -> None:
    """Beside the text, or in the folder that a macro names; both are the words inline."""
    ys = pytest.importorskip("pyosys", reason="needs the fpga extra")
    assert ys
    words = [n * 77 % 1024 for n in range(2 * INLINE_WORDS)]
    (tmp_path / "elsewhere").mkdir()
    emit(Rom(words, 10), "rom").write(tmp_path / "elsewhere", "rom.v")
    emit(Rom(words, 10), "rom", inline_memories=True).write(tmp_path, "inline.v")
    (tmp_path / "script.ys").write_text(
        "read_verilog -sv inline.v\nproc\nmemory_collect\nwrite_rtlil inline.il\ndesign -reset\n"
        'read_verilog -sv -DPENJING_MEMORIES="elsewhere/memories/" elsewhere/rom.v\n'
        "proc\nmemory_collect\nwrite_rtlil files.il\n")
    script = "from pyosys import libyosys as ys; ys.run_pass('script script.ys', ys.Design())"
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, cwd=tmp_path)
    found = [re.findall(r"parameter .INIT \S+", (tmp_path / name).read_text())
             for name in ("inline.il", "files.il")]
    assert found[0] == found[1]
    assert len(found[0][0]) > 2 * INLINE_WORDS * 10


def test_a_convolution_engine_is_small() -> None:
    rng = np.random.default_rng(0)
    grow = Builder(TensorType((8, 8, 16), 8, False))
    grow.add(ir.Convolution("conv", "x", ir.Weights(rng.integers(-128, 128, (16, 3, 3, 16)), 8),
                            np.zeros(16, np.int64), (1, 1), (1, 1, 1, 1)))
    network = grow.network()
    plan = schedule(network, Budget(ECP5, PLENTY, 16),
                    Goal(folds={"conv": Fold(1, 1, 16)}))
    text = emit(accelerator.whole(network, plan, Generic()), "net").text
    assert text.count("\n") < 1_000

