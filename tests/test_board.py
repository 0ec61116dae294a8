"""The whole board design in Verilator, with the real host driver at the other end of the line."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from amaranth.hdl import Module, signed, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from cocotb_tools.check_results import get_results
from cocotb_tools.runner import get_runner
from loading import retrained
from networks import random_images, random_network, random_plan, random_weights
from numpy.typing import NDArray
from penjing import flow
from penjing.boards.protocol import Identity
from penjing.boards.wrapper import Wrapper
from penjing.compiler import file, ir
from penjing.compiler.dataflow import accelerator
from penjing.compiler.dataflow.plan import Port
from penjing.compiler.ir import Network, TensorType
from penjing.hdl.emit import emit
from penjing.hdl.stream import Beat, Queue, connect
from penjing.hdl.tech import Generic
from penjing.sim import golden, simulators

CASES = 13
"""Images that the conversation in cocotb_board.py has."""
DIVIDER = 8
Function = Callable[[NDArray[np.int64]], NDArray[np.int64]]


class Affine(wiring.Component):
    """A stand-in for an accelerator: ``o = 5 * i - 700``, element by element."""

    def __init__(self, lanes: int) -> None:
        super().__init__({"i": In(stream.Signature(Beat(unsigned(8), lanes))),
                          "o": Out(stream.Signature(Beat(signed(12), lanes)))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += [self.o.valid.eq(self.i.valid), self.i.ready.eq(self.o.ready),
                     self.o.p.last.eq(self.i.p.last)]
        for o, i in zip(self.o.p.data, self.i.p.data, strict=True):
            m.d.comb += o.eq(5 * i - 700)
        return m


class Chain(wiring.Component):
    """Components in a row."""

    def __init__(self, *stages: wiring.Component) -> None:
        self._stages = stages
        super().__init__({"i": In(stages[0].i.signature.flip()), "o": Out(stages[-1].o.signature)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules += self._stages
        wiring.connect(m, wiring.flipped(self.i), self._stages[0].i)
        connect(m, *self._stages)
        wiring.connect(m, self._stages[-1].o, wiring.flipped(self.o))
        return m


def run_board(folder: Path, cache: Path, accelerator: wiring.Component, identity: Identity,
              i_port: Port, o_port: Port, function: Function, frames: int = CASES) -> None:
    """Talk to a simulated board that runs ``accelerator``; each answer must be ``function``'s."""
    i_type = identity.input_type
    images = np.random.default_rng(0).integers(i_type.low, i_type.high, (frames, *i_type.shape),
                                               endpoint=True)
    images[0, ..., ::2], images[0, ..., 1::2] = i_type.low, i_type.high
    expected = np.array([function(frame) for frame in images])
    wrapper = wrapped(accelerator, identity, i_port, o_port)
    np.savez(folder / "frames.npz", images=images, golden=expected)
    simulate(folder, cache, wrapper, "cocotb_board", {"digest": identity.digest.hex()},
             compared=expected.size)


def wrapped(accelerator: wiring.Component, identity: Identity, i_port: Port, o_port: Port
            ) -> Wrapper:
    return Wrapper(accelerator, identity, i_port=i_port, o_port=o_port, divider=DIVIDER,
                   timeout=40 * 10 * DIVIDER, technology=Generic())


def simulate(folder: Path, cache: Path, wrapper: Wrapper, bench: str, job: dict[str, str], *,
             compared: int) -> None:
    """Run ``bench`` on a simulated board; it must compare so many values."""
    built = simulators.build(emit(wrapper, "board"), "board", cache=cache,
                             ports=("clk", "rst", "rx", "tx"))
    built.provide(folder)
    (folder / "job.json").write_text(json.dumps({"divider": DIVIDER, **job}))
    log = folder / "simulate.log"
    results = folder / "results.xml"
    try:
        get_runner("verilator").test(
            test_module=bench, hdl_toplevel="board", hdl_toplevel_lang="verilog",
            build_dir=built.folder, test_dir=folder, results_xml=str(results), log_file=log,
            plusargs=[f"+penjing_job={folder}"])
    except SystemExit:
        pytest.fail(log.read_text()[-3000:])
    assert get_results(results) == (1, 0), log.read_text()[-3000:]
    assert int((folder / "compared").read_text()) == compared > 0


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("simulators")


@pytest.fixture(autouse=True)
def _tests_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """The simulator's interpreter finds the bench beside this file."""
    monkeypatch.syspath_prepend(Path(__file__).parent)


@pytest.mark.slow
def test_host_and_simulated_board_agree(tmp_path: Path, cache: Path) -> None:
    identity = Identity(b"stand-in", TensorType((4, 3, 6), 8, False),
                        TensorType((4, 3, 6), 12, True))
    accelerator = Chain(Queue(Beat(unsigned(8), 4), 4), Affine(4), Queue(Beat(signed(12), 4), 3))
    run_board(tmp_path, cache, accelerator, identity, Port(4, 6), Port(4, 6),
              lambda x: 5 * x - 700)


@pytest.mark.slow
def test_a_whole_network_answers(tmp_path: Path, cache: Path) -> None:
    network = random_network(3)
    plan = random_plan(network, 3)
    run_board(tmp_path, cache, accelerator.whole(network, plan, Generic()),
              Identity(b"network3", network.input_type, network.output_type), plan.layers[0].i,
              plan.layers[-1].o, lambda x: golden.run(network, x[None])[0], frames=4)


@pytest.mark.slow
def test_a_board_is_loaded_over_its_line(tmp_path: Path, cache: Path) -> None:
    """By the command itself: one network, another one, images that are refused, the first again."""
    rng = np.random.default_rng(4)
    kind = TensorType((1, 1, 6), 4, True)
    first = Network("first", "x", kind, (
        ir.Dense("one", "x", random_weights(rng, (4, 6)), rng.integers(-9, 9, 4)),
        ir.ShiftRequantize("shift", "one", 3, 5, True),
        ir.Dense("two", "shift", random_weights(rng, (3, 4)), rng.integers(-9, 9, 3))))
    images = random_images(kind, 3, 5)
    arrays = {"images": images}
    for name, network in (("first", first), ("second", retrained(first, 6))):
        file.save(network, tmp_path / f"{name}.penjing")
        arrays[name] = golden.run(network, images)
    assert not np.array_equal(arrays["first"], arrays["second"])
    np.savez(tmp_path / "frames.npz", **arrays)
    project = flow.compile_model(tmp_path / "first.penjing", tmp_path / "made",
                                 flow.Target("ulx3s-85f", budget={"multipliers": 4}), loadable=True)
    wrapper = wrapped(project.design.whole(Generic()).component(), project.identity,
                      project.design.i, project.design.o)
    simulate(tmp_path, cache, wrapper, "cocotb_loading",
             {"project": str(project.path), "python": sys.executable},
             compared=3 * arrays["first"].size)
