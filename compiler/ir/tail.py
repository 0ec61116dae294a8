"""What the host makes of the integers that a network puts out."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .tensor import Integers, TensorType, require


class TailFunction(enum.Enum):
    """What follows the reals, over the channels of each position.

    `INT8_SOFTMAX` is that of TensorFlow Lite's reference kernels, whose result is int8.
    """

    NONE = "none"
    SOFTMAX = "softmax"
    LOG_SOFTMAX = "log_softmax"
    SIGMOID = "sigmoid"
    TANH = "tanh"
    ARGMAX = "argmax"
    INT8_SOFTMAX = "int8_softmax"


@dataclass(frozen=True)
class Tail:
    """How a network ends on the host: ``function(scales[c] * q + offsets[c])`` of channel c.

    Both have one entry, or one a channel; q are the integers that the network puts out.
    """

    scales: tuple[float, ...] = (1.0,)
    offsets: tuple[float, ...] = (0.0,)
    function: TailFunction = TailFunction.NONE

    def __post_init__(self) -> None:
        for what, values in (("scales", self.scales), ("offsets", self.offsets)):
            require(isinstance(values, tuple) and values
                    and all(isinstance(value, float) and math.isfinite(value) for value in values),
                    f"tail: {what} must be finite numbers, at least one")
        require(isinstance(self.function, TailFunction),
                f"tail: function must be a TailFunction, not {self.function!r}")
        require(self.function is not TailFunction.INT8_SOFTMAX or (
            len(self.scales) == 1 and self.scales[0] > 0),
            "tail: a softmax of int8 takes one positive scale")

    @classmethod
    def of(cls, kind: TensorType) -> Tail:
        """What integers of ``kind`` are worth, and no more."""
        return cls((kind.step,), (-kind.step * kind.zero_point,))

    def reals(self, outputs: Integers) -> NDArray[np.float64]:
        """What ``outputs`` (…, C) stand for, before the function."""
        return np.array(self.scales) * outputs + np.array(self.offsets)

    def check(self, kind: TensorType) -> None:
        """`PenjingError` unless it fits behind a tensor of ``kind``."""
        channels = kind.shape[2]
        for what, values in (("scales", self.scales), ("offsets", self.offsets)):
            require(len(values) in (1, channels),
                    f"tail: it must have 1 entry or {channels} in {what}, one a channel, not "
                    f"{len(values)}")
