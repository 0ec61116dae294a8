"""Network and board budget to a plan: folds, memories, closed-form cycles, predicted resources."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import singledispatch

import numpy as np

from . import ir, resources, timing
from .ir import Network, PenjingError, TensorType
from .plan import Fold, LayerPlan, Plan, Port, Resources, Storage
from .timing import Passing, Stage, Windowed

DOT_LATENCY = 8
"""Cycles from the last input beat of a group to its first output beat, without the adder tree."""


@dataclass(frozen=True)
class Budget:
    """What the accelerator may use.

    ``multipliers`` bounds all multipliers together; those beyond ``resources.dsps`` are built from
    logic. ``family`` selects the resource model.
    """

    family: resources.Family
    resources: Resources
    multipliers: int


@dataclass(frozen=True)
class Goal:
    """What to optimize for.

    ``cycles`` asks for the least hardware that takes a frame in at most so many cycles; without it,
    the budget is spent on speed. ``folds`` fixes layers by hand.
    """

    cycles: int | None = None
    folds: Mapping[str, Fold] = field(default_factory=dict)


@dataclass(frozen=True)
class _Sliding:
    """What the window of a multiply-accumulate or pooling layer slides over."""

    size: tuple[int, int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int, int, int]
    positions: int

    @property
    def run(self) -> int:
        """Elements of one kernel row."""
        return self.kernel[1] * self.size[2]


def sliding(network: Network, layer: ir.Layer) -> _Sliding:
    """Geometry of a windowed layer; a dense layer is one window over a 1×1 map."""
    shape = network.source_type(layer).shape
    height, width, _ = network.type_of(layer.name).shape
    if isinstance(layer, ir.Dense):
        return _Sliding(shape, (1, 1), (1, 1), (0, 0, 0, 0), 1)
    assert isinstance(layer, ir.Convolution | ir.MaxPool | ir.AveragePool)
    return _Sliding(shape, layer.kernel, layer.stride, layer.padding, height * width)


def folds_per_position(outputs: int, kernel_height: int, run: int, fold: Fold) -> tuple[int, int]:
    """(groups of outputs, beats of each group) that one position takes."""
    return (-(-outputs // fold.pe),
            -(-kernel_height // fold.rows) * -(-run // fold.lanes))


def output_lanes(fold: Fold, beats: int) -> int:
    """Outputs an engine gives a beat: the fewest that divide ``pe`` and keep up with the engine."""
    return next(lanes for lanes in range(1, fold.pe + 1)
                if fold.pe % lanes == 0 and lanes * beats >= fold.pe)


def check_fold(network: Network, layer: ir.Layer, fold: Fold) -> None:
    """Refuse a fold that exceeds ``layer``'s dimensions."""
    shape = sliding(network, layer)
    outputs = network.type_of(layer.name).shape[2]
    for what, value, most in (("pe", fold.pe, outputs), ("rows", fold.rows, shape.kernel[0]),
                              ("lanes", fold.lanes, shape.run)):
        if not 1 <= value <= most:
            raise PenjingError(f"layer {layer.name}: fold {what} must be from 1 to {most}, "
                               f"not {value}")


def fold_of_simd(network: Network, layer: ir.Layer, pe: int, simd: int) -> Fold:
    """The fold of ``pe`` with the best use of at most ``simd`` inputs a cycle."""
    shape = sliding(network, layer)
    if not 1 <= simd <= shape.kernel[0] * shape.run:
        raise PenjingError(f"layer {layer.name}: simd must be from 1 to "
                           f"{shape.kernel[0] * shape.run}, not {simd}")
    candidates = [Fold(pe, rows, min(simd // rows, shape.run))
                  for rows in range(1, min(simd, shape.kernel[0]) + 1)]
    best = min(candidates, key=lambda f: (
        folds_per_position(1, shape.kernel[0], shape.run, f)[1], f.rows))
    check_fold(network, layer, best)
    return best


def mac_cycles(network: Network, layer: ir.Layer, fold: Fold) -> int:
    """Cycles that a multiply-accumulate layer's reads take: positions × groups × beats."""
    shape = sliding(network, layer)
    groups, beats = folds_per_position(network.type_of(layer.name).shape[2], shape.kernel[0],
                                       shape.run, fold)
    return shape.positions * groups * beats


def smallest_fold(network: Network, layer: ir.Layer, cycles: int) -> Fold | None:
    """The cheapest fold that needs at most ``cycles`` a frame; None where even the largest is slower."""
    shape = sliding(network, layer)
    outputs = network.type_of(layer.name).shape[2]
    best: tuple[tuple[int, ...], Fold] | None = None
    for groups in _distinct_quotients(outputs):
        pe = -(-outputs // groups)
        for row_groups in _distinct_quotients(shape.kernel[0]):
            rows = -(-shape.kernel[0] // row_groups)
            steps = cycles // (shape.positions * groups * row_groups)
            if steps < 1:
                continue
            for lanes in _lane_choices(shape, min(steps, shape.run)):
                fold = Fold(pe, rows, lanes)
                # Same multipliers: prefer aligned reads, then one copy of the buffer, then fewer
                # adder trees' outputs to drain.
                key = (fold.multipliers, _banks(shape, fold), rows, pe)
                if best is None or key < best[0]:
                    best = key, fold
    return best[1] if best else None


def _distinct_quotients(size: int) -> Iterator[int]:
    """Every value of ``ceil(size / n)``: other group counts only waste multipliers."""
    seen = set()
    for n in range(1, size + 1):
        groups = -(-size // n)
        if groups not in seen:
            seen.add(groups)
            yield groups


def _lane_choices(shape: _Sliding, steps: int) -> Iterator[int]:
    """The fewest lanes that read a kernel row in ``steps`` beats."""
    yield -(-shape.run // steps)


def _banks(shape: _Sliding, fold: Fold) -> int:
    """Memories of a window buffer: 1 where every read of ``lanes`` elements is aligned."""
    height, width, channels = shape.size
    if (height, width) == (1, 1):
        return 1
    moves = [shape.stride[1] * channels, width * channels, shape.padding[2] * channels]
    return fold.lanes // math.gcd(fold.lanes, *moves)


