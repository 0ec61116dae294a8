"""The diagonal of the Gauss-Newton matrix of a classifier's loss, exactly.

The loss is the mean cross entropy of the softmax. For one sample with logits f and probabilities
p, the Hessian in f is ``diag(p) - p p^T = S S^T`` with the columns ``S_k = sqrt(p_k) * (e_k - p)``;
so the diagonal of ``J^T S S^T J`` is the sum over k of the squares of ``J^T S_k``, each of which is
one backward pass. Labels have no part in it. It is the Hessian's diagonal where the logits are
piecewise linear in each weight, as with ReLU and max pools; with other functions it is what LeCun
1989 takes for that, and never negative.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call, vjp, vmap

from ...ir import PenjingError
from ..training import Data
from .layers import Layers, judged

MOST_ELEMENTS = 1 << 21
"""Gradients, of as many samples as fit, that are in memory at once: more leave a CPU's caches."""
MOST_SAMPLES = 100
"""Samples whose activations are."""


def softmax_factor(logits: Tensor) -> Tensor:
    """The columns ``S_k`` (..., classes, classes), one behind the other, for ``logits`` (...,
    classes).
    """
    p = logits.softmax(-1)
    ones = torch.eye(p.shape[-1], dtype=p.dtype, device=p.device)
    return p.sqrt()[..., :, None] * (ones - p[..., None, :])


def diagonal(model: nn.Module, layers: Layers, data: Data, *, samples: int | None = None
             ) -> dict[str, Tensor]:
    """For each weight of ``layers`` its element of the diagonal, on the first ``samples`` of
    ``data``; of a weight that is used at many places, over all uses together.

    ``model``, in eval mode, puts out logits (N, classes), each sample's of its input alone.
    `PenjingError` for models that torch.func cannot differentiate, such as quantized ones.
    """
    weights = {layer.weight_name: layer.weight.detach() for layer in layers.values()}
    if not weights:
        return {}

    def squares(x: Tensor) -> dict[str, Tensor]:
        """Of one sample ``x``: the squared derivatives, summed over the columns of S."""
        logits, pull, *_ = vjp(lambda at: functional_call(model, at, (x[None],))[0], weights)
        sums = {name: torch.zeros_like(weight) for name, weight in weights.items()}
        for column in softmax_factor(logits):
            (gradients,) = pull(column)
            sums = {name: sums[name] + gradients[name].square() for name in sums}
        return sums

    count = min(samples or len(data.images), len(data.images))
    fitting = MOST_ELEMENTS // sum(weight.numel() for weight in weights.values())
    chunk = min(max(1, fitting), MOST_SAMPLES)
    totals = {name: torch.zeros_like(weight, dtype=torch.float64)
              for name, weight in weights.items()}
    with judged(model), torch.no_grad():
        for start in range(0, count, chunk):
            x = data.prepare(data.images[start:min(start + chunk, count)], None)
            try:
                found = vmap(squares)(x)
            except RuntimeError as error:
                reason = " ".join(str(error).split())
                raise PenjingError(f"Gauss-Newton matrix: the model has no gradient sample by "
                                   f"sample ({reason:.200}); prune it before it is quantized, or "
                                   f"rank by magnitude") from None
            for name, one in found.items():
                totals[name] += one.sum(0)
    return {layer.name: totals[layer.weight_name] / count for layer in layers.values()}
