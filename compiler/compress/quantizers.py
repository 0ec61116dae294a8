"""Quantizers that a network is trained through: straight-through estimators, as PyTorch modules.

Weights are quantized by parametrization: `quantize_weights` puts a `WeightQuantizer` in front of a
layer's ``weight``, whose latent floats the optimizer moves. Activations have modules of their own.
The sign of 0 is +1 throughout, and a gradient passes where the rounded value could have followed.
All values are exactly representable: what is trained is what the integer network computes.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ..ir import PenjingError
from .gradients import (
    ApproximateSignFunction,
    ReplacedFunction,
    RoundedFunction,
    SignFunction,
    TernaryFunction,
    signs,
)

__all__ = ["ApproximateSign", "Binary", "FixedPoint", "FixedPointWeights", "IntegerWeights",
           "RPReLU", "RSign", "Sign", "Ternary", "WeightQuantizer", "Xnor", "bipolar",
           "fixed", "project", "quantize_weights", "quantizer_of", "sign"]

MAX_BITS = 8


def sign(x: Tensor) -> Tensor:
    """-1 and +1, which 0 becomes; the gradient passes where ``|x| <= 1`` (Courbariaux 2016)."""
    result: Tensor = SignFunction.apply(x)
    return result


# --- activations
class Sign(nn.Module):
    """``sign(x)``: -1 and +1, which 0 becomes."""

    def forward(self, x: Tensor) -> Tensor:
        """Signs of any ``x``."""
        return sign(x)


class ApproximateSign(nn.Module):
    """`Sign` with the gradient of Bi-Real Net, ``2 - 2 * |x|`` within ±1."""

    def forward(self, x: Tensor) -> Tensor:
        """Signs of any ``x``."""
        signs: Tensor = ApproximateSignFunction.apply(x)
        return signs


def _per_channel(values: Tensor, x: Tensor) -> Tensor:
    """``values`` (C,) in a shape that meets ``x`` (N, C, ...)."""
    return values.reshape(-1, *(1,) * (x.ndim - 2))


class RSign(nn.Module):
    """ReActNet: ``sign(x - a)`` with a learned a, ``shift``, for each of ``channels``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(channels))
        self.sign = ApproximateSign()

    def forward(self, x: Tensor) -> Tensor:
        """Signs of ``x`` (N, C, ...)."""
        signs: Tensor = self.sign(x - _per_channel(self.shift, x))
        return signs


class RPReLU(nn.Module):
    """ReActNet: a PReLU moved in both directions, all three numbers learned for each channel.

    ``x - g + z`` where ``x > g``, else ``b * (x - g) + z``, with g ``shift``, z ``offset`` and b
    ``slope``. Slopes are used in steps of ``2**-fraction``, so that hardware multiplies by few
    bits; None leaves them as they are.
    """

    def __init__(self, channels: int, *, fraction: int | None = 6) -> None:
        super().__init__()
        self.fraction = fraction
        self.shift = nn.Parameter(torch.zeros(channels))
        self.offset = nn.Parameter(torch.zeros(channels))
        self.slope = nn.Parameter(torch.full((channels,), 0.25))

    def forward(self, x: Tensor) -> Tensor:
        """The function of ``x`` (N, C, ...)."""
        slope = self.slope
        if self.fraction is not None:
            unit = 2.0 ** -self.fraction
            slope = ReplacedFunction.apply(slope, (slope.detach() / unit).round() * unit)
        moved = x - _per_channel(self.shift, x)
        return nn.functional.prelu(moved, slope) + _per_channel(self.offset, x)

    def is_above(self, x: Tensor) -> Tensor:
        """Where the slope is 1 for ``x`` (N, C, ...)."""
        return x > _per_channel(self.shift, x)


class FixedPoint(nn.Module):
    """``clamp(round(x * 2**fraction)) * 2**-fraction``, halves up, in ``bits`` (1 to 8).

    Unsigned, it is a ReLU as well. One bit with a sign is -1 and +1, in units of ``2**-fraction``.
    """

    def __init__(self, bits: int, fraction: int, *, signed: bool = False) -> None:
        super().__init__()
        self.low, self.high = _limits(bits, signed)
        self.bits, self.signed, self.fraction = bits, signed, fraction

    def forward(self, x: Tensor) -> Tensor:
        """The quantized values of any ``x``."""
        if self.bits == 1 and self.signed:
            return bipolar(x, self.fraction)
        return fixed(x, self.low, self.high, self.fraction)

    def extra_repr(self) -> str:
        """What the module is called with."""
        return f"{self.bits}, {self.fraction}, signed={self.signed}"


