"""Operators that repeat elements."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ... import ir
from ..ranges import cut
from .file import Operator
from .graph import AGAIN, Graph, Refused, Value, map_shape
from .operators import unscaled


# --- as Keras writes an UpSampling2D
def tile(graph: Graph, operator: Operator) -> None:
    """TILE of axes of one element."""
    sizes = graph.tensor(operator, 0).shape
    times = graph.integers(operator, 1, ("INT32", "INT64"))
    if times.shape != (len(sizes),):
        raise Refused(operator, f"its multiples are not those of {len(sizes)} axes", AGAIN)
    _repeat(graph, operator, sizes, times.tolist())


def broadcast(graph: Graph, operator: Operator) -> None:
    """BROADCAST_TO, which repeats axes of one element."""
    sizes = graph.tensor(operator, 0).shape
    wanted = graph.integers(operator, 1, ("INT32", "INT64"))
    if wanted.ndim != 1 or len(wanted) < len(sizes):
        raise Refused(operator, f"its shape {wanted.tolist()!s:.100} is none that {sizes} has room "
                                f"in", AGAIN)
    sizes = (1,) * (len(wanted) - len(sizes)) + sizes
    times = [new if size == 1 else 1 for size, new in zip(sizes, wanted.tolist(), strict=True)]
    if [size * n for size, n in zip(sizes, times, strict=True)] != wanted.tolist():
        raise Refused(operator, f"its shape {wanted.tolist()!s:.100} is none that {sizes} is "
                                f"repeated to", AGAIN)
    _repeat(graph, operator, sizes, times)


def _repeat(graph: Graph, operator: Operator, sizes: Sequence[int], times: Sequence[int]) -> None:
    """Repeat each axis of ``sizes`` so many ``times``; of one element, one or two at most.

    Then blocks of elements are repeated as they lie in raster order: as rows, and as pixels.
    """
    unscaled(graph, operator)
    copied = [axis for axis, count in enumerate(times) if count != 1]
    if len(copied) > 2 or any(sizes[axis] != 1 for axis in copied):
        raise Refused(operator, f"it repeats {tuple(sizes)} {tuple(times)} times", "repeat one or "
                                "two axes of one element, as those behind height and width")
    if graph.tensor(operator, 0, ends=True).shape != tuple(
            size * count for size, count in zip(sizes, times, strict=True)):
        raise Refused(operator, "its output is declared as another shape", AGAIN)
    if not copied:
        graph.finish(operator, graph.value(operator))
        return
    blocks = [math.prod(sizes[axis + 1:]) for axis in copied]
    factors = [times[axis] for axis in copied]
    _, width, channels = graph.value(operator).padded
    if blocks == [channels]:  # pixels of the map as it is
        blocks, factors = [width * channels, *blocks], [1, *factors]
    elif len(blocks) == 1:
        blocks.append(channels if blocks[0] % channels == 0 else blocks[0])
        factors.append(1)
    row, pixel = blocks
    shape = math.prod(sizes) // row, row // pixel, pixel
    _enlarge(graph, operator, graph.shaped(operator, shape), (factors[0], factors[1]))


def _enlarge(graph: Graph, operator: Operator, layer: str, factors: tuple[int, int]) -> None:
    """Let the output be ``layer``, enlarged by ``factors``."""
    layer = _enlarged(graph, operator, layer, factors)
    graph.finish(operator, Value(layer, graph.types[layer].shape))


def _enlarged(graph: Graph, operator: Operator, layer: str, factors: tuple[int, int]) -> str:
    """The layer that puts out ``layer`` enlarged by ``factors``; twice in a row is once by both."""
    before = graph.layers.get(layer)
    if isinstance(before, ir.Upsample):
        both = factors[0] * before.factors[0], factors[1] * before.factors[1]
        if max(both) <= ir.MAX_FACTOR:
            layer, factors = before.input, both
    if not all(1 <= factor <= ir.MAX_FACTOR for factor in factors):
        raise Refused(operator, f"it enlarges {factors[0]}×{factors[1]} times",
                      f"enlarge by whole factors from 1 to {ir.MAX_FACTOR}")
    if factors == (1, 1):
        return layer
    return graph.add(ir.Upsample(graph.name_of(operator, "upsample"), layer, factors))


# --- resizing
def resize_nearest(graph: Graph, operator: Operator) -> None:
    """RESIZE_NEAREST_NEIGHBOR: rows and columns are repeated, and of the copies some are taken.

    One axis comes after the other, so that few copies are made in vain.
    """
    unscaled(graph, operator)
    layer, (height, width, channels) = graph.source(operator)
    wanted = graph.integers(operator, 1, ("INT32",)).reshape(-1).tolist()
    if operator.options["align_corners"]:
        raise Refused(operator, "it aligns corners", "leave align_corners off")
    if len(wanted) != 2 or min(wanted) < 1:
        raise Refused(operator, f"its size {wanted!s:.100} is not two numbers from 1", AGAIN)
    if map_shape(graph.tensor(operator, 0, ends=True)) != (*wanted, channels):
        raise Refused(operator, f"it makes {wanted[0]}×{wanted[1]}, its output is declared as "
                                f"another shape", AGAIN)
    half = bool(operator.options["half_pixel_centers"])
    found = [_copies(size, new, half) for size, new in zip((height, width), wanted, strict=True)]
    if None in found:
        raise Refused(operator, f"the float32 of the reference kernel makes {height}×{width} to "
                                f"{wanted[0]}×{wanted[1]} unevenly", "take a power of two")
    (down, rows), (across, columns) = (each for each in found if each is not None)
    if (len(rows), len(columns)) == (height * down, width * across):
        _enlarge(graph, operator, layer, (down, across))
        return

    def name() -> str:
        return graph.name_of(operator, "resize")

    layer = _enlarged(graph, operator, layer, (down, 1))
    layer = cut(graph, layer, name, rows, range(width), range(channels))
    layer = _enlarged(graph, operator, layer, (1, across))
    layer = cut(graph, layer, name, range(wanted[0]), columns, range(channels))
    graph.finish(operator, Value(layer, graph.types[layer].shape))


def _copies(size: int, new: int, half: bool) -> tuple[int, range] | None:
    """How often each of ``size`` elements is repeated, and which copies are the ``new`` ones.

    None where those of the reference kernel are not evenly apart.
    """
    nearest = _nearest(size, new, half)
    # The place of a new element in the old ones, as a fraction; half pixels take odd halves.
    for start, factor, step in ((0, new, size), (size, 2 * new, 2 * size)):
        shared = math.gcd(start, factor, step)
        first, step, factor = start // shared, step // shared, factor // shared
        taken = range(first, first + step * (new - 1) + 1, step)
        if np.array_equal(np.array(taken) // factor, nearest):
            return factor, taken
    return None


def _nearest(size: int, new: int, half: bool) -> ir.Integers:
    """Which of ``size`` elements the reference kernel takes for each of the ``new`` ones."""
    places = np.arange(new).astype(np.float32) + np.float32(0.5 if half else 0)
    found = np.floor(places * (np.float32(size) / np.float32(new))).astype(np.int64)
    return np.minimum(found, size - 1)
