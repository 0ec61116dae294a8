"""Which weights of a model are kept, and what keeps the others at 0 while it is trained."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import safetensors
import torch
from safetensors.torch import save
from torch import Tensor, nn

from ... import file
from ...ir import PenjingError
from ..training import AfterStep
from .layers import known, layers_of

_KIND = "penjing-masks"


@dataclass(frozen=True, eq=False)
class Masks:
    """For layers by name, True where a weight is ``kept``, shaped as the layer's weights.

    Layers without a mask keep all. Masks are of weights only: biases stay.
    """

    kept: Mapping[str, Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, model: nn.Module) -> Self:
        """What differs from 0 in ``model``, layer by layer."""
        return cls({name: layer.weight.detach() != 0 for name, layer in layers_of(model).items()})

    def on(self, model: nn.Module) -> AfterStep:
        """A function that sets the pruned weights of ``model`` to 0, whenever it is called.

        As ``after_step`` of `training.fit` it lets no optimizer move them. Latent weights are meant
        where there are any. `PenjingError` if these are masks of another model.
        """
        layers = layers_of(model)
        known(self.kept, layers, "masks")
        held: list[tuple[Tensor, Tensor]] = []
        for name, kept in self.kept.items():
            weight = layers[name].weight
            if kept.shape != weight.shape:
                raise PenjingError(f"masks: layer {name} has weights {tuple(weight.shape)}, its "
                                   f"mask is {tuple(kept.shape)}; make masks of this model")
            held.append((weight, ~kept.to(weight.device)))

        def apply(_: int) -> None:
            with torch.no_grad():
                for weight, pruned in held:
                    weight.masked_fill_(pruned, 0)

        return apply

    def apply(self, model: nn.Module) -> None:
        """Set the pruned weights of ``model`` to 0, once."""
        self.on(model)(0)

    @property
    def densities(self) -> dict[str, float]:
        """Share of the weights that are kept, layer by layer."""
        return {name: int(kept.sum()) / kept.numel() for name, kept in self.kept.items()}

    @property
    def density(self) -> float:
        """The same of all layers with a mask together; 1 if there are none."""
        weights = sum(kept.numel() for kept in self.kept.values())
        return sum(int(kept.sum()) for kept in self.kept.values()) / weights if weights else 1.0

    @property
    def emptied(self) -> tuple[str, ...]:
        """Layers of which nothing is kept."""
        return tuple(name for name, kept in self.kept.items() if not kept.any())

    def __and__(self, other: Masks) -> Masks:
        """What both keep."""
        both = {name: kept & other.kept[name] for name, kept in self.kept.items()
                if name in other.kept}
        return Masks({**self.kept, **other.kept, **both})

    def __or__(self, other: Masks) -> Masks:
        """What one of both keeps."""
        return Masks({name: kept | other.kept[name] for name, kept in self.kept.items()
                      if name in other.kept})

    @property
    def digest(self) -> str:
        """Equal for equal masks only, whatever their order."""
        digest = hashlib.sha256()
        for name, kept in sorted(self.kept.items()):
            digest.update(json.dumps([name, *kept.shape]).encode())
            digest.update(kept.cpu().numpy().tobytes())
        return digest.hexdigest()

    def save(self, path: Path) -> None:
        """Write all to the file ``path``, whole or not at all."""
        tensors = {name: kept.cpu().contiguous() for name, kept in self.kept.items()}
        file.write_atomically(path, save(tensors, {_KIND: json.dumps(list(self.kept))}))

    @classmethod
    def load(cls, path: Path) -> Self:
        """The masks in the file ``path``; `PenjingError` if there are none."""
        try:
            with safetensors.safe_open(path, "pt") as opened:
                names = json.loads((opened.metadata() or {})[_KIND])
                kept = {name: opened.get_tensor(name) for name in names}
        except (safetensors.SafetensorError, OSError, KeyError, ValueError, TypeError):
            raise PenjingError(f"{path}: no masks, or damaged; prune again") from None
        if any(mask.dtype != torch.bool for mask in kept.values()):
            raise PenjingError(f"{path}: no masks, or damaged; prune again")
        return cls(kept)