def _limits(bits: int, signed: bool) -> tuple[int, int]:
    if type(bits) is not int or not 1 <= bits <= MAX_BITS:
        raise PenjingError(f"fixed point: bits must be an integer from 1 to {MAX_BITS}, not "
                           f"{bits!r}")
    if not signed:
        return 0, (1 << bits) - 1
    return (-1, 1) if bits == 1 else (-(1 << bits - 1), (1 << bits - 1) - 1)


def fixed(x: Tensor, low: int, high: int, fraction: int) -> Tensor:
    """``clamp(round(x * 2**fraction), low, high) * 2**-fraction``, halves up."""
    rounded: Tensor = RoundedFunction.apply(x * 2.0 ** fraction, low, high)
    return rounded * 2.0 ** -fraction


def bipolar(x: Tensor, fraction: int) -> Tensor:
    """``-2**-fraction`` and ``2**-fraction``, which 0 becomes."""
    return sign(x * 2.0 ** fraction) * 2.0 ** -fraction


# --- weights
class IntegerWeights(NamedTuple):
    """Weights as ``values`` (int64) times ``scale``, (outputs,) or (1,) in float64."""

    values: Tensor
    scale: Tensor


class WeightQuantizer(nn.Module):
    """A function of the latent weights (outputs, ...), whose values are few."""

    def forward(self, latent: Tensor) -> Tensor:
        """The weights that the layer uses."""
        raise NotImplementedError

    def integers(self, latent: Tensor) -> IntegerWeights:
        """The same as integers and a scale."""
        raise NotImplementedError

    def project(self, latent: Tensor) -> None:
        """Bring the latent weights back, in place, to where they are wanted after a step."""


class Binary(WeightQuantizer):
    """``sign(w)`` (Courbariaux 2016); latent weights stay within ±1."""

    def forward(self, latent: Tensor) -> Tensor:
        """-1 and +1."""
        return sign(latent)

    def integers(self, latent: Tensor) -> IntegerWeights:
        """The signs, and 1."""
        return IntegerWeights(signs(latent).long(), torch.ones(1, dtype=torch.float64))

    def project(self, latent: Tensor) -> None:
        """Clip to ±1: beyond, no gradient would bring a weight back."""
        latent.clamp_(-1, 1)


class Xnor(WeightQuantizer):
    """``alpha * sign(w)`` with ``alpha = mean(|w|)`` of each output (Rastegari 2016).

    Both parts have a gradient: ``alpha * g`` within ±1, and ``sign(w) * mean(g * sign(w))``. Latent
    weights are centred over the input channels and clipped, as the authors' code does it.
    """

    def _alpha(self, latent: Tensor) -> Tensor:
        # |w| as w * sign(w), whose gradient at 0 is that of the sign of 0.
        magnitudes = latent * signs(latent.detach())
        return magnitudes.mean(tuple(range(1, latent.ndim)), keepdim=True)

    def forward(self, latent: Tensor) -> Tensor:
        """-alpha and +alpha of each output."""
        return self._alpha(latent) * sign(latent)

    def integers(self, latent: Tensor) -> IntegerWeights:
        """The signs, and alpha."""
        return IntegerWeights(signs(latent).long(), self._alpha(latent).flatten().double())

    def project(self, latent: Tensor) -> None:
        """Centre, then clip to ±1."""
        if latent.shape[1] > 1:
            latent.sub_(latent.mean(1, keepdim=True))
        latent.clamp_(-1, 1)


