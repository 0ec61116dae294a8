"""What each layer becomes under given folds: ports, cycles, memories, timing and cells."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import reduce, singledispatch
from operator import or_
from typing import NamedTuple

import numpy as np

from . import control, ir, resources, window_control
from .bipolar import fills_lanes, is_binary, taken_type
from .gears import gear_blocks, gear_latency, gears, is_regrouped, repacked
from .geometry import (
    Sliding,
    elements_inside,
    freed_words,
    needed_words,
    needed_words_per_channel,
    slices_per_position,
    sliding,
)
from .ir import Network, PenjingError, TensorType
from .plan import Fold, LayerPlan, Port, Queue, Resources, Storage
from .timing import WINDOW_LATENCY, Joining, Outputs, Passing, Stage, Windowed, beat_of, beats_of

DOT_LATENCY = 10
"""Cycles from the last input beat of a group to its first output beat, without the adder tree."""
BINARY_LATENCY = 5
"""The same of an engine that counts signs, without its counters."""
TERNARY_LATENCY = 6
"""The same of an engine that adds and subtracts, without its levels of adders."""
POOL_LATENCY = 1
AVERAGE_POOL_LATENCY = 8
REQUANTIZE_LATENCY = 2
SCALE_DELAY = 4
"""Cycles from a digit of a scale's multiplier to its product, without the sums of its pieces."""
SCALE_PIECE = 4
SCALE_STAGES = 4
SCALE_QUEUE = 2
SLOPE_LATENCY = 10
"""Cycles of a line: constants, the way to the multiplier and from it, a sum, the clamp, a queue."""
SLOPE_CHOICE = 3
"""Cycles more to choose between two lines."""
THRESHOLD_LATENCY = 3
"""Cycles of a multi-threshold activation beside its comparisons."""
ADD_LATENCY = 1
OUTPUT_LANE_LUTS = 80
"""What a lane of accumulators costs in an engine without multipliers, and in thresholds behind."""
QUEUE_LATENCY = 6


