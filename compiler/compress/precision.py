"""Widths of single layers, by name, and what all others have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..ir import PenjingError
from .fractions import check_bits

__all__ = ["Precision", "Precisions"]


@dataclass(frozen=True)
class Precision:
    """Bits of a layer's ``weights`` and of the map that its accumulators are rounded to, ``maps``.

    Each is 1 to 16, or None for what the network has. One bit of weights is -1 and +1, two are -1,
    0 and +1, more have their whole range. One bit of a map is 0 and 1, which takes a map without
    negative values.
    """

    weights: int | None = None
    maps: int | None = None

    def __post_init__(self) -> None:
        for what, bits in (("weights", self.weights), ("maps", self.maps)):
            if bits is not None:
                check_bits(f"precision: {what}", bits, 1)


@dataclass(frozen=True)
class Precisions:
    """Bits of all ``weights`` and ``maps``, 2 to 16, but for those of some ``layers``."""

    weights: int = 8
    maps: int = 8
    layers: Mapping[str, Precision] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_bits("weight bits", self.weights, 2)
        check_bits("activation bits", self.maps, 2)

    def weights_of(self, layer: str) -> int:
        """Bits of the weights of ``layer``."""
        return self.layers.get(layer, _NONE).weights or self.weights

    def maps_of(self, layer: str) -> int:
        """Bits of the map that ``layer`` becomes."""
        return self.layers.get(layer, _NONE).maps or self.maps

    def check(self, having: Mapping[str, Precision]) -> None:
        """Refuse layers that are none of those ``having`` widths, and widths that they have not."""
        for name, own in self.layers.items():
            if name not in having:
                raise PenjingError(f"precision: {name!r:.80} is no layer with a width; name one of "
                                   f"{', '.join(having)}"[:400])
            if own.weights is not None and having[name].weights is None:
                raise PenjingError(f"precision: layer {name} has no weights; give its maps only")
            if own.maps is not None and having[name].maps is None:
                raise PenjingError(f"precision: layer {name} puts out its accumulators as they "
                                   f"are; give its weights only")


_NONE = Precision()
