# amaranth: UnusedElaboratable=no
"""The numbers that each block states of itself, against the block in simulation."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Shape, signed, unsigned
from amaranth.lib import wiring
from engines import count_engine, dot_engine, o_lanes, select_engine
from penjing.hdl.add import ADDER_LATENCY, Adder
from penjing.hdl.argmax import ARGMAXER_LATENCY, ArgMaxer
from penjing.hdl.count_array import CountShape
from penjing.hdl.dot_array import DotShape
from penjing.hdl.engine import EngineShape
from penjing.hdl.gearbox import Gearbox, GearboxShape
from penjing.hdl.graph import Graph, Stage
from penjing.hdl.pad import Padder
from penjing.hdl.pool import (
    POOLER_LATENCY,
    AveragePooler,
    AverageShape,
    Inside,
    MaxPooler,
    SumPooler,
    sum_bits,
)
from penjing.hdl.requantize import REQUANTIZER_LATENCY, ShiftRequantizer
from penjing.hdl.scale import ScaleRequantizer, ScaleShape
from penjing.hdl.select_array import SelectShape
from penjing.hdl.sequencer import SEQUENCER_LATENCY, Sequencer, SequencerShape
from penjing.hdl.skip import SKIP_LATENCY, SkipBuffer
from penjing.hdl.slope import SlopeRequantizer, SlopeShape
from penjing.hdl.steady import channel_beats, channel_words
from penjing.hdl.stream import BUFFER_LATENCY, QUEUE_LATENCY, Beat, Buffer, HalfRateBuffer, Queue
from penjing.hdl.table import LookupTable, TableShape
from penjing.hdl.tech import Generic, MemoryStyle
from penjing.hdl.threshold import Thresholder, ThresholdShape
from penjing.hdl.upsizer import Upsizer, UpsizerShape
from penjing.hdl.weights import CODEBOOK_LATENCY
from penjing.hdl.window import FILL_LATENCY, READ_LATENCY, WRITE_LATENCY, Window
from penjing.hdl.window_geometry import WindowGeometry
from penjing.sim.streams import transfer

SMALL: dict[str, Any] = {"style": MemoryStyle.LOGIC, "technology": Generic()}


def leaving(block: Any, sent: int, wanted: int, surplus: int = 0) -> list[int]:
    """When beats leave ``block``, counted from the cycle in which the first of ``sent`` comes in.

    Beats are offered without a pause and taken at once; what they bring does not matter.
    """
    width = Shape.cast(block.i.payload.shape()).width
    generator = random.Random(sent)
    inputs = [generator.getrandbits(width) for _ in range(sent)]
    _, times = transfer(block, inputs, wanted, timeout=500, surplus=surplus)
    # The first payload is taken in cycle 1, behind the reset of cycle 0.
    return [time - 1 for time in times]


@pytest.mark.parametrize(("block", "latency"), [
    (Buffer(3), BUFFER_LATENCY), (HalfRateBuffer(3), BUFFER_LATENCY), (Queue(3, 3), QUEUE_LATENCY),
    (Queue(3, 9), QUEUE_LATENCY), (SkipBuffer(5, 4, **SMALL), SKIP_LATENCY),
    (SkipBuffer(5, 19, style=MemoryStyle.BLOCK, technology=Generic()), SKIP_LATENCY),
    (ShiftRequantizer(signed(9), signed(4), lanes=2, shift=3, low=-8, high=7),
     REQUANTIZER_LATENCY),
    (ShiftRequantizer(8, 4, lanes=1, shift=0, low=0, high=7), REQUANTIZER_LATENCY)])
def test_beats_that_pass(block: Any, latency: int) -> None:
    assert leaving(block, 6, 6)[0] == latency


def test_a_sum_of_two_streams() -> None:
    adder = Adder(signed(4), signed(4), signed(5), lanes=1)
    both = Graph([Stage("add", adder, {"i_0": "i", "i_1": "i"})])
    assert leaving(both, 6, 6)[0] == ADDER_LATENCY


@pytest.mark.parametrize("count", [1, 2, 7])
def test_the_largest_element(count: int) -> None:
    assert leaving(ArgMaxer(signed(4), count=count), 2 * count, 2)[0] == (
        count - 1 + ARGMAXER_LATENCY)


@pytest.mark.parametrize(("i_lanes", "o_lanes", "i_group", "o_group", "slots"), [
    (1, 1, 1, 1, 2), (1, 4, 12, 12, 5), (4, 1, 12, 12, 5), (3, 2, 12, 12, 6), (2, 4, 6, 6, 4),
    (4, 4, 6, 2, 6), (3, 5, 15, 3, 14)])
def test_gearbox(i_lanes: int, o_lanes: int, i_group: int, o_group: int, slots: int) -> None:
    shape = GearboxShape(i_lanes, o_lanes, i_group, o_group)
    block = Gearbox(3, i_lanes=i_lanes, o_lanes=o_lanes, i_group=i_group, o_group=o_group,
                    frame=max(i_group, o_group))
    first = -(-min(o_lanes, o_group) // min(i_lanes, i_group))
    assert leaving(block, 12, 1, surplus=99)[0] == first - 1 + shape.latency
    assert shape.slots == slots


@pytest.mark.parametrize(("i_lanes", "o_lanes"), [(1, 2), (1, 7), (3, 6)])
def test_upsizer(i_lanes: int, o_lanes: int) -> None:
    shape = UpsizerShape(i_lanes, o_lanes)
    block = Upsizer(3, i_lanes=i_lanes, o_lanes=o_lanes, o_group=2 * o_lanes, frame=2 * o_lanes)
    assert leaving(block, 4 * shape.parts, 4)[0] == shape.parts - 1 + shape.latency


# --- engines
ENGINES = [(1, 1, 1, 1), (2, 4, 3, 5), (3, 7, 1, 3), (4, 1, 12, 8), (6, 2, 3, 6), (7, 20, 1, 7),
           (4, 16, 2, 10), (5, 3, 5, 11), (1, 9, 4, 2), (2, 33, 1, 2),
           (25, 2, 30, 60)]
"""(pe, simd, folds, outputs); the last one's output queue is deep."""


