"""Layers that read several tensors."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .layers import Layer, holding
from .names import NAME
from .tensor import MAX_BITS, Bipolar, TensorType, require, require_ints, signed_bits

MAX_OPERAND_BITS = 24
"""The widest factor of a product, zero point and sign included."""


@dataclass(frozen=True)
class Elementwise(Layer):
    """What is made of two tensors, element by element; both have one shape."""

    other: str

    def __post_init__(self) -> None:
        super().__post_init__()
        require(isinstance(self.other, str),
                f"layer {self.name}: other must be a name, not {self.other!r}")

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of both tensors that it reads."""
        return (self.input, self.other)

    def output_type(self, *sources: TensorType) -> TensorType:
        """The narrowest signed type that holds every result."""
        source, other = sources
        require(source.shape == other.shape,
                f"layer {self.name}: its inputs must have one shape, not {source.shape} and "
                f"{other.shape}")
        return holding(self, source.shape, *self._interval(source, other),
                       self._fraction(source, other))

    def _interval(self, source: TensorType, other: TensorType) -> tuple[int, int]:
        """The least and the largest result."""
        raise NotImplementedError

    def _fraction(self, source: TensorType, other: TensorType) -> int:
        """The fraction length of the result; both inputs are brought to one scale before."""
        return source.fraction


@dataclass(frozen=True)
class Add(Elementwise):
    """``input + other``, exactly; both have one shape, and are brought to one scale before."""

    def _interval(self, source: TensorType, other: TensorType) -> tuple[int, int]:
        return source.low + other.low, source.high + other.high


@dataclass(frozen=True)
class Subtract(Elementwise):
    """``input - other``, exactly; both have one shape, and are brought to one scale before."""

    def _interval(self, source: TensorType, other: TensorType) -> tuple[int, int]:
        return source.low - other.high, source.high - other.low


@dataclass(frozen=True)
class Multiply(Elementwise):
    """``(input - offsets[0]) * (other - offsets[1])``, exactly; both have one shape.

    ``offsets`` are the zero points of the two, or 0. A vector of factors is a map once an
    `Upsample` has repeated it.
    """

    offsets: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        super().__post_init__()
        limit = 1 << MAX_OPERAND_BITS
        require_ints(f"layer {self.name}", "offsets", self.offsets, 2, -limit, limit)

    def operands(self, *sources: TensorType) -> list[range]:
        """What each factor may be, where its inputs are of the types ``sources``.

        `PenjingError` if one needs more than `MAX_OPERAND_BITS`.
        """
        found = []
        for name, source, offset in zip(self.inputs, sources, self.offsets, strict=True):
            low, high = source.low - offset, source.high - offset
            require(signed_bits(low, high) <= MAX_OPERAND_BITS,
                    f"layer {self.name}: what it multiplies, {name}, has {signed_bits(low, high)} "
                    f"bits, more than {MAX_OPERAND_BITS}; requantize it")
            found.append(range(low, high + 1))
        return found

    def _interval(self, source: TensorType, other: TensorType) -> tuple[int, int]:
        first, second = self.operands(source, other)
        corners = [a * b for a in (first[0], first[-1]) for b in (second[0], second[-1])]
        return min(corners), max(corners)

    def _fraction(self, source: TensorType, other: TensorType) -> int:
        return source.fraction + other.fraction


@dataclass(frozen=True)
class Concatenation(Layer):
    """The channels of ``input``, then those of each of the ``others``, in their order.

    All are of one height and width, and their integers mean the same: the step that one is worth,
    and the zero point, must be equal; bits and signs may differ. (H, W, C) of several C becomes
    (H, W, sum of C).
    """

    others: tuple[str, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        require(isinstance(self.others, tuple) and self.others
                and all(isinstance(name, str) and NAME.fullmatch(name) for name in self.others),
                f"layer {self.name}: others must be the names of one tensor or more, not "
                f"{self.others!r}")

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of all tensors that it reads."""
        return (self.input, *self.others)

    def output_type(self, *sources: TensorType) -> TensorType:
        """The narrowest type that holds the values of all: bipolar only if all are."""
        first = sources[0]
        height, width, _ = first.shape
        for name, source in zip(self.inputs, sources, strict=True):
            require(source.shape[:2] == (height, width),
                    f"layer {self.name}: its inputs must have one height and width, not "
                    f"{first.shape} of {self.input} and {source.shape} of {name}")
            require((source.step, source.zero_point) == (first.step, first.zero_point),
                    f"layer {self.name}: its inputs must mean the same, but one step of "
                    f"{self.input} is worth {first.step} with the zero point {first.zero_point}, "
                    f"of {name} {source.step} with {source.zero_point}; requantize one of them")
        shape = height, width, sum(source.shape[2] for source in sources)
        if all(isinstance(source, Bipolar) for source in sources):
            return replace(first, shape=shape)
        kinds = [source.widened for source in sources]
        signed = any(kind.signed for kind in kinds)
        bits = max(kind.bits + (signed and not kind.signed) for kind in kinds)
        require(bits <= MAX_BITS, f"layer {self.name}: its results need {bits} bits, more than "
                                  f"{MAX_BITS}; narrow its inputs")
        return replace(kinds[0], shape=shape, bits=bits, signed=signed)
