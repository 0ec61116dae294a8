"""Networks and runs that several test modules share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from amaranth.hdl import Elaboratable
from penjing.compiler import ir
from penjing.compiler.cost import Resources
from penjing.compiler.cost.families import ECP5
from penjing.compiler.dataflow import accelerator
from penjing.compiler.dataflow.budget import Budget
from penjing.compiler.dataflow.geometry import Geometry
from penjing.compiler.dataflow.kinds import engines_of
from penjing.compiler.dataflow.kinds.binary import Binary
from penjing.compiler.dataflow.plan import Fold, Plan, Port
from penjing.compiler.dataflow.search import Candidate, Goal, schedule, search, wider
from penjing.compiler.dataflow.site import sites
from penjing.compiler.ir import Builder, Network, TensorType
from penjing.hdl.tech import Generic
from penjing.sim import golden
from penjing.sim.streams import Stalls, pack, transfers, unpack

PLENTY = Resources(luts=10**6, ffs=10**6, dsps=10**4, brams=10**4)


def random_network(seed: Any, *, layers: int = 3, thresholds: bool = False) -> Network:
    """A small network with odd shapes, any stride and padding, and 2 to 8 bits.

    With ``thresholds``, they make all activations, of 1 to 8 bits, and there is no layer that pads.
    """
    rng = np.random.default_rng(seed)
    height, width, channels = (int(n) for n in rng.integers((4, 4, 1), (11, 11, 6)))
    grow = Builder(TensorType((height, width, channels), int(rng.integers(2, 9)),
                              bool(rng.integers(2))))
    for n in range(int(rng.integers(1, layers + 1))):
        if not thresholds and rng.integers(5) == 0:
            grow.add(ir.Pad(f"pad{n}", grow.tail, tuple(int(p) for p in rng.integers(0, 4, 4)),
                            random_value(rng, grow.type)))
        add_windowed(grow, rng, n, random_threshold if thresholds else random_requantization)
        shapes = other_shapes(grow.type)
        if shapes and rng.integers(4) == 0:
            grow.add(ir.Reshape(f"reshape{n}", grow.tail, shapes[rng.integers(len(shapes))]))
    if rng.integers(2):
        grow.add(ir.Clamp("clamp", grow.tail, -3, 2))
    if rng.integers(2):
        grow.add(ir.Flatten("flatten", grow.tail))
        outputs = int(rng.integers(1, 9))
        grow.add(ir.Dense("dense", grow.tail, random_weights(rng, (outputs, grow.type.elements)),
                          rng.integers(-50, 50, outputs)))
        if rng.integers(2):
            grow.add(ir.ArgMax("argmax", grow.tail))
    return grow.network()


def mixed_network(seed: Any) -> Network:
    """A small network of which every layer draws its own weights and activations of 1 to 8 bits.

    Binary and ternary weights and signs as activations are frequent; what follows signs may pad
    them, take their maxima, or multiply them by weights of any kind.
    """
    rng = np.random.default_rng(seed)
    height, width, channels = (int(n) for n in rng.integers((3, 3, 1), (8, 8, 5)))
    grow = Builder(TensorType((height, width, channels), int(rng.integers(1, 9)), False))
    if rng.integers(2):
        grow.add(random_sign(rng, "signs", grow.tail, grow.type))
    for n in range(int(rng.integers(1, 4))):
        if isinstance(grow.type, ir.Bipolar) and rng.integers(4) == 0:
            grow.add(ir.Pad(f"pad{n}", grow.tail, tuple(int(p) for p in rng.integers(0, 3, 4)),
                            random_value(rng, grow.type)))
        add_windowed(grow, rng, n, mixed_activation, mixed_weights)
        if rng.integers(5) == 0 and grow.type.shape[2] < 5:
            grow.add(ir.Repeat(f"repeat{n}", grow.tail, int(rng.integers(1, 4))))
    if rng.integers(2):
        grow.add(ir.Flatten("flatten", grow.tail))
        outputs = int(rng.integers(1, 9))
        grow.add(ir.Dense("dense", grow.tail, mixed_weights(rng, (outputs, grow.type.elements)),
                          rng.integers(-9, 9, outputs)))
        if rng.integers(2):
            grow.add(mixed_activation(rng, "last", grow.tail, grow.type))
    if rng.integers(4) == 0:
        grow.add(ir.ArgMax("argmax", grow.tail))
    return grow.network()


def mixed_weights(rng: np.random.Generator, shape: tuple[int, ...]) -> ir.Weights:
    """Weights of 1 to 8 bits: signs, trained ternary ones, or any."""
    choice = rng.integers(4)
    if choice < 2:
        return ir.Weights(rng.choice([-1, 1], shape), 2)
    if choice == 2:
        negative, positive = (int(n) for n in rng.integers(1, 8, 2))
        return ir.Weights(rng.choice([-negative, 0, positive], shape), 4)
    return random_weights(rng, shape)


def mixed_activation(rng: np.random.Generator, name: str, source: str, kind: TensorType
                     ) -> ir.Layer:
    """Signs, or 1 to 8 bits by thresholds, by a multiplication or by lines."""
    choice = rng.integers(7)
    if choice < 4:
        return random_sign(rng, name, source, kind)
    make = {4: random_threshold, 5: random_requantization, 6: random_slopes}[int(choice)]
    return make(rng, name, source, kind)


def random_sign(rng: np.random.Generator, name: str, source: str, kind: TensorType
                ) -> ir.Threshold:
    """Thresholds to -1 and +1 where ``kind`` is likely to have values on either side."""
    rows = int(rng.choice([1, kind.shape[2]]))
    spread = max(1, min(kind.high, int(rng.choice([1, 6, 40]))))
    middle = 0 if kind.signed else kind.high // 2
    thresholds = middle + rng.integers(-spread, spread + 1, (rows, 1))
    return ir.Threshold(name, source, thresholds, rng.integers(0, 2, rows), 2, True, -1, 2)


def other_shapes(kind: TensorType) -> list[tuple[int, int, int]]:
    """Small shapes other than that of ``kind`` with as many elements."""
    most = range(1, 13)
    return [shape for height in most for channels in most
            if kind.elements % (height * channels) == 0
            and (shape := (height, kind.elements // height // channels, channels)) != kind.shape
            and shape[1] in most]


def add_windowed(grow: Builder, rng: np.random.Generator, n: int,
                 activation: Callable[..., ir.Layer],
                 weights: Callable[..., ir.Weights] | None = None) -> None:
    """A convolution of any kind or a pooling, the type brought back to few bits."""
    weights = weights or random_weights
    height, width, channels = grow.type.shape
    kernel = (int(rng.integers(1, min(7, height) + 1)), int(rng.integers(1, min(5, width) + 1)))
    stride = int(rng.integers(1, 4)), int(rng.integers(1, 4))
    padding = tuple(int(rng.integers(0, k)) for k in (kernel[0], kernel[0], kernel[1], kernel[1]))
    value = random_value(rng, grow.type)
    choice = rng.integers(8)
    if choice < 4:
        groups = int(rng.choice([g for g in range(1, channels + 1) if channels % g == 0]))
        outputs = int(rng.integers(1, max(1, 8 // groups) + 1)) * groups
        grow.add(ir.Convolution(
            f"conv{n}", grow.tail, weights(rng, (outputs, *kernel, channels // groups)),
            rng.integers(-500, 500, outputs), stride, padding, value, groups))
    elif choice < 6:
        outputs = int(rng.integers(1, 4)) * channels
        grow.add(ir.Depthwise(f"depthwise{n}", grow.tail, weights(rng, (outputs, *kernel)),
                              rng.integers(-500, 500, outputs), stride, padding, value))
    elif choice == 6:
        grow.add(ir.SumPool(f"sum{n}", grow.tail, kernel, stride, padding))
    elif rng.integers(2):
        grow.add(ir.MaxPool(f"pool{n}", grow.tail, kernel, stride, padding))
    else:
        grow.add(ir.AveragePool(f"pool{n}", grow.tail, kernel, stride, padding,
                                ir.Rounding(rng.choice([r.value for r in ir.Rounding])),
                                bool(rng.integers(2)), int(rng.choice([0, 0, 3]))))
    if choice < 7:
        grow.add(activation(rng, f"relu{n}", grow.tail, grow.type))


def random_requantization(rng: np.random.Generator, name: str, source: str, kind: TensorType
                          ) -> ir.Layer:
    """Back to 2 to 8 bits, by a shift or by a scale for every channel."""
    bits, is_signed = int(rng.integers(2, 9)), bool(rng.integers(2))
    if rng.integers(2) or kind.bits > 29:
        return ir.ShiftRequantize(name, source, int(rng.integers(-1, 8)), bits, is_signed)
    channels = kind.shape[2]
    target = TensorType((1, 1, 1), bits, is_signed)
    multipliers = rng.integers(1 << 30, 1 << 31, channels)
    return ir.ScaleRequantize(
        name, source, multipliers, rng.integers(-7, 2, channels),
        bits, is_signed, offset=int(rng.integers(-9, 9)),
        zero_point=int(rng.integers(target.low, target.high + 1)),
        rounding=ir.ScaleRounding(rng.choice([r.value for r in ir.ScaleRounding])),
        addends=None if multipliers[0] % 3 else multipliers // 5)


def random_slopes(rng: np.random.Generator, name: str, source: str, kind: TensorType, *,
                  bits: int = 6) -> ir.SlopeRequantize:
    """A line for each channel or for all, or two that meet, to ``bits`` bits and a sign.

    Most values of ``kind`` are not clamped if they are as usual sums are.
    """
    rows = int(rng.choice([1, kind.shape[2]]))
    shift = int(rng.integers(0, 14))
    spread = min(kind.high, 40) + 1
    factor = max(1, (1 << shift + bits - 1) // spread)
    multipliers = rng.integers(-factor, 2 * factor, (rows, 2)).clip(-1 << 17, (1 << 17) - 1)
    offsets = rng.integers(-4 << shift, 4 << shift, (rows, 2))
    if rng.integers(3) == 0:
        multipliers, offsets = multipliers[:, [0, 0]], offsets[:, [0, 0]]
    return ir.SlopeRequantize(name, source, multipliers, offsets,
                              rng.integers(-spread // 2, spread // 2 + 2, rows), shift, bits, True)


def random_threshold(rng: np.random.Generator, name: str, source: str, kind: TensorType
                     ) -> ir.Threshold:
    """Thresholds within and just beyond the values of ``kind``, of both polarities."""
    rows = int(rng.choice([1, kind.shape[2]]))
    count = int(rng.choice([1, 2, 3, 7, int(rng.integers(1, 18))]))
    spread = min(kind.high, int(rng.choice([3, 100, 1 << 40])))
    thresholds = rng.integers(max(kind.low, -spread) - 1, spread + 3, (rows, count))
    step, bits = int(rng.integers(1, 3)), int(rng.integers(6, 9))
    is_signed = bool(rng.integers(2))
    base = int(rng.integers(-16, 5)) if is_signed else int(rng.integers(0, 9))
    if count == 1 and rng.integers(2):
        step, bits, is_signed, base = 2, 2, True, -1
    elif count == 1:
        step, bits, is_signed, base = 1, 1, False, 0
    base = min(base, TensorType((1, 1, 1), bits, is_signed).high - step * count)
    return ir.Threshold(name, source, np.sort(thresholds, 1), rng.integers(0, 2, rows), bits,
                        is_signed, base, step)


def random_table(rng: np.random.Generator, name: str, source: str, kind: TensorType) -> ir.Table:
    """Any function of ``kind`` to 1 to 8 bits, of all channels or of each, now and then constant.

    Some have entries that no input meets.
    """
    bits, is_signed = int(rng.integers(1, 9)), bool(rng.integers(2))
    target = TensorType((1, 1, 1), bits, is_signed)
    spare = min(int(rng.choice([0, 0, 3])), 255 - kind.high + kind.low)
    shape = int(rng.choice([1, kind.shape[2]])), kind.high - kind.low + 1 + spare
    values = rng.integers(target.low, target.high + 1, shape)
    if rng.integers(8) == 0:
        values[:] = target.low
    return ir.Table(name, source, values, bits, is_signed, kind.low - spare // 2)


def table_network(seed: int) -> Network:
    """A small chain with tables of integers and of signs, at its ends and behind other layers."""
    rng = np.random.default_rng(seed)
    height, width, channels = (int(n) for n in rng.integers((3, 3, 1), (8, 8, 6)))
    grow = Builder(TensorType((height, width, channels), int(rng.integers(1, 9)),
                              bool(rng.integers(2))))
    if rng.integers(2):
        grow.add(random_table(rng, "first", grow.tail, grow.type))
    for n in range(int(rng.integers(1, 4))):
        add_windowed(grow, rng, n, random_requantization)
        if rng.integers(3) == 0:
            grow.add(random_sign(rng, f"sign{n}", grow.tail, grow.type))
        if grow.type.bits <= ir.TABLE_BITS:
            grow.add(random_table(rng, f"table{n}", grow.tail, grow.type))
        if rng.integers(4) == 0:
            grow.add(ir.Flatten(f"flatten{n}", grow.tail))
    return grow.network()


def random_value(rng: np.random.Generator, kind: TensorType) -> int:
    """Any value of ``kind``."""
    return int(rng.integers(kind.low, kind.high + 1))


def random_weights(rng: np.random.Generator, shape: tuple[int, ...]) -> ir.Weights:
    bits = int(rng.integers(2, 9))
    values = rng.integers(-(1 << bits - 1), 1 << bits - 1, shape)
    values.flat[0] = -(1 << bits - 1)
    return ir.Weights(values, bits)


def n_of_m_weights(rng: np.random.Generator, shape: tuple[int, ...]) -> ir.Weights:
    """Weights of 2 to 8 bits of which any n of m are stored, plain or by a codebook."""
    m = int(rng.choice([2, 3, 4, 8, 16]))
    n = int(rng.integers(1, m))
    dense = random_weights(rng, (*shape[:-1], -(-shape[-1] // m), m))
    kept = np.argsort(rng.random(dense.values.shape), -1) < n
    pruned = (dense.values * kept).reshape(*shape[:-1], -1)[..., :shape[-1]]
    by: ir.ValueEncoding = (ir.Plain, ir.Codebook)[int(rng.integers(2))]()
    return ir.Weights(pruned, dense.bits, encoding=ir.NofM(n, m, by))


def convolution(rng: np.random.Generator, name: str, source: str, outputs: int, inputs: int,
                kernel: int = 3, stride: int = 1) -> tuple[ir.Layer, ir.Layer]:
    """A convolution that keeps the map but for the stride, and its requantization."""
    low = (kernel - 1) // 2
    padding = (low, kernel - 1 - low) * 2
    return (ir.Convolution(name, source, random_weights(rng, (outputs, kernel, kernel, inputs)),
                           rng.integers(-50, 50, outputs), (stride, stride), padding),
            ir.ShiftRequantize(f"{name}_q", name, 6, 6, True))


def residual(seed: int) -> Network:
    """Two blocks of which the second changes size, so its shortcut has a convolution too."""
    rng = np.random.default_rng(seed)
    height, width = (int(n) for n in rng.integers(4, 9, 2))
    channels, more = (int(n) for n in rng.integers(1, 6, 2))
    layers = [
        *convolution(rng, "a", "x", channels, channels),
        *convolution(rng, "b", "a_q", channels, channels, int(rng.integers(1, 4))),
        ir.Add("add1", "b_q", "x"),
        ir.ShiftRequantize("relu1", "add1", 1, 6, False),
        *convolution(rng, "c", "relu1", more, channels, 3, 2),
        *convolution(rng, "d", "c_q", more, more),
        *convolution(rng, "e", "relu1", more, channels, 1, 2),
        ir.Add("add2", "e_q", "d_q"),
        ir.ShiftRequantize("relu2", "add2", 1, 6, False),
        ir.AveragePool("mean", "relu2", (-(-height // 2), -(-width // 2)), (1, 1)),
        ir.Flatten("flat", "mean"),
        ir.Dense("dense", "flat", random_weights(rng, (5, more)), rng.integers(-9, 9, 5)),
    ]
    return Network("residual", "x", TensorType((height, width, channels), 6, True), tuple(layers))


def wide_and_deep(seed: int) -> Network:
    """The input is read three times, and a branch of wiring only meets one of two windows."""
    rng = np.random.default_rng(seed)
    layers = [
        *convolution(rng, "a", "x", 3, 3, 5),
        ir.MaxPool("pool", "x", (3, 3), (1, 1), (1, 1, 1, 1)),
        ir.Add("add1", "x", "a_q"),
        ir.Add("add2", "pool", "add1"),
        ir.Clamp("clamp", "add2", -9, 30),
    ]
    return Network("wide", "x", TensorType((7, 6, 3), 5, True), tuple(layers))


def random_plan(network: Network, seed: Any) -> Plan:
    """Some layers folded at random, the others by the schedule."""
    return random_candidate(network, seed).timed()


def random_candidate(network: Network, seed: Any) -> Candidate:
    """The same, with what tells when its frames end."""
    rng = np.random.default_rng(seed)
    folds = {}
    for site in sites(network).values():
        layer = site.layer
        grouped = isinstance(layer, ir.Convolution) and layer.groups > 1 and rng.integers(2)
        if grouped or (isinstance(layer, ir.Depthwise) and rng.integers(2)):
            channels = network.source_type(layer).shape[2]
            groups = layer.groups if isinstance(layer, ir.Convolution) else channels
            folds[layer.name] = Fold(len(layer.bias) // groups, 1, int(
                rng.integers(1, groups + 1)) * (channels // groups))
        elif isinstance(layer, ir.Convolution | ir.Dense) and rng.integers(2):
            shape = site.geometry
            if Binary in engines_of(layer) and Binary.suits(site) and rng.integers(3):
                folds[layer.name] = random_binary_fold(rng, len(layer.bias), shape)
                continue
            most = engines_of(layer)[0].limits(site)
            fold = Fold(int(rng.integers(1, network.type_of(layer.name).shape[2] + 1)),
                        min(int(rng.integers(1, shape.kernel[0] + 1)), most.rows[1]),
                        min(int(rng.integers(1, min(shape.run, 12) + 1)), most.lanes[1]))
            folds[layer.name] = wider(site, fold)
    multipliers = int(rng.integers(8, 60)) + sum(fold.products for fold in folds.values())
    # Of a group that a beat brings in part, all weights have a multiplier.
    for layer in network.layers:
        if isinstance(layer, ir.MultiplyAccumulate) and isinstance(layer.weights.encoding, ir.NofM):
            fold = folds.get(layer.name, Fold(1, 1, 1))
            multipliers += fold.pe * fold.rows * layer.weights.encoding.m
    return search(network, Budget(ECP5, PLENTY, multipliers), Goal(folds=folds))


def graph_plan(network: Network, seed: int) -> Plan:
    """Some multipliers, and of an odd seed the first convolution folded at random."""
    rng = np.random.default_rng(seed)
    folds = {"a": Fold(int(rng.integers(1, 3)), 1, int(rng.integers(1, 4)))} if seed % 2 else {}
    folds = {name: replace(fold, pe=min(fold.pe, network.type_of(name).shape[2]))
             for name, fold in folds.items()}
    # Weights of which n of m are stored take whole groups at once.
    groups = sum(wider(site, Fold(1, 1, 1)).lanes for site in sites(network).values()
                 if isinstance(site.layer, ir.MultiplyAccumulate)
                 and isinstance(site.layer.weights.encoding, ir.NofM))
    return schedule(network, Budget(ECP5, PLENTY, int(rng.integers(16, 60)) + groups),
                    Goal(folds=folds))


def random_binary_fold(rng: np.random.Generator, outputs: int, shape: Geometry) -> Fold:
    """A fold that leaves no lane to spare."""
    rows = [n for n in range(1, shape.kernel[0] + 1) if shape.kernel[0] % n == 0]
    lanes = [n for n in range(1, min(shape.run, 24) + 1) if shape.run % n == 0]
    return Fold(int(rng.integers(1, outputs + 1)), int(rng.choice(rows)), int(rng.choice(lanes)))


def random_images(kind: TensorType, count: int, seed: int) -> np.ndarray:
    """Images of ``kind``, the two extremes first."""
    rng = np.random.default_rng(seed)
    images = rng.integers(kind.low, kind.high + 1, (count, *kind.shape))
    if isinstance(kind, ir.Bipolar):
        images = rng.choice([-1, 1], images.shape)
    images[0], images[1 % count] = kind.high, kind.low
    return images


def codes(kind: TensorType, values: np.ndarray) -> np.ndarray:
    """What stands for ``values`` of ``kind`` in hardware."""
    return (values > 0).astype(np.int64) if isinstance(kind, ir.Bipolar) else values


def run_block(dut: Elaboratable, inputs: np.ndarray, wanted: np.ndarray,
              i: tuple[TensorType, Port], o: tuple[TensorType, Port],
              patterns: Iterable[Stalls] = Stalls, seed: int = 0, surplus: int = 0) -> list[int]:
    """Send frames through ``dut`` under each of ``patterns``, and require the values ``wanted``.

    Returns the cycles in which frames ended under the first pattern.
    """
    sent = [payload for frame in codes(i[0], inputs.reshape(len(inputs), -1))
            for payload in pack(frame.tolist(), i[0].bits, i[1].lanes, i[1].group)]
    kind, port = o
    wanted = codes(kind, wanted.reshape(len(wanted), -1))
    assert len(wanted) > 0
    is_signed = kind.signed and not isinstance(kind, ir.Bipolar)
    per_frame = wanted.shape[1] // port.group * -(-port.group // port.lanes)
    ends: list[list[int]] = []
    for stalls, got, times in transfers(dut, sent, per_frame * len(wanted), patterns, seed=seed,
                                        timeout=50_000, surplus=surplus):
        for n, frame in enumerate(wanted):
            payloads: Sequence[int] = got[n * per_frame : (n + 1) * per_frame]
            assert unpack(payloads, len(frame), kind.bits, is_signed, port.lanes,
                          port.group) == frame.tolist(), f"frame {n}, stalls: {stalls.value}"
        ends.append(times[per_frame - 1 :: per_frame])
    return ends[0]


def run_network(network: Network, plan: Plan, images: np.ndarray,
                patterns: Iterable[Stalls] = Stalls, seed: int = 0) -> list[int]:
    """`run_block` of the accelerator of ``plan``, against the golden model."""
    return run_block(accelerator.whole(network, plan, Generic()), images,
                     golden.run(network, images), (network.input_type, plan.layers[0].i),
                     (network.output_type, plan.layers[-1].o), patterns, seed)


def check_network(network: Network, plan: Plan, *, frames: int = 5, seed: int = 0) -> None:
    """Require values under every stall pattern, and the interval and latency of ``plan``."""
    ends = run_network(network, plan, random_images(network.input_type, frames, seed), seed=seed)
    check_cycles(plan, ends)


def check_cycles(plan: Plan, ends: Sequence[int]) -> None:
    """Require frames that end so to take the cycles of ``plan``, or not more if it is not exact."""
    interval, latency = int(np.diff(ends)[-1]), ends[0] - 1
    if plan.exact:
        assert (interval, latency) == (plan.cycles_per_frame, plan.latency_cycles)
    else:
        assert latency <= plan.latency_cycles
        assert ends[-1] - 1 <= plan.latency_cycles + (len(ends) - 1) * plan.cycles_per_frame


def columns_of(rng: np.random.Generator, shape: tuple[int, ...]) -> ir.Weights:
    """Weights of 2 to 8 bits, some of them 0, for hardware that skips inputs which are 0."""
    dense = random_weights(rng, shape)
    by: ir.ValueEncoding = (ir.Plain, ir.Codebook)[int(rng.integers(2))]()
    if isinstance(by, ir.Codebook):
        dense = ir.Weights(rng.choice(dense.values.reshape(-1)[:9], shape), dense.bits)
    kept = rng.random(shape) < rng.choice([0.05, 0.3, 1])
    return ir.Weights(dense.values * kept, dense.bits, encoding=ir.Columns(by))
