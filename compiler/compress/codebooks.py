"""Weight sharing while a network is trained (Deep Compression, Han, arXiv 1510.00149).

A layer's weights that are not 0 take few different values, its centroids, which k-means finds. They
become the layer's parameters, so an optimizer moves them by the summed gradients of all weights
that share them, and neither a code nor a zero can change on the way.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping

import kmeans1d
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ..ir import PenjingError
from ..ir.encoding import MAX_CODES

__all__ = ["Start", "centroids", "part", "release", "share"]

MAX_ROUNDS = 300


class Start(enum.Enum):
    """Where k-means begins: all but the last improve it by Lloyd's rounds.

    ``LINEAR`` spreads centroids over the range of the weights, which keeps the large ones;
    ``DENSITY`` over their distribution; ``RANDOM`` takes weights at random (Forgy). ``EXACT`` is no
    start but the optimum, by dynamic programming.
    """

    LINEAR = "linear"
    DENSITY = "density"
    RANDOM = "random"
    EXACT = "exact"


def centroids(values: Tensor, count: int, start: Start = Start.LINEAR,
              generator: torch.Generator | None = None) -> Tensor:
    """At most ``count`` centroids of ``values`` (N,), ascending, as k-means leaves them.

    Where as few values differ, these are the centroids. A centroid that no value is nearest to is
    left out. ``generator`` is what `Start.RANDOM` draws from.
    """
    different = torch.unique(values)
    if len(different) <= count:
        return different
    if start is Start.EXACT:
        found = kmeans1d.cluster(values.tolist(), count).centroids
        return torch.tensor(found, dtype=values.dtype)
    ordered = values.sort().values.double()
    return _lloyd(ordered, _begin(ordered, count, start, generator)).to(values.dtype)


def _begin(ordered: Tensor, count: int, start: Start, generator: torch.Generator | None) -> Tensor:
    """Where Lloyd's rounds begin on ascending values."""
    if start is Start.LINEAR:
        return torch.linspace(float(ordered[0]), float(ordered[-1]), count, dtype=ordered.dtype)
    if start is Start.DENSITY:
        # What lies in the middle of each of ``count`` equal parts of all values.
        middles = (torch.arange(count) * 2 + 1) * len(ordered) // (2 * count)
        return ordered[middles].unique()
    different = ordered.unique()
    picked = torch.randperm(len(different), generator=generator)[:count]
    return different[picked].sort().values


def _lloyd(ordered: Tensor, found: Tensor) -> Tensor:
    """The centroids ``found`` after rounds of k-means on ascending values, until none moves."""
    sums = torch.cat([torch.zeros(1, dtype=ordered.dtype), ordered.cumsum(0)])
    for _ in range(MAX_ROUNDS):
        borders = torch.searchsorted(ordered, (found[1:] + found[:-1]) / 2)
        edges = torch.cat([torch.tensor([0]), borders, torch.tensor([len(ordered)])])
        sizes = edges.diff()
        some = sizes > 0
        moved = (sums[edges[1:]] - sums[edges[:-1]])[some] / sizes[some]
        if torch.equal(moved, found):
            break
        found = moved
    return found


class _Shared(nn.Module):
    """A weight that is looked up: 0, or the centroid of its code."""

    codes: Tensor

    def __init__(self, codes: Tensor) -> None:
        super().__init__()
        self.register_buffer("codes", codes)

    def forward(self, values: Tensor) -> Tensor:
        """The weight; code 0 stands for no centroid but 0."""
        return torch.cat([values.new_zeros(1), values])[self.codes]

    def right_inverse(self, weight: Tensor) -> Tensor:
        """The means of the weights of each code."""
        codes, flat = self.codes.reshape(-1), weight.reshape(-1)
        sums = torch.zeros(int(codes.max()) + 1, dtype=torch.float64)
        sums.index_add_(0, codes, flat.double())
        counts = codes.bincount(minlength=len(sums)).clamp(min=1)
        return (sums / counts)[1:].to(weight.dtype)


def share(layers: Mapping[str, nn.Module], codes: int | Mapping[str, int],
          start: Start = Start.LINEAR, seed: int = 1) -> None:
    """Let the weights of each of ``layers`` share values: ``codes`` in all, 0 among them if it is.

    It is where a dilated kernel has gaps, too, for these are weights of 0 in hardware.

    ``codes`` (2 to 256) is one number, or one for each layer. The parameters of a layer are then
    its centroids, whatever the retraining; `release` makes plain weights of them. Layers that have
    one parameter for their weights get one each first. `PenjingError` for codes out of range, and
    for a layer that has none, or whose weights are shared already.
    """
    generator = torch.Generator().manual_seed(seed)
    part(layers.values())
    for name, layer in layers.items():
        count = codes.get(name) if isinstance(codes, Mapping) else codes
        if type(count) is not int or not 2 <= count <= MAX_CODES:
            raise PenjingError(f"weight sharing: layer {name}: codes must be an integer from 2 to "
                               f"{MAX_CODES}, not {count!r}")
        if parametrize.is_parametrized(layer, "weight"):
            raise PenjingError(f"weight sharing: layer {name}: its weights are no plain floats; "
                               f"share them once")
        weight = layer.weight
        assert isinstance(weight, Tensor)
        found = _nearest(weight.detach(), count, start, generator, _has_gaps(layer))
        parametrize.register_parametrization(layer, "weight", _Shared(found), unsafe=True)


def _has_gaps(layer: nn.Module) -> bool:
    """Whether its kernel is dilated."""
    return isinstance(layer, nn.modules.conv._ConvNd) and any(
        size > 1 < step for size, step in zip(layer.kernel_size, layer.dilation, strict=True))


def part(layers: Iterable[nn.Module]) -> None:
    """Give each of ``layers`` parameters of its own for its weights and biases."""
    seen: set[object] = set()
    for layer in layers:
        for name in ("weight", "bias"):
            values = getattr(layer, name)
            if isinstance(values, nn.Parameter):
                if values in seen:
                    setattr(layer, name, nn.Parameter(values.detach().clone(),
                                                      values.requires_grad))
                seen.add(values)


def _nearest(weight: Tensor, count: int, start: Start, generator: torch.Generator, has_zero: bool
             ) -> Tensor:
    """The code of each weight: 0 for 0, else 1 and the index of the centroid that is nearest.

    One of ``count`` is 0 where a weight is, or where there ``has_zero`` one besides.
    """
    used = weight != 0
    values = weight[used]
    result = torch.zeros(weight.shape, dtype=torch.int64)
    if len(values):
        found = centroids(values, count - int(has_zero or not used.all()), start, generator)
        borders = (found[1:] + found[:-1]) / 2
        result[used] = 1 + torch.searchsorted(borders, values)
    return result


def release(layers: Iterable[nn.Module]) -> None:
    """Make plain weights of shared ones; their values stay as they are."""
    for layer in layers:
        if is_shared(layer):
            parametrize.remove_parametrizations(layer, "weight")


def is_shared(layer: nn.Module) -> bool:
    """Whether the weights of ``layer`` share values by `share`."""
    return parametrize.is_parametrized(layer, "weight") and isinstance(
        layer.parametrizations["weight"][0], _Shared)  # type: ignore[index]
