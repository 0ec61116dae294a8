"""Layers that read several tensors."""

from __future__ import annotations

from dataclasses import dataclass

from .layers import Layer, holding
from .tensor import TensorType, require


@dataclass(frozen=True)
class Add(Layer):
    """``input + other``, exactly; both have one shape, and are brought to one scale before."""

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
        """The narrowest type that holds every sum."""
        source, other = sources
        require(source.shape == other.shape,
                f"layer {self.name}: its inputs must have one shape, not {source.shape} and "
                f"{other.shape}")
        return holding(self, source.shape, source.low + other.low, source.high + other.high,
                       source.fraction)
