"""Times of beats that are some cycles apart, and how many are alive at once."""

from __future__ import annotations

import numpy as np

from ..ir import Integers

Spacing = int | Integers
"""Cycles from each of a frame's beats to the next one, whatever frame that is of."""


def _begins(spacing: Spacing, count: int) -> Integers:
    """(count + 1,) cycles from a frame's first beat to each, and to the next frame's first."""
    if isinstance(spacing, int):
        return np.arange(count + 1) * spacing
    return np.append(0, np.cumsum(spacing))


def paced(times: Integers, spacing: Spacing) -> Integers:
    """The earliest times that are at least ``spacing`` apart and not before ``times``."""
    steps = _begins(spacing, len(times))[:-1]
    return np.maximum.accumulate(times - steps) + steps


def paced_before(times: Integers, spacing: Spacing, interval: int) -> Integers:
    """The latest times not after ``times``, ``spacing`` apart, also from one frame to the next."""
    begins = _begins(spacing, len(times))
    steps, end = begins[:-1], int(begins[-1])
    latest = np.minimum.accumulate((times - steps)[::-1])[::-1] + steps
    # The next frame begins one interval after this one, and may not overtake its end.
    return np.minimum(latest, latest[0] + interval - end + steps)


def within(times: Integers, interval: int) -> Integers:
    """The earliest times not before ``times`` of a frame that ends before the next one begins."""
    steps = np.arange(len(times))
    first = int((times - steps).max()) + len(times) - interval
    return np.maximum(times, first + steps)


def most_alive(enter: Integers, leave: Integers, interval: int) -> int:
    """Words alive at once, when frames follow every ``interval`` cycles."""
    frames, cycles = _divided(np.concatenate((enter, np.maximum(leave, enter))), interval)
    # Words of all frames alive just before cycle 0, then the changes within one interval.
    alive = int(frames[len(enter):].sum() - frames[:len(enter)].sum())
    order = np.argsort(cycles, kind="stable")
    changes = np.cumsum(np.where(order < len(enter), 1, -1))
    complete = np.append(np.diff(cycles[order]) > 0, True)  # what changes in one cycle does at once
    return alive + max(0, int(changes[complete].max()))


def _divided(times: Integers, interval: int) -> tuple[Integers, Integers]:
    """Whole intervals before each of ``times``, and the cycles beyond: those of few intervals are
    told sooner than by a division."""
    first = int(times.min()) // interval
    cycles = times - first * interval
    if cycles.max() >= 2 * interval:
        frames, cycles = np.divmod(cycles, interval)
        return frames + first, cycles
    late = cycles >= interval
    return late + first, np.where(late, cycles - interval, cycles)
