"""Who else can compute what an integer network computes: the frameworks, each by its own code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from ...compiler.ir import Integers

__all__ = ["Answers"]


@dataclass(frozen=True, eq=False)
class Answers:
    """What an oracle makes of some images, each array (N, H, W, C).

    ``outputs`` are the integers that the network puts out, ``final`` what it makes of them at last,
    where that is the host's, and ``inner`` the integers that some of the network's layers put out.
    """

    outputs: Integers
    final: NDArray[Any] | None = None
    inner: Mapping[str, Integers] = field(default_factory=dict)
