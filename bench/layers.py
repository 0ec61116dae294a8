"""The layers on which the resource model is fitted and judged."""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

import numpy as np
from penjing.boards import Board
from penjing.compiler import ir
from penjing.compiler.cost import Fabric, Resources
from penjing.compiler.dataflow.budget import Budget
from penjing.compiler.dataflow.kinds import Ask, Dot, Weighted
from penjing.compiler.dataflow.options import Catalogue
from penjing.compiler.dataflow.plan import Fold, Plan
from penjing.compiler.dataflow.search import Goal, schedule
from penjing.compiler.dataflow.searching import Search
from penjing.compiler.ir import Bipolar, Network, TensorType

NAME = "layer"
"""What the one layer of each network is called."""


class Half(enum.Enum):
    """What a layer is for: its measurement moves the coefficients, or only judges them."""

    FIT = "fit"
    JUDGED = "judged"


@dataclass(frozen=True)
class Case:
    """One layer under one fold.

    ``cycles`` is the time of a frame, which decides the lanes of the input and of layers without
    multipliers; ``dsps`` how many multipliers may be DSP blocks, the others are built from logic.
    ``before`` are layers, each with its fold, that give the layer its input or one of its inputs,
    and are not measured. ``engine`` is what the layer is to become; None: what costs the least.
    """

    name: str
    half: Half
    description: str
    source: TensorType
    layer: ir.Layer
    cycles: int
    fold: Fold | None = None
    dsps: int = 0
    board: str = "ulx3s-85f"
    before: tuple[tuple[ir.Layer, Fold | None], ...] = ()
    engine: type[Weighted] | None = None

    @property
    def network(self) -> Network:
        """The network of this layer alone; signs are made of an input of bits before it."""
        if not isinstance(self.source, Bipolar):
            return Network(self.name, "x", self.source,
                           (*(layer for layer, _ in self.before), self.layer))
        sign = ir.Threshold("signs", "x", np.ones((1, 1), np.int64), np.zeros(1, np.int64), 2, True,
                            -1, 2)
        return Network(self.name, "x", TensorType(self.source.shape, 1, False),
                       (sign, replace(self.layer, input=sign.name)))

    def plan(self, board: Board, fabric: Fabric | None = None) -> Plan:
        """The schedule under the case's fold; only the DSPs are limited.

        ``fabric`` stands in for the board's.
        """
        plenty = Resources(luts=10**9, ffs=10**9, dsps=self.dsps, brams=10**9)
        every = *self.before, (self.layer, self.fold)
        folds = {layer.name: fold for layer, fold in every if fold}
        budget = Budget(fabric or board.family.fabric, plenty, 10**9)
        goal = Goal(self.cycles, folds)
        if self.engine is None:
            return schedule(self.network, budget, goal, board=board.name,
                            clock_mhz=board.clock_mhz)
        search = Search.of(self.network, budget, goal, board.name, board.clock_mhz,
                           Catalogue(budget.fabric))
        chosen = search.chosen(self.cycles)
        assert chosen is not None
        options = search.options[NAME]
        site = options.site
        ask = Ask(budget.fabric, chosen[NAME].kind.inputs, self.cycles, self.dsps, self.fold)
        chosen[NAME] = options.of(min(
            (one for one in self.engine.candidates(site, ask)
             if self.fold or one.cycles(site) <= self.cycles),
            key=lambda one: budget.fabric.price(one.cells(site, budget.fabric))))
        return search.planned(chosen).timed()


def _weights(shape: tuple[int, ...], bits: int) -> tuple[ir.Weights, np.ndarray]:
    """Random weights and biases, the same in every run."""
    rng = np.random.default_rng([*shape, bits])
    high = 1 << bits - 1
    values = np.clip(rng.normal(0, high / 3, shape).round(), -high, high - 1).astype(np.int64)
    return ir.Weights(values, bits), rng.integers(-1 << bits + 4, 1 << bits + 4, shape[0])


