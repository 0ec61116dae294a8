# amaranth: UnusedElaboratable=no
"""Multipliers and memories: exact for every shape, the same latency in every family."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pytest
from amaranth.hdl import ClockDomain, Module, Shape, ShapeLike, signed, unsigned
from amaranth.sim import Simulator
from penjing.hdl.emit import emit
from penjing.hdl.tech import BANK_WORDS, Ecp5, Generic, Ice40, MemoryStyle, Selection, Technology

# The ECP5's cells are instances, which this simulator does not know: see test_netlist.
SIMULATED = [Generic(), Ice40()]
SIMULATED_IDS = ["generic", "ice40"]
ALL = [Generic(), Ecp5(), Ice40()]
ALL_IDS = ["generic", "ecp5", "ice40"]
STYLES = list(MemoryStyle)


def values(shape: Shape) -> range:
    half = 1 << shape.width - 1
    return range(-half, half) if shape.signed else range(2 * half)


def run(dut: Any, stimuli: Sequence[dict[str, int]], output: str) -> list[int]:
    """The output before each clock edge, while the stimulus of that cycle is applied."""
    seen = []

    async def bench(ctx: Any) -> None:
        for stimulus in stimuli:
            for name, value in stimulus.items():
                ctx.set(getattr(dut, name), value)
            (value,) = (await ctx.tick().sample(getattr(dut, output)))[2:]
            seen.append(value)

    m = Module()
    # A memory of one word may have no register, but the bench has a clock.
    m.domains.sync = ClockDomain()
    m.submodules.dut = dut
    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return seen


def products(technology: Technology, a: ShapeLike, b: ShapeLike, *, dsp: bool,
             pairs: Sequence[tuple[int, int]]) -> list[int]:
    """What comes out two cycles after each pair, one pair a cycle."""
    dut = technology.multiplier(a, b, dsp=dsp)
    stimuli = [{"a": x, "b": y} for x, y in [*pairs, (0, 0), (0, 0)]]
    return run(dut, stimuli, "p")[2:]


def shapes(widths: Sequence[int]) -> Iterator[tuple[Shape, Shape]]:
    for a, b, a_signed, b_signed in itertools.product(widths, widths, (False, True), (False, True)):
        yield Shape(a, a_signed), Shape(b, b_signed)


@pytest.mark.parametrize("technology", SIMULATED, ids=SIMULATED_IDS)
def test_small_products_exhaustively(technology: Technology) -> None:
    for a, b in shapes((1, 2, 3, 4)):
        pairs = list(itertools.product(values(a), values(b)))
        assert products(technology, a, b, dsp=False, pairs=pairs) == [x * y for x, y in pairs], (
            f"{a!r} times {b!r}")


@pytest.mark.slow
@pytest.mark.parametrize("technology", SIMULATED, ids=SIMULATED_IDS)
def test_large_products_extremes_first(technology: Technology) -> None:
    generator = random.Random(2)
    for a, b in shapes((1, 3, 5, 7, 8, 9, 12, 15, 16, 17, 18, 32)):
        edges = [(x[0], x[-1], 0) for x in (values(a), values(b))]
        pairs = list(itertools.product(*edges))
        pairs += [(generator.choice(values(a)), generator.choice(values(b))) for _ in range(12)]
        assert products(technology, a, b, dsp=False, pairs=pairs) == [x * y for x, y in pairs], (
            f"{a!r} times {b!r}")


def test_generic_dsp_product() -> None:
    pairs = [(-128, -128), (127, -128), (5, 6)]
    assert products(Generic(), signed(8), signed(8), dsp=True, pairs=pairs) == [16384, -16256, 30]


@pytest.mark.parametrize("technology", ALL, ids=ALL_IDS)
def test_product_shape_and_limits(technology: Technology) -> None:
    for dsp in (False, True):
        dut = technology.multiplier(unsigned(8), signed(3), dsp=dsp)
        assert dut.p.shape() == signed(11)
        with pytest.raises(ValueError, match=r"^a must have 1 to 48 bits, not signed\(49\)$"):
            technology.multiplier(signed(49), signed(2), dsp=dsp)
    with pytest.raises(ValueError, match=r"^b must have 1 to 48 bits, not unsigned\(0\)$"):
        technology.multiplier(signed(4), unsigned(0), dsp=False)


def test_dsp_blocks_are_taken_where_they_fit() -> None:
    for dsp in (False, True):
        assert ("MULT18X18D" in emit(Ecp5().multiplier(18, 18, dsp=dsp), "top").text) is dsp
        # `*` is for a DSP block, and there is none in what shall be look-up tables.
        assert (" * " in emit(Ice40().multiplier(16, 16, dsp=dsp), "top").text) is dsp
    assert "MULT18X18D" not in emit(Ecp5().multiplier(19, 8, dsp=True), "top").text
    for a, b in ((17, 8), (5, 5), (1, 12)):
        assert not Ice40().fits_dsp(a, b)
        assert " * " not in emit(Ice40().multiplier(a, b, dsp=True), "top").text
    assert 'REGMODE_B("OUTREG")' in emit(
        Ecp5().rom(range(100), 8, MemoryStyle.BLOCK, registered=True), "top").text


@pytest.mark.parametrize("terms", range(1, 36))
def test_difference_counter(terms: int) -> None:
    """Bits in, and ``latency`` cycles later what the total has become."""
    generator = random.Random(terms)
    dut = Generic().difference_counter(terms, 9)
    pairs = [(0, 0), ((1 << terms) - 1, 0), (0, (1 << terms) - 1)]
    pairs += [(generator.getrandbits(terms), generator.getrandbits(terms)) for _ in range(40)]
    keeps = [generator.random() < 0.8 for _ in pairs]
    enables = [generator.random() < 0.8 for _ in pairs]
    late = dut.latency - 1
    idle = [False] * late
    steps = [{"a": a, "b": b, "keep": keep, "enable": enable} for (a, b), keep, enable in zip(
        [*pairs, *[(0, 0)] * dut.latency], [*idle, *keeps, False], [*idle, *enables, False],
        strict=True)]
    total, wanted = 0, []
    for (a, b), keep, enable in zip(pairs, keeps, enables, strict=True):
        if enable:
            total = ((total if keep else 0) + (a ^ b).bit_count()) % 512
        wanted.append(total)
    assert run(dut, steps, "total")[dut.latency:] == wanted


@pytest.mark.parametrize("selection", Selection)
@pytest.mark.parametrize(("terms", "bits"), [(1, 8), (2, 1), (3, 4), (7, 3), (8, 8), (13, 2)])
def test_selected_sum(terms: int, bits: int, selection: Selection) -> None:
    """Terms and codes in, and ``latency`` cycles later what the total has become."""
    generator = random.Random(terms)
    dut = Generic().selected_sum(terms, bits, selection, 9)
    highest = (1 << bits) - 1
    signs = {Selection.GATE: (0, 1), Selection.SIGN: (-1, 1), Selection.BOTH: (-1, 0, 1)}[selection]
    beats = [([highest] * terms, [sign] * terms) for sign in signs] + [([0] * terms, [-1] * terms)]
    beats += [([generator.randint(0, highest) for _ in range(terms)],
               [generator.choice(signs) for _ in range(terms)]) for _ in range(30)]
    keeps = [generator.random() < 0.8 for _ in beats]
    enables = [generator.random() < 0.8 for _ in beats]
    idle = [False] * (dut.latency - 1)
    last = ([0] * terms, [0] * terms)
    steps = [{"x": joined(x, bits), "keep": keep, "enable": enable,
              "codes": joined((selection.code(sign) for sign in weights), selection.bits)}
             for (x, weights), keep, enable in zip(
                 [*beats, *[last] * dut.latency], [*idle, *keeps, False], [*idle, *enables, False],
                 strict=True)]
    total, wanted = 0, []
    for (x, weights), keep, enable in zip(beats, keeps, enables, strict=True):
        # The complement of a term stands for its negative.
        added = sum(value if sign > 0 else (highest - value) * (
            -sign if selection is not Selection.GATE else 0)
            for value, sign in zip(x, weights, strict=True))
        if enable:
            total = ((total if keep else 0) + added) % 512
        wanted.append(total)
    assert run(dut, steps, "total")[dut.latency:] == wanted


def joined(values: Iterable[int], bits: int) -> int:
    """Values of so many bits as one, the first lowest."""
    return sum(value << n * bits for n, value in enumerate(values))


@pytest.mark.parametrize("registered", [False, True])
@pytest.mark.parametrize("style", STYLES, ids=lambda style: style.value)
@pytest.mark.parametrize("depth", [1, 2, 3, 37, BANK_WORDS + 1, 2 * BANK_WORDS + 37])
@pytest.mark.parametrize("technology", SIMULATED, ids=SIMULATED_IDS)
def test_rom(technology: Technology, depth: int, style: MemoryStyle, registered: bool) -> None:
    generator = random.Random(depth)
    words = [generator.getrandbits(13) for _ in range(depth)]
    words[0] = (1 << 13) - 1
    dut = technology.rom(words, 13, style, registered=registered)
    latency = 2 if registered else 1
    steps = [(generator.randrange(depth), generator.random() < 0.7) for _ in range(60)]
    steps += [(address, True) for address in (0, depth - 1, depth // 2, 0)]
    seen = run(dut, [{"address": a, "enable": e} for a, e in steps], "data")
    pipeline: list[int | None] = [None] * latency
    compared = 0
    for (address, enable), data in zip(steps, seen, strict=True):
        if pipeline[-1] is not None:
            assert data == pipeline[-1]
            compared += 1
        if enable:
            pipeline = [words[address], *pipeline[:-1]]
    assert compared > 20


def test_memories_read_always_unless_told_otherwise() -> None:
    dut = Generic().rom([3, 5, 7], 3, MemoryStyle.LOGIC)
    assert run(dut, [{"address": a} for a in (0, 1, 2, 2)], "data")[1:] == [3, 5, 7]


@pytest.mark.parametrize("registered", [False, True])
@pytest.mark.parametrize("style", STYLES, ids=lambda style: style.value)
@pytest.mark.parametrize("depth", [1, 2, 3, 20])
@pytest.mark.parametrize("granularity", [None, 3, 1])
@pytest.mark.parametrize("technology", SIMULATED, ids=SIMULATED_IDS)
def test_ram(technology: Technology, granularity: int | None, depth: int, style: MemoryStyle,
             registered: bool) -> None:
    generator = random.Random(depth)
    dut = technology.ram(9, depth, style, granularity=granularity, registered=registered)
    bits = granularity or 9
    steps = []
    for _ in range(150):
        write, read = generator.randrange(depth), generator.randrange(depth)
        # All, some or none of a word.
        write_enable = generator.getrandbits(9 // bits) if generator.random() < 0.8 else 0
        read_enable = generator.random() < 0.6 and not (write_enable and read == write)
        steps.append({"write_address": write, "write_data": generator.getrandbits(9),
                      "write_enable": write_enable, "read_address": read,
                      "read_enable": read_enable})
    seen = run(dut, steps, "read_data")
    memory: dict[int, int] = {}
    pipeline: list[int | None] = [None] * (2 if registered else 1)
    compared = 0
    for step, data in zip(steps, seen, strict=True):
        if pipeline[-1] is not None:
            assert data == pipeline[-1]
            compared += 1
        if step["read_enable"]:
            pipeline = [memory.get(step["read_address"]), *pipeline[:-1]]
        for n in range(9 // bits):
            if step["write_enable"] >> n & 1:
                mask = (1 << bits) - 1 << n * bits
                memory[step["write_address"]] = (
                    memory.get(step["write_address"], 0) & ~mask | step["write_data"] & mask)
    assert compared > 20


@pytest.mark.parametrize("technology", ALL, ids=ALL_IDS)
@pytest.mark.parametrize("registered", [False, True])
def test_words_out_of_range_are_refused(technology: Technology, registered: bool) -> None:
    for style in STYLES:
        with pytest.raises(ValueError, match=r"^word 1 must be within range\(2\*\*4\), not 16$"):
            technology.rom([0, 16], 4, style, registered=registered)
        with pytest.raises(ValueError, match=r"^word 0 must be within range\(2\*\*4\), not -1$"):
            technology.rom([-1], 4, style, registered=registered)
        with pytest.raises(ValueError, match=r"^words must be at least 1, not 0$"):
            technology.rom([], 4, style, registered=registered)
        with pytest.raises(ValueError, match=r"^depth must be at least 1, not 0$"):
            technology.ram(4, 0, style, registered=registered)
        with pytest.raises(ValueError, match=r"^granularity must divide the width, 4, not 3$"):
            technology.ram(4, 4, style, granularity=3, registered=registered)
        with pytest.raises(TypeError, match=r"^width must be an int, not 2.5$"):
            technology.ram(2.5, 4, style, registered=registered)  # type: ignore[arg-type]
