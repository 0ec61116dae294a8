"""How many bits the weights and the map of each layer have: the choices of HAQ (Wang 2019).

Ranges are those that the quantizer chooses; a trial is trained in fixed point, where it is trained.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from numpy.typing import NDArray

from ... import ir
from ...ir import PenjingError
from .. import training
from ..fixed_point import Mode, Precision, Precisions, build, prepare, widths
from ..fixed_state import Job
from ..imitation import Imitable, imitable
from ..low_rank.chains import places
from ..trainable import Trainable
from ..training import Data, Settings
from .space import Choice, Knob, Made

__all__ = ["Widths"]

BITS = tuple(range(1, 9))
"""What weights, and maps that are never negative, may have."""
_SKETCHED = 2
"""Images by which ranges are chosen where only the hardware counts."""


@dataclass(frozen=True, eq=False)
class Widths:
    """The environment of ``model``, whose ranges are chosen on the ``calibration`` data.

    ``mode`` and what the input is are those of `fixed_point.quantize`. ``judged`` are the images
    that tell the accuracy, ``fitted`` those that each network is trained with, as ``tuning`` says,
    before.
    """

    model: Trainable
    calibration: NDArray[Any]
    fitted: Data
    judged: Data
    tuning: Settings | None = None
    mode: Mode = Mode.DIVERGENCE
    input_bits: int = 8
    input_scale: float | None = None

    @property
    def _settings(self) -> dict[str, Any]:
        return {"mode": self.mode, "input_bits": self.input_bits, "input_scale": self.input_scale}

    @cached_property
    def able(self) -> Imitable:
        """The network, to be imitated in any widths."""
        return imitable(self.model, self.calibration, **self._settings)

    @cached_property
    def _sketch(self) -> Job:
        """What becomes integers whose ranges are chosen by a few images only."""
        return prepare(self.able.floats, self.calibration[:_SKETCHED], Precisions(),
                       **self._settings)

    @cached_property
    def _decided(self) -> tuple[tuple[str, str], ...]:
        """Of each knob the layer, and what of it: its weights or its map."""
        return tuple((name, what) for name, own in widths(self.able.floats).items()
                     for what in ("weights", "maps") if getattr(own, what) is not None)

    @cached_property
    def knobs(self) -> tuple[Knob, ...]:
        """One for the weights of each layer, and one for its map."""
        layers, seen = self.able.model.layers, places(self.able.model)
        knobs, last = [], (0.0,) * 7
        for number, (name, what) in enumerate(self._decided):
            is_map = float(what == "maps")
            work = 0.0
            if name in layers:
                weight: Any = layers[name].weight
                work = float(seen[name].macs(layers[name]))
                last = (float(weight.shape[0]), float(weight.shape[1]),
                        float(math.prod(weight.shape[2:])), float(math.prod(seen[name].read)),
                        float(weight.numel()), float(getattr(layers[name], "groups", 1) > 1), work)
            knobs.append(Knob(f"{name} {what}", self._levels(name, what),
                              (float(number), is_map, *last), work))
        return tuple(knobs)

    def _levels(self, name: str, what: str) -> tuple[int, ...]:
        """The bits that can be had; a map that is negative, or a weight that is 0, has no single
        one.
        """
        try:
            self._built(Precisions(layers={name: Precision(**{what: 1})}))
        except PenjingError:
            return BITS[1:]
        return BITS

    def precisions(self, choice: Choice) -> Precisions:
        """The widths that are chosen."""
        found: dict[str, Precision] = {}
        for (name, what), knob, index in zip(self._decided, self.knobs, choice, strict=True):
            own = {what: knob.levels[index]}
            found[name] = replace(found.get(name, Precision()), **own)
        return Precisions(layers=found)

    def choice(self, bits: Mapping[str, Precision]) -> Choice:
        """The choice of some widths."""
        return tuple(knob.levels.index(getattr(bits[name], what)) for (name, what), knob in zip(
            self._decided, self.knobs, strict=True))

    def integers(self, choice: Choice) -> ir.Network:
        """The network of integers, whose ranges are chosen by a few images only."""
        return self._built(self.precisions(choice))

    def _built(self, bits: Precisions) -> ir.Network:
        return build(replace(self._sketch, bits=bits)).network

    def made(self, choice: Choice) -> Made:
        """The network in fixed point."""
        imitation = self.able.imitation(self.precisions(choice))
        return Made(imitation.model, imitation.integers)

    def accuracy(self, choice: Choice) -> float:
        """That of `made`, trained as ``tuning`` says."""
        module = self.made(choice).model.module
        if self.tuning is not None:
            training.fit(module, self.fitted, self.tuning)
        return training.accuracy(module, self.judged)
