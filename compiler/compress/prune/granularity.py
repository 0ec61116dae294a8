"""What is pruned together: single weights, or units of them."""

from __future__ import annotations

from enum import Enum

from torch import Tensor


class Granularity(Enum):
    """Units of the weights of a layer, by the axes of (outputs, height, width, inputs) they span.

    Weights pay where zeros are skipped, n of m of them in any engine that selects its inputs;
    vectors and kernels where lists say which are there; channels make a smaller dense layer; layers
    can go where others bypass them.
    """

    WEIGHT = ()
    VECTOR = (2,)
    """A row of a kernel."""
    KERNEL = (1, 2)
    """What joins one input channel to one output."""
    INPUT = (0, 1, 2)
    """All that reads one input channel of a group."""
    CHANNEL = (1, 2, 3)
    """All of one output."""
    LAYER = (0, 1, 2, 3)

    def totals(self, arranged: Tensor) -> Tensor:
        """Sums over each unit, with axes of length 1 where it spans them.

        ``arranged`` is (outputs, height, width, inputs).
        """
        return arranged.sum(self.value, keepdim=True) if self.value else arranged

    def size(self, arranged: Tensor) -> int:
        """Weights of a unit."""
        size = 1
        for axis in self.value:
            size *= arranged.shape[axis]
        return size