def _convolution(outputs: int, kernel: tuple[int, int], inputs: int, bits: int, *,
                 stride: tuple[int, int] = (1, 1),
                 padding: tuple[int, int, int, int] = (0, 0, 0, 0), groups: int = 1
                 ) -> ir.Convolution:
    """``inputs`` are those of a group."""
    weights, bias = _weights((outputs, *kernel, inputs), bits)
    return ir.Convolution(NAME, "x", weights, bias, stride, padding, groups=groups)


def _codebook(outputs: int, kernel: tuple[int, int], inputs: int, values: list[int]
              ) -> ir.Convolution:
    """Random weights of few ``values``, stored as indices."""
    rng = np.random.default_rng([outputs, inputs, len(values)])
    weights = ir.Weights(rng.choice(values, (outputs, *kernel, inputs)), 8,
                         encoding=ir.Codebook())
    return ir.Convolution(NAME, "x", weights, rng.integers(-4096, 4096, outputs))


def _binary(outputs: int, kernel: tuple[int, int], inputs: int, *, biased: bool = False
            ) -> ir.Convolution:
    """Random signs, and biases that differ or none."""
    rng = np.random.default_rng([outputs, inputs])
    bias = rng.integers(-50, 50, outputs) if biased else np.zeros(outputs, np.int64)
    weights = rng.choice([-1, 1], (outputs, *kernel, inputs))
    return ir.Convolution(NAME, "x", ir.Weights(weights, 2), bias)


def _ternary(values: list[int], outputs: int, kernel: tuple[int, int], inputs: int, *,
             padding: tuple[int, int, int, int] = (0, 0, 0, 0)) -> ir.Convolution:
    """Random weights of few ``values``, and biases that differ."""
    rng = np.random.default_rng([outputs, inputs])
    weights = rng.choice(values, (outputs, *kernel, inputs))
    return ir.Convolution(NAME, "x", ir.Weights(weights, 8), rng.integers(-50, 50, outputs),
                          padding=padding)


def _depthwise(channels: int, multiple: int, bits: int, *, stride: tuple[int, int] = (1, 1),
               padding: tuple[int, int, int, int] = (0, 0, 0, 0)) -> ir.Depthwise:
    weights, bias = _weights((channels * multiple, 3, 3), bits)
    return ir.Depthwise(NAME, "x", weights, bias, stride, padding, 5)


def _dense(outputs: int, inputs: int, bits: int) -> ir.Dense:
    return ir.Dense(NAME, "x", *_weights((outputs, inputs), bits))


def _scale(channels: int, *, least: int = -9, most: int = -9,
           rounding: ir.ScaleRounding = ir.ScaleRounding.DOUBLE) -> ir.ScaleRequantize:
    """A multiplier and a shift for each channel, as quantized training leaves them."""
    rng = np.random.default_rng([channels, -least, -most])
    return ir.ScaleRequantize(
        NAME, "x", rng.integers(1 << 30, 1 << 31, channels),
        rng.integers(least, most + 1, channels), 8, True, zero_point=-128, rounding=rounding)


def _slopes(channels: int, shift: int, *, bent: bool) -> ir.SlopeRequantize:
    """Lines as a batch norm leaves them, or two for each channel as an RPReLU does."""
    rng = np.random.default_rng([channels, shift])
    above = np.full(channels, 1 << shift) if bent else rng.integers(1, 2 << shift, channels)
    below = rng.integers(0, 1 << shift - 1, channels) if bent else above
    offsets = rng.integers(-20 << shift, 20 << shift, (channels, 2))
    return ir.SlopeRequantize(NAME, "x", np.stack((below, above), 1),
                              offsets if bent else offsets[:, [0, 0]],
                              rng.integers(-30, 30, channels), shift, 8, True)


def _table(rows: int) -> ir.Table:
    """A sigmoid of steps of 1/16 for each of ``rows`` channels, each a little steeper."""
    steep = np.linspace(1 / 16, 1 / 8, rows)[:, None]
    values = np.rint(255 / (1 + np.exp(-np.arange(-128, 128) * steep))).astype(np.int64)
    return ir.Table(NAME, "x", values, 8, False, -128)


