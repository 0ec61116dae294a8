"""A synthesized design, which is placed and routed with any seeds, here or elsewhere."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import tempfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from amaranth.hdl import Elaboratable

from ..compiler import file
from ..compiler.ir import PenjingError
from .board import Board
from .families import TOP
from .toolchain import (
    BuildResult,
    Progress,
    ToolError,
    Workshop,
    pack,
    place_and_route,
    synthesize,
)

__all__ = ["KEPT", "UNDER_WAY", "Netlist", "Routed", "route", "synthesized"]

_MARK, _NETLIST = "synthesis.json", f"{TOP}.json"
_QUICK = 1
"""How hard a netlist is compressed to be sent: it takes a second and leaves a tenth."""
KEPT = ("report.json", "route.log", "pack.log")
"""Files that tell how a design was routed; the bitstream lies beside them."""
UNDER_WAY = "routing-"
"""What the names of folders begin with in which a design is being routed."""


@dataclass(frozen=True)
class Netlist:
    """What becomes of a design by synthesis, such that it can be sent.

    ``cells`` is the compressed netlist, ``constraints`` are the pins and clocks, ``owners`` those
    of the cells below each path; ``seconds`` is what synthesis took. Who routes it does so in a
    folder below ``folder``, or among those for such things where that is not to be found.
    """

    board: Board
    folder: Path
    cells: bytes = field(repr=False)
    constraints: str = field(repr=False)
    owners: Mapping[str, str] = field(repr=False)
    seconds: float

    @cached_property
    def key(self) -> str:
        """Tells it, and what routes it, from others."""
        tools = self.board.family.tools
        assert tools is not None
        rest = (self.constraints, self.board.route_options, sorted(self.owners.items()),
                importlib.metadata.version(tools.wheel))
        return hashlib.sha256(self.cells + repr(rest).encode()).hexdigest()[:24]


@dataclass(frozen=True)
class Routed:
    """What became of a `Netlist` with the ``seed``: a ``result``, or the ``problem`` why not.

    ``files`` are by name those of `KEPT`, and the bitstream.
    """

    seed: int
    result: BuildResult | None
    files: Mapping[str, bytes] = field(repr=False)
    problem: str = ""


def synthesized(shop: Workshop, top: Elaboratable, *, order: Sequence[str] = (),
                owners: Mapping[str, str]) -> Netlist:
    """The netlist of ``top`` (see `boards.top.board_top`), or what is kept of it in the folder.

    There will be ``top.il``, constraints, ``top.json`` and a log; for ``order`` see
    `toolchain.synthesize`. `PenjingError` where a tool is missing or fails.
    """
    flow, netlist, mark = shop.flow, shop.folder / _NETLIST, shop.folder / _MARK
    files = shop.board.load_platform().prepare(top, TOP, emit_src=False).files
    rtlil, constraints = files[f"{TOP}.il"], files[flow.constraints[1]]
    made_of = hashlib.sha256(repr((rtlil, constraints, order, flow.synthesis,
                                   importlib.metadata.version("pyosys"))).encode()).hexdigest()
    seconds = _kept_seconds(mark, netlist, made_of)
    shop.write(flow.constraints[1], constraints)
    if seconds is None:
        mark.unlink(missing_ok=True)
        seconds = synthesize(shop, rtlil, order=order)
        noted = {"made_of": made_of, "made": _digest(netlist), "seconds": seconds}
        file.write_atomically(mark, json.dumps(noted).encode())
    return Netlist(shop.board, shop.folder, zlib.compress(netlist.read_bytes(), _QUICK),
                   constraints, owners, seconds)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _kept_seconds(mark: Path, netlist: Path, made_of: str) -> float | None:
    """What the synthesis took that is kept; None where that is another one, or damaged."""
    try:
        noted = json.loads(mark.read_bytes())
        if (noted["made_of"], noted["made"]) == (made_of, _digest(netlist)):
            return float(noted["seconds"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None


def route(netlist: Netlist, seed: int, progress: Progress | None = None) -> Routed:
    """Place and route it with the placer's ``seed``, down to the bitstream."""
    folder = netlist.folder if netlist.folder.is_dir() else None
    with tempfile.TemporaryDirectory(prefix=f"{UNDER_WAY}{seed}-", dir=folder) as name:
        result, problem = None, ""
        try:
            shop = Workshop(netlist.board, Path(name), progress)
            (shop.folder / _NETLIST).write_bytes(zlib.decompress(netlist.cells))
            shop.write(shop.flow.constraints[1], netlist.constraints)
            result = place_and_route(shop, shop.flow.constraints, seed=seed, owners=netlist.owners)
            bitstream, packing = pack(shop)
            result = replace(result, bitstream=Path(bitstream.name), seconds={
                "synthesis": netlist.seconds, **result.seconds, "pack": packing})
        except ToolError as error:
            result, problem = None, error.what
        except PenjingError as error:
            result, problem = None, str(error)
        wanted = [*KEPT, *([] if result is None else [bitstream.name])]
        return Routed(seed, result, {path: (Path(name) / path).read_bytes() for path in wanted
                                     if (Path(name) / path).is_file()}, problem)
