"""Optimal Brain Surgeon through a network: each layer makes up for what those before it have lost.

`surgeon` takes the weights out of one layer, by what its outputs should be; here those are what the
network puts out as it is, and inputs are those that the layers give which have lost weights before.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import nn

from . import surgeon
from .prune.lasso import collected, require_plain
from .prune.layers import known, layers_of
from .prune.masks import Masks
from .training import Data, Progress

__all__ = ["operate"]


def operate(model: nn.Module, left: Mapping[str, int], data: Data, *, samples: int = 1000,
            positions: int = 32, seed: int = 1, progress: Progress | None = None) -> Masks:
    """Leave so many weights of each layer that ``left`` names, in place; the masks of these.

    Errors are those of each output at random ``positions`` in the first ``samples`` images of
    ``data``, in units of its deviation there, as a batch norm behind would have them. Biases stay.
    `PenjingError` for layers in groups or transposed ones.
    """
    original, layers = copy.deepcopy(model), layers_of(model)
    known(left, layers, "Optimal Brain Surgeon")
    theirs = layers_of(original)
    for number, name in enumerate(layer for layer in layers if layer in left):
        if progress is not None:
            progress(number, len(left), name)
        layer = layers[name]
        require_plain(layer)
        x, y = collected(model, original, layer, theirs[name], data, samples, positions, seed)
        rows, deviations = x.flatten(1), y.std(0)
        # Outputs that hardly change do not count more than all others.
        scale = 1 / deviations.clamp(min=max(1e-2 * float(deviations.mean()), 1e-12))[:, None]
        sums = surgeon.Normal((rows.T @ rows / len(rows)).numpy(),
                              (scale * (y.T @ rows) / len(rows)).numpy(), free=0)
        weights = layer.weight.detach().double().flatten(1) * scale
        fitted = torch.from_numpy(surgeon.keep(sums, weights.numpy(), left[name])) / scale
        with torch.no_grad():
            layer.weight.copy_(fitted.reshape(layer.weight.shape))
    return Masks({name: layers[name].weight.detach() != 0 for name in left})
