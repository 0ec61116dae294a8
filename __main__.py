"""The command line: it parses and prints, no more."""

from __future__ import annotations

import enum
import json
import shlex
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from . import __version__, boards, flow
from .compiler.compress.fixed_point import Mode
from .compiler.dataflow import report
from .compiler.dataflow.report import Table
from .compiler.ir import PenjingError, ScaleRounding
from .flow.console import print_tables, show_progress
from .options import (
    Board,
    Budgets,
    Clock,
    Encodings,
    Folder,
    Json,
    Model,
    Multipliers,
    Result,
    Scheduler,
    Teachers,
    board_names,
)
from .sim.simulators import Simulator
from .sim.streams import Stalls

FAILED, BAD_INPUT, BUG = 1, 2, 70
"""Exit statuses; that of a bug must not look like a comparison that failed."""

_INTERRUPTED = 130
"""What Typer makes of Ctrl-C."""
_RESUMED = (["build"], ["compress"], ["search"])
"""Commands that keep what they have done."""

BRING, PROVE, BUILD, LOOK_UP = "Bring a network", "Prove it", "Build it", "Look it up"
"""What one wants to do: the headings of ``penjing --help``, in the order of the commands."""

app = typer.Typer(name="penjing", pretty_exceptions_enable=False,
                  context_settings={"help_option_names": ["-h", "--help"]})


class Requantize(enum.Enum):
    """What ``--requantize`` takes."""

    DOUBLE = "double"
    SINGLE = "single"
    EVEN = "even"


class StallChoice(enum.Enum):
    """What ``--stalls`` takes."""

    NONE = "none"
    INPUT = "input"
    OUTPUT = "output"
    BOTH = "both"
    ALL = "all"


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"penjing {__version__}")
        raise typer.Exit


@app.callback()
def _root(version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True,
                                                help="Print the version and exit.")] = False
          ) -> None:
    """Grow trained neural networks into small FPGAs: from a network file to proven Verilog."""


@app.command("check", rich_help_panel=BRING,
             epilog="Example: penjing check net.onnx --board icebreaker")
def _check(
    model: Model,
    board: Annotated[str | None, typer.Option(
        "--board", "-b", autocompletion=board_names,
        help="The only board to try; the smallest is sought by default.")] = None,
    calibration: Annotated[Path | None, typer.Option(
        metavar="X.npz", help="Images x of a float network; random ones from 0 to 1 by default, "
                              "which do for the hardware that it takes.")] = None,
    result: Result = None,
    as_json: Json = False,
) -> None:
    """List all that stands in the way of a network; else its layers, and the smallest board.

    Exit status 2 if anything does.
    """
    quantization = flow.Quantization(calibration, random=True)
    with show_progress() as progress:
        found = flow.check(model, board, quantization, result, progress)
    _print(found.json(), as_json, *found.tables())
    if not found.passed:
        if found.page and not as_json:
            sys.stderr.write(f"see {found.page}\n")
        raise typer.Exit(BAD_INPUT)
    images = ("--calibration", calibration or "X.npz") if found.floats else ()
    named = () if result is None else ("--result", result)
    _next(as_json, "compile", model, "--board", found.board, *images, *named, "-o", "build")


@app.command("compile", rich_help_panel=BRING,
             epilog="Example: penjing compile net.pt2 --calibration images.npz "
                    "--board ulx3s-85f --budget 64 -o build")