def check_engine(block: Any, shape: EngineShape) -> None:
    """The latency, and the words, beats and rate of a position."""
    drained = (shape.groups - 1) * shape.drain_beats + shape.tail_beats
    times = leaving(block, 3 * shape.words, 3 * drained)
    assert times[0] == shape.folds - 1 + shape.latency
    assert block.latency == shape.latency
    # An input beat each cycle: the last group of each position ends a position's beats later.
    assert [times[n * drained] - times[0] for n in range(3)] == [
        n * shape.words for n in range(3)]


@pytest.mark.parametrize(("pe", "simd", "folds", "outputs"), ENGINES)
def test_engine_of_products(pe: int, simd: int, folds: int, outputs: int) -> None:
    array = DotShape(simd)
    shape = EngineShape(pe, simd, folds, outputs, o_lanes(pe, folds),
                        SEQUENCER_LATENCY + array.depth, array.results_latency)
    weights = np.ones((shape.words, pe, simd), np.int64)
    check_engine(dot_engine(signed(4), weights, 3, np.zeros(outputs, np.int64), 20,
                            dsp_multipliers=simd), shape)


@pytest.mark.parametrize(("pe", "simd", "folds", "outputs"), ENGINES)
def test_engine_of_products_by_a_codebook(pe: int, simd: int, folds: int, outputs: int) -> None:
    shape = EngineShape(pe, simd, folds, outputs, o_lanes(pe, folds),
                        CODEBOOK_LATENCY + DotShape(simd).depth)
    weights = np.ones((shape.words, pe, simd), np.int64)
    check_engine(dot_engine(signed(4), weights, 3, np.zeros(outputs, np.int64), 20,
                            codebook=[-4, 1, 3]), shape)


@pytest.mark.parametrize(("groups", "terms", "taps", "multiple", "slice_groups"), [
    (8, 1, 9, 1, 4), (7, 1, 4, 2, 3), (3, 4, 5, 2, 2), (4, 3, 2, 5, 3)])
def test_engine_of_sliced_products(groups: int, terms: int, taps: int, multiple: int,
                                   slice_groups: int) -> None:
    pe = slice_groups * multiple
    shape = EngineShape(pe, terms, taps, groups * multiple, o_lanes(pe, taps),
                        SEQUENCER_LATENCY + DotShape(terms).depth, channel_groups=slice_groups)
    weights = np.ones((shape.words, pe, terms), np.int64)
    check_engine(dot_engine(signed(4), weights, 3, np.zeros(shape.outputs, np.int64), 20,
                            channel_groups=slice_groups), shape)


@pytest.mark.parametrize(("pe", "simd", "folds", "outputs"), ENGINES)
def test_engine_of_counts(pe: int, simd: int, folds: int, outputs: int) -> None:
    array = CountShape(simd, folds)
    shape = EngineShape(pe, simd, folds, outputs, o_lanes(pe, folds),
                        SEQUENCER_LATENCY + array.depth, array.results_latency)
    signs = np.ones((shape.words, pe, simd), np.int64)
    check_engine(count_engine(signs, np.zeros(outputs, np.int64), 20), shape)


