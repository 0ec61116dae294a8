"""What several commands of the command line are told, and how."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import boards, flow
from .compiler.encode import NAMES

__all__ = ["Board", "Budgets", "Clock", "Encodings", "Folder", "Json", "Model",
           "Multipliers", "Result", "Scheduler", "Teachers", "board_names"]


def board_names(incomplete: str) -> list[str]:
    """What the shell completes ``--board`` with."""
    return [board.name for board in boards.boards() if board.name.startswith(incomplete)]


Board = Annotated[str, typer.Option(
    "--board", "-b", autocompletion=board_names, help="Target; see penjing boards.")]
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder that compile has made.")]
Model = Annotated[Path, typer.Argument(
    metavar="MODEL", help="Saved torch.export program (.pt2), quantized network (.tflite, .onnx) "
                          "or integer network (.penjing).")]
Result = Annotated[str | None, typer.Option(
    metavar="NAME", help="The output that becomes the network's, of a file that has several.")]
Teachers = Annotated[list[Path] | None, typer.Option(
    "--teacher", metavar="T.pt2", help="A program whose answers are learned where training "
                                       "distils, in place of MODEL's; of several, their mean.")]
Budgets = Annotated[str | None, typer.Option(
    metavar="N|NAME=N,…", help="Multipliers to use at most, or limits of multipliers, luts, ffs, "
                               "dsps, brams.")]
Multipliers = Annotated[flow.Multipliers | None, typer.Option(
    help="LUTs beyond the board's DSP blocks (any, the default), or these alone (dsp).")]
Clock = Annotated[float | None, typer.Option(
    metavar="MHZ", help="Clock; the board's own by default.")]
Encodings = Annotated[list[str] | None, typer.Option(
    metavar="LAYER=NAME", help=f"How hardware holds the weights of a layer: {', '.join(NAMES)}, "
                               "such as 2:4. Give it once for each layer.")]
Scheduler = Annotated[str | None, typer.Option(
    metavar="tcp://HOST:PORT", help="A Dask scheduler whose workers take its place.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
