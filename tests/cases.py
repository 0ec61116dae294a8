"""What hypothesis draws of each kind of hardware: a layer, what it reads, and what is asked of it.

A new kind is an entry of `DRAWS`: strategies of cases in which it is to be found. Values are
drawn themselves, no seeds, so that whatever fails shrinks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st
from penjing.compiler import ir, winograd
from penjing.compiler.dataflow import kinds
from penjing.compiler.dataflow.fold import Fold
from penjing.compiler.dataflow.port import Port
from penjing.compiler.dataflow.search import wider
from penjing.compiler.dataflow.site import sites
from penjing.compiler.ir import Builder, Integers, Network, TensorType, signed_bits

LAYER = "layer"
"""What the layer in question is called."""
MOST_LANES = 8

Draw = Callable[[st.SearchStrategy], object]


@dataclass(frozen=True)
class Case:
    """A ``network`` whose layer `LAYER` is in question.

    ``images`` come by ``port``, both extremes first. A frame may take ``cycles``, or as many as the
    hardware needs at least; ``dsps`` DSP blocks are left, and the layer's ``fold`` may be given.
    """

    network: Network
    images: Integers
    port: Port
    cycles: int
    dsps: int
    fold: Fold | None = None


# --- values
@st.composite
def values(draw: Draw, shape: Sequence[int], low: int, high: int) -> Integers:
    """Any integers from ``low`` to ``high``; they shrink to what is nearest to 0."""
    count, width = int(np.prod(shape)), 1 + (high - low).bit_length() // 8
    drawn = draw(st.binary(min_size=count * width, max_size=count * width))
    digits = np.frombuffer(drawn, np.uint8).reshape(count, width).astype(np.int64)
    raw = (digits << 8 * np.arange(width)).sum(1)
    nearest = min(max(0, low), high)
    return (low + (raw + nearest - low) % (high - low + 1)).reshape(shape)


def chosen(shape: Sequence[int], among: Sequence[int]) -> st.SearchStrategy[Integers]:
    """Any of ``among``; they shrink to the first."""
    return values(shape, 0, len(among) - 1).map(lambda index: np.array(among)[index])


@st.composite
def images_of(draw: Draw, kind: TensorType, edges: Sequence[int] = ()) -> Integers:
    """Four frames, both extremes first; then values at the ``edges`` and beside, if there are any.
    """
    images = draw(values((4, *kind.shape), kind.low, kind.high))
    images[0], images[1] = kind.high, kind.low
    if len(edges):
        beside = draw(chosen(kind.shape, edges)) + draw(values(kind.shape, -1, 1))
        images[2] = np.clip(beside, kind.low, kind.high)
    return images


@st.composite
def ports(draw: Draw, kind: TensorType) -> Port:
    """Beats of a position, of the frame, or of what lies between, as reshapes leave it."""
    groups = {kind.shape[2], kind.elements}
    if draw(st.integers(0, 3)) == 3:
        groups = {n for n in range(1, kind.elements + 1) if kind.elements % n == 0}
    group = draw(st.sampled_from(sorted(groups)))
    return Port(draw(st.integers(1, min(group, MOST_LANES))), group)


# --- what a layer reads
@st.composite
def inputs(draw: Draw, *, bits: tuple[int, int] = (1, 12), most: tuple[int, int, int] = (5, 5, 6),
           signs: bool | None = None) -> Builder:
    """A map of any type, or ``signs`` of one (None: now and then)."""
    shape = tuple(draw(st.integers(1, size)) for size in most)
    kind = TensorType(shape, draw(st.integers(*bits)), draw(st.booleans()))
    grow = Builder(kind)
    if signs or (signs is None and draw(st.integers(0, 2)) == 2):
        rows = draw(st.sampled_from([1, shape[2]]))
        thresholds = draw(values((rows, 1), kind.low, kind.high + 1))
        grow.add(ir.Threshold("signs", "x", thresholds, draw(values((rows,), 0, 1)), 2, True, -1,
                              2))
    return grow


@st.composite
def cases(draw: Draw, grow: Builder, layer: ir.Layer, fold: Fold | None = None, *,
          ends: bool | None = None, edges: Sequence[int] = ()) -> Case:
    """The ``layer`` behind what has grown; it ``ends`` the network (None: it may).

    Something happens at the ``edges`` among the values that it reads.
    """
    grow.add(layer)
    if not (draw(st.booleans()) if ends is None else ends):
        low, high = sorted(draw(st.tuples(st.integers(-9, 9), st.integers(-9, 9))))
        grow.add(ir.Clamp("behind", LAYER, low, high))
    network = grow.network()
    kind = network.input_type
    return Case(network, draw(images_of(kind, edges)), draw(ports(kind)), draw(st.integers(1, 64)),
                draw(st.integers(0, 20)), fold)


def folds(outputs: int, rows: int, run: int) -> st.SearchStrategy[Fold]:
    """Any fold of a flat engine."""
    return st.builds(Fold, st.integers(1, outputs), st.integers(1, rows),
                     st.integers(1, min(run, 12)))


def full_folds(outputs: int, rows: int, run: int) -> st.SearchStrategy[Fold]:
    """Any fold that leaves no lane to spare."""
    return st.builds(Fold, st.integers(1, outputs),
                     st.sampled_from([n for n in range(1, rows + 1) if rows % n == 0]),
                     st.sampled_from([n for n in range(1, min(run, 24) + 1) if run % n == 0]))


@st.composite
def windows(draw: Draw, kind: TensorType) -> tuple[tuple[int, int], tuple[int, int],
                                                   tuple[int, int, int, int]]:
    """Kernel, stride and padding over a map of ``kind``."""
    kernel, padding = [], []
    for size in kind.shape[:2]:
        taps = draw(st.integers(1, min(4, size + 1)))
        before = draw(st.integers(0, taps - 1))
        kernel.append(taps)
        padding += [before, draw(st.integers(max(0, taps - size - before), taps - 1))]
    stride = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    return (kernel[0], kernel[1]), stride, tuple(padding)


# --- weights
Weighing = Callable[[Sequence[int]], st.SearchStrategy[ir.Weights]]
"""Weights of a shape."""


@st.composite
def any_weights(draw: Draw, shape: Sequence[int]) -> ir.Weights:
    """Weights of 2 to 12 bits; an output's are all as low as can be."""
    bits = draw(st.integers(2, 12))
    drawn = draw(values(shape, -(1 << bits - 1), (1 << bits - 1) - 1))
    drawn[0] = -(1 << bits - 1)
    return ir.Weights(drawn, bits)


