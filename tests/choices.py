"""Random numbers that hypothesis draws."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

FEW = 6
"""Numbers that hypothesis draws one by one; more are contents, of which only the seed matters."""


class Choices(np.random.Generator):
    """Draws what a generator of numpy would, each choice by hypothesis, so that failures shrink.

    All generators of networks take it for a seed. Arrays of more than `FEW` elements, which are
    weights and the like, come from numpy, whose seed is one more choice.

    Parameters
    ----------
    draw : what hypothesis gives a composite strategy.
    """

    def __init__(self, draw: Callable[[Any], Any]) -> None:
        super().__init__(np.random.PCG64(draw(st.integers(0, 99))))
        self._draw = draw

    def integers(self, low: Any, high: Any = None, size: Any = None, **kwargs: Any) -> Any:
        if high is None:
            low, high = 0, low
        shape = np.broadcast_shapes(np.shape(low), np.shape(high)) if size is None else (
            (size,) if np.ndim(size) == 0 else tuple(size))
        if np.prod(shape, dtype=int) > FEW:
            return super().integers(low, high, size, **kwargs)
        lows, highs = (np.broadcast_to(end, shape).reshape(-1) for end in (low, high))
        drawn = [self._draw(st.integers(int(a), int(b) - 1))
                 for a, b in zip(lows, highs, strict=True)]
        return np.array(drawn, np.int64).reshape(shape) if shape else np.int64(drawn[0])

    def choice(self, a: Any, size: Any = None, **kwargs: Any) -> Any:
        if size is not None:
            return super().choice(a, size, **kwargs)
        return self._draw(st.sampled_from(range(a) if np.ndim(a) == 0 else list(a)))


@st.composite
def choices(draw: Callable[[Any], Any]) -> Choices:
    """What is drawn one by one by whoever takes it for a seed or a generator."""
    return Choices(draw)