def _thresholds(channels: int, count: int, bits: int) -> ir.Threshold:
    """Thresholds that lie anywhere among inputs of so many ``bits``; some channels fall."""
    rng = np.random.default_rng([channels, count])
    high = 1 << bits - 1
    return ir.Threshold(NAME, "x", np.sort(rng.integers(-high, high, (channels, count))),
                        rng.integers(0, 2, channels), count.bit_length(), False)


def _named(layer: ir.Layer) -> ir.Layer:
    """The same layer in front of the one that is measured."""
    return replace(layer, name="before")


def _map(height: int, width: int, channels: int, bits: int, *, signed: bool = False) -> TensorType:
    return TensorType((height, width, channels), bits, signed)


_SAME = (1, 1, 1, 1)
_FIT, _JUDGED = Half.FIT, Half.JUDGED

CASES = (
    Case("conv3x3_dsp", _FIT, "3×3, 8→8, 8 bits, padded, 16 DSPs", _map(14, 14, 8, 8),
         _convolution(8, (3, 3), 8, 8, padding=_SAME), 7056, Fold(4, 1, 4), 16),
    Case("conv3x3_stride2", _JUDGED, "3×3 stride 2, 16→16, 8 bits, 16 DSPs", _map(13, 13, 16, 8),
         _convolution(16, (3, 3), 16, 8, stride=(2, 2)), 5184, Fold(4, 1, 4), 16),
    Case("conv3x3_4bit", _FIT, "3×3, 5→8, 4 bits, unaligned, 6 soft", _map(12, 12, 5, 4),
         _convolution(8, (3, 3), 5, 4), 6000, Fold(2, 1, 3)),
    Case("conv7x5_3bit", _JUDGED, "7×5 stride 2, 3→6, 3 bits, padded, unaligned, 18 soft",
         _map(15, 14, 3, 5),
         _convolution(6, (7, 5), 3, 3, stride=(2, 2), padding=(3, 2, 2, 1)), 2240, Fold(3, 2, 3)),
    Case("dense_dsp", _FIT, "dense 196→10, 8 bits, 14 DSPs", _map(1, 1, 196, 8),
         _dense(10, 196, 8), 140, Fold(2, 1, 7), 14),
    Case("dense_4bit", _JUDGED, "dense 256→16, 4 bits, 16 soft", _map(1, 1, 256, 4),
         _dense(16, 256, 4), 256, Fold(4, 1, 4)),
    Case("max2x2", _FIT, "max 2×2, 16 channels, 8 bits, 4 lanes", _map(14, 14, 16, 8),
         ir.MaxPool(NAME, "x", (2, 2), (2, 2)), 784),
    Case("max3x3_padded", _JUDGED, "max 3×3 stride 2, padded, 6 channels, 5 bits",
         _map(13, 13, 6, 5), ir.MaxPool(NAME, "x", (3, 3), (2, 2), _SAME), 1400),
    Case("requantize_wide", _FIT, "requantize 20→8 bits, 4 lanes", _map(7, 7, 16, 20, signed=True),
         ir.ShiftRequantize(NAME, "x", 7, 8, False), 196),
    Case("requantize_narrow", _JUDGED, "requantize 24→5 bits, 2 lanes",
         _map(7, 7, 16, 24, signed=True), ir.ShiftRequantize(NAME, "x", 9, 5, True), 392),
    Case("conv5x5_rows", _FIT, "5×5, 1→8, 8 bits, padded, 5 rows, 10 DSPs", _map(28, 28, 1, 8),
         _convolution(8, (5, 5), 1, 8, padding=(2, 2, 2, 2)), 15680, Fold(2, 5, 1), 10),
    Case("conv3x3_large", _JUDGED, "3×3, 8→16, 8 bits, padded, 3 rows, 48 DSPs",
         _map(14, 14, 8, 8), _convolution(16, (3, 3), 8, 8, padding=_SAME), 4704,
         Fold(4, 3, 4), 48),
    Case("average7x7", _FIT, "average 7×7, 16 channels, 8 bits, 2 lanes", _map(7, 7, 16, 8),
         ir.AveragePool(NAME, "x", (7, 7), (7, 7)), 392),
    Case("average2x2", _JUDGED, "average 2×2, 8 channels, 6 bits, 4 lanes", _map(8, 8, 8, 6),
         ir.AveragePool(NAME, "x", (2, 2), (2, 2)), 128),
    Case("argmax_wide", _FIT, "argmax of 10, 20 bits", _map(1, 1, 10, 20, signed=True),
         ir.ArgMax(NAME, "x"), 10),
    Case("argmax_narrow", _JUDGED, "argmax of 12, 14 bits",
         _map(1, 1, 12, 14, signed=True), ir.ArgMax(NAME, "x"), 12),
    Case("conv3x3_soft8", _FIT, "3×3, 4→4, 8 bits, 4 soft", _map(10, 10, 4, 8),
         _convolution(4, (3, 3), 4, 8), 2304, Fold(2, 1, 2)),
    Case("conv1x1_mixed", _JUDGED, "1×1, 32→16, 6 bits, 8 DSPs and 4 soft", _map(8, 8, 32, 6),
         _convolution(16, (1, 1), 32, 6), 3584, Fold(3, 1, 4), 8),
    Case("depthwise3x3_dsp", _FIT, "depthwise 3×3, 64 channels, 8 bits, padded, 8 DSPs",
         _map(25, 5, 64, 8, signed=True), _depthwise(64, 1, 8, padding=_SAME), 9000,
         Fold(1, 1, 8), 8),
    Case("depthwise3x3_odd", _JUDGED, "depthwise 3×3, 24 channels, 8 bits, 5 lanes, 5 DSPs",
         _map(12, 12, 24, 8, signed=True), _depthwise(24, 1, 8, padding=_SAME), 6480,
         Fold(1, 1, 5), 5),
    Case("depthwise3x3_double", _FIT, "depthwise 3×3 stride 2, 8→16, 5 bits, 8 soft",
         _map(13, 13, 8, 5), _depthwise(8, 2, 5, stride=(2, 2)), 648, Fold(2, 1, 4)),
    Case("depthwise3x3_wide", _JUDGED, "depthwise 3×3, 32 channels, 8 bits, padded, 16 DSPs",
         _map(10, 10, 32, 8, signed=True), _depthwise(32, 1, 8, padding=_SAME), 1800,
         Fold(1, 1, 16), 16),
    Case("sum4x4", _JUDGED, "sum 4×4, 16 channels, 8 bits, 2 lanes", _map(8, 8, 16, 8),
         ir.SumPool(NAME, "x", (4, 4), (4, 4)), 512),
    Case("pad", _JUDGED, "pad by 1 and 2, 16 channels, 8 bits, 2 lanes", _map(14, 14, 16, 8),
         ir.Pad(NAME, "x", (1, 2, 1, 2), 3), 2312),
    Case("scale_slow", _FIT, "scale 20→8 bits, a channel each, 1 lane in 16 cycles",
         _map(8, 8, 32, 20, signed=True), _scale(32), 32768),
    Case("scale_spread", _JUDGED, "scale 22→8 bits, 1 lane in 6 cycles, 4 shifts",
         _map(8, 8, 32, 22, signed=True), _scale(32, least=-10, most=-7), 12288),
    Case("scale_fast", _FIT, "scale 18→8 bits, 1 lane in 4 cycles",
         _map(10, 10, 16, 18, signed=True), _scale(16), 6400),
    Case("scale_one", _JUDGED, "scale 20→8 bits, 2 lanes in 1 cycle, one scale for all",
         _map(10, 10, 16, 20, signed=True), _scale(1), 800),
    Case("scale_single", _JUDGED, "scale 24→8 bits, rounded once, 1 lane in 8 cycles",
         _map(8, 8, 16, 24, signed=True), _scale(16, rounding=ir.ScaleRounding.SINGLE), 8192),
    Case("slope_line", _JUDGED, "line 10→8 bits, 64 channels, 15-bit slopes, 2 lanes, 2 DSPs",
         _map(8, 8, 64, 10, signed=True), _slopes(64, 13, bent=False), 2048, dsps=2),
    Case("slope_bent", _JUDGED, "two lines 9→8 bits, 32 channels, 8-bit slopes, 4 lanes, soft",
         _map(8, 8, 32, 9, signed=True), _slopes(32, 6, bent=True), 512),
    Case("table_shared", _JUDGED, "table 8→8 bits, one for all channels, 4 lanes",
         _map(8, 8, 16, 8, signed=True), _table(1), 256),
    Case("table_each", _JUDGED, "table 8→8 bits, 24 channels, 2 lanes, 4 block RAMs",
         _map(8, 8, 24, 8, signed=True), _table(24), 768),
    Case("binary3x3", _FIT, "3×3, 16→16, signs, 8×16 at once", Bipolar((12, 12, 16)),
         _binary(16, (3, 3), 16), 1800, Fold(8, 1, 16)),
    Case("binary3x3_wide", _JUDGED, "3×3, 32→32, signs, biased, 3 rows, 16×96 at once",
         Bipolar((8, 8, 32)), _binary(32, (3, 3), 32, biased=True), 256, Fold(16, 3, 32)),
    Case("binary1x1", _JUDGED, "1×1, 64→10, signs, biased, 5×32 at once", Bipolar((8, 8, 64)),
         _binary(10, (1, 1), 64, biased=True), 256, Fold(5, 1, 32)),
    Case("ternary3x3", _FIT, "3×3, 16→16, {−1, 0, 1} × 4 bits, 8×16 at once", _map(12, 12, 16, 4),
         _ternary([-1, 0, 1], 16, (3, 3), 16), 1800, Fold(8, 1, 16)),
    Case("trained3x3", _JUDGED, "3×3, 16→16, {−45, 0, 77} × 4 bits, padded, 4×24 at once",
         _map(12, 12, 16, 4), _ternary([-45, 0, 77], 16, (3, 3), 16, padding=_SAME), 3456,
         Fold(4, 1, 24)),
    Case("signs5x5", _JUDGED, "5×5, 3→32, {−1, 1} × 8 bits, 16×15 at once", _map(14, 14, 3, 8),
         _ternary([-1, 1], 32, (5, 5), 3), 1000, Fold(16, 1, 15)),
    Case("argmax_gearbox", _FIT, "argmax of 10, 20 bits, behind a gearbox from 5 lanes",
         _map(1, 1, 64, 8), ir.ArgMax(NAME, "before"), 10,
         before=((_named(_dense(10, 64, 8)), Fold(10, 1, 32)),)),
    Case("pad_gearbox", _JUDGED, "pad by 1, 12 channels, 8 bits, a gearbox from 2 to 3 lanes",
         _map(10, 10, 12, 8), ir.Pad(NAME, "x", _SAME, 0), 600),
    Case("pad_upsizer", _FIT, "pad by 1, 12 channels, 8 bits, an upsizer from 3 to 6 lanes",
         _map(10, 10, 12, 8), ir.Pad(NAME, "x", _SAME, 0), 400),
    Case("add_short", _FIT, "sum of 9 bits, 4 lanes, behind a short queue", _map(8, 8, 16, 8),
         ir.Add(NAME, "before", "x"), 256, before=((ir.Clamp("before", "x", 0, 63), None),)),
    Case("add_long", _JUDGED, "sum of 9 bits, 1 lane, behind a long queue and a gearbox",
         _map(12, 12, 8, 8),
         ir.Add(NAME, "before", "x"), 1296,
         before=((ir.MaxPool("before", "x", (3, 3), (1, 1), _SAME), None),)),
    Case("threshold_few", _JUDGED, "3 thresholds of 12 bits, 32 channels, 4 lanes",
         _map(8, 8, 32, 12, signed=True), _thresholds(32, 3, 12), 512),
    Case("threshold_one", _FIT, "1 threshold of 10 bits, 64 channels, 8 lanes",
         _map(8, 8, 64, 10, signed=True), _thresholds(64, 1, 10), 512),
    Case("threshold_many", _FIT, "15 thresholds of 16 bits, 64 channels, 2 lanes",
         _map(8, 8, 64, 16, signed=True), _thresholds(64, 15, 16), 2048),
    Case("average3x3_inside", _FIT, "average 3×3 within the map, 8 channels, 8 bits, 2 lanes",
         _map(9, 9, 8, 8), ir.AveragePool(NAME, "x", (3, 3), (2, 2), _SAME, count_padding=False),
         900),
    Case("average2x3_inside", _JUDGED, "average 2×3 within the map, 6 channels, 6 bits, 1 lane",
         _map(8, 9, 6, 6), ir.AveragePool(NAME, "x", (2, 3), (2, 3), (1, 1, 0, 0),
                                          count_padding=False), 540),
    Case("grouped3x3", _JUDGED, "3×3 in 4 groups, 16→16, 8 bits, padded, 32 DSPs",
         _map(10, 10, 16, 8), _convolution(16, (3, 3), 4, 8, padding=_SAME, groups=4), 1800,
         Fold(4, 1, 8), 32),
    Case("codebook3x3", _FIT, "3×3, 8→8, a codebook of 8 of 8 bits, 16 DSPs", _map(10, 10, 8, 8),
         _codebook(8, (3, 3), 8, [-120, -60, -25, -9, 4, 17, 46, 101]), 2304, Fold(4, 1, 4), 16,
         engine=Dot),
    Case("slope_soft", _FIT, "line 12→6 bits, 32 channels, 10-bit slopes, 2 lanes, soft",
         _map(8, 8, 32, 12, signed=True), _slopes(32, 8, bent=False), 1024),
    Case("slope_bent_dsp", _FIT, "two lines 11→8 bits, 16 channels, 12-bit slopes, 2 DSPs",
         _map(8, 8, 16, 11, signed=True), _slopes(16, 10, bent=True), 512, dsps=2),
    Case("scale_even", _FIT, "scale 18→8 bits, halves to even, 1 lane in 1 cycle, one scale",
         _map(8, 8, 8, 18, signed=True), _scale(1, rounding=ir.ScaleRounding.EVEN), 512),
    Case("scale_wide", _FIT, "scale 22→8 bits, 1 lane in 1 cycle, 3 shifts",
         _map(8, 8, 16, 22, signed=True), _scale(16, least=-9, most=-7), 1024),
    Case("ice40_conv3x3", _FIT, "3×3, 4→4, 8 bits, 4 DSPs", _map(8, 8, 4, 8),
         _convolution(4, (3, 3), 4, 8), 1296, Fold(2, 1, 2), 4, "icebreaker"),
    Case("ice40_conv3x3_4bit", _JUDGED, "3×3, 4→4, 4 bits, padded, 2 soft", _map(8, 8, 4, 4),
         _convolution(4, (3, 3), 4, 4, padding=_SAME), 4608, Fold(1, 1, 2), board="icebreaker"),
    Case("ice40_max2x2", _FIT, "max 2×2, 8 channels, 8 bits, 2 lanes", _map(8, 8, 8, 8),
         ir.MaxPool(NAME, "x", (2, 2), (2, 2)), 256, board="icebreaker"),
    Case("ice40_binary", _FIT, "3×3, 16→8, signs, 4×16 at once", Bipolar((6, 6, 16)),
         _binary(8, (3, 3), 16), 288, Fold(4, 1, 16), board="icebreaker"),
    Case("ice40_ternary", _JUDGED, "3×3, 8→8, {−1, 0, 1} × 4 bits, 2×8 at once", _map(8, 8, 8, 4),
         _ternary([-1, 0, 1], 8, (3, 3), 8), 432, Fold(2, 1, 8), board="icebreaker"),
    Case("ice40_dense", _JUDGED, "dense 64→10, 8 bits, 4 DSPs", _map(1, 1, 64, 8),
         _dense(10, 64, 8), 160, Fold(2, 1, 2), 4, "icebreaker"),
)
"""Every layer; the two halves take turns, so that a run that is cut off still judges."""
