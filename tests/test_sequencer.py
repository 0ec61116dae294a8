"""Words in order: each two cycles behind its step, in every style, however wide."""

from __future__ import annotations

import random
import re
from typing import Any

import pytest
from amaranth.hdl import ClockDomain, Module
from amaranth.sim import Simulator
from penjing.hdl.emit import emit
from penjing.hdl.sequencer import PART_BITS, SEQUENCER_LATENCY, SHARED_WORDS, Sequencer
from penjing.hdl.tech import Ecp5, Generic, MemoryStyle


@pytest.mark.parametrize("style", list(MemoryStyle), ids=lambda style: style.value)
@pytest.mark.parametrize("depth", [1, 2, SHARED_WORDS, SHARED_WORDS + 1, 8, 21])
@pytest.mark.parametrize("width", [1, PART_BITS, 2 * PART_BITS + 3])
def test_words_in_order(style: MemoryStyle, depth: int, width: int) -> None:
    generator = random.Random(depth * width)
    words = [generator.getrandbits(width) for _ in range(depth)]
    dut = Sequencer(words, width, style=style, technology=Generic())
    steps = [generator.random() < 0.7 for _ in range(5 * depth + 20)]
    seen: list[int] = []

    async def bench(ctx: Any) -> None:
        for step in steps:
            ctx.set(dut.step, step)
            (value,) = (await ctx.tick().sample(dut.data))[2:]
            seen.append(value)

    m = Module()
    m.domains.sync = ClockDomain()
    m.submodules.dut = dut
    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    wanted = [words[sum(steps[:cycle]) % depth] for cycle in range(len(steps))]
    assert seen[SEQUENCER_LATENCY:] == wanted[:-SEQUENCER_LATENCY]


@pytest.mark.parametrize(("depth", "counters"), [(SHARED_WORDS, 1), (SHARED_WORDS + 1, 3)])
def test_each_part_of_a_wide_word_counts_for_itself(depth: int, counters: int) -> None:
    words = [random.Random(n).getrandbits(130) for n in range(depth)]
    for technology in (Generic(), Ecp5()):
        dut = Sequencer(words, 130, style=MemoryStyle.LOGIC, technology=technology)
        verilog = emit(dut, "top").text
        assert len(re.findall(r"address_\d+ = \d+'h", verilog)) == counters
