"""A colour for each layer: from blue through red to gold, in the order in which data flows."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping, Sequence

__all__ = ["colours"]

_FROM, _TO = 195 / 360, 405 / 360
_LIGHT = (0.60, 0.50)
_SATURATION = 0.72


def colours(layers: Sequence[str]) -> Mapping[str, str]:
    """The colour of each of ``layers``, light and darker in turn to tell neighbours apart."""
    last = max(1, len(layers) - 1)
    found = {}
    for n, layer in enumerate(layers):
        hue = (_FROM + (_TO - _FROM) * n / last) % 1
        parts = colorsys.hls_to_rgb(hue, _LIGHT[n % 2], _SATURATION)
        found[layer] = "#" + "".join(f"{round(part * 255):02x}" for part in parts)
    return found