@st.composite
def coded_weights(draw: Draw, shape: Sequence[int]) -> ir.Weights:
    """Weights of a codebook of 2 to 256 values, with or without a 0."""
    size = int(np.prod(shape))
    counts = [count for count in (2, 3, 4, 5, 16, 17, 255, 256) if count <= size]
    if not counts:
        return draw(any_weights(shape))
    count, step = draw(st.sampled_from(counts)), draw(st.integers(1, 3))
    first = draw(st.integers(-count * step, 0))
    codebook = first + step * np.arange(count)
    if draw(st.integers(0, 2)):
        codebook[codebook >= 0] += 1
    drawn = draw(values(shape, 0, count - 1))
    drawn.flat[:count] = np.arange(count)
    used = codebook[drawn]
    return ir.Weights(used, max(2, signed_bits(int(used.min()), int(used.max()))),
                      encoding=ir.Codebook())


@st.composite
def summed_weights(draw: Draw, shape: Sequence[int]) -> ir.Weights:
    """Weights of 1 to 17 values, of which sums are asked for, or not."""
    bits = draw(st.integers(2, 9))
    low, high = -(1 << bits - 1), (1 << bits - 1) - 1
    codebook = draw(st.lists(st.integers(low, high), min_size=1, max_size=17, unique=True))
    used = np.array(codebook)[draw(values(shape, 0, len(codebook) - 1))]
    several = len(np.unique(used)) > 1
    encoding = ir.Codebook() if several and draw(st.booleans()) else ir.Sums()
    return ir.Weights(used, bits, encoding=encoding)


