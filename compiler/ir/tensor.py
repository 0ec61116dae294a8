"""Integer tensors: their type, their values, and the checks that every class of the IR makes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Integers: TypeAlias = NDArray[np.int64]

MAX_BITS = 48
"""The widest accumulator that any layer may need."""
MAX_ELEMENTS = 1 << 24
"""The most elements that one tensor, weight array or kernel may hold."""
MAX_FRACTION = 64
"""The largest magnitude of a fraction length or a shift."""


class PenjingError(ValueError):
    """Bad input: one line that names the thing, the reason and the way out.

    ``page`` is the page of the documents that explains it, "" where none does.
    """

    page = ""


class NotInstalled(PenjingError):
    """A package, or what it installs, is missing: ``what``, which the ``extra`` brings."""

    page = "README.md"

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what}: not installed; pip install 'penjing[{extra}]'")


def require(condition: object, message: str) -> None:
    """Raise `PenjingError` with ``message`` unless ``condition`` holds."""
    if not condition:
        raise PenjingError(message)


def is_int(value: object) -> bool:
    """Whether ``value`` is an integer and no bool."""
    return isinstance(value, int) and not isinstance(value, bool)


def require_ints(owner: str, what: str, values: object, length: int, low: int, high: int) -> None:
    """Require a tuple of ``length`` integers within ``low`` and ``high``."""
    require(
        isinstance(values, tuple)
        and len(values) == length
        and all(is_int(v) and low <= v <= high for v in values),
        f"{owner}: {what} must be {length} integers from {low} to {high}, not {values!r}",
    )


def signed_bits(low: int, high: int) -> int:
    """Width of the narrowest two's complement integer that holds ``low`` and ``high``."""
    return max(low.bit_length() if low >= 0 else (~low).bit_length(),
               high.bit_length() if high >= 0 else (~high).bit_length()) + 1


def unsigned_bits(high: int) -> int:
    """Width of the narrowest unsigned integer that holds ``high``; at least 1."""
    return max(1, high.bit_length())


@dataclass(frozen=True)
class TensorType:
    """What a tensor's integers are.

    Parameters: ``shape`` is (H, W, C), a vector is (1, 1, C); ``bits`` is 1 to 48. The others say
    what they stand for: ``real = step * (q - zero_point)``, where the step is ``scale`` or, without
    one, ``2**-fraction``; a fraction length may be negative or exceed the width.
    """

    shape: tuple[int, int, int]
    bits: int
    signed: bool
    fraction: int = 0
    zero_point: int = 0
    scale: float | None = None

    def __post_init__(self) -> None:
        require_ints("tensor", "shape", self.shape, 3, 1, MAX_ELEMENTS)
        require(self.elements <= MAX_ELEMENTS,
                f"tensor: shape {self.shape} has {self.elements} elements, more than "
                f"{MAX_ELEMENTS}")
        require(is_int(self.bits) and 1 <= self.bits <= MAX_BITS,
                f"tensor: bits must be an integer from 1 to {MAX_BITS}, not {self.bits!r}")
        require(isinstance(self.signed, bool),
                f"tensor: signed must be a bool, not {self.signed!r}")
        require(is_int(self.fraction) and abs(self.fraction) <= MAX_FRACTION,
                f"tensor: fraction must be an integer within ±{MAX_FRACTION}, "
                f"not {self.fraction!r}")
        require(is_int(self.zero_point) and self.low <= self.zero_point <= self.high,
                f"tensor: zero point must be an integer within {self.low} and {self.high}, "
                f"not {self.zero_point!r}")
        require(self.scale is None or (isinstance(self.scale, float)
                                        and 0 < self.scale < math.inf),
                f"tensor: scale must be a positive finite number, not {self.scale!r}")

    @property
    def step(self) -> float:
        """What one step of the integers is worth."""
        return 2.0 ** -self.fraction if self.scale is None else self.scale

    @property
    def elements(self) -> int:
        """Elements of one frame."""
        height, width, channels = self.shape
        return height * width * channels

    @property
    def low(self) -> int:
        """The smallest value of this type."""
        return -(1 << self.bits - 1) if self.signed else 0

    @property
    def high(self) -> int:
        """The largest value of this type."""
        return (1 << self.bits - self.signed) - 1

    @property
    def widened(self) -> TensorType:
        """This type; of a bipolar one, that of the integers which its values are."""
        return self


@dataclass(frozen=True)
class Bipolar(TensorType):
    """A tensor of -1 and +1: one bit an element, 1 for +1.

    There is no 0 among its values, though 0 may be its zero point.
    """

    bits: int = 1
    signed: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.bits == 1 and self.signed,
                f"tensor: a bipolar one has 1 bit and a sign, not {self.bits!r} bits")

    @property
    def low(self) -> int:
        """The smaller value."""
        return -1

    @property
    def high(self) -> int:
        """The larger value."""
        return 1

    @property
    def widened(self) -> TensorType:
        """The type of integers of 2 bits, of the same meaning."""
        return TensorType(self.shape, 2, True, self.fraction, self.zero_point, self.scale)


def frozen_array(owner: str, values: object, low: int, high: int) -> Integers:
    """``values`` as a read-only int64 array, refused unless each is within ``low`` and ``high``."""
    require(isinstance(values, np.ndarray) and values.dtype.kind in "iu",
            f"{owner}: values must be an integer array")
    assert isinstance(values, np.ndarray)
    require(0 < values.size <= MAX_ELEMENTS,
            f"{owner}: {values.size} values; 1 to {MAX_ELEMENTS} are allowed")
    require(values.min() >= low and values.max() <= high,
            f"{owner}: values must lie within {low} and {high}")
    array = values.astype(np.int64)
    array.setflags(write=False)
    return array
