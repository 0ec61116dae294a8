"""Masks that change while a model is trained: what is pruned keeps its value, and may come back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ...ir import PenjingError
from .layers import Layers
from .masks import Masks


class Masked(nn.Module):
    """The weights that are ``kept``, and 0 for others, which get no gradient."""

    kept: Tensor

    def __init__(self, kept: Tensor) -> None:
        super().__init__()
        self.register_buffer("kept", kept)

    def forward(self, latent: Tensor) -> Tensor:
        """What the layer uses."""
        return torch.where(self.kept, latent, 0)


class Ramp:
    """`Masked` in front of the weights of ``layers``, so that a checkpoint holds masks too."""

    def __init__(self, layers: Layers) -> None:
        for name, layer in layers.items():
            if parametrize.is_parametrized(layer.module, "weight"):
                raise PenjingError(f"layer {name}: its weights are quantized while they are "
                                   f"trained; prune gradually first, then quantize")
        self._layers = layers
        self._parameters = {name: [own for own, _ in layer.module.named_parameters(recurse=False)]
                            for name, layer in layers.items()}
        self._masked = {name: Masked(torch.ones_like(layer.weight, dtype=torch.bool))
                        for name, layer in layers.items()}
        for name, layer in layers.items():
            parametrize.register_parametrization(layer.module, "weight", self._masked[name])

    @property
    def masks(self) -> Masks:
        """Those of now."""
        return Masks({name: masked.kept.clone() for name, masked in self._masked.items()})

    def change(self, masks: Masks) -> None:
        """Go on with ``masks``."""
        for name, kept in masks.kept.items():
            self._masked[name].kept.copy_(kept)

    def end(self) -> None:
        """Leave the layers with weights as others have, of which the pruned ones are 0."""
        for name, layer in self._layers.items():
            parametrize.remove_parametrizations(layer.module, "weight")
            # In the order of before, by which optimizers number their states.
            for own in self._parameters[name]:
                parameter = getattr(layer.module, own)
                delattr(layer.module, own)
                layer.module.register_parameter(own, parameter)


@contextmanager
def ramp(layers: Layers) -> Iterator[Ramp]:
    """A `Ramp` that ends with the block, however that ends."""
    made = Ramp(layers)
    try:
        yield made
    finally:
        made.end()
