"""Short, valid and unique layer names from the names of a file's tensors."""

from __future__ import annotations

import re
from collections import Counter

from ...ir import cleaned

_OPERATIONS = re.compile(
    r"(conv2d|depthwise|depthwiseconv2d|depthwise_conv2d_native|separable_conv2d|matmul|biasadd|"
    r"readvariableop|resource|fusedbatchnormv3|batchnorm|relu6?|add|addv2|avgpool|maxpool|"
    r"averagepool|mean|pad|reshape|softmax|identity|const|squeeze|clip_by_value|tensordot|mul)"
    r"[_0-9]*", re.IGNORECASE)
"""What converters append for the operation of a layer."""
_HELPERS = re.compile(r"(activation|batch_normalization|re_lu|relu6?|bn|dropout)[_0-9]*",
                      re.IGNORECASE)
"""Layers that are fused into the one that an engineer looks for."""
_EMPTY = re.compile(r"(identity|statefulpartitionedcall|serving_default|output|tensor|"
                    r"partitionedcall)?[_0-9]*(int8)?", re.IGNORECASE)
"""Names that say nothing."""

_LONGEST = 40


def short(tensor: str, otherwise: str) -> str:
    """A short name for the layer that computes ``tensor``, or ``otherwise``.

    Converters chain the paths of all that was fused, ``a/activation/Relu;a/conv2d/BiasAdd``: the
    layer that is named most often wins, fused helpers come last.
    """
    found = Counter(name for part in tensor.split(";") if (name := _layer(part)))
    real = {name: count for name, count in found.items() if not _HELPERS.fullmatch(name)}
    names = real or found
    return max(names, key=lambda name: names[name]) if names else otherwise


def _layer(path: str) -> str:
    """The step of ``path`` that names a layer: before the operations, after the model."""
    steps = [cleaned(step)[:_LONGEST].rstrip("_") for step in path.split(":")[0].split("/")]
    steps = [step for step in steps if step and not _EMPTY.fullmatch(step)]
    if len(steps) > 1:
        inner = [step for step in steps[1:] if not _OPERATIONS.fullmatch(step)]
        # The first step is the model, unless only operations follow.
        return inner[-1] if inner else _alone(steps)
    return steps[0] if steps else ""


def _alone(steps: list[str]) -> str:
    """Of a path like ``conv2d_1/Conv2D`` the layer; of ``model/conv2d/Conv2D`` the layer too."""
    return steps[1] if len(steps) > 2 else steps[0]
