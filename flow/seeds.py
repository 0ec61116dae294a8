"""The seeds that a design was placed and routed with, kept so that none is tried twice."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..boards.layout import Layout
from ..boards.netlist import Netlist, Routed
from ..boards.toolchain import BuildResult

__all__ = ["Seeds"]

_RESULT = "result.json"


@dataclass(frozen=True)
class Seeds:
    """What is kept in the ``folder`` of a ``netlist``, a folder for each seed."""

    folder: Path
    netlist: Netlist

    def kept(self, seed: int) -> Routed | None:
        """What became of the ``seed``; None if it was not tried, or of another netlist."""
        place = self.folder / str(seed)
        try:
            held = json.loads((place / _RESULT).read_bytes())
            if held["key"] != self.netlist.key:
                return None
            result = _read(held["result"])
            assert result.bitstream is not None
            return Routed(seed, result, {
                path.name: path.read_bytes() for path in place.iterdir() if path.name != _RESULT
            }) if (place / result.bitstream).is_file() else None
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def keep(self, routed: Routed) -> None:
        """Keep what became of a seed, whole or not at all; of one that failed, its logs."""
        new, place = self.folder / f"{routed.seed}.part", self.folder / str(routed.seed)
        for path in (new, place):
            shutil.rmtree(path, ignore_errors=True)
        new.mkdir(parents=True)
        for name, data in routed.files.items():
            (new / name).write_bytes(data)
        if routed.result is not None:
            held = {"key": self.netlist.key, "result": _told(routed.result)}
            (new / _RESULT).write_text(json.dumps(held) + "\n", encoding="utf-8")
        os.replace(new, place)


def _told(result: BuildResult) -> dict[str, Any]:
    assert result.layout is not None
    told = asdict(result)
    return {**told, "bitstream": str(result.bitstream), "layout": result.layout.json()}


def _read(value: dict[str, Any]) -> BuildResult:
    return BuildResult(**{**value, "bitstream": Path(value["bitstream"]),
                          "layout": Layout.of_json(value["layout"])})