def _compile(
    model: Model,
    board: Board,
    folder: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Folder to make.")],
    calibration: Annotated[Path | None, typer.Option(
        metavar="X.npz", help="Images x (N×H×W×C or N×F) that set the fraction lengths.")] = None,
    weight_bits: Annotated[int | None, typer.Option(
        help="Width of the weights, 2 to 16; 8 by default.")] = None,
    activation_bits: Annotated[int | None, typer.Option(
        help="Width of the feature maps, 2 to 16; 8 by default.")] = None,
    precision: Annotated[Path | None, typer.Option(
        metavar="FILE.json", help='Widths of single layers, 1 to 16: {"conv1": {"weights": 4, '
                                  '"maps": 6}}.')] = None,
    input_bits: Annotated[int | None, typer.Option(
        help="Width of the input, 1 to 16; 8 by default.")] = None,
    input_scale: Annotated[float | None, typer.Option(
        help="What one step of integer images is worth; 1/255 for 8 bits by default.")] = None,
    requantize: Annotated[Requantize | None, typer.Option(
        help="Rounding of networks that were quantized elsewhere: as LiteRT's reference kernels "
             "(double, the default of .tflite), once with halves up (single), or once with halves "
             "to even (even, the default of .onnx and .pt2).")] = None,
    mode: Annotated[Mode | None, typer.Option(
        help="A fraction length for each layer (dynamic, the default), the same but judged by the "
             "network's output (slower, often better below 8 bits) or by how much the "
             "distribution of its values changes (divergence), or one for all (static).")] = None,
    fps: Annotated[float | None, typer.Option(
        help="Take the least hardware that makes so many frames a second.")] = None,
    budget: Budgets = None,
    multipliers: Multipliers = None,
    clock: Clock = None,
    folds: Annotated[Path | None, typer.Option(
        metavar="FILE.json", help='Folds by hand: {"conv1": {"pe": 4, "simd": 9}}.')] = None,
    name: Annotated[str | None, typer.Option(
        help="Name of the network and its Verilog; the file's by default.")] = None,
    result: Result = None,
    encoding: Encodings = None,
    winograd: Annotated[str, typer.Option(
        metavar="auto|off|LAYER[=TILE],…", help="3×3 convolutions of stride 1 that take Winograd's "
                                                "form, the same integers of fewer products: where "
                                                "the plan gets faster (auto), nowhere (off), or "
                                                "these, of tiles 2x2 or 1x2.")] = "off",
    inline_memories: Annotated[bool, typer.Option(
        "--inline-memories", help="Write large tables into the Verilog, not into files beside it.")
        ] = False,
    loadable: Annotated[bool, typer.Option(
        "--loadable", help="Weights and biases come in at run time, so that another network of the "
                           "same shape needs no other bitstream; see penjing load.")] = False,
    as_json: Json = False,
) -> None:
    """Quantize a network, schedule it for a board, and write Verilog."""
    target = flow.Target(board, clock, fps, flow.parse_budget(budget or ""), folds,
                         multipliers)
    quantization = flow.Quantization(calibration, weight_bits, activation_bits, input_bits,
                                     input_scale, mode, precision=precision)
    with show_progress() as progress:
        made = flow.compile_model(model, folder, target, quantization, name, progress,
                                  requantize and ScaleRounding(requantize.value),
                                  inline_memories, result,
                                  flow.parse_encodings(encoding or ()), loadable,
                                  flow.parse_winograd(winograd))
    lost = [report.removed_table(made.removed)] if made.removed else []
    weights = report.weight_table(made.plan, made.network)
    _print(report.plan_json(made.plan, made.link, made.network, made.removed), as_json, *lost,
           report.layer_table(made.plan), *([weights] if weights.rows else []),
           report.plan_table(made.plan, made.link, f"{made.network.name} in {made.verilog}"))
    _next(as_json, "simulate", folder)


@app.command("compress", rich_help_panel=BRING,
             epilog="Example: penjing compress net.pt2 --recipe deep-compression --data train.npz "
                    "-o small.pt2")
