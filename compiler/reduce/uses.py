"""What a layer with weights needs of its input, and what of it is only a constant in its sums."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..ir import Integers
from .bounds import Bounds
from .kernels import Kernel

__all__ = ["Uses"]


@dataclass(frozen=True, eq=False)
class Uses:
    """The ``view`` of a layer, and of each output and input of its group, both (outputs, inputs):
    whether the output ``needs`` it, and what the input ``adds`` to the output's bias if it goes.
    Inputs go by runs of so many side by side.
    """

    view: Kernel
    needs: NDArray[np.bool_]
    adds: Integers
    run: int = 1

    @classmethod
    def of(cls, view: Kernel, source: Bounds | None, run: int) -> Uses:
        """Weights of 0 need nothing. With the bounds of the ``source``, constants need not either.

        A constant goes if it adds the same to all positions of an output. Otherwise its sum is
        another one where its weights meet the padding, and a bias is one for all positions; another
        constant instead, as that of the padding, would need other weights for what lies within the
        map. So the channel stays.
        """
        needs = np.asarray(view.weights.any((1, 2)))
        adds = np.zeros(needs.shape, np.int64)
        if source is None or not source.constant.any():
            return cls(view, needs, adds, run)
        constant, values = view.spread(source.constant), view.spread(source.low)
        some = constant.any(0)
        weights = view.weights[..., some].transpose(0, 3, 1, 2)
        # Values that are no constants may be too large to be multiplied.
        steps = np.where(constant, values - view.pad, 0)[:, some]
        sums = steps[..., None, None] * view.sums(weights)
        level = (sums == sums[..., :1, :1]).all((2, 3)) & constant[:, some]
        needs[:, some] &= ~level
        adds[:, some] = np.where(level, sums[..., 0, 0] + view.pad * weights.sum((2, 3)), 0)
        return cls(view, needs, adds, run)

    def widen(self, result: NDArray[np.bool_], source: NDArray[np.bool_]) -> None:
        """Let the channels of ``source`` stay that those of the ``result`` which stay need.

        Groups that have anything left are made to have equally much.
        """
        groups = self.view.groups
        outputs, inputs = result.reshape(groups, -1), source.reshape(groups, -1)
        needed = self.needs & result[:, None]
        inputs |= needed.reshape(*outputs.shape, -1).any(1)
        self._complete(inputs)
        alive = outputs.any(1) | inputs.any(1)
        for channels in (outputs, inputs):
            counts = channels.sum(1)
            most = max(1, int(counts.max())) if alive.any() else 0
            for group in np.flatnonzero(alive & (counts < most)):
                gone = np.flatnonzero(~channels[group])
                channels[group, gone[:most - counts[group]]] = True

    def _complete(self, inputs: NDArray[np.bool_]) -> None:
        """Let a run of ``inputs`` (groups, inputs) stay of which one stays."""
        count = inputs.shape[1]
        runs = np.pad(inputs, ((0, 0), (0, -count % self.run))).reshape(len(inputs), -1, self.run)
        inputs |= runs.any(2).repeat(self.run, 1)[:, :count]

    def cut(self, result: NDArray[np.bool_], source: NDArray[np.bool_]
            ) -> tuple[Integers, Integers, int]:
        """Weights, bias and groups of what stays; what goes of the source is in the bias."""
        view = self.view
        stays, reads = view.spread(source)[result], source.reshape(view.groups, -1)
        weights = view.weights[result].transpose(0, 3, 1, 2)
        groups = int(reads.any(1).sum())
        kept = weights[stays].reshape(len(weights), -1, *weights.shape[2:]).transpose(0, 2, 3, 1)
        gone = np.where(stays, 0, self.adds[result]).sum(1)
        return kept, view.bias[result] + gone, groups