def folds_per_position(outputs: int, kernel_height: int, run: int, fold: Fold) -> tuple[int, int]:
    """(groups of outputs, beats of each group) that one position takes."""
    return (-(-outputs // fold.pe),
            -(-kernel_height // fold.rows) * -(-run // fold.lanes))


def channel_groups(layer: ir.Layer, shape: Sliding) -> tuple[int, int]:
    """(channels, outputs) of each group of channels that ``layer`` keeps apart."""
    channels = shape.size[2]
    if isinstance(layer, ir.Depthwise):
        return 1, len(layer.bias) // channels
    assert isinstance(layer, ir.Convolution | ir.Dense)
    groups = layer.groups if isinstance(layer, ir.Convolution) else 1
    return channels // groups, len(layer.bias) // groups


def is_sliced(layer: ir.Layer, shape: Sliding, fold: Fold) -> bool:
    """Whether the engine takes whole groups of channels, slice by slice and tap by tap.

    All outputs of those groups at once, that is, and none of them waits for other groups. With any
    other fold, a convolution in groups is computed as a dense one with zeros.
    """
    if isinstance(layer, ir.Depthwise):
        return True
    if not isinstance(layer, ir.Convolution) or layer.groups == 1:
        return False
    terms, outputs = channel_groups(layer, shape)
    return (fold.pe == outputs and fold.rows == 1 and fold.lanes % terms == 0
            and fold.lanes <= shape.size[2])


def output_lanes(outputs: int, beats: int) -> int:
    """Outputs an engine gives a beat: the fewest that divide those of a group and keep up with it.

    ``outputs`` are ready every ``beats`` cycles.
    """
    return next(lanes for lanes in range(1, outputs + 1)
                if outputs % lanes == 0 and lanes * beats >= outputs)


@dataclass(frozen=True)
class Context:
    """What a layer is planned with: the network, the ports of its inputs, and what is settled.

    ``target`` is the most cycles a frame that layers without multipliers may take; ``dsps`` the DSP
    blocks that are left.
    """

    network: Network
    model: resources.Model
    ports: tuple[Port, ...]
    target: int
    dsps: int
    fold: Fold | None = None

    @property
    def i(self) -> Port:
        """The port of the first input."""
        return self.ports[0]


@dataclass(frozen=True, eq=False)
class Draft:
    """A layer's plan before its buffer has a depth, and its timing (None for mere wiring)."""

    plan: LayerPlan
    stage: Stage | None


def banks(shape: Sliding, fold: Fold) -> int:
    """Memories of each copy of a window buffer: 1 where every read is aligned to a word."""
    return _banks(shape, fold.lanes, per_channel=False)


def _banks(shape: Sliding, lanes: int, *, per_channel: bool) -> int:
    height, width, channels = shape.size
    moves = [lanes]
    if (height, width) != (1, 1):
        moves += [shape.stride[1] * channels, width * channels, shape.padding[2] * channels]
        if per_channel:
            moves.append(channels)
    return lanes // math.gcd(*moves)


@singledispatch
def draft(layer: ir.Layer, context: Context) -> Draft:
    """What ``layer`` becomes; `PenjingError` for a layer that hardware does not know."""
    raise PenjingError(f"layer {layer.name}: the schedule does not know {layer.kind}")


@draft.register
def _(layer: ir.MultiplyAccumulate, context: Context) -> Draft:
    network, fold = context.network, context.fold
    assert fold is not None
    shape = sliding(network, layer)
    if is_sliced(layer, shape, fold):
        return _sliced(layer, context, fold)
    binary = is_binary(network, layer, fold)
    code_bits = 0 if binary else ternary_bits(layer, shape, fold)
    source = taken_type(network, layer, bits=binary or code_bits > 0)
    result = network.type_of(layer.name)
    groups, beats = folds_per_position(result.shape[2], shape.kernel[0], shape.run, fold)
    o = Port(output_lanes(fold.pe, beats), result.shape[2])
    counter = counter_latency(fold.simd)
    latency = DOT_LATENCY + (fold.simd - 1).bit_length()
    if binary:
        latency = BINARY_LATENCY + counter
    elif code_bits:
        latency = TERNARY_LATENCY + ternary_levels(fold.simd, *ternary_scales(layer))
    outputs, reader = _drained(o, fold.pe, beats, latency, shape.positions)
    stage = Windowed(source.elements, context.i, fold.lanes,
                     gear_latency(context.i, fold.lanes, source.elements),
                     needed_words(shape, fold.lanes, fold.rows), freed_words(shape, fold.lanes),
                     groups, outputs, reader,
                     gear_blocks(context.i, fold.lanes, source.elements))
    if binary:
        # Where all biases are equal, so is what makes sums of all counts.
        offsets = 1 if len(np.unique(layer.bias)) == 1 else beats_of(o.group, o)
        return _engine(layer, context, o, stage, groups * beats, 1, resources.binary(
            context.model, pe=fold.pe, simd=fold.simd, depth=1 + counter, words=groups * beats,
            terms=beats * fold.simd, total_bits=result.bits, o_lanes=o.lanes, offsets=offsets),
            binary=True)
    if code_bits:
        positive, negative = ternary_scales(layer)
        return _engine(layer, context, o, stage, groups * beats, code_bits, resources.ternary(
            context.model, pe=fold.pe, simd=fold.simd, bits=source.bits, terms=beats * fold.simd,
            apart=positive != negative, zeros=code_bits == 2,
            digits=ternary_digits(positive, negative), total_bits=result.bits, o_lanes=o.lanes,
            constants=beats_of(o.group, o)), ternary=True)
    dsps = _dsps(context, source.bits, layer.weights.bits, fold.products)
    return _engine(layer, context, o, stage, groups * beats, layer.weights.bits, resources.dot(
        context.model, pe=fold.pe, simd=fold.simd, soft=fold.products - dsps, dsps=dsps,
        a_bits=source.bits, b_bits=layer.weights.bits, total_bits=result.bits, o_lanes=o.lanes,
        groups=groups))


def counter_latency(terms: int) -> int:
    """Cycles from signs to the edge that adds how many of so many ``terms`` differ.

    Three are counted at once, two counts and a sign in each level of adders behind; a last sign
    enters with the accumulation.
    """
    return 2 + max(0, (terms - 1).bit_length() - 2) if terms > 1 else 1


def ternary_scales(layer: ir.MultiplyAccumulate) -> tuple[int, int]:
    """(Wp, Wn) of a layer that has them."""
    scales = layer.weights.ternary
    assert scales is not None
    return scales


def ternary_bits(layer: ir.MultiplyAccumulate, shape: Sliding, fold: Fold) -> int:
    """Bits of a weight where products are terms that are added or subtracted; 0 elsewhere.

    These are the layers of weights of three values, but for those taken slice by slice. One bit is
    enough where no weight is 0, nor any lane spare, and both scales are equal.
    """
    if layer.weights.ternary is None or is_sliced(layer, shape, fold):
        return 0
    positive, negative = layer.weights.ternary
    grouped = isinstance(layer, ir.Convolution) and layer.groups > 1
    signs = positive == negative and not grouped and bool(layer.weights.values.all())
    return 1 if signs and fills_lanes(shape, fold) else 2


def ternary_digits(positive: int, negative: int) -> int:
    """Shifted totals that a result is made of: those of both scales if they differ."""
    scales = {positive, negative}
    # The fewest powers of two, negative ones too, whose sum a number is.
    return sum((3 * scale ^ scale).bit_count() for scale in scales)


def ternary_levels(simd: int, positive: int, negative: int) -> int:
    """Levels of adders in front of the accumulators of a ternary engine and behind its drain."""
    return (simd - 1).bit_length() + ternary_digits(positive, negative).bit_length()


def logic_worth(layer: ir.MultiplyAccumulate, context: Context, fold: Fold) -> float:
    """What an engine without multipliers costs under ``fold``, as far as folds differ, in LUTs.

    Its counters or adders, the memory of its weights, what makes words of beats and turns these,
    and what takes its results.
    """
    model, shape, i = context.model, sliding(context.network, layer), context.i
    elements = math.prod(shape.size)
    groups, beats = folds_per_position(len(layer.bias), shape.kernel[0], shape.run, fold)
    bits = taken_type(context.network, layer, bits=True).bits
    if is_binary(context.network, layer, fold):
        code_bits = 1
        luts = resources.counter_luts(model, fold.simd, beats * fold.simd)
    else:
        code_bits = ternary_bits(layer, shape, fold)
        positive, negative = ternary_scales(layer)
        luts = resources.selected_luts(model, fold.simd, bits, beats * fold.simd,
                                       apart=positive != negative, zeros=code_bits == 2)
    width = fold.products * code_bits
    words = groups * beats
    cells = resources.sequencer(model, resources.rom_storage(model, words, width), words, width)
    cells += _gears(model, i, fold.lanes, elements, bits)
    turned = fold.simd * bits * (banks(shape, fold) - 1)
    return (fold.pe * luts + turned + cells.luts + model.block_worth * cells.brams
            + OUTPUT_LANE_LUTS * output_lanes(fold.pe, beats))


def _gears(model: resources.Model, i: Port, lanes: int, elements: int, bits: int) -> Resources:
    """Cells of what makes words of ``lanes`` elements of ``bits`` bits."""
    cells = Resources()
    for gear in gears(i, lanes, elements):
        kind = resources.collector if gear.collects else resources.gearbox
        cells += kind(model, bits=bits, i_lanes=gear.i.lanes, o_lanes=gear.lanes)
    return cells


def _dsps(context: Context, a_bits: int, b_bits: int, multipliers: int) -> int:
    """How many of so many ``multipliers`` are DSP blocks."""
    fits = resources.fits_dsp(context.model, a_bits, b_bits)
    return min(context.dsps, multipliers) if fits else 0


def _sliced(layer: ir.MultiplyAccumulate, context: Context, fold: Fold) -> Draft:
    """Draft of a depthwise layer, or of one in groups that are taken slice by slice."""
    shape = sliding(context.network, layer)
    source = taken_type(context.network, layer)
    result = context.network.type_of(layer.name)
    slices, taps = slices_per_position(shape, fold.lanes)
    terms, _ = channel_groups(layer, shape)
    # The outputs of a slice are ready together: to the drain, they are one group.
    outputs = fold.products // terms
    o = Port(output_lanes(outputs, taps), result.shape[2])
    stage = _per_channel(shape, source, context.i, fold.lanes,
                         *_drained(o, outputs, taps, DOT_LATENCY + (terms - 1).bit_length(),
                                   shape.positions))
    dsps = _dsps(context, source.bits, layer.weights.bits, fold.products)
    return _engine(layer, context, o, stage, slices * taps, layer.weights.bits, resources.depthwise(
        context.model, lanes=fold.lanes, outputs=outputs, terms=terms, soft=fold.products - dsps,
        dsps=dsps, a_bits=source.bits, b_bits=layer.weights.bits, total_bits=result.bits,
        o_lanes=o.lanes, slices=slices))


def _engine(layer: ir.MultiplyAccumulate, context: Context, o: Port, stage: Windowed, words: int,
            bits: int, cells: Resources, *, binary: bool = False, ternary: bool = False) -> Draft:
    """Draft of an engine of ``cells`` beside its ``words`` words of weights of ``bits`` bits."""
    network, fold = context.network, context.fold
    assert fold is not None
    width = fold.products * bits
    storage = resources.rom_storage(context.model, words, width)
    plan = LayerPlan(
        layer.name, layer.kind, context.i, o, stage.cycles, ir.layer_macs(network, layer), fold,
        binary, ternary, cells.dsps, storage,
        memory_bits=words * width + len(layer.bias) * network.type_of(layer.name).bits,
        resources=cells + resources.sequencer(context.model, storage, words, width))
    return Draft(plan, stage)


def _drained(o: Port, outputs: int, beats: int, latency: int, positions: int
             ) -> tuple[Outputs, window_control.Engine]:
    """When each output beat of a position leaves an engine, and the control of that.

    ``outputs`` are ready every ``beats`` cycles, ``latency`` after the last of them came in.
    """
    groups = -(-o.group // outputs)
    tails = [-(-min(outputs, o.group - n * outputs) // o.lanes) for n in range(groups)]
    reads = np.repeat((np.arange(groups) + 1) * beats - 1, tails)
    drain = np.concatenate([np.arange(tail) for tail in tails])
    before = np.append(0, np.cumsum(np.tile(tails, positions)))
    return (Outputs(reads, reads + WINDOW_LATENCY + latency + drain),
            window_control.Engine(beats, latency, outputs // o.lanes, before.tolist()))


def _per_channel(shape: Sliding, source: TensorType, i: Port, lanes: int, outputs: Outputs,
                 reader: window_control.Reader, behind: tuple[control.Block, ...] = ()) -> Windowed:
    """Timing of what reads its window channel slice by channel slice, tap by tap."""
    return Windowed(source.elements, i, lanes, gear_latency(i, lanes, source.elements),
                    needed_words_per_channel(shape, lanes), freed_words(shape, lanes), 1, outputs,
                    reader, gear_blocks(i, lanes, source.elements), behind)


@draft.register
def _(layer: ir.PoolLayer | ir.Pad, context: Context) -> Draft:
    shape = sliding(context.network, layer)
    source = taken_type(context.network, layer)
    channels, area = shape.size[2], shape.taps
    steps = max(1, context.target // (shape.positions * area))
    lanes = -(-channels // min(steps, channels))
    arriving = context.i.lanes
    if (lanes < arriving < 2 * lanes and arriving <= channels
            and not gears(context.i, arriving, source.elements)):
        # A few lanes more cost less than a gearbox, which is slow besides.
        lanes = arriving
    slices, _ = slices_per_position(shape, lanes)
    latency, cells = _pool(layer, context.model, lanes, source, shape)
    reads = (np.arange(slices) + 1) * area - 1
    stage = _per_channel(
        shape, source, context.i, lanes, Outputs(reads, reads + WINDOW_LATENCY + latency),
        window_control.Border() if isinstance(layer, ir.Pad) else window_control.Reduction(area),
        (control.Steps(latency - POOL_LATENCY),) if latency > POOL_LATENCY else ())
    plan = LayerPlan(layer.name, layer.kind, context.i, Port(lanes, channels), stage.cycles,
                     resources=cells)
    return Draft(plan, stage)


def _pool(layer: ir.Layer, model: resources.Model, lanes: int, source: TensorType, shape: Sliding
          ) -> tuple[int, Resources]:
    """(latency, cells) of what stands behind the window of a layer without weights."""
    if isinstance(layer, ir.Pad):
        return 0, Resources()
    area = shape.taps
    if isinstance(layer, ir.AveragePool):
        rows, columns = elements_inside(shape)
        counts = {area} if layer.count_padding else {y * x for y in rows for x in columns}
        return AVERAGE_POOL_LATENCY + (layer.spare > 0), resources.average_pooler(
            model, lanes=lanes, bits=source.bits, area=area, counts=counts, spare=layer.spare)
    if isinstance(layer, ir.SumPool):
        return POOL_LATENCY, resources.sum_pooler(model, lanes=lanes, bits=source.bits, area=area)
    if isinstance(layer, ir.MaxPool):
        return POOL_LATENCY, resources.max_pooler(model, lanes=lanes, bits=source.bits)
    raise PenjingError(f"layer {layer.name}: the schedule does not know {layer.kind}")


@draft.register
def _(layer: ir.ShiftRequantize | ir.Clamp, context: Context) -> Draft:
    source = taken_type(context.network, layer)
    result = context.network.type_of(layer.name)
    beats = beats_of(source.elements, context.i)
    shift = layer.shift if isinstance(layer, ir.ShiftRequantize) else 0
    cells = resources.requantizer(context.model, lanes=context.i.lanes, i_bits=source.bits,
                                  o_bits=result.bits, shift=shift)
    plan = LayerPlan(layer.name, layer.kind, context.i, context.i, beats, resources=cells)
    return Draft(plan, Passing(np.arange(beats), REQUANTIZE_LATENCY, beats,
                               stages=(control.Steps(REQUANTIZE_LATENCY),)))


@draft.register
def _(layer: ir.ScaleRequantize, context: Context) -> Draft:
    source = taken_type(context.network, layer)
    result = context.network.type_of(layer.name)
    i = context.i
    beats = beats_of(source.elements, i)
    # A multiplication may take as long as beats are apart at the wanted speed.
    steps = max(1, min(ir.MULTIPLIER_BITS, context.target // beats))
    # What is rounded once is rounded at one place, whatever the shift.
    right = [max(0, -int(s)) for s in layer.shifts
             ] if layer.rounding is ir.ScaleRounding.DOUBLE else [0]
    digit = -(-scaled_bits(layer) // steps)
    words = (1 if layer.multipliers.size == 1
             else beats_of(math.lcm(layer.multipliers.size, i.group), i)) * steps
    storage = resources.rom_storage(context.model, words, digit * i.lanes)
    delay = SCALE_DELAY + (-(-digit // SCALE_PIECE) - 1).bit_length()
    queued = SCALE_STAGES * steps <= delay + steps + SCALE_STAGES
    value_bits = ir.signed_bits(source.low - layer.offset, source.high - layer.offset)
    cells = resources.scale_requantizer(
        context.model, lanes=i.lanes, value_bits=value_bits, digit=digit, steps=steps,
        constant=words == 1, fraction=1 + max(right), spread=max(right) - min(right),
        o_bits=result.bits, queued=queued,
        exact=layer.rounding in (ir.ScaleRounding.EVEN, ir.ScaleRounding.ODD))
    cells += resources.sequencer(context.model, storage, words, digit * i.lanes)
    plan = LayerPlan(
        layer.name, layer.kind, i, i, beats * steps, weight_storage=storage, steps=steps,
        memory_bits=words * digit * i.lanes, resources=cells)
    latency = delay + steps + SCALE_STAGES
    capacity = SCALE_STAGES
    if queued:
        latency += SCALE_QUEUE
        capacity += max(3, -(-(latency + 1) // steps) - SCALE_STAGES + 1) - 1
    return Draft(plan, Passing(np.arange(beats), latency, beats * steps, steps,
                               (control.Delay(latency, capacity, steps),)))


def scaled_bits(layer: ir.ScaleRequantize) -> int:
    """Bits of the multipliers at the scale of the smallest shift, without common zeros."""
    least = int(layer.shifts.min())
    used = reduce(or_, (int(m) << int(s) - least
                        for m, s in zip(layer.multipliers, layer.shifts, strict=True)))
    return max(1, (used // max(1, used & -used)).bit_length())


@draft.register
def _(layer: ir.SlopeRequantize, context: Context) -> Draft:
    source = taken_type(context.network, layer)
    i = context.i
    beats = beats_of(source.elements, i)
    rows = len(layer.breakpoints)
    words = 1 if rows == 1 else beats_of(math.lcm(rows, i.group), i)
    bent = layer.is_bent
    bits = slope_bits(layer, source)
    tables, width = words * (1 + bent), bits.multiplier + bits.offset
    storage = resources.rom_storage(context.model, tables, width)
    dsps = _dsps(context, source.bits, bits.multiplier, i.lanes)
    cells = resources.slope_requantizer(
        context.model, storage, lanes=i.lanes, dsps=dsps, i_bits=source.bits,
        o_bits=context.network.type_of(layer.name).bits, m_bits=bits.multiplier,
        c_bits=bits.offset, t_bits=bits.breakpoint if bent else 0, sum_bits=bits.sum,
        shift=layer.shift, words=words)
    plan = LayerPlan(
        layer.name, layer.kind, i, i, beats, dsp_multipliers=dsps, weight_storage=storage,
        memory_bits=i.lanes * (tables * width + bent * words * bits.breakpoint), resources=cells,
        scalers=i.lanes)
    latency = SLOPE_LATENCY + bent * SLOPE_CHOICE
    return Draft(plan, Passing(np.arange(beats), latency, beats,
                               stages=(control.Delay(latency, latency + 1),)))


class SlopeBits(NamedTuple):
    """Bits of what a slope requantization computes with."""

    multiplier: int
    offset: int
    breakpoint: int
    sum: int


def slope_bits(layer: ir.SlopeRequantize, source: TensorType) -> SlopeBits:
    """The bits in hardware: the rounding half is within the offsets, breakpoints are drawn in."""
    offsets = layer.offsets + (1 << layer.shift >> 1)
    sums = [layer.multipliers * end + offsets for end in (source.low, source.high)]
    points = np.clip(layer.breakpoints, source.low, source.high + 1)
    return SlopeBits(*(ir.signed_bits(int(values.min()), int(values.max()))
                       for values in (layer.multipliers, offsets, points, np.stack(sums))))


@draft.register
def _(layer: ir.Threshold, context: Context) -> Draft:
    source = taken_type(context.network, layer)
    i = context.i
    beats = beats_of(source.elements, i)
    rows, count = layer.thresholds.shape
    stages = count.bit_length()
    words = 1 if rows == 1 else beats_of(math.lcm(rows, i.group), i)
    t_bits = threshold_bits(layer, source)
    storage = resources.rom_storage(context.model, words << stages - 1, t_bits)
    cells = resources.thresholder(
        context.model, storage, lanes=i.lanes, i_bits=source.bits, t_bits=t_bits,
        o_bits=context.network.type_of(layer.name).bits, stages=stages, words=words)
    plan = LayerPlan(layer.name, layer.kind, i, i, beats, weight_storage=storage, resources=cells,
                     memory_bits=words * i.lanes * t_bits * ((1 << stages) - 1))
    pace = 3 if storage is Storage.BLOCK else 2
    latency = pace * stages + THRESHOLD_LATENCY
    return Draft(plan, Passing(np.arange(beats), latency, beats,
                               stages=(control.Delay(latency, latency + 1),)))


def threshold_bits(layer: ir.Threshold, source: TensorType) -> int:
    """Bits of a threshold in hardware, where those beyond the input's values are drawn in."""
    spare = layer.thresholds.shape[1] + 1 & layer.thresholds.shape[1]
    low = source.low if spare else max(source.low, int(layer.thresholds.min()))
    high = max(source.low, min(source.high + 1, int(layer.thresholds.max())))
    low = min(low, high)
    return ir.signed_bits(low, high) if low < 0 else ir.unsigned_bits(high)


@draft.register
def _(layer: ir.Add, context: Context) -> Draft:
    result = context.network.type_of(layer.name)
    height, width, channels = result.shape
    o = Port(-(-channels // min(max(1, context.target // (height * width)), channels)), channels)
    beats = beats_of(result.elements, o)
    ends = np.minimum((np.arange(-(-channels // o.lanes)) + 1) * o.lanes, channels) - 1
    elements = (np.arange(height * width)[:, None] * channels + ends).reshape(-1)
    cells = resources.adder(context.model, lanes=o.lanes, bits=result.bits)
    cycles = beats
    for name, port in zip(layer.inputs, context.ports, strict=True):
        cycles = max(cycles, beats_of(result.elements, port))
        if is_regrouped(port, o):
            cells += resources.gearbox(context.model, bits=context.network.type_of(name).bits,
                                       i_lanes=port.lanes, o_lanes=o.lanes)
    plan = LayerPlan(layer.name, layer.kind, context.i, o, cycles, other=context.ports[1],
                     resources=cells)
    stages = tuple((repacked(port, o, result.elements),) if is_regrouped(port, o) else ()
                   for port in context.ports)
    return Draft(plan, Joining(tuple(beat_of(elements, port) for port in context.ports),
                               QUEUE_LATENCY + ADD_LATENCY, cycles, stages))


@draft.register
def _(layer: ir.Repeat, context: Context) -> Draft:
    i = context.i
    beats = beats_of(taken_type(context.network, layer).elements, i)
    o = Port(i.lanes * layer.times, i.group * layer.times)
    plan = LayerPlan(layer.name, layer.kind, i, o, beats)
    return Draft(plan, Passing(np.arange(beats), 0, beats))


@draft.register
def _(layer: ir.Rewiring, context: Context) -> Draft:
    source = context.network.source_type(layer)
    plan = LayerPlan(layer.name, layer.kind, context.i, context.i, 0)
    if taken_type(context.network, layer) == source:
        return Draft(plan, None)
    # At the network's end, bits become integers.
    beats = beats_of(source.elements, context.i)
    return Draft(replace(plan, cycles=beats), Passing(np.arange(beats), 0, beats))


@draft.register
def _(layer: ir.ArgMax, context: Context) -> Draft:
    source = taken_type(context.network, layer)
    channels = source.shape[2]
    geared = context.i.lanes > 1
    lasts = np.arange(channels - 1, source.elements, channels)
    beats = beats_of(source.elements, context.i)
    cycles = max(beats, source.elements if geared else 0)
    # One element a cycle behind a gearbox: the last of a group waits for those before it.
    wait = (channels - 1) % context.i.lanes + 1 if geared else 0
    cells = resources.argmax(context.model, bits=source.bits, count=channels)
    if geared:
        cells += resources.gearbox(context.model, bits=source.bits, i_lanes=context.i.lanes,
                                   o_lanes=1)
    plan = LayerPlan(layer.name, layer.kind, context.i, Port(1, 1), cycles, resources=cells)
    one = control.reducer(source.elements, channels)
    stages = (repacked(context.i, Port(1, channels), source.elements), one) if geared else (one,)
    return Draft(plan, Passing(beat_of(lasts, context.i), 1 + wait, cycles, cycles // beats,
                               stages))


def with_buffer(draft_: Draft, network: Network, layer: ir.Layer, model: resources.Model,
                depth: int) -> LayerPlan:
    """The finished plan of a windowed layer whose buffer must hold ``depth`` words."""
    plan, stage = draft_.plan, draft_.stage
    assert isinstance(stage, Windowed)
    shape = sliding(network, layer)
    source = taken_type(network, layer, bits=plan.takes_bits)
    per_channel = plan.fold is None or is_sliced(layer, shape, plan.fold)
    rows = plan.fold.rows if plan.fold else 1
    count = _banks(shape, stage.lanes, per_channel=per_channel)
    words = 1 << max(1, (depth - 1).bit_length())
    width = stage.lanes * source.bits
    storage = resources.ram_storage(model, words, width // count)
    cells = plan.resources + resources.window(
        model, bits=source.bits, lanes=stage.lanes, rows=rows, banks=count, depth=words,
        storage=storage, address_bits=(4 * (stage.words + words)).bit_length(),
        padded=any(shape.padding))
    cells += _gears(model, plan.i, stage.lanes, source.elements, source.bits)
    return replace(plan, buffer_words=words, buffer_storage=storage, resources=cells,
                   memory_bits=plan.memory_bits + rows * words * width)


def with_queues(plan: LayerPlan, network: Network, layer: ir.Layer, model: resources.Model,
                beats: tuple[int, ...]) -> LayerPlan:
    """The plan with a queue of so many ``beats`` in front of each input, 0 for none."""
    queues = []
    ports = (plan.i,) if plan.other is None else (plan.i, plan.other)
    for name, port, wanted in zip(layer.inputs, ports, beats, strict=True):
        if not wanted:
            queues.append(Queue(0, None))
            continue
        width = port.lanes * network.type_of(name).bits + 1
        # What memory rounds up to costs nothing: a block or the tables of 16 words.
        depth = max(wanted, 16)
        storage = resources.ram_storage(model, depth, width)
        queue = Queue(depth, storage)
        plan = replace(plan, resources=plan.resources + resources.queue(model, queue, width),
                       memory_bits=plan.memory_bits + depth * width)
        queues.append(queue)
    return replace(plan, queues=tuple(queues))


def input_port(kind: TensorType, target: int) -> Port:
    """The fewest lanes at which a frame comes in within ``target`` cycles.

    Beats are of one position, unless there are more positions than cycles.
    """
    height, width, channels = kind.shape
    steps = target // (height * width)
    if steps < 1:
        return Port(-(-kind.elements // target), kind.elements)
    return Port(-(-channels // min(steps, channels)), channels)
