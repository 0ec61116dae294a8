"""Selection of input channels by LASSO, and reconstruction by least squares (He 2017).

Of a layer with weights W and input channels X_c, whose outputs without a bias were Y, the factors
``beta`` that minimize ``|Y - sum(beta_c * X_c W_c^T)|**2 / 2N + strength * |beta|_1`` are 0 for
channels that others make up for. ``strength`` grows until as few are left as wanted. Then W is
fitted anew, to make Y of what is left.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ...ir import PenjingError
from ..observed import at_places, observed, of_places, random_places
from ..training import Data
from .layers import Layer, judged, known, layers_of, require_floats
from .masks import Masks

MOST_ELEMENTS = 1 << 25
"""Parts of outputs, one for each input channel, that are in memory at once."""
RIDGE = 0.1
"""How dear it is to move weights from what they were, see `ridge`."""
_LEAST = 1e-12
_NOISE = 1e-5
"""Parts of the largest singular value of inputs below which there are rounding errors of floats."""
_SWEEPS = 1000
_BISECTIONS = 40


def lasso(gram: Tensor, target: Tensor, strength: float) -> Tensor:
    """The (C,) of the least ``beta^T gram beta / 2 - target^T beta + strength * |beta|``.

    By coordinate descent; ``gram`` (C, C) is symmetric and has no negative eigenvalue.
    """
    beta = torch.zeros_like(target)
    for _ in range(_SWEEPS):
        before = beta.clone()
        for c in range(len(beta)):
            if gram[c, c] > 0:
                pull = target[c] - gram[c] @ beta + gram[c, c] * beta[c]
                beta[c] = pull.sign() * (pull.abs() - strength).clamp(min=0) / gram[c, c]
        if (beta - before).abs().max() <= 1e-9 * beta.abs().max():
            break
    return beta


def fewest_errors(x: Tensor, weights: Tensor, y: Tensor, keep: int) -> Tensor:
    """True for at most ``keep`` of the channels of ``x``, (C,), by the least strength that will do.

    ``x`` is (samples, C, taps), ``weights`` (outputs, C, taps), ``y`` (samples, outputs).
    """
    gram, target = x.new_zeros(x.shape[1], x.shape[1]), x.new_zeros(x.shape[1])
    chunk = max(1, MOST_ELEMENTS // (x.shape[1] * y.shape[1]))
    for some, made in zip(x.split(chunk), y.split(chunk), strict=True):
        parts = torch.einsum("nct,oct->cno", some, weights).flatten(1)
        gram += parts @ parts.T / len(x)
        target += parts @ made.flatten() / len(x)
    # From the strength on that leaves nothing, all larger ones do too.
    low, high = 0.0, float(target.abs().max())
    kept = torch.zeros(len(target), dtype=torch.bool)
    for _ in range(_BISECTIONS):
        strength = (low + high) / 2
        found = lasso(gram, target, strength) != 0
        if found.sum() > keep:
            low = strength
        else:
            high, kept = strength, found
            if found.sum() == keep:
                break
    return kept


def least_squares(x: Tensor, y: Tensor) -> Tensor:
    """The weights (outputs, C, taps) that make ``y`` of ``x`` best, shaped as `fewest_errors` says.

    Of those that are as good, such as where channels depend on each other, the smallest.
    """
    fitted = torch.linalg.lstsq(x.flatten(1), y, rcond=_NOISE, driver="gelsd").solution
    return fitted.T.reshape(y.shape[1], *x.shape[1:])


def ridge(x: Tensor, weights: Tensor, y: Tensor, strength: float = RIDGE) -> Tensor:
    """Weights that make ``y`` of ``x`` well and are near to ``weights``, shaped as those are.

    They minimize the squared errors, and ``strength`` times the mean square of an input for each
    squared difference of a weight, summed over all samples.
    """
    rows, before = x.flatten(1), weights.flatten(1).T
    gram = rows.T @ rows
    gram.diagonal().add_(max(strength * float(gram.diagonal().mean()), _LEAST))
    moved = torch.linalg.solve(gram, rows.T @ (y - rows @ before))
    return (before + moved).T.reshape(weights.shape)


def select_inputs(model: nn.Module, original: nn.Module, layer: Layer, keep: int, data: Data, *,
                  samples: int = 1000, positions: int = 10, seed: int = 1) -> Masks:
    """Let ``layer`` of ``model`` read at most ``keep`` input channels, by new weights; its mask.

    Inputs are those of ``model``, which may be pruned before this layer, the outputs to be made are
    those of the layer of that name in ``original``: at random ``positions`` in the first
    ``samples`` images of ``data``. `PenjingError` for layers in groups or transposed ones.
    """
    require_plain(layer)
    theirs = layers_of(original)
    known({layer.name: layer}, theirs, "channel selection")
    x, y = collected(model, original, layer, theirs[layer.name], data, samples, positions, seed)
    channels = x.shape[1]
    if not 1 <= keep <= channels:
        raise PenjingError(f"layer {layer.name}: 1 to {channels} of its channels may be kept, not "
                           f"{keep}")
    weights = layer.weight.detach().double().reshape(y.shape[1], channels, -1)
    kept = fewest_errors(x, weights, y, keep)
    fitted = torch.zeros_like(weights)
    fitted[:, kept] = least_squares(x[:, kept], y)
    with torch.no_grad():
        layer.weight.copy_(fitted.reshape(layer.weight.shape))
    return Masks({layer.name: kept[None, :, None].expand(weights.shape).reshape(
        layer.weight.shape).contiguous()})


def refit(model: nn.Module, original: nn.Module, layer: Layer, data: Data, *, samples: int = 1000,
          positions: int = 10, seed: int = 1) -> None:
    """Give ``layer`` of ``model`` weights that better make the outputs of that in ``original``.

    Channels that are 0 in ``model`` get none. For the rest see `select_inputs`; the least squares
    are those of `ridge`, since samples may be fewer than weights.
    """
    require_plain(layer)
    x, y = collected(model, original, layer, layers_of(original)[layer.name], data, samples,
                     positions, seed)
    alive = x.any(2).any(0)
    weights = layer.weight.detach().double().reshape(y.shape[1], *x.shape[1:])
    fitted = torch.zeros_like(weights)
    fitted[:, alive] = ridge(x[:, alive], weights[:, alive], y)
    with torch.no_grad():
        layer.weight.copy_(fitted.reshape(layer.weight.shape))


def is_plain(layer: Layer) -> bool:
    """Whether all outputs of ``layer`` read all its inputs, as least squares want."""
    return layer.groups == 1 and not layer.is_transposed


def require_plain(layer: Layer) -> None:
    """`PenjingError` for a layer that is not `is_plain`, or has no floats."""
    if not is_plain(layer):
        raise PenjingError(f"layer {layer.name}: least squares fit plain convolutions and linear "
                           f"layers only; leave it out")
    require_floats(layer)


def collected(model: nn.Module, original: nn.Module, layer: Layer, theirs: Layer, data: Data,
              samples: int, positions: int, seed: int) -> tuple[Tensor, Tensor]:
    """What ``layer`` reads, (samples, C, taps), and what ``theirs`` made without its bias.

    Each group of a layer reads its own run of channels. `PenjingError` from a transposed layer has
    to come before.
    """
    bias = theirs.module.bias
    xs, ys = [], []
    with judged(model), judged(original), torch.no_grad():
        for batch, draw in random_places(data, samples, positions, seed):
            x = _windows(layer, observed(model, layer.module, batch)[0])
            y = of_places(observed(original, theirs.module, batch)[1])
            if bias is not None:
                y = y - bias[:, None]
            drawn = draw(y)
            xs.append(at_places(x, drawn))
            ys.append(at_places(y, drawn))
    return torch.cat(xs), torch.cat(ys)


def _windows(layer: Layer, x: Tensor) -> Tensor:
    """What each output sees of ``x``, (N, C, taps, positions)."""
    if isinstance(layer.module, nn.Linear):
        height, width = layer.flattened
        return x.unflatten(1, (-1, height * width))[..., None]
    # The layer itself, each group with an output for each weight of a kernel, which is that input.
    kernel, groups = layer.weight.shape[1:], layer.groups
    size = kernel.numel()
    one = torch.eye(size, dtype=x.dtype, device=x.device).reshape(size, *kernel)
    own = {"weight": torch.cat([one] * groups)}
    if layer.module.bias is not None:
        own["bias"] = torch.zeros(groups * size, dtype=x.dtype, device=x.device)
    seen: Tensor = functional_call(layer.module, own, (x,))
    return seen.flatten(2).unflatten(1, (groups * kernel[0], -1))