@pytest.mark.parametrize("zeros", [False, True])
@pytest.mark.parametrize(("positive", "negative"), [(1, 1), (1, 2), (45, 45), (119, 87), (64, 63)])
@pytest.mark.parametrize(("pe", "simd", "folds", "outputs"), ENGINES[::2])
def test_engine_of_selected_terms(pe: int, simd: int, folds: int, outputs: int, positive: int,
                                  negative: int, *, zeros: bool) -> None:
    array = SelectShape.ternary(simd, folds, 4, signed=True, positive=positive, negative=negative,
                                zeros=zeros, accumulator_bits=20)
    shape = EngineShape(pe, simd, folds, outputs, o_lanes(pe, folds),
                        SEQUENCER_LATENCY + array.depth, array.results_latency)
    signs = np.ones((shape.words, pe, simd), np.int64)
    signs[0, 0, 0] -= zeros
    check_engine(select_engine(signed(4), signs, np.zeros(outputs, np.int64), 20,
                               positive=positive, negative=negative), shape)


def test_deep_queues_are_block_ram() -> None:
    shallow, deep = EngineShape(21, 2, 75, 25, 1, 8), EngineShape(25, 2, 30, 60, 1, 8)
    assert (shallow.queue_depth, shallow.latency) == (63, 12)
    assert (deep.queue_depth, deep.latency) == (100, 16)


def test_an_engine_refuses_lanes_that_do_not_keep_up() -> None:
    with pytest.raises(ValueError, match=r"^o_lanes must divide 6 and be at least 6/2, not 2$"):
        EngineShape(6, 1, 2, 6, 2, 5)
    with pytest.raises(ValueError, match=r"^channel_groups must divide 6 outputs, not 4$"):
        EngineShape(6, 1, 2, 6, 3, 5, channel_groups=4)
    with pytest.raises(ValueError, match=r"^simd must be at least 1, not 0$"):
        EngineShape(6, 0, 2, 6, 3, 5)


# --- constants of channels
@pytest.mark.parametrize(("rows", "group", "lanes"), [
    (1, 5, 2), (5, 5, 2), (6, 4, 3), (4, 6, 6), (3, 7, 1), (8, 2, 2)])
def test_words_of_channels_are_counted(rows: int, group: int, lanes: int) -> None:
    assert channel_beats(rows, group, lanes) == len(channel_words(rows, group, lanes))


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 8, 16, 31, 40])
@pytest.mark.parametrize(("multipliers", "shifts", "twice"), [
    ([1 << 30], [0], True), ([(1 << 31) - 1, 5, 1 << 30], [-3, 0, -7], True),
    ([3 << 29, 7 << 20], [2, -1], False)])
@pytest.mark.parametrize("addend", [0, 5 << 18])
def test_scale(steps: int, multipliers: list[int], shifts: list[int], addend: int, *,
               twice: bool) -> None:
    rules: dict[str, Any] = {"lanes": 2, "group": 3, "steps": steps, "multipliers": multipliers,
                             "shifts": shifts, "offset": 5, "addends": [addend] * len(shifts)}
    shape = ScaleShape.of(range(-128, 128), twice=twice, **rules)
    block = ScaleRequantizer(signed(8), signed(8), low=-128, high=127, single=not twice, **rules,
                             **SMALL)
    times = leaving(block, 9, 9)
    assert times == [shape.latency + n * steps for n in range(9)]
    assert block.latency == shape.latency
    assert shape.words == steps * channel_beats(len(shifts), 3, 2)


@pytest.mark.parametrize("bent", [False, True])
@pytest.mark.parametrize("style", MemoryStyle)
def test_slope(style: MemoryStyle, *, bent: bool) -> None:
    rules: dict[str, Any] = {
        "lanes": 2, "group": 3, "multipliers": [(3, 3 + bent), (-5, -5)], "breakpoints": [0, 2],
        "offsets": [(7, 7), (1, 1)], "shift": 3}
    shape = SlopeShape.of(range(-128, 128), **rules)
    block = SlopeRequantizer(signed(8), signed(4), low=-8, high=7, style=style,
                             technology=Generic(), **rules)
    assert leaving(block, 9, 9) == [shape.latency + n for n in range(9)]
    assert (block.latency, shape.bent) == (shape.latency, bent)