@st.composite
def n_of_m_weights(draw: Draw, shape: Sequence[int]) -> ir.Weights:
    """Weights of which any n of m are stored, plain or by a codebook of 1 to 255 values.

    Groups are full, or not; an output's are all as low as can be.
    """
    usual = st.sampled_from([(1, 2), (2, 4), (1, 4), (3, 8), (5, 16)])
    others = st.integers(2, 16).flatmap(lambda m: st.tuples(st.integers(1, m - 1), st.just(m)))
    n, m = draw(usual | others)
    bits = draw(st.integers(2, 12))
    values_by: ir.ValueEncoding = ir.Plain()
    whole = *shape[:-1], -(-shape[-1] // m), m
    if draw(st.booleans()):
        values_by = ir.Codebook()
        among = draw(st.lists(st.integers(-(1 << bits - 1), (1 << bits - 1) - 1), min_size=1,
                              max_size=draw(st.sampled_from([1, 2, 5, 255])), unique=True))
        drawn = draw(chosen(whole, among))
    else:
        drawn = draw(values(whole, -(1 << bits - 1), (1 << bits - 1) - 1))
        drawn[0] = -(1 << bits - 1)
    kept = np.argsort(draw(values(whole, 0, 255)), -1, kind="stable") < n
    pruned = (drawn * kept).reshape(*shape[:-1], -1)[..., :shape[-1]]
    return ir.Weights(pruned, bits, encoding=ir.NofM(n, m, values_by))


@st.composite
def ternary_weights(draw: Draw, shape: Sequence[int]) -> ir.Weights:
    """Two scales, equal or not, with or without zeros, all of one side now and then."""
    positive, negative = (draw(st.sampled_from([1, 2, 45, 127])) for _ in range(2))
    among = draw(st.sampled_from([[0, positive, -negative], [positive, -negative],
                                  [0, positive, -positive], [0, positive], [0, -negative]]))
    drawn = draw(chosen(shape, among))
    # Outputs at both extremes.
    drawn[0], drawn[-1] = min(among), max(among)
    return ir.Weights(drawn, 8)


@st.composite
def sparse_weights(draw: Draw, shape: Sequence[int]) -> ir.Weights:
    """Weights of 2 to 12 bits, any part of which are not 0, in any encoding that leaves zeros out.

    Outputs may have none; with a codebook, they may all be equal.
    """
    bits = draw(st.integers(2, 12))
    least = draw(st.integers(0, 8))
    kept = draw(values(shape, 0, 7)) >= least
    shared = draw(st.booleans())
    if shared:
        among = draw(st.lists(st.integers(-(1 << bits - 1), (1 << bits - 1) - 1), min_size=1,
                              max_size=6))
        drawn = draw(chosen(shape, among))
    else:
        drawn = draw(values(shape, -(1 << bits - 1), (1 << bits - 1) - 1))
    stored = ir.Codebook() if shared else ir.Plain()
    encoding: ir.Encoding = draw(st.sampled_from([ir.RelativeIndex, ir.KernelList]))(
        draw(st.integers(1, 6)), stored)
    if draw(st.integers(0, 2)) == 2:
        encoding = ir.Bitmap(draw(st.sampled_from([8, 16, 32])), stored)
    return ir.Weights(drawn * kept, bits, encoding=encoding)


def signs(shape: Sequence[int]) -> st.SearchStrategy[ir.Weights]:
    """Weights of -1 and 1."""
    return chosen(shape, (1, -1)).map(lambda drawn: ir.Weights(drawn, 2))


@st.composite
def biases(draw: Draw, outputs: int) -> Integers:
    """A bias for each output, all equal now and then."""
    if draw(st.booleans()):
        return np.full(outputs, draw(st.integers(-9, 9)))
    return draw(values((outputs,), -500, 500))


# --- engines
@st.composite
def flat(draw: Draw, weights: Weighing, fold: Callable[[int, int, int], st.SearchStrategy[Fold]],
         *, wide: bool = False, zeros: bool = True, grouped: bool = True, **source: object) -> Case:
    """A dense layer or a convolution under any ``fold``, or under the best one.

    ``zeros`` may stand around the map or, where it may be ``grouped``, for other groups; ``wide``
    vectors have many weights.
    """
    grow = draw(inputs(**source))
    kind = grow.type
    if wide or draw(st.integers(0, 2)) == 0:
        if wide:
            grow = Builder(TensorType((1, 1, draw(st.integers(48, 64))), draw(st.integers(1, 8)),
                                      draw(st.booleans())))
        if grow.type.shape[:2] != (1, 1):
            grow.add(ir.Flatten("flatten", grow.tail))
        outputs, run = draw(st.integers(6 if wide else 1, 8)), grow.type.elements
        layer: ir.Layer = ir.Dense(LAYER, grow.tail, draw(weights((outputs, run))),
                                   draw(biases(outputs)))
        rows = 1
    else:
        kernel, stride, padding = draw(windows(kind))
        channels, groups = kind.shape[2], 1
        if zeros and grouped and draw(st.booleans()):
            groups = draw(st.sampled_from([n for n in range(1, channels + 1)
                                           if channels % n == 0]))
        outputs = groups * draw(st.integers(1, max(1, 8 // groups)))
        among = [kind.low, kind.high, 0] if zeros else [kind.low, kind.high]
        layer = ir.Convolution(LAYER, grow.tail,
                               draw(weights((outputs, *kernel, channels // groups))),
                               draw(biases(outputs)), stride, padding,
                               draw(st.sampled_from(among)), groups)
        rows, run = kernel[0], kernel[1] * channels
    given = draw(fold(outputs, rows, run)) if draw(st.integers(0, 3)) else None
    return draw(cases(grow, layer, given))


@st.composite
def constants(draw: Draw) -> Case:
    """A dense layer or a 1×1 convolution whose weights, many of them zeros, are in logic."""
    grow = draw(inputs(bits=(1, 9), most=(2, 2, 6)))
    is_dense = draw(st.booleans())
    if is_dense and grow.type.shape[:2] != (1, 1):
        grow.add(ir.Flatten("flatten", grow.tail))
    outputs, run = draw(st.integers(1, 8)), grow.type.shape[2]
    weights = draw(any_weights((outputs, run)))
    kept = draw(st.just(np.ones((outputs, run), np.int64)) | values((outputs, run), 0, 1))
    weights = replace(weights, values=weights.values * kept, encoding=ir.Constant())
    bias = draw(biases(outputs))
    layer: ir.Layer = ir.Dense(LAYER, grow.tail, weights, bias)
    if not is_dense:
        weights = replace(weights, values=weights.values.reshape(outputs, 1, 1, run))
        layer = ir.Convolution(LAYER, grow.tail, weights, bias)
    if draw(st.booleans()):
        return draw(cases(grow, layer))
    grow.add(layer)
    # What is behind knows the values of each channel.
    kind = TensorType((1, 1, 1), draw(st.integers(1, 9)), draw(st.booleans()))
    requantize = ir.ShiftRequantize("behind", LAYER, draw(st.integers(-1, 9)), kind.bits,
                                    kind.signed, *draw(bounds(kind)))
    again = ir.Weights(draw(values((3, outputs), -8, 7)), 4, encoding=ir.Constant())
    grow.add(requantize)
    if is_dense:
        return draw(cases(grow, ir.Dense("again", "behind", again, draw(biases(3))), ends=True))
    return draw(cases(grow, ir.Flatten("vector", "behind"), ends=True))


@st.composite
def n_of_m(draw: Draw, **how: object) -> Case:
    """A layer whose weights are n of m, under any fold of whole groups, or under the best one."""
    case = draw(flat(n_of_m_weights, folds, grouped=False, most=(4, 4, 18), **how))
    if case.fold is None:
        return case
    return replace(case, fold=wider(sites(case.network)[LAYER], case.fold))


@st.composite
def sliced(draw: Draw, weights: Weighing) -> Case:
    """A depthwise convolution or one in groups, of so many whole groups a cycle."""
    grow = draw(inputs())
    kind = grow.type
    kernel, stride, padding = draw(windows(kind))
    channels = kind.shape[2]
    value = draw(st.sampled_from([kind.low, kind.high, 0]))
    groups, multiple = channels, draw(st.integers(1, 3))
    several = [n for n in range(2, channels) if channels % n == 0]
    if several and draw(st.booleans()):
        groups = draw(st.sampled_from(several))
        layer: ir.Layer = ir.Convolution(
            LAYER, grow.tail, draw(weights((groups * multiple, *kernel, channels // groups))),
            draw(biases(groups * multiple)), stride, padding, value, groups)
    else:
        layer = ir.Depthwise(LAYER, grow.tail, draw(weights((groups * multiple, *kernel))),
                             draw(biases(groups * multiple)), stride, padding, value)
    lanes = draw(st.none() | st.integers(1, groups))
    fold = None if lanes is None else Fold(multiple, 1, lanes * (channels // groups))
    return draw(cases(grow, layer, fold))


@st.composite
def walked(draw: Draw) -> Case:
    """A layer with few weights, so many outputs at so many positions at once."""
    grow = draw(inputs())
    kind, choice = grow.type, draw(st.integers(0, 3))
    if choice == 0:
        if kind.shape[:2] != (1, 1):
            grow.add(ir.Flatten("flatten", grow.tail))
        outputs = draw(st.integers(1, 8))
        layer: ir.Layer = ir.Dense(LAYER, grow.tail, draw(sparse_weights((
            outputs, grow.type.elements))), draw(biases(outputs)))
        row = 1
    else:
        kernel, stride, padding = draw(windows(kind))
        channels, value = kind.shape[2], draw(st.sampled_from([kind.low, kind.high, 0]))
        groups = draw(st.sampled_from([n for n in range(1, channels + 1) if channels % n == 0]))
        if choice == 1:
            outputs = channels * draw(st.integers(1, 2))
            layer = ir.Depthwise(LAYER, grow.tail, draw(sparse_weights((outputs, *kernel))),
                                 draw(biases(outputs)), stride, padding, value)
        else:
            outputs = groups * draw(st.integers(1, max(1, 8 // groups)))
            layer = ir.Convolution(
                LAYER, grow.tail, draw(sparse_weights((outputs, *kernel, channels // groups))),
                draw(biases(outputs)), stride, padding, value, groups)
        row = (kind.shape[1] + sum(padding[2:]) - kernel[1]) // stride[1] + 1
    lanes = draw(st.sampled_from([n for n in range(1, row + 1) if row % n == 0]))
    fold = Fold(draw(st.integers(1, outputs)), 1, lanes)
    return draw(cases(grow, layer, fold if draw(st.integers(0, 3)) else None))


@st.composite
def columnwise(draw: Draw) -> Case:
    """A dense layer, or a 1×1 convolution, that skips inputs which are at their zero point."""
    grow = draw(inputs(most=(2, 3, 6)))
    kind = grow.type
    if not grow.layers:
        zero = draw(st.sampled_from([0, 0, kind.low, kind.high, draw(st.integers(kind.low,
                                                                                 kind.high))]))
        grow = Builder(replace(kind, zero_point=zero))
    is_dense, outputs = draw(st.booleans()), draw(st.integers(1, 8))
    if is_dense and grow.type.shape[:2] != (1, 1):
        grow.add(ir.Flatten("flatten", grow.tail))
    weights = draw(sparse_weights((outputs, grow.type.shape[2])))
    values_by = getattr(weights.encoding, "values", None)
    assert isinstance(values_by, ir.ValueEncoding)
    weights = replace(weights, encoding=ir.Columns(values_by))
    layer: ir.Layer = ir.Dense(LAYER, grow.tail, weights, draw(biases(outputs)))
    if not is_dense:
        pointwise = weights.values.reshape(outputs, 1, 1, -1)
        layer = ir.Convolution(LAYER, grow.tail, replace(weights, values=pointwise), layer.bias)
    fold = Fold(draw(st.integers(1, outputs)), 1, 1) if draw(st.integers(0, 3)) else None
    case = draw(cases(grow, layer, fold))
    # Frames of zeros, and of some.
    case.images[2] = grow.types[grow.input].zero_point
    case.images[3][..., ::2] = grow.types[grow.input].zero_point
    return case


@st.composite
def transposed(draw: Draw, weights: Weighing) -> Case:
    """A transposed convolution under any fold, or under the best one."""
    grow = draw(inputs(most=(3, 3, 4)))
    kind = grow.type
    channels = kind.shape[2]
    kernel = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    stride = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    wanted = []
    for size, taps, step in zip(kind.shape[:2], kernel, stride, strict=True):
        before = draw(st.integers(0, taps - 1))
        left = step * (size - 1) + taps - before
        wanted += [before, draw(st.integers(-2, min(left, taps) - 1))]
    crop, _ = ir.whole_strides(kind.shape[:2], kernel, stride, tuple(wanted))
    groups = draw(st.sampled_from([n for n in range(1, channels + 1) if channels % n == 0]))
    outputs = groups * draw(st.integers(1, max(1, 4 // groups)))
    layer = ir.TransposedConvolution(
        LAYER, grow.tail, draw(weights((outputs, *kernel, channels // groups))),
        draw(biases(outputs)), stride, crop, draw(st.sampled_from([kind.low, kind.high, 0])),
        groups)
    given = draw(folds(outputs * stride[1], layer.taps[0], layer.taps[1] * channels))
    return draw(cases(grow, layer, given if draw(st.integers(0, 3)) else None))


# --- Winograd's form
@st.composite
def turning(draw: Draw) -> Case:
    """Products whose weights take turns by column, under any fold or the best one."""
    turns = draw(st.integers(1, 4))
    shape = draw(st.integers(1, 4)), turns * draw(st.integers(1, 2)), draw(st.integers(1, 6))
    kind = TensorType(shape, draw(st.integers(1, 11)), draw(st.booleans()))
    taps, outputs = draw(st.integers(1, min(3, shape[0]))), draw(st.integers(1, 5))
    padding = draw(st.integers(0, taps - 1)), draw(st.integers(0, taps - 1)), 0, 0
    layer = ir.WinogradProducts(
        LAYER, "x", draw(any_weights((turns * outputs, taps, 1, shape[2]))),
        draw(biases(turns * outputs)), (1, 1), padding, 0, turns)
    given = draw(folds(outputs, taps, shape[2]))
    return draw(cases(Builder(kind), layer, given if draw(st.integers(0, 3)) else None))


@st.composite
def tiled(draw: Draw) -> Case:
    """The transform of a map with any border, counted from any value."""
    grow = draw(inputs(signs=False))
    kind, tile = grow.type, draw(st.sampled_from(ir.WINOGRAD_TILES))
    padding: list[int] = []
    for size, outputs in zip(kind.shape[:2], tile, strict=True):
        taps = 1 + 3 * (outputs == 2)
        # What reads padding alone at first would come out before its frame begins.
        befores = [0] if taps == 1 else [0, 2] if size == 1 else [0, 1, 2]
        before = draw(st.sampled_from(befores))
        padding += [before, draw(st.integers(max(0, taps - size - before), taps - 1))]
    pad_value, zero = (draw(st.sampled_from([kind.low, kind.high, 0])) for _ in range(2))
    return draw(cases(grow, ir.WinogradInput(LAYER, grow.tail, tile, tuple(padding), pad_value,
                                             zero)))


@st.composite
def untiled(draw: Draw) -> Case:
    """Outputs of the products of a convolution of extreme weights and whole tiles."""
    grow = draw(inputs(signs=False, most=(5, 5, 3)))
    kind, padding = grow.type, []
    for size in kind.shape[:2]:
        before, behind = draw(st.integers(0, 2)), draw(st.integers(0, 2))
        assume(size + before + behind > 3 and (size + before + behind) % 2 == 0)
        padding += [before, behind]
    outputs = draw(st.integers(1, 4))
    drawn = draw(values((outputs, 3, 3, kind.shape[2]), -128, 127))
    drawn.flat[:3] = -128, 127, 5
    grow.add(ir.Convolution(LAYER, grow.tail, ir.Weights(drawn, 8), draw(biases(outputs)),
                            padding=tuple(padding),
                            pad_value=draw(st.sampled_from([kind.low, kind.high, 0]))))
    form = winograd.rewritten(grow.network(), {LAYER: draw(st.sampled_from(ir.WINOGRAD_TILES))})
    grown = Builder(kind)
    for one in form.layers[:-1]:
        grown.add(one)
    return draw(cases(grown, form.layers[-1]))


# --- pools, borders and joins
@st.composite
def pools(draw: Draw, layer: type[ir.PoolLayer], **fields: st.SearchStrategy[object]) -> Case:
    """A pool over any windows."""
    grow = draw(inputs())
    made = {name: draw(field) for name, field in fields.items()}
    return draw(cases(grow, layer(LAYER, grow.tail, *draw(windows(grow.type)), **made)))


@st.composite
def side_by_side(draw: Draw) -> Case:
    """A maximum of windows that do not overlap, of pixels that come in several beats."""
    grow = draw(inputs(bits=(1, 12), most=(7, 7, 9)))
    height, width, channels = grow.type.shape
    kernel = draw(st.integers(1, min(3, height))), draw(st.integers(1, min(3, width)))
    assume(kernel != (1, 1) and channels > 2)
    case = draw(cases(grow, ir.MaxPool(LAYER, grow.tail, kernel, kernel)))
    return replace(case, port=Port(draw(st.integers(1, (channels - 1) // 2)), channels))


@st.composite
def borders(draw: Draw) -> Case:
    """A border of any value."""
    grow = draw(inputs(most=(4, 4, 6)))
    padding = tuple(draw(st.integers(0, 3)) for _ in range(4))
    value = draw(st.sampled_from([grow.type.low, grow.type.high, 0]))
    return draw(cases(grow, ir.Pad(LAYER, grow.tail, padding, value)))


@st.composite
def enlargements(draw: Draw) -> Case:
    """Copies of rows and columns."""
    grow = draw(inputs(most=(4, 4, 6)))
    factors = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    return draw(cases(grow, ir.Upsample(LAYER, grow.tail, factors)))


@st.composite
def branches(draw: Draw, grow: Builder, name: str) -> str:
    """A branch that keeps the input's shape, if not its type, its beats or its time; its end."""
    choice = draw(st.integers(0, 3))
    if choice == 0:
        return grow.input
    if choice == 1:
        low, high = sorted(draw(st.tuples(st.integers(-99, 99), st.integers(-99, 99))))
        return grow.add(ir.Clamp(name, grow.input, low, high))
    if choice == 2:
        taps = draw(st.integers(1, 3))
        return grow.add(ir.MaxPool(name, grow.input, (taps, taps), (1, 1),
                                   (taps - 1, 0, 0, taps - 1)))
    channels = grow.types[grow.input].shape[2]
    thresholds = draw(values((channels, 1), -9, 9))
    return grow.add(ir.Threshold(name, grow.input, thresholds, np.zeros(channels, np.int64), 2,
                                 True, -1, 2))


@st.composite
def sums(draw: Draw) -> Case:
    """The sum of two branches, or their difference."""
    grow = draw(inputs(signs=False))
    first, second = draw(branches(grow, "first")), draw(branches(grow, "second"))
    return draw(cases(grow, draw(st.sampled_from([ir.Add, ir.Subtract]))(LAYER, first, second)))


@st.composite
def products(draw: Draw) -> Case:
    """The product of two branches, less any offsets; or of a branch and itself."""
    grow = draw(inputs(signs=False))
    first = draw(branches(grow, "first"))
    second = draw(branches(grow, "second")) if draw(st.integers(0, 3)) else first
    offsets = draw(st.sampled_from([(0, 0), (0, 9), (-300, 0), (3, -1)]))
    return draw(cases(grow, ir.Multiply(LAYER, first, second, offsets)))


@st.composite
def unions(draw: Draw) -> Case:
    """Two or three branches, whose channels are put one behind the other."""
    grow = draw(inputs(signs=False))
    # A branch that nothing reads makes no network.
    first, *others = [draw(branches(grow, what))
                      for what in ("first", "second", "third")[: draw(st.integers(2, 3))]]
    return draw(cases(grow, ir.Concatenation(LAYER, first, tuple(others))))


@st.composite
def parts(draw: Draw) -> Case:
    """A range of channels."""
    grow = draw(inputs())
    start, stop = sorted(draw(st.tuples(*[st.integers(0, grow.type.shape[2])] * 2)))
    if start == stop:
        start, stop = 0, grow.type.shape[2]
    return draw(cases(grow, ir.Slice(LAYER, grow.tail, start, stop),
                      ends=None if grow.layers else False))


@st.composite
def permutations(draw: Draw) -> Case:
    """Channels in any order; there is some hardware before or behind it."""
    grow = draw(inputs())
    order = tuple(draw(st.permutations(range(grow.type.shape[2]))))
    return draw(cases(grow, ir.Permutation(LAYER, grow.tail, order),
                      ends=None if grow.layers else False))


@st.composite
def steps(draw: Draw, size: int) -> tuple[int, int, int]:
    """Some of so many rows or columns: (start, stop, step)."""
    start = draw(st.integers(0, size - 1))
    return start, draw(st.integers(start + 1, size)), draw(st.sampled_from([1, 2, 3, 64]))


@st.composite
def cutouts(draw: Draw) -> Case:
    """Some rows and columns; there is some hardware before or behind it."""
    grow = draw(inputs(most=(6, 6, 6)))
    height, width, _ = grow.type.shape
    layer = ir.Crop(LAYER, grow.tail, draw(steps(height)), draw(steps(width)))
    return draw(cases(grow, layer, ends=None if grow.layers else False))


# --- one element after the other
@st.composite
def bounds(draw: Draw, kind: TensorType) -> tuple[int, int]:
    """Limits within those of ``kind``, these now and then."""
    if draw(st.booleans()):
        return kind.low, kind.high
    low, high = sorted(draw(st.tuples(*[st.integers(kind.low, kind.high)] * 2)))
    return low, high


def vectors() -> st.SearchStrategy[Builder]:
    """What a requantizer reads: small maps of accumulators."""
    return inputs(bits=(1, 20), most=(2, 2, 6))


@st.composite
def shifts(draw: Draw) -> Case:
    """A shift either way, or a clamp."""
    grow = draw(vectors())
    kind = TensorType((1, 1, 1), draw(st.integers(1, 12)), draw(st.booleans()))
    low, high = draw(bounds(kind))
    layer: ir.Layer = ir.Clamp(LAYER, grow.tail, low, high)
    edges = [low, high]
    if draw(st.integers(0, 3)):
        shift = draw(st.integers(-3, 14))
        layer = ir.ShiftRequantize(LAYER, grow.tail, shift, kind.bits, kind.signed, low, high)
        # Where the bounds are reached, and the halves about 0.
        half = 1 << shift >> 1 if shift > 0 else 0
        edges = [(edge << max(0, shift) >> max(0, -shift)) + side
                 for edge in (low, high, 0) for side in (-half, half)]
    return draw(cases(grow, layer, edges=edges))


@st.composite
def scales(draw: Draw) -> Case:
    """A scale for all channels or for each, rounded in any way; what it multiplies has 32 bits."""
    grow = draw(vectors())
    source, channels = grow.type, grow.type.shape[2]
    rows = draw(st.sampled_from([1, channels]))
    offset = draw(st.integers(-200, 200))
    room = 32 - signed_bits(source.low - offset, source.high - offset + 1)
    top = draw(st.integers(-16, min(2, room)))
    multipliers = draw(values((rows,), 1 << 30, (1 << 31) - 1))
    multipliers[0] = draw(st.sampled_from([int(multipliers[0]), 0, 1 << 30, (1 << 31) - 1]))
    kind = TensorType((1, 1, 1), draw(st.integers(2, 16)), draw(st.booleans()))
    low, high = draw(bounds(kind))
    return draw(cases(grow, ir.ScaleRequantize(
        LAYER, grow.tail, multipliers, draw(values((rows,), top - 5, top)), kind.bits, kind.signed,
        offset, draw(st.integers(0, room - max(0, top))), draw(st.integers(kind.low, kind.high)),
        low, high, draw(st.sampled_from(ir.ScaleRounding)),
        addends=draw(st.sampled_from([None, multipliers // 3]))), edges=[offset]))


@st.composite
def slopes(draw: Draw) -> Case:
    """A line for all channels or for each, bent or not."""
    grow = draw(vectors())
    source, channels = grow.type, grow.type.shape[2]
    rows = draw(st.sampled_from([1, channels]))
    most, far = 1 << draw(st.sampled_from([2, 8, 17])), 1 << draw(st.sampled_from([3, 12, 30]))
    multipliers = draw(values((rows, 2), -most, most - 1))
    offsets = draw(values((rows, 2), -far, far))
    if draw(st.booleans()):
        multipliers, offsets = multipliers[:, [0, 0]], offsets[:, [1, 1]]
    breakpoints = draw(values((rows,), source.low - 1, source.high + 2))
    kind = TensorType((1, 1, 1), draw(st.integers(2, 12)), draw(st.booleans()))
    return draw(cases(grow, ir.SlopeRequantize(
        LAYER, grow.tail, multipliers, offsets, breakpoints, draw(st.integers(0, 20)), kind.bits,
        kind.signed, *draw(bounds(kind))), edges=breakpoints.tolist()))


@st.composite
def thresholds(draw: Draw) -> Case:
    """1 to 255 thresholds for all channels or for each, some of them never or always reached."""
    grow = draw(vectors())
    source = grow.type
    rows = draw(st.sampled_from([1, source.shape[2]]))
    count = draw(st.sampled_from([1, 1, 2, 3, 4, 7, 15, 63, 255]))
    drawn = np.sort(draw(values((rows, count), source.low - 2, source.high + 3)), 1)
    base, step = draw(st.sampled_from([(-1, 2), (0, 1), (-8, 2), (3, 1)]))
    bits = signed_bits(base, base + step * count)
    return draw(cases(grow, ir.Threshold(LAYER, grow.tail, drawn, draw(values((rows,), 0, 1)),
                                         bits, True, base, step),
                      edges=drawn.reshape(-1).tolist()))


@st.composite
def tables(draw: Draw) -> Case:
    """Any function of up to 8 bits, or of signs, for all channels or for each."""
    grow = draw(inputs(bits=(1, 8), most=(2, 2, 6)))
    source = grow.type
    rows = draw(st.sampled_from([1, source.shape[2]]))
    kind = TensorType((1, 1, 1), draw(st.integers(1, 12)), draw(st.booleans()))
    spare = draw(st.integers(0, 1)) if source.bits < 8 else 0
    low = source.low - spare
    drawn = draw(values((rows, source.high + 1 - low), kind.low, kind.high))
    return draw(cases(grow, ir.Table(LAYER, grow.tail, drawn, kind.bits, kind.signed, low)))


@st.composite
def copies(draw: Draw) -> Case:
    """Channels once to three times; there is some hardware before or behind it."""
    grow = draw(inputs())
    return draw(cases(grow, ir.Repeat(LAYER, grow.tail, draw(st.integers(1, 3))),
                      ends=None if grow.layers else False))


@st.composite
def wires(draw: Draw) -> Case:
    """Another shape; there is some hardware before or behind it."""
    grow = draw(inputs())
    height, width, channels = grow.type.shape
    shape = draw(st.sampled_from([(1, 1, grow.type.elements), (width, height, channels),
                                  (1, height, width * channels), (channels, width, height)]))
    layer = ir.Flatten(LAYER, grow.tail) if shape[:2] == (1, 1) else ir.Reshape(LAYER, grow.tail,
                                                                             shape)
    return draw(cases(grow, layer, ends=None if grow.layers else False))


@st.composite
def largest(draw: Draw) -> Case:
    """The largest of the channels."""
    grow = draw(inputs(most=(3, 3, 9)))
    return draw(cases(grow, ir.ArgMax(LAYER, grow.tail)))


DRAWS: dict[type[kinds.Kind], tuple[st.SearchStrategy[Case], ...]] = {
    kinds.Sliced: (sliced(any_weights), sliced(coded_weights)),
    kinds.Binary: (flat(signs, full_folds, zeros=False, signs=True),),
    kinds.Ternary: (flat(ternary_weights, folds),),
    kinds.Dot: (flat(any_weights, folds), flat(coded_weights, folds),
                flat(coded_weights, folds, wide=True), transposed(
                    lambda shape: st.one_of(any_weights(shape), coded_weights(shape))),
                turning()),
    kinds.Additive: (flat(summed_weights, folds), flat(summed_weights, folds, wide=True)),
    kinds.Nonzeros: (walked(),),
    kinds.Columnwise: (columnwise(),),
    kinds.Constant: (constants(),),
    kinds.NofM: (n_of_m(), n_of_m(wide=True)),
    kinds.RunningMaximum: (side_by_side(),),
    kinds.Maximum: (pools(ir.MaxPool),),
    kinds.SumOfWindow: (pools(ir.SumPool),),
    kinds.Average: (pools(ir.AveragePool, rounding=st.sampled_from(ir.Rounding),
                          count_padding=st.booleans(), spare=st.sampled_from([0, 3])),),
    kinds.Border: (borders(),),
    kinds.Shift: (shifts(),),
    kinds.Scale: (scales(),),
    kinds.Slope: (slopes(),),
    kinds.Search: (thresholds(),),
    kinds.Lookup: (tables(),),
    kinds.Sum: (sums(),),
    kinds.Product: (products(),),
    kinds.Union: (unions(),),
    kinds.Part: (parts(),),
    kinds.Shuffle: (permutations(),),
    kinds.Cutout: (cutouts(),),
    kinds.Enlargement: (enlargements(),),
    kinds.Copies: (copies(),),
    kinds.Wires: (wires(),),
    kinds.Largest: (largest(),),
    kinds.Transform: (tiled(), untiled()),
}
"""Where each kind is to be found, in each of these strategies."""
