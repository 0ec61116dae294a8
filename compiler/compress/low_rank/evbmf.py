"""The rank of a noisy matrix, by variational Bayes (Nakajima 2013, theorem 2 and corollary 1)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["evbmf_rank"]

_ROUNDS = 200


def evbmf_rank(matrix: Tensor) -> int:
    """How many singular values of ``matrix`` stand out of noise, whose variance is estimated too.

    At least 1, so that something is left.
    """
    rows, columns = sorted(matrix.shape)
    values = torch.linalg.svdvals(matrix.double())
    if not float(values.max()):
        return 1
    ratio = rows / columns
    # Above this multiple of the noise a component's posterior is not 0.
    tau = 2.5129 * math.sqrt(ratio)
    bound = (1 + tau) * (1 + ratio / tau)
    squares = values ** 2
    noise = _noise(squares, ratio, bound, columns)
    return max(1, int((squares > columns * noise * bound).sum()))


def _noise(squares: Tensor, ratio: float, bound: float, columns: int) -> float:
    """The variance of the noise that has the least free energy."""
    rows = len(squares)
    last = min(math.ceil(rows / (1 + ratio)) - 1, rows - 1)
    tail = squares[last:]
    high = float(squares.sum()) / (rows * columns)
    low = max(float(tail[0]) / (columns * bound), float(tail.mean()) / columns)
    if low >= high:
        return high
    if not low:
        low = high * 1e-12
    # A coarse search first, since there may be more minima than one; then thirds of what is left.
    grid = torch.logspace(math.log10(low), math.log10(high), _ROUNDS, dtype=torch.float64).tolist()
    costs = [_free_energy(squares / (columns * one), ratio, bound) for one in grid]
    best = min(range(_ROUNDS), key=costs.__getitem__)
    low, high = grid[max(0, best - 1)], grid[min(_ROUNDS - 1, best + 1)]
    for _ in range(60):
        third = (high - low) / 3
        left, right = (_free_energy(squares / (columns * one), ratio, bound)
                       for one in (low + third, high - third))
        low, high = (low, high - third) if left <= right else (low + third, high)
    return (low + high) / 2


def _free_energy(scaled: Tensor, ratio: float, bound: float) -> float:
    """Of squares of singular values, by the number of columns and the noise."""
    signal, rest = scaled[scaled > bound], scaled[scaled <= bound]
    middle = signal - (1 + ratio)
    tau = (middle + (middle ** 2 - 4 * ratio).clamp(min=0).sqrt()) / 2
    rest = rest.clamp(min=1e-300)
    return float((rest - rest.log()).sum() + (signal - tau).sum()
                 + ((tau + 1) / signal).log().sum() + ratio * (tau / ratio + 1).log().sum())