@pytest.mark.parametrize("style", MemoryStyle)
@pytest.mark.parametrize("count", [1, 2, 3, 7, 15, 16])
def test_threshold(count: int, style: MemoryStyle) -> None:
    thresholds = [list(range(n, n + count)) for n in range(3)]
    shape = ThresholdShape.of(range(-128, 128), lanes=2, group=3, thresholds=thresholds,
                              block=style is MemoryStyle.BLOCK)
    block = Thresholder(signed(8), 5, lanes=2, group=3, thresholds=thresholds,
                        falling=[False] * 3, base=0, step=1, style=style, technology=Generic())
    assert leaving(block, 9, 9) == [shape.latency + n for n in range(9)]
    assert block.latency == shape.latency


@pytest.mark.parametrize("style", MemoryStyle)
@pytest.mark.parametrize(("tables", "words"), [(1, 1), (3, 2)])
def test_table(tables: int, words: int, style: MemoryStyle) -> None:
    shape = TableShape.of(tables, lanes=2, group=3, i_bits=4, o_bits=5,
                          block=style is MemoryStyle.BLOCK)
    assert (shape.words, shape.entries) == (words, 16 * words)
    block = LookupTable(signed(4), 5, lanes=2, group=3, tables=[range(16)] * tables, style=style,
                        technology=Generic())
    assert leaving(block, 9, 9) == [shape.latency + n for n in range(9)]
    assert block.latency == shape.latency


# --- windows
@pytest.mark.parametrize("is_signed", [False, True])
@pytest.mark.parametrize(("bits", "area"), [(8, 4), (1, 1), (5, 9), (3, 7)])
def test_poolers(bits: int, area: int, *, is_signed: bool) -> None:
    kind = signed(bits) if is_signed else unsigned(bits)
    sums, wanted = SumPooler(kind, lanes=2, area=area), sum_bits(bits, is_signed, area)
    assert sums.o.payload.shape() == Beat(signed(wanted), 2)
    for block in (sums, MaxPooler(kind, lanes=2, area=area)):
        assert leaving(block, 3 * area, 3)[0] == area - 1 + POOLER_LATENCY


@pytest.mark.parametrize("spare", [0, 3])
@pytest.mark.parametrize(("rows", "columns"), [([3], [3]), ([2, 3, 2], [1, 3])])
def test_average(rows: list[int], columns: list[int], spare: int) -> None:
    inside = Inside(rows, columns, 1)
    shape = AverageShape(5, True, 9, tuple(inside.counts), spare)
    block = AveragePooler(signed(5), lanes=1, area=9, spare=spare, inside=inside)
    assert leaving(block, 27, 3)[0] == 8 + shape.latency


@pytest.mark.parametrize(("size", "kernel", "padding", "lanes", "rows"), [
    ((4, 5, 2), (3, 3), (0, 0, 0, 0), 2, 1), ((4, 5, 3), (3, 2), (0, 0, 0, 0), 4, 2),
    ((3, 3, 1), (1, 1), (0, 0, 0, 0), 1, 1), ((4, 6, 1), (2, 2), (2, 0, 0, 0), 2, 1)])
def test_window(size: tuple[int, int, int], kernel: tuple[int, int],
                padding: tuple[int, int, int, int], lanes: int, rows: int) -> None:
    geometry = WindowGeometry(size, kernel, (1, 1), padding, lanes, rows)
    block = Window(signed(4), geometry, depth=64, **SMALL)
    first = leaving(block, geometry.words, 1, surplus=1000)[0]
    if padding[0] >= kernel[0]:
        # Nothing but padding: it waits for the stages only.
        assert first == FILL_LATENCY + READ_LATENCY
        return
    # The first beat waits for its last row copy's elements.
    last = (rows - 1) * geometry.row_step + lanes - 1
    assert first == max(last // lanes + WRITE_LATENCY, FILL_LATENCY) + READ_LATENCY


def test_padder_takes_no_cycle_of_its_own() -> None:
    block = Padder(signed(4), (3, 3, 1), (1, 0, 0, 0), fill=0, lanes=1, depth=16, **SMALL)
    assert leaving(block, 9, 1, surplus=99)[0] == FILL_LATENCY + READ_LATENCY


@pytest.mark.parametrize("style", MemoryStyle)
@pytest.mark.parametrize(("words", "width", "parts"), [
    (1, 70, (70,)), (4, 130, (130,)), (5, 130, (64, 64, 2)), (9, 64, (64,))])
def test_sequencer(words: int, width: int, parts: tuple[int, ...], style: MemoryStyle) -> None:
    block = style is MemoryStyle.BLOCK
    shape = SequencerShape(words, width, block)
    assert shape.parts == ((width,) if block else parts)
    component: wiring.Component = Sequencer([0] * words, width, style=style, technology=Generic())
    assert len(component.data) == sum(shape.parts)