class Ternary(WeightQuantizer):
    """``Wp``, 0 and ``-Wn`` with two learned scales for a layer (TTQ, Zhu 2017).

    Zero is what lies within ``t * max(|w|)``, or with ``sparsity`` that share of the weights. The
    two scales start at the mean magnitude of their side of ``latent``. They are used as multiples
    of a power of two, of ``scale_bits`` bits, so that hardware multiplies by integers; None leaves
    them as they are, which only a network that stays in floats can use.
    """

    def __init__(self, latent: Tensor, *, t: float = 0.05, sparsity: float | None = None,
                 scale_bits: int | None = 7) -> None:
        super().__init__()
        for what, value in (("t", t), ("sparsity", sparsity)):
            if value is not None and not 0 <= value < 1:
                raise PenjingError(f"ternary weights: {what} must be at least 0 and below 1, not "
                                   f"{value}")
        self.t, self.sparsity, self.scale_bits = t, sparsity, scale_bits
        with torch.no_grad():
            limit = self.limit(latent)
            sides = (latent[latent > limit], -latent[latent < -limit])
            positive, negative = (side.mean() if side.numel() else limit.clamp(min=1e-3)
                                  for side in sides)
        self.positive, self.negative = nn.Parameter(positive), nn.Parameter(negative)

    def limit(self, latent: Tensor) -> Tensor:
        """The magnitude up to which a weight is 0."""
        magnitudes = latent.detach().abs().flatten()
        if self.sparsity is None:
            return self.t * magnitudes.max()
        zeros = round(self.sparsity * len(magnitudes))
        return magnitudes.kthvalue(zeros).values if zeros else magnitudes.new_zeros(())

    def forward(self, latent: Tensor) -> Tensor:
        """Wp, 0 and -Wn."""
        positive, negative = self._scales()
        result: Tensor = TernaryFunction.apply(latent, positive, negative, self.limit(latent))
        return result

    def integers(self, latent: Tensor) -> IntegerWeights:
        """Wp, 0 and -Wn in units of the power of two."""
        if self.scale_bits is None:
            raise PenjingError("ternary weights: their scales are floats; give scale_bits")
        unit = 2.0 ** -self._fraction()
        values = self.forward(latent).detach().double() / unit
        return IntegerWeights(values.round().long(), torch.tensor([unit], dtype=torch.float64))

    def project(self, latent: Tensor) -> None:
        """Keep both scales positive, lest a sign turns."""
        for scale in (self.positive, self.negative):
            scale.data.clamp_(min=1e-4)

    def _scales(self) -> tuple[Tensor, Tensor]:
        return self._whole(self.positive), self._whole(self.negative)

    def _whole(self, scale: Tensor) -> Tensor:
        """``scale`` in whole steps, at least one; its gradient always passes."""
        if self.scale_bits is None:
            return scale
        unit = 2.0 ** -self._fraction()
        whole = (scale.detach() / unit).round().clamp(min=1) * unit
        replaced: Tensor = ReplacedFunction.apply(scale, whole)
        return replaced

    def _fraction(self) -> int:
        """The fraction length with which the larger scale just fits."""
        assert self.scale_bits is not None
        largest = float(torch.maximum(self.positive, self.negative).detach())
        fraction = self.scale_bits - math.frexp(largest)[1]
        return fraction if round(largest * 2.0 ** fraction) < 1 << self.scale_bits else fraction - 1


class FixedPointWeights(WeightQuantizer):
    """``round(w * 2**f) * 2**-f`` in ``bits`` (1 to 8), f with the least sum of absolute errors.

    That is Qiu 2016's choice, made anew in each training step. Two bits and more are used narrowly,
    without the lowest integer, so that the levels are symmetric; one bit is -1 and +1.
    """

    fraction: Tensor

    def __init__(self, bits: int, latent: Tensor) -> None:
        super().__init__()
        self.bits = bits
        _, self.high = _limits(bits, True)
        self.register_buffer("fraction", torch.zeros((), dtype=torch.int64))
        self._choose(latent.detach())

    def _choose(self, latent: Tensor) -> None:
        """Set the fraction length; from where nothing is clipped, only shorter steps may win."""
        largest = max(float(latent.abs().max()), 2.0 ** -60)
        first = math.floor(math.log2(self.high / largest))
        fractions = range(first, first + 4)
        errors = [float((latent - self._quantized(latent, f)).abs().sum()) for f in fractions]
        self.fraction.fill_(fractions[min(range(len(errors)), key=errors.__getitem__)])

    def _quantized(self, latent: Tensor, fraction: int) -> Tensor:
        if self.bits == 1:
            return bipolar(latent, fraction)
        return fixed(latent, -self.high, self.high, fraction)

    def forward(self, latent: Tensor) -> Tensor:
        """The quantized weights."""
        if self.training:
            with torch.no_grad():
                self._choose(latent)
        return self._quantized(latent, int(self.fraction))

    def integers(self, latent: Tensor) -> IntegerWeights:
        """The weights in units of ``2**-f``."""
        unit = 2.0 ** -int(self.fraction)
        values = self._quantized(latent, int(self.fraction)).double() / unit
        return IntegerWeights(values.round().long(), torch.tensor([unit], dtype=torch.float64))


def quantize_weights(layer: nn.Module, quantizer: WeightQuantizer) -> None:
    """Let ``layer`` use ``quantizer(weight)`` in place of its ``weight``, which is trained on."""
    parametrize.register_parametrization(layer, "weight", quantizer)


def quantizer_of(layer: nn.Module) -> tuple[WeightQuantizer, Tensor] | None:
    """The quantizer of ``layer`` and its latent weights; None where it has none."""
    if not parametrize.is_parametrized(layer, "weight"):
        return None
    chain = layer.parametrizations["weight"]  # type: ignore[index]
    assert isinstance(chain, parametrize.ParametrizationList)
    quantizer, latent = chain[0], chain.original
    if len(chain) != 1 or not isinstance(quantizer, WeightQuantizer):
        return None
    assert isinstance(latent, Tensor)
    return quantizer, latent


def project(model: nn.Module) -> None:
    """Bring all latent weights of ``model`` back to where their quantizers want them."""
    with torch.no_grad():
        for layer in model.modules():
            found = quantizer_of(layer)
            if found is not None:
                quantizer, latent = found
                quantizer.project(latent)
