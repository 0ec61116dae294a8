"""What makes layers of low rank, and how low."""

from __future__ import annotations

import enum
import math
from bisect import bisect_right
from collections.abc import Mapping

import torch

from ...ir import PenjingError
from ..folding import folded
from ..trainable import Trainable
from ..training import Data, Progress
from .by_responses import Responses, by_responses
from .by_tensors import Ranks, by_tensors, sees_one_place
from .chains import Factorable, Places, factorable, places, require_factorable
from .energy import Spectrum, ranks_by_energy
from .evbmf import evbmf_rank

__all__ = ["Method", "factored", "ranks_for"]


class Method(enum.Enum):
    """How a layer becomes a chain."""

    LINEAR = "linear"
    NONLINEAR = "nonlinear"
    ASYMMETRIC = "asymmetric"
    TUCKER = "tucker"
    CP = "cp"
    SINGULAR = "singular"

    @property
    def sees_responses(self) -> bool:
        """Whether it needs data."""
        return self in (Method.LINEAR, Method.NONLINEAR, Method.ASYMMETRIC)

    def suits(self, layer: Factorable) -> bool:
        """Whether it can make a chain of ``layer``."""
        if self.sees_responses:
            return True
        return sees_one_place(layer) == (self is Method.SINGULAR)


def factored(model: Trainable, method: Method, ratio: float | Mapping[str, float] | None,
             data: Data, *, samples: int = 3000, seed: int = 1, progress: Progress | None = None
             ) -> Trainable:
    """A copy of ``model`` in which layers are chains of low rank, as ``method`` makes them.

    ``ratio`` is the share of multiply-accumulates that goes: of each layer that it names (0: the
    layer stays), else of the network by Zhang's methods, whose ranks follow from energies, and of
    each layer that suits but the network's first by others. With None Tucker-2 takes the ranks that
    stand out of noise (Kim 2016). Zhang's methods see the first ``samples`` images of ``data``.
    `PenjingError` for a ratio that no rank gives, and layers that do not suit.
    """
    if method.sees_responses:
        responses = Responses(data, samples=samples, seed=seed)
        ranks = _ranks_by_responses(model, ratio, responses)
        return by_responses(model, ranks, responses, rectified=method is not Method.LINEAR,
                            asymmetric=method is Method.ASYMMETRIC, progress=progress)
    return by_tensors(model, ranks_for(model, method, ratio))


def ranks_for(model: Trainable, method: Method, ratio: float | Mapping[str, float] | None
              ) -> dict[str, Ranks]:
    """The ranks with which a method that looks at weights lets ``ratio`` go."""
    known, seen = factorable(model), places(model)
    suiting = {name: layer for name, layer in list(known.items())[1:] if method.suits(layer)}
    named = _asked(model, ratio) if isinstance(ratio, Mapping) else dict.fromkeys(suiting, ratio)
    if not named:
        raise PenjingError(f"low rank: {method.value} suits no layer but perhaps the first, which "
                           f"stays; take {_other(method)}, name layers, or leave the step out")
    found: dict[str, Ranks] = {}
    for name, share in named.items():
        layer, at = known[name], seen[name]
        if not method.suits(layer):
            raise PenjingError(f"layer {name}: {method.value} does not suit it; take "
                               f"{_other(method)}, or leave it out")
        if share is None:
            if method is not Method.TUCKER:
                raise PenjingError(f"low rank: {method.value} needs a ratio; give one")
            weight = layer.weight.detach()
            found[name] = (evbmf_rank(weight.transpose(0, 1).flatten(1)),
                           evbmf_rank(weight.flatten(1)))
            continue
        budget = math.floor((1 - share) * at.macs(layer))
        made = _tucker_ranks(layer, at, budget) if method is Method.TUCKER else _one_rank(
            layer, at, budget)
        if made is None:
            raise PenjingError(f"layer {name}: not even rank 1 leaves out {share:.0%} of its "
                               f"multiply-accumulates; let less go")
        found[name] = made
    return found


def _asked(model: Trainable, ratio: Mapping[str, float]) -> dict[str, float]:
    """The layers that are to lose anything; `PenjingError` where none is, or one cannot."""
    require_factorable(model, list(ratio))
    found = {name: share for name, share in ratio.items() if share}
    if not found:
        raise PenjingError("low rank: every layer that is named has 0, and stays; give one a ratio")
    return found


def _other(method: Method) -> str:
    """What suits the layers that ``method``, which looks at weights, does not suit."""
    return "tucker or cp" if method is Method.SINGULAR else "singular"


def _one_rank(layer: Factorable, at: Places, budget: int) -> Ranks | None:
    """That of CP, or of two layers for one that sees one place: all cost as much for each rank."""
    outputs, inputs, *size = layer.weight.shape
    if sees_one_place(layer):
        each = inputs * math.prod(at.written)
    else:
        each, moved = inputs * math.prod(at.read), list(at.read)
        for axis, length in enumerate(size):
            moved[axis] = at.written[axis]
            each += length * math.prod(moved)
    rank = budget // (each + outputs * math.prod(at.written))
    return (rank,) if rank else None


def _tucker_ranks(layer: Factorable, at: Places, budget: int) -> Ranks | None:
    """Ranks that are the same share of the inputs and of the outputs."""
    outputs, inputs = layer.weight.shape[:2]
    taps, steps = math.prod(layer.weight.shape[2:]), 1024

    def ranks(step: int) -> Ranks:
        return max(1, inputs * step // steps), max(1, outputs * step // steps)

    def cost(step: int) -> int:
        inner, outer = ranks(step)
        return (math.prod(at.read) * inputs * inner
                + math.prod(at.written) * outer * (inner * taps + outputs))

    step = bisect_right(range(1, steps), budget, key=cost)
    return ranks(step) if step else None


def _ranks_by_responses(model: Trainable, ratio: float | Mapping[str, float] | None,
                        responses: Responses) -> dict[str, int]:
    """By energy under one budget, or by the share that each layer is to lose."""
    if ratio is None:
        raise PenjingError("low rank: ranks by responses need a ratio; give one")
    known, seen = factorable(model), places(model)
    each = {name: seen[name].macs(layer) // len(layer.weight)
            + len(layer.weight) * math.prod(seen[name].written) for name, layer in known.items()}
    if isinstance(ratio, Mapping):
        asked = _asked(model, ratio)
        found = {name: math.floor((1 - share) * seen[name].macs(known[name])) // each[name]
                 for name, share in asked.items()}
        for name, rank in found.items():
            if not rank:
                raise PenjingError(f"layer {name}: not even rank 1 leaves out {asked[name]:.0%} of "
                                   f"its multiply-accumulates; let less go")
        return found
    whole = folded(model, known)
    total = sum(seen[name].macs(layer) for name, layer in model.layers.items())
    spectra = {}
    # The outputs of the network are no features: all of them count.
    features = list(known)[:-1]
    if not features:
        raise PenjingError("low rank: no layer but perhaps the last, which stays, is linear or a "
                           "convolution without groups; name layers, or leave the step out")
    for name, y in responses.of(whole, features).items():
        layer = known[name]
        values = torch.linalg.eigvalsh(torch.cov(y.T).reshape(len(layer.weight), -1))
        spectra[name] = Spectrum(values.flip(0).clamp(min=0).tolist(), each[name],
                                 seen[name].macs(layer))
    return ranks_by_energy(spectra, math.floor(round((1 - ratio) * total, 6)),
                           total - sum(one.whole for one in spectra.values()))
