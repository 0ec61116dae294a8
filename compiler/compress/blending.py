"""Images that are mixed with others (Zhang 2018), to learn from a teacher by (Beyer 2022).

A network that knows its training images by heart says of them no more than their labels do. Between
them it still tells what it sees; so there a smaller network learns from it what it would not from
the images themselves.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .training import Prepare

__all__ = ["blended"]


def blended(prepare: Prepare, share: float = 1.0) -> Prepare:
    """As ``prepare``, but the first ``share`` (0 to 1) of a batch are each mixed with another one.

    That is the image as far from the batch's end; it makes up at most half of the mixture,
    uniformly at random. Labels say nothing of mixtures. Without a generator, as where images are
    judged, nothing is mixed.
    """
    def mixed(images: Tensor, generator: torch.Generator | None) -> Tensor:
        x = prepare(images, generator)
        count = int(len(x) * share)
        if generator is None or not count:
            return x
        others = torch.rand(count, *(1 for _ in x.shape[1:]), generator=generator) / 2
        return torch.cat([torch.lerp(x[:count], x.flip(0)[:count], others), x[count:]])

    return mixed
