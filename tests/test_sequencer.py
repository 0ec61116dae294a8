"""Words in order: each two cycles behind its step, in every style, however wide."""

from __future__ import annotations

import random
import re
from typing import Any

import pytest
from amaranth.hdl import ClockDomain, Module
from amaranth.sim import Simulator
from penjing.hdl.emit import emit
from penjing.hdl.sequencer import (
    PART_BITS,
    SEQUENCER_LATENCY,
    SHARED_WORDS,
    Rounds,
    Sequencer,
    SequencerShape,
)
from penjing.hdl.tech import BANK_WORDS, Ecp5, Generic, MemoryStyle


@pytest.mark.parametrize("style", list(MemoryStyle), ids=lambda style: style.value)
@pytest.mark.parametrize("depth", [1, 2, SHARED_WORDS, SHARED_WORDS + 1, 8, 21])
@pytest.mark.parametrize("width", [1, PART_BITS, 2 * PART_BITS + 3])
def test_words_in_order(style: MemoryStyle, depth: int, width: int) -> None:
    check_order(style, depth, width, Rounds(), list(range(depth)))


@pytest.mark.parametrize("style", [MemoryStyle.BLOCK, MemoryStyle.DISTRIBUTED])
def test_more_words_than_a_bank_has(style: MemoryStyle) -> None:
    depth = 2 * BANK_WORDS + 3
    assert SequencerShape(depth, 40, block=False).parts == (15, 15, 10)
    check_order(style, depth, 40, Rounds(), list(range(depth)))


@pytest.mark.parametrize("style", [MemoryStyle.BLOCK, MemoryStyle.LOGIC])
@pytest.mark.parametrize(("depth", "parts", "turns"), [
    (6, 2, 3), (6, 6, 2), (6, 3, 1), (6, 1, 5), (1, 1, 1), (2, 2, 4)])
def test_parts_are_read_several_times(style: MemoryStyle, depth: int, parts: int, turns: int
                                      ) -> None:
    of_parts = [range(start, start + depth // parts) for start in range(0, depth, depth // parts)]
    order = [n for part in of_parts for _ in range(turns) for n in part]
    check_order(style, depth, PART_BITS + 1, Rounds(parts, turns), order)


def test_parts_are_equal() -> None:
    with pytest.raises(ValueError, match="words must be 4 equal parts, not 6"):
        SequencerShape(6, 1, False, Rounds(4, 2))


def check_order(style: MemoryStyle, depth: int, width: int, rounds: Rounds, order: list[int]
                ) -> None:
    generator = random.Random(depth * width)
    words = [generator.getrandbits(width) for _ in range(depth)]
    dut = Sequencer(words, width, style=style, technology=Generic(), rounds=rounds)
    steps = [generator.random() < 0.7 for _ in range(5 * len(order) + 20)]
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
    wanted = [words[order[sum(steps[:cycle]) % len(order)]] for cycle in range(len(steps))]
    assert seen[SEQUENCER_LATENCY:] == wanted[:-SEQUENCER_LATENCY]


@pytest.mark.parametrize(("depth", "counters"), [(SHARED_WORDS, 1), (SHARED_WORDS + 1, 3)])
def test_each_part_of_a_wide_word_counts_for_itself(depth: int, counters: int) -> None:
    words = [random.Random(n).getrandbits(130) for n in range(depth)]
    for technology in (Generic(), Ecp5()):
        dut = Sequencer(words, 130, style=MemoryStyle.LOGIC, technology=technology)
        verilog = emit(dut, "top").text
        assert len(re.findall(r"address_\d+ = \d+'h", verilog)) == counters
