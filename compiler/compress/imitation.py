"""A network in PyTorch that computes what its integers will, and can be trained on.

Its weights, biases and maps are rounded as fixed point rounds them, with gradients that pass
straight through. The fraction lengths are those that the quantizer of float networks chooses, and
stay while it is trained; so what it learns becomes the very integers that it was trained with. It
is exact while sums stay below 2**24 steps, and in ``double()`` always, but for tables, whose
functions PyTorch may round differently.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from .. import ir
from ..ir import PenjingError
from ..load import aten
from ..load import torch as pytorch
from ..load.floats import FloatNetwork
from .fixed_point import Built, Mode, Precisions, build, prepare, widths
from .fixed_state import Job
from .folding import folded
from .fractions import Grids
from .modules import graph_module
from .rounding import insert_rounding
from .trainable import Trainable

__all__ = ["Imitable", "Imitation", "imitable"]

_CHECKED = 2
"""Calibration images on which an imitation must be exact before any other is made."""
_Jobs: TypeAlias = Callable[[FloatNetwork, Precisions], Job]


@dataclass(frozen=True, eq=False)
class Imitation:
    """``model`` computes what the integers of its weights do, in reals, under some fixed ``grids``.

    It takes what the network takes, and can be trained; its latent weights are floats. It was
    ``built`` with these ``bits``.
    """

    model: Trainable
    built: Built
    bits: Precisions
    _origin: Imitable

    @property
    def network(self) -> ir.Network:
        """The integers that it started from."""
        return self.built.network

    @property
    def grids(self) -> Grids:
        """What its weights, biases and maps are rounded to."""
        return self.built.grids

    def plain(self) -> Trainable:
        """The latent weights, in a network that rounds nothing."""
        made = self._origin.model.copied()
        own = made.module.state_dict()
        learned = {re.sub(r"parametrizations\.(\w+)\.original$", r"\1", name): value
                   for name, value in self.model.module.state_dict().items()}
        made.module.load_state_dict({name: learned.get(name, value)
                                     for name, value in own.items()})
        return made

    def integers(self) -> ir.Network:
        """The integer network of the weights as they are now."""
        return build(self._origin.jobs(_floats(self.plain()).network, self.bits),
                     self.grids).network


@dataclass(frozen=True, eq=False)
class Imitable:
    """A network without foldable batch norms, whose layers are called as those of ``floats``.

    ``jobs`` makes what the quantizer needs of float networks of the same layers.
    """

    model: Trainable
    floats: FloatNetwork
    jobs: _Jobs
    _job: Job

    @property
    def maps(self) -> dict[str, str]:
        """The map that each layer becomes whose map has a width, by the names of `floats`."""
        return {step.layer.name: step.name for step in self._job.steps if step.has_map}

    def built(self, bits: Precisions) -> Built:
        """The integers in fixed point of ``bits``, which is all that hardware's cost depends on."""
        bits.check(widths(self.floats))
        return build(replace(self._job, bits=bits))

    def imitation(self, bits: Precisions) -> Imitation:
        """The network in fixed point of ``bits``, in PyTorch."""
        built, model = self.built(bits), self.model.copied()
        insert_rounding(model.module, self.floats, self._job, built.grids)
        return Imitation(model, built, bits, self)


def imitable(model: Trainable, calibration: NDArray[Any], *, name: str = "network",
             input_bits: int = 8, input_scale: float | None = None, mode: Mode = Mode.DYNAMIC,
             images: int = 64) -> Imitable:
    """``model``, to be imitated in fixed point of any widths.

    ``calibration`` and all else is that of `fixed_point.quantize`. `PenjingError` for a network
    whose layers PyTorch has in another way than hardware, so that an imitation is not exact.
    """
    accepted = _floats(folded(model))

    def jobs(floats: FloatNetwork, bits: Precisions) -> Job:
        return prepare(floats, calibration, bits, name, input_bits=input_bits,
                       input_scale=input_scale, mode=mode, images=images)

    job = jobs(accepted.network, Precisions())
    made = Imitable(replace(model, module=graph_module(accepted)), accepted.network, jobs, job)
    _require_exact(made, job)
    return made


def _floats(model: Trainable) -> aten.Accepted:
    """The float network that ``model`` is."""
    module = model.copied().module.cpu().eval()
    return aten.accept(pytorch.parse(pytorch.traced(module, model.example())), "model")


def _require_exact(made: Imitable, job: Job) -> None:
    """Refuse a network whose imitation differs from its integers on some images."""
    imitation = made.imitation(job.bits)
    module = imitation.model.module.double()
    reals = job.code.real(job.images[:_CHECKED]).transpose(0, 3, 1, 2)
    wanted = imitation.built.output[:_CHECKED]
    with torch.no_grad():
        found = module(torch.from_numpy(reals).reshape(-1, *made.model.dims)).numpy()
    if not made.floats.channels_last:
        wanted = wanted.transpose(0, 3, 1, 2)
    if not np.array_equal(found, wanted.reshape(found.shape)):
        raise PenjingError("model: PyTorch has layers of it in another way than hardware, so that "
                           "it cannot be trained in fixed point; write it with modules for what "
                           "has weights, and scale its data before it")
