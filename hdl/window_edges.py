"""Which elements of a window lie inside the frame; the others are padding.

The counters are those of the read order, see `WindowGeometry.loops`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

from amaranth.hdl import *

from .counter import each_case
from .stream import beats
from .window_geometry import WindowGeometry

T = TypeVar("T")

__all__ = ["begins_inside", "columns_inside", "each_tap", "lies_inside", "rows_inside"]


def begins_inside(geometry: WindowGeometry, counters: Sequence[Value]) -> Value:
    """Whether the window begins before the right and the lower edge, in the last pass over its row.

    Elsewhere, the elements before its address may still be wanted: by the row that follows, or by
    the next pass.
    """
    flags = [_below(counter, count, padding, stride, size) for counter, count, padding, stride,
             size in zip((counters[-1], counters[3]), geometry.positions, geometry.padding[::2],
                         geometry.stride, geometry.size[:2], strict=True)]
    if geometry.passes > 1:
        flags.append(counters[4] == geometry.passes - 1)
    changing = [flag for flag in flags if not isinstance(flag, Const)]
    return Cat(changing).all() if changing else Const(1)


def rows_inside(m: Module, geometry: WindowGeometry, counters: Sequence[Value]) -> Value:
    """Whether each row copy reads a row of the kernel that lies inside the frame."""
    kernel_height = geometry.kernel[0]
    if not any(geometry.padding[:2]) and kernel_height % geometry.rows == 0:
        return Const(-1, geometry.rows)
    y = counters[-1]
    inside = [lies_inside(y, geometry.positions[0], geometry.padding[0] - row, geometry.stride[0],
                      geometry.size[0]) for row in range(kernel_height)]
    rows_ok = Signal(geometry.rows)
    if geometry.gathers:
        for row, _ in each_tap(m, geometry, counters, _taps(geometry)):
            m.d.comb += rows_ok.eq(inside[row])
        return rows_ok
    with m.Switch(counters[1]):
        for group in range(beats(kernel_height, geometry.rows)):
            first = group * geometry.rows
            with m.Case(group):
                m.d.comb += rows_ok.eq(Cat(inside[first : first + geometry.rows]))
    return rows_ok


def columns_inside(m: Module, geometry: WindowGeometry, counters: Sequence[Value]) -> Value:
    """Whether what is read lies between the left and the right edge, for each of the
    `WindowGeometry.different_columns`."""
    different = geometry.different_columns
    if not any(geometry.padding[2:]):
        return Const(-1, len(different))
    inside = [lies_inside(counters[3], geometry.positions[1], geometry.padding[2] - column,
                          geometry.stride[1], geometry.size[1])
              for column in range(geometry.kernel[1])]
    columns_ok = Signal(len(different))
    if geometry.gathers:
        for _, column in each_tap(m, geometry, counters, _taps(geometry)):
            m.d.comb += columns_ok.eq(inside[column])
        return columns_ok
    with m.Switch(counters[0]):
        for step in range(geometry.loops[0].count):
            with m.Case(step):
                m.d.comb += columns_ok.eq(Cat(inside[columns[step]] for columns in different))
    return columns_ok


def each_tap(m: Module, geometry: WindowGeometry, counters: Sequence[Value],
             values: Mapping[tuple[int, int, int], T]) -> Iterator[T]:
    """The ``values`` of each pass, output and tap of gathers, each where the counters stand at it.
    """
    turn = counters[4] if geometry.passes > 1 else Const(0)
    return each_case(m, (turn, counters[2], counters[0]), values.items())


def _taps(geometry: WindowGeometry) -> Mapping[tuple[int, int, int], tuple[int, int]]:
    return {(n, k, t): tap for n, outputs in enumerate(geometry.gathers)
            for k, taps in enumerate(outputs) for t, tap in enumerate(taps)}


def lies_inside(counter: Value, count: int, padding: int, stride: int, size: int) -> Value:
    """Whether ``counter * stride - padding`` is in ``range(size)``, the counter below ``count``."""
    low = max(0, -(-padding // stride))
    if low > min(count - 1, (size - 1 + padding) // stride):
        return Const(0)
    above = Const(1) if low == 0 else counter >= low
    return above & _below(counter, count, padding, stride, size)


def _below(counter: Value, count: int, padding: int, stride: int, size: int) -> Value:
    """Whether ``counter * stride - padding`` is below ``size``, the counter below ``count``."""
    high = (size - 1 + padding) // stride
    return Const(1) if high >= count - 1 else counter <= high
