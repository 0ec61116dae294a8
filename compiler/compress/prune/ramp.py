"""Masks that change while a model is trained: what is pruned keeps its value, and may come back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ...ir import PenjingError
from .layers import Layers, Weighted, require_floats
from .masks import Masks


class Masked(nn.Module):
    """The weights that are ``kept``, and 0 for others, which get no gradient.

    ``held`` are the weights when masks changed last.
    """

    kept: Tensor
    held: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("kept", torch.ones_like(weight, dtype=torch.bool))
        self.register_buffer("held", weight.detach().clone())

    def forward(self, latent: Tensor) -> Tensor:
        """What the layer uses."""
        return torch.where(self.kept, latent, 0)


class Ramp:
    """`Masked` in front of the weights of ``layers``, so that a checkpoint holds masks too.

    `PenjingError` for weights that are quantized, or that several layers of ``model`` share.
    """

    def __init__(self, model: nn.Module, layers: Layers) -> None:
        for layer in layers.values():
            require_floats(layer)
            if sum(isinstance(one, Weighted) and one.weight is layer.weight
                   for one in model.modules()) > 1:
                raise PenjingError(f"layer {layer.name}: another layer shares its weights; prune "
                                   f"it in rounds, or leave it out")
        self._layers = layers
        self._parameters = {name: [own for own, _ in layer.module.named_parameters(recurse=False)]
                            for name, layer in layers.items()}
        self._masked = {name: Masked(layer.weight) for name, layer in layers.items()}
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
            self._masked[name].held.copy_(self._layers[name].weight.detach())

    def hold(self) -> None:
        """Take back what a step of the optimizer, by momentum or decay, did to pruned weights."""
        with torch.no_grad():
            for name, layer in self._layers.items():
                masked = self._masked[name]
                layer.weight.copy_(torch.where(masked.kept, layer.weight, masked.held))

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
def ramp(model: nn.Module, layers: Layers) -> Iterator[Ramp]:
    """A `Ramp` that ends with the block, however that ends."""
    made = Ramp(model, layers)
    try:
        yield made
    finally:
        made.end()
