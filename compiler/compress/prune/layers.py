"""The layers of a PyTorch model that can be pruned, and how their weights lie in the hardware."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

from torch import Tensor, nn
from torch.nn.utils import parametrize

from ...ir import PenjingError

Weighted: TypeAlias = (nn.Conv1d | nn.Conv2d | nn.ConvTranspose1d | nn.ConvTranspose2d
                       | nn.Linear)
"""Modules with weights to prune."""


@dataclass(frozen=True, eq=False)
class Layer:
    """The ``module`` that its model calls ``name``.

    ``flattened`` is (height, width) of the map that a linear layer takes flattened.
    """

    name: str
    module: Weighted
    flattened: tuple[int, int] = (1, 1)

    @property
    def groups(self) -> int:
        """Runs of outputs, each of which reads its own run of inputs."""
        return 1 if isinstance(self.module, nn.Linear) else self.module.groups

    @property
    def is_transposed(self) -> bool:
        """Whether it spreads inputs over the map, so that its outputs read inputs of no one window.
        """
        return isinstance(self.module, nn.ConvTranspose1d | nn.ConvTranspose2d)

    @property
    def weight(self) -> nn.Parameter:
        """What the optimizer moves: latent weights, where a quantizer or a mask is in front."""
        if parametrize.is_parametrized(self.module, "weight"):
            chain = self.module.parametrizations["weight"]  # type: ignore[index]
            assert isinstance(chain, parametrize.ParametrizationList)
            weight = chain.original
        else:
            weight = self.module.weight
        assert isinstance(weight, nn.Parameter)
        return weight

    @property
    def weight_name(self) -> str:
        """What the model calls ``weight``."""
        parametrized = parametrize.is_parametrized(self.module, "weight")
        last = "parametrizations.weight.original" if parametrized else "weight"
        return f"{self.name}.{last}" if self.name else last

    def arranged(self, values: Tensor) -> Tensor:
        """``values`` like the weights as (outputs, height, width, inputs / groups) of a kernel.

        That is their order in the integer network. A linear layer has a kernel of 1 × 1 and, behind
        a flattened map, its inputs pixel by pixel.
        """
        if isinstance(self.module, nn.Linear):
            columns = values.unflatten(1, (-1, self._pixels))
            return columns.transpose(1, 2).flatten(1)[:, None, None]
        kernels = values[:, :, None] if values.ndim == 3 else values
        if isinstance(self.module, nn.Conv1d | nn.Conv2d):
            return kernels.permute(0, 2, 3, 1)
        return kernels.unflatten(0, (self.groups, -1)).permute(0, 2, 3, 4, 1).flatten(0, 1)

    def restored(self, arranged: Tensor) -> Tensor:
        """The values of which `arranged` makes ``arranged``."""
        if isinstance(self.module, nn.Linear):
            return arranged.flatten(1).unflatten(1, (self._pixels, -1)).transpose(1, 2).flatten(1)
        if isinstance(self.module, nn.Conv1d | nn.Conv2d):
            kernels = arranged.permute(0, 3, 1, 2)
        else:
            grouped = arranged.unflatten(0, (self.groups, -1))
            kernels = grouped.permute(0, 4, 1, 2, 3).flatten(0, 1)
        return kernels.reshape(self.weight.shape)

    @property
    def _pixels(self) -> int:
        height, width = self.flattened
        return height * width


Layers: TypeAlias = Mapping[str, Layer]
"""By their names, in the order of the model."""


def layers_of(model: nn.Module, *, flattened: Mapping[str, tuple[int, int]] | None = None
              ) -> dict[str, Layer]:
    """All layers of ``model`` that can be pruned; of those that share their weights the first.

    ``flattened`` names linear layers that take a flattened map, and its (height, width).
    `PenjingError` if a name is none of a linear layer, or its inputs are no such map.
    """
    maps = flattened or {}
    found: dict[str, Layer] = {}
    weights: set[nn.Parameter] = set()
    for name, module in model.named_modules():
        if isinstance(module, Weighted):
            layer = Layer(name, module, maps.get(name, (1, 1)))
            if layer.weight not in weights:
                weights.add(layer.weight)
                found[name] = layer
    known(maps, found, "flattened maps")
    for name, (height, width) in maps.items():
        module = found[name].module
        if not isinstance(module, nn.Linear):
            raise PenjingError(f"flattened maps: layer {name} is not linear; leave it out")
        if min(height, width) < 1 or module.in_features % (height * width):
            raise PenjingError(f"flattened maps: the {module.in_features} inputs of layer {name} "
                               f"are no map of {height} × {width}; give its height and width")
    return found


def known(names: Mapping[str, object], layers: Mapping[str, object], what: str) -> None:
    """Refuse ``names`` that are none of the ``layers``; ``what`` is what they are for."""
    for name in names:
        if name not in layers:
            among = f"name one of {', '.join(layers)}" if layers else "the model has none"
            raise PenjingError(f"{what}: {name!r:.80} is no layer with weights to prune; {among}"
                               [:400])


def require_floats(layer: Layer) -> None:
    """Refuse a layer whose weights are quantized while it is trained."""
    if parametrize.is_parametrized(layer.module, "weight"):
        raise PenjingError(f"layer {layer.name}: its weights are quantized while they are trained; "
                           f"prune it first, then quantize")


@contextmanager
def judged(model: nn.Module) -> Iterator[None]:
    """``model`` in eval mode for a while, its modules' modes as they were afterwards."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