def _compress(
    model: Model,
    recipe: Annotated[str, typer.Option(
        "--recipe", "-r", metavar="R", help="A TOML file of steps, or one that comes with Penjing: "
                                            "deep-compression, layer-adaptive, surgeon, "
                                            "two-four, slim-channels.")],
    images: Annotated[Path, typer.Option(
        "--data", metavar="X.npz", help="Images x and labels y to train with.")],
    output: Annotated[Path, typer.Option(
        "-o", "--output", metavar="FILE", help="Program (.pt2) or integer network (.penjing) to "
                                               "write, and a .json beside it.")],
    test: Annotated[Path | None, typer.Option(
        metavar="T.npz", help="Images and labels to judge by; every tenth of the others by "
                              "default.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="In place of the recipe's.")] = None,
    plots: Annotated[bool, typer.Option(
        "--plots", help="Draw the size after each step as an SVG beside the output.")] = False,
    result: Result = None,
    teachers: Teachers = None,
    as_json: Json = False,
) -> None:
    """Prune and share the weights of a network as a recipe says; an interrupted run goes on."""
    with show_progress() as progress:
        made = flow.compress(model, output, recipe, images, test=test, seed=seed, plots=plots,
                             result=result, teachers=teachers or (), progress=progress)
    _print(made.json(), as_json, made.table())
    floats = ("--calibration", images) if output.suffix == ".pt2" else ()
    _next(as_json, "compile", output, "--board", "ulx3s-85f", *floats, "-o", "build")


@app.command("search", rich_help_panel=BRING,
             epilog="Example: penjing search net.pt2 --agent netadapt --board ulx3s-12f "
                    "--limit frames=5000 --data train.npz -o best.pt2")
def _search(
    model: Model,
    agent: Annotated[flow.Agents, typer.Option(
        "--agent", "-a", help="What proposes networks: one that learns (amc of channels, haq of "
                              "bits), a greedy one that needs no luck (netadapt), the quick one of "
                              "bits (importance), or one to compare with.")],
    board: Board,
    images: Annotated[Path, typer.Option(
        "--data", metavar="X.npz", help="Images x and labels y; every tenth judges trials.")],
    output: Annotated[Path, typer.Option(
        "-o", "--output", metavar="FILE", help="Program (.pt2) or integer network (.penjing) to "
                                               "write, and a .json of all trials beside it.")],
    limits: Annotated[list[str] | None, typer.Option(
        "--limit", metavar="NAME=N", help="What the plan must keep: frames a second at least; "
                                          "cycles, luts, ffs, dsps, brams, multipliers, "
                                          "weight_bits, price at most; accuracy from 0 to 1 where "
                                          "a cost is minimized. Give it once for each.")] = None,
    knobs: Annotated[flow.Knobs | None, typer.Option(
        help="What is decided for each layer: how many channels it keeps, or the bits of its "
             "weights and its map; haq and importance decide bits by default, others channels.")
        ] = None,
    minimize: Annotated[str | None, typer.Option(
        metavar="NAME", help="Seek the least of this cost, not the most accurate network.")] = None,
    test: Annotated[Path | None, typer.Option(
        metavar="T.npz", help="Images and labels that judge what is found.")] = None,
    episodes: Annotated[int, typer.Option(min=1, help="Trials; NetAdapt ends by itself.")] = 100,
    tune: Annotated[int | None, typer.Option(
        min=0, help="Epochs of each trial's training, on 2,000 images; by default 1 for bits, 0 "
                    "for channels.")] = None,
    epochs: Annotated[int, typer.Option(
        min=0, help="Epochs of training, on all images, of the network that is found.")] = 0,
    budget: Budgets = None,
    multipliers: Multipliers = None,
    clock: Clock = None,
    seed: Annotated[int, typer.Option(min=0, help="Of all that is drawn at random.")] = 1,
    workers: Annotated[int | None, typer.Option(
        min=0, help="Processes that try; one for each processor by default, 0 for none.")] = None,
    scheduler: Scheduler = None,
    plots: Annotated[bool, typer.Option(
        "--plots", help="Draw all trials as an SVG beside the output.")] = False,
    result: Result = None,
    teachers: Teachers = None,
    as_json: Json = False,
) -> None:
    """Search for the network that keeps a board's limits best; an interrupted search goes on.

    Exit status 1 if the plan of the network that was found exceeds them after all.
    """
    with show_progress() as progress:
        target = flow.Target(board, clock, budget=flow.parse_budget(budget or ""),
                             multipliers=multipliers)
        found = flow.search(model, output, agent, target, limits or (), images, knobs=knobs,
                            minimize=minimize, test=test,
                            effort=flow.Effort(episodes, tune, epochs), seed=seed,
                            workers=workers, scheduler=scheduler, plots=plots, result=result,
                            teachers=teachers or (), progress=progress)
    _print(found.json(), as_json, *found.tables())
    floats = ("--calibration", images) if output.suffix == ".pt2" else ()
    asked = flow.kept(target, found.aim)
    rate = None if asked.fps is None else f"{asked.fps:.12g}"
    given = _given(("--fps", rate), ("--budget", ",".join(
        f"{name}={value}" for name, value in asked.budget.items()) or None),
        ("--multipliers", multipliers), ("--clock", clock))
    if found.fits:
        _next(as_json, "compile", output, "--board", board, *given, *floats, "-o", "build")
    _exit(found.fits)


@app.command("explore", rich_help_panel=BRING,
             epilog="Example: penjing explore net.tflite --board ulx3s-85f -o front.json --plots")
def _explore(
    model: Model,
    board: Board,
    output: Annotated[Path | None, typer.Option(
        "-o", "--output", metavar="FILE.json", help="File to write the front to.")] = None,
    calibration: Annotated[Path | None, typer.Option(
        metavar="X.npz", help="Images x of a float network; random ones from 0 to 1 by default, "
                              "which do for the hardware that it takes.")] = None,
    weight_bits: Annotated[int | None, typer.Option(
        help="Width of the weights of a float network; 8 by default.")] = None,
    activation_bits: Annotated[int | None, typer.Option(
        help="Width of its feature maps; 8 by default.")] = None,
    fps: Annotated[float | None, typer.Option(
        help="Leave out plans that make fewer frames a second.")] = None,
    budget: Budgets = None,
    multipliers: Multipliers = None,
    clock: Clock = None,
    paces: Annotated[int, typer.Option(
        min=2, help="How many are tried, from the slowest plan to the fastest.")] = 24,
    encoding: Encodings = None,
    workers: Annotated[int | None, typer.Option(
        min=0, help="Processes that plan; by default none but this one, since a plan takes some 30 "
                    "ms.")] = None,
    scheduler: Scheduler = None,
    plots: Annotated[bool, typer.Option(
        "--plots", help="Draw the front as an SVG beside the output.")] = False,
    result: Result = None,
    as_json: Json = False,
) -> None:
    """List the plans of a network, slow and small to fast and large, that no other surpasses."""
    target = flow.Target(board, clock, fps, flow.parse_budget(budget or ""),
                         multipliers=multipliers)
    quantization = flow.Quantization(calibration, weight_bits, activation_bits, random=True)
    with show_progress() as progress:
        front = flow.explore(model, target, output=output, paces=paces, plots=plots,
                             quantization=quantization, result=result,
                             encodings=flow.parse_encodings(encoding or ()), workers=workers,
                             scheduler=scheduler, progress=progress)
    _print(front.json(), as_json, front.table())
    # Whether it is one of floats takes another look into the file, for people alone.
    floats = calibration is None and not as_json and flow.is_floats(model, result)
    images = "X.npz" if floats else calibration
    given = _given(("--calibration", images), ("--weight-bits", weight_bits),
                   ("--activation-bits", activation_bits), ("--fps", fps or "N"),
                   ("--budget", budget), ("--multipliers", multipliers), ("--clock", clock),
                   *(("--encoding", one) for one in encoding or ()), ("--result", result))
    _next(as_json, "compile", model, "--board", board, *given, "-o", "build")


@app.command("simulate", rich_help_panel=PROVE,
             epilog="Example: penjing simulate build --data images.npz -n 20")
def _simulate(
    folder: Folder,
    images: Annotated[Path | None, typer.Option(
        "--data", metavar="X.npz", help="Images x; extreme and random values by default.")] = None,
    frames: Annotated[int | None, typer.Option("-n", "--frames", help="How many.")] = None,
    layer: Annotated[str | None, typer.Option(metavar="NAME", help="One layer alone.")] = None,
    stalls: Annotated[StallChoice, typer.Option(
        help="Which side pauses; the pattern without pauses always runs too, for the cycles.")
        ] = StallChoice.ALL,
    wave: Annotated[Path | None, typer.Option(
        metavar="FILE", help="Waveform to write (.vcd or .fst).")] = None,
    simulator: Annotated[Simulator, typer.Option()] = Simulator.VERILATOR,
    seed: Annotated[int, typer.Option(min=0, help="Of pauses and random values.")] = 1,
    as_json: Json = False,
) -> None:
    """Simulate the Verilog under cocotb and compare every output value with the golden model."""
    patterns = tuple(Stalls) if stalls is StallChoice.ALL else (Stalls(stalls.value),)
    with show_progress() as progress:
        result = flow.simulate(folder, images=images, frames=frames, layer=layer, stalls=patterns,
                               wave=wave, simulator=simulator, seed=seed, progress=progress)
    _print(result.json(), as_json, *result.tables())
    if not result.passed:
        one = layer or "NAME"
        _next(as_json, "simulate", folder, "--layer", one, "--wave", f"{one}.vcd")
    elif layer is not None:
        _next(as_json, "simulate", folder)
    else:
        _next(as_json, "evaluate", folder, "--data", images or "X.npz")
    _exit(result.passed)


@app.command("evaluate", rich_help_panel=PROVE,
             epilog="Example: penjing evaluate build --data test_images.npz")
def _evaluate(
    folder: Folder,
    images: Annotated[Path, typer.Option(
        "--data", metavar="X.npz", help="Images x and labels y.")],
    as_json: Json = False,
) -> None:
    """Compare the golden model with labels, and with the framework the network came from."""
    with show_progress() as progress:
        result = flow.evaluate(folder, images, progress)
    _print(result.json(), as_json, result.table())
    routed = boards.find(flow.Project.open(folder).plan.board).family.tools is not None
    _next(as_json, "build" if result.passed and routed else "report", folder)
    _exit(result.passed)


@app.command("build", rich_help_panel=BUILD, epilog="Example: penjing build build --seeds 4")
def _build(
    folder: Folder,
    seed: Annotated[int, typer.Option(min=1, help="Of the placer.")] = 1,
    seeds: Annotated[int, typer.Option(
        min=1, metavar="N", help="Try so many, from that one on, and keep the one of the fastest "
                                 "clock.")] = 1,
    workers: Annotated[int | None, typer.Option(
        min=0, help="Processes that route; one for each processor by default, 0 for none.")] = None,
    scheduler: Scheduler = None,
    as_json: Json = False,
) -> None:
    """Synthesize, place and route for the board, down to the bitstream.

    What is done is kept, so that an interrupted build goes on where it was.
    """
    with show_progress() as progress:
        result = flow.build(folder, seed=seed, seeds=seeds, workers=workers, scheduler=scheduler,
                            progress=progress)
    _print(result.json(), as_json, *result.tables())
    if result.clock_met:
        _next(as_json, "report", folder)
    else:
        more = ("--seeds", seeds) if seeds > 1 else ()
        _next(as_json, "build", folder, "--seed", seed + seeds, *more)


@app.command("load", rich_help_panel=BUILD,
             epilog="Example: penjing load build retrained.onnx --port /dev/ttyUSB0")
def _load(
    folder: Folder,
    model: Model,
    output: Annotated[Path | None, typer.Option(
        "-o", "--output", metavar="FILE", help="Image to write; in DIR by default.")] = None,
    port: Annotated[str | None, typer.Option(
        metavar="PORT", help="Serial port of the board that takes it; none by default.")] = None,
    baud: Annotated[int | None, typer.Option(
        min=1, help="Speed of the line; the board's by default.")] = None,
    calibration: Annotated[Path | None, typer.Option(
        metavar="X.npz", help="Images x of a float network, which set its fraction lengths.")
        ] = None,
    as_json: Json = False,
) -> None:
    """Give hardware that was compiled with --loadable another network of the same shape."""
    with show_progress() as progress:
        result = flow.load_weights(folder, model, output=output, port=port, baud=baud,
                                   quantization=flow.Quantization(calibration), progress=progress)
    _print(result.json(), as_json, result.table())


@app.command("boards", rich_help_panel=LOOK_UP, epilog="Example: penjing boards --json")
def _boards(as_json: Json = False) -> None:
    """List the boards, and what each of them has."""
    found = [flow.board_json(board) for board in boards.boards()]
    _print({"boards": found}, as_json, report.table_of(
        "Boards", ("name", "family", "device", "LUTs", "DSPs", "BRAMs", "clock (MHz)"),
        ((one["name"], one["family"], one["device"], *one["budget"].values()) for one in found)))
    _next(as_json, "check", "MODEL")


@app.command("report", rich_help_panel=LOOK_UP,
             epilog="Example: penjing report build -o build.html")
def _report(
    folder: Folder,
    output: Annotated[Path | None, typer.Option(
        "-o", "--output", metavar="FILE", help="Page to write; report.html in DIR by default.")
        ] = None,
    as_json: Json = False,
) -> None:
    """Make one page of all that is known: pipeline, cells, chip, simulation, accuracy."""
    path = flow.report(folder, output)
    _print({"page": str(path), "bytes": path.stat().st_size}, as_json, report.table_of(
        "Report", ("", ""), (("page", path),)))
    _next(as_json, "-m", "webbrowser", path.resolve().as_uri(), program="python")


def _exit(passed: bool) -> None:
    if not passed:
        raise typer.Exit(FAILED)


def _print(value: Mapping[str, Any], as_json: bool, *tables: Table) -> None:
    """One JSON object, or tables for people."""
    if as_json:
        sys.stdout.write(json.dumps(value, allow_nan=False) + "\n")
    else:
        print_tables(*tables)


def _given(*options: tuple[str, object]) -> list[object]:
    """The words of those ``options`` that have a value."""
    return [word for option, value in options if value is not None for word in (option, value)]


def _next(as_json: bool, *arguments: object, program: str = "penjing") -> None:
    """Name the next command to people, on stderr."""
    if not as_json:
        sys.stderr.write(f"next: {shlex.join([program, *map(str, arguments)])}\n")


def _complain(text: str, page: str = "") -> int:
    """Tell the user, in one line, what is wrong, and the ``page`` that explains it."""
    printable = "".join(c if c.isprintable() else " " for c in text)
    more = f"; see {page}" if page else ""
    sys.stderr.write(f"penjing: error: {' '.join(printable.split())}{more}\n")
    return BAD_INPUT


def _interrupted(given: list[str]) -> int:
    """Tell that a command was interrupted, and whether its work was for nothing."""
    more = "; the same command goes on where it was" if given[:1] in _RESUMED else ""
    return _complain(f"interrupted{more}")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line (``sys.argv`` without ``arguments``); returns the exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        status = app(given or ["--help"], prog_name="penjing", standalone_mode=False)
        return _interrupted(given) if status == _INTERRUPTED else int(status or 0)
    except PenjingError as error:
        return _complain(str(error), error.page)
    except typer.TyperException as error:
        return _complain(f"{error.format_message().rstrip('.')}; see penjing --help")
    except OSError as error:
        return _complain(f"{error.filename or 'input or output'}: {error.strerror or error}")
    except MemoryError:
        return _complain("memory: too little for this network or these images; give a smaller "
                         "network or fewer images, or run it where there is more")
    except KeyboardInterrupt:
        return _interrupted(given)
    except Exception:
        traceback.print_exc()
        return BUG


if __name__ == "__main__":
    sys.exit(main())
