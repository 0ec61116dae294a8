"""What the benchmarks share: where results go, and what says when and how they were made."""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from penjing import flow
from penjing.compiler.cost import Resources
from penjing.compiler.ir import PenjingError
from penjing.flow import progress as flow_progress
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

RESULTS = Path(__file__).with_name("results")
"""The folder of the committed results."""


def versions(*packages: str) -> dict[str, str]:
    """Versions of Python and of the installed ``packages``."""
    return {"python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in packages}}


def stamp(command: str, *packages: str) -> dict[str, Any]:
    """Date, command and versions: what every result file says of its making."""
    return {"command": command, "date": datetime.date.today().isoformat(),
            "versions": versions(*packages)}


def read(name: str) -> dict[str, Any]:
    """The results in the file ``name``; an empty object where there are none yet."""
    path = RESULTS / name
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def write(name: str, value: dict[str, Any]) -> None:
    """Store results, whole or not at all."""
    RESULTS.mkdir(exist_ok=True)
    part = RESULTS / f"{name}.part"
    part.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    part.replace(RESULTS / name)


def store(name: str, order: Sequence[str], network: str, step: str, result: dict[str, Any]
          ) -> None:
    """Put what one ``step`` showed of a ``network`` into the file ``name``, in this ``order``."""
    networks = read(name).get("networks", {})
    networks[network] = {**networks.get(network, {}), step: result}
    write(name, {"networks": {one: networks[one] for one in order if one in networks}})


def processor_seconds() -> float:
    """Seconds of the processor until now, those of finished tools among them."""
    return sum(os.times()[:4])


class NetworkBench:
    """A network in its project folder below ``--work``, see `network_options`."""

    def __init__(self, name: str, args: argparse.Namespace, progress: flow_progress.Progress
                 ) -> None:
        self._name = name
        self._args = args
        self._progress = progress
        self.folder: Path = args.work / name

    def plan(self, model: Path, target: flow.Target, **options: Any) -> dict[str, Any]:
        """Compile ``model`` with `flow.compile_model`'s ``options``; what the plan says, and the
        processor's seconds."""
        started = processor_seconds()
        project = flow.compile_model(model, self.folder, target, name=self._name,
                                     progress=self._progress, **options)
        plan = project.plan
        return {"macs": plan.macs, "multipliers": plan.multipliers, "xors": plan.work("xors"),
                "products": sum(layer.products for layer in plan.layers),
                "utilization": plan.utilization,
                "predicted_cycles_per_frame": plan.cycles_per_frame,
                "predicted_latency_cycles": plan.latency_cycles,
                # The accelerator's and the serial link's together.
                "predicted": asdict(plan.resources + (project.link or Resources())),
                "clock_mhz": plan.clock_mhz,
                "compile_seconds": round(processor_seconds() - started, 1)}

    def route(self) -> dict[str, Any]:
        """The bitstream, and what it takes."""
        seed = self._args.seed
        made = flow.build(self.folder, seed=seed, progress=self._progress).json()
        return {"seed": seed, **{key: made[key] for key in (
            "luts", "ffs", "dsps", "brams", "fmax_mhz", "seconds", "clock_mhz")}}


@dataclass(frozen=True)
class Step:
    """What measures one thing of a network, and the ``packages`` that do so.

    ``option`` is the one that asks for it.
    """

    measure: Callable[[], dict[str, Any]]
    packages: tuple[str, ...]
    option: str = "run"


def run_networks(file: str, titles: dict[str, str], chosen: Sequence[str],
                 steps: Callable[[str, flow_progress.Progress], dict[str, Step]]) -> None:
    """Take the ``steps`` of each network that is ``chosen``; results are stored as they come.

    ``titles`` are those of all networks, by their names, in the order of the ``file``.
    """
    with progress_bar() as bar:
        task = bar.add_task("", total=len(chosen))
        for network in chosen:
            def tell(what: str, done: int, total: int, title: str = titles[network]) -> None:
                bar.update(task, description=f"{title}: {what} {done}/{total}" if total
                           else f"{title}: {what}")

            for name, step in steps(network, tell).items():
                command = f"python bench/{Path(file).stem}.py --{step.option}"
                store(file, [*titles], network, name,
                      {**step.measure(), **stamp(command, *step.packages)})
            bar.advance(task)


def cells(network: dict[str, Any]) -> list[str]:
    """Of a stored ``network``, cells predicted / placed and routed, then Fmax: five of a row."""
    predicted, found = network["plan"]["predicted"], network["routed"]
    return [*(f"{predicted[cell]:,} / {found[cell]:,}"
              for cell in ("luts", "ffs", "dsps", "brams")), f"{found['fmax_mhz']:.1f}"]


def network_options(parser: argparse.ArgumentParser, names: Iterable[str], work: str, *,
                    models: str, data: str) -> None:
    """Options of a bench of other people's networks; ``models`` and ``data`` say what is where."""
    parser.add_argument("--run", action="store_true", help="compile, compare and simulate")
    parser.add_argument("--route", action="store_true", help="compile, place and route")
    parser.add_argument("--models", type=Path, help=f"folder of {models}")
    parser.add_argument("--data", type=Path, help=f"folder of {data}")
    parser.add_argument("--work", type=Path, default=Path("build", work),
                        help="folder of the projects")
    parser.add_argument("--only", nargs="*", default=[], choices=[*names])
    parser.add_argument("--seed", type=int, default=1, help="of the placer")
    parser.add_argument("--json", action="store_true", help="one object on stdout, no table")


def stored_networks(file: str, run: Callable[[], None] | None, table: Callable[
        [dict[str, Any]], None], *, as_json: bool) -> dict[str, Any] | None:
    """Measure by ``run`` if there is one, and print; the networks' results, None if refused."""
    try:
        if run is not None:
            run()
        networks: dict[str, Any] = read(file).get("networks", {})
        if not networks:
            raise PenjingError(f"{file}: it holds no network; use --run")
    except PenjingError as error:
        print(error, file=sys.stderr)
        return None
    if as_json:
        print(json.dumps(networks))
    else:
        table(networks)
    return networks


def present_networks(file: str, args: argparse.Namespace, run: Callable[[], None],
                     table: Callable[[dict[str, Any]], None]) -> dict[str, Any] | None:
    """`stored_networks` with what `network_options` ask for measured anew."""
    def with_files() -> None:
        if args.models is None or args.data is None:
            raise PenjingError("--models and --data: the networks and images are not part of "
                               "the project; name their folders")
        run()

    return stored_networks(file, with_files if args.run or args.route else None, table,
                           as_json=args.json)


def progress_bar() -> Progress:
    """A progress bar on stderr."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    return Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True))


def show(title: str, headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table on stdout; every column but the first is right-aligned."""
    table = Table(title=title, title_justify="left")
    for n, heading in enumerate(headings):
        table.add_column(heading, justify="right" if n else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    Console(file=sys.stdout, width=None if sys.stdout.isatty() else 160).print(table)


def present(file: str, run: Callable[[], dict[str, Any]], table: Callable[[dict[str, Any]], None],
            *, anew: bool, as_json: bool) -> int:
    """Measure ``anew`` or take the stored results, print them, and return the exit status."""
    try:
        result = run() if anew else read(file)
        if not result:
            raise PenjingError(f"{file}: there are no stored results; give --run")
    except PenjingError as error:
        print(error, file=sys.stderr)
        return 2
    if as_json:
        print(json.dumps(result))
    else:
        table(result)
    return 0


def present_of_models(file: str, args: argparse.Namespace, run: Callable[[], dict[str, Any]],
                      table: Callable[[dict[str, Any]], None]) -> int:
    """`present` of what is measured with a network in the folder ``args.models``."""
    def with_models() -> dict[str, Any]:
        if args.models is None:
            raise PenjingError("--models: the network is not part of the project; name its folder")
        return run()

    return present(file, with_models, table, anew=args.run, as_json=args.json)
