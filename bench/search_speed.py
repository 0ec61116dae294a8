"""What the cost of one candidate of a search takes: the cost oracle beside a schedule.

Candidates are drawn before they are priced: of ResNet8, one to three layers, or all of them, lose
up to half of their channels; of the example, weights and maps of every layer have 2 to 8 bits. The
oracle prices them all, one after the other; every fiftieth is also scheduled, at once, and has to
cost the same. With ``--against``, the Penjing of another checkout schedules it, too. Milliseconds
are the processor's, of one core.

    python bench/search_speed.py --run --models FOLDER --against CHECKOUT

FOLDER holds pretrainedResnet_quant.tflite.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import common
import numpy as np
from penjing import flow
from penjing.compiler import file, ir
from penjing.compiler.dataflow.pricing import Cost
from penjing.compiler.ir import Builder, Network, PenjingError
from penjing.compiler.reduce import without

EXAMPLE = Path(__file__).parents[1] / "examples" / "fashion_mnist"
FILE = "search_speed.json"
BOARD = "ulx3s-85f"
EVERY = 50
"""Of so many candidates, one is scheduled."""
T = TypeVar("T")

_CHILD = """
import sys, time
from pathlib import Path
from penjing import flow
from penjing.compiler import file
from penjing.flow.compile import plan
for line in sys.stdin:
    network, target = file.load(Path(line.strip())), flow.Target(
        sys.argv[1], multipliers=flow.Multipliers.DSP)
    started = time.process_time()
    plan(network, target)
    print(time.process_time() - started, flush=True)
"""


@dataclass(frozen=True)
class Case:
    """What is searched: a ``title``, and ``count`` candidates that are ``drawn``."""

    title: str
    drawn: Callable[[int], Iterator[Network]]


def pruned(network: Network, most: int | None) -> Callable[[int], Iterator[Network]]:
    """Without channels of one to ``most`` layers, or of all if that is None."""
    channels: dict[str, int] = {}
    for layer in network.layers:
        if isinstance(layer, ir.Convolution):
            channels[layer.name] = network.type_of(layer.name).shape[2]

    def draw(count: int) -> Iterator[Network]:
        rng = np.random.default_rng(1)
        for _ in range(count):
            names = rng.permutation([*channels])[:most and int(rng.integers(1, most + 1))]
            left = {name: channels[name] - int(rng.integers(0, channels[name] // 2 + 1))
                    for name in names.tolist()}
            yield without(network, {name: range(some, channels[name])
                                    for name, some in left.items()})

    return draw


def of_bits(network: Network) -> Callable[[int], Iterator[Network]]:
    """Each layer's weights, and the map behind it, in 2 to 8 bits."""
    def layer_of_bits(layer: ir.Layer, bits: int) -> ir.Layer:
        if isinstance(layer, ir.MultiplyAccumulate):
            step = layer.weights.bits - bits
            weights = replace(layer.weights, values=layer.weights.values >> step, bits=bits,
                              fraction=layer.weights.fraction - step)
            return replace(layer, weights=weights, bias=layer.bias >> step)
        if isinstance(layer, ir.ShiftRequantize) and layer is not network.layers[-1]:
            return replace(layer, bits=bits, low=None, high=None)
        return layer

    def draw(count: int) -> Iterator[Network]:
        rng = np.random.default_rng(1)
        for _ in range(count):
            made = Builder(network.input_type, network.input)
            for layer in network.layers:
                made.add(layer_of_bits(layer, int(rng.integers(2, 9))))
            yield made.network(network.name, tail=network.tail)

    return draw


CASES = ("some", "all", "bits")


def case_of(name: str, models: Path) -> Case:
    """One of the `CASES`."""
    if name == "bits":
        example = flow.load(EXAMPLE / "fashion_mnist.pt2",
                            flow.Quantization(EXAMPLE / "calibration.npz")).network
        return Case("Fashion-MNIST CNN, bits of all layers", of_bits(example))
    resnet8 = flow.load(models / "pretrainedResnet_quant.tflite", flow.Quantization()).network
    if name == "some":
        return Case("ResNet8, channels of one to three layers", pruned(resnet8, 3))
    return Case("ResNet8, channels of all layers", pruned(resnet8, None))


@contextmanager
def earlier(checkout: Path | None) -> Iterator[Callable[[Network], float] | None]:
    """What tells the seconds that a schedule takes in another ``checkout``."""
    if checkout is None:
        yield None
        return
    with tempfile.TemporaryDirectory() as name:
        package, model = Path(name, "package"), Path(name, "candidate.penjing")
        package.mkdir()
        (package / "penjing").symlink_to(checkout.resolve())
        child = subprocess.Popen([sys.executable, "-c", _CHILD, BOARD], text=True,
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                 env={**os.environ, "PYTHONPATH": str(package)})
        assert child.stdin is not None and child.stdout is not None

        def seconds(network: Network) -> float:
            assert child.stdin is not None and child.stdout is not None
            file.save(network, model)
            child.stdin.write(f"{model}\n")
            child.stdin.flush()
            told = child.stdout.readline()
            if not told:
                raise PenjingError(f"{checkout}: its Penjing cannot schedule {network.name}")
            return float(told)

        try:
            yield seconds
        finally:
            child.stdin.close()
            child.wait()


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """The result of ``work`` and the processor's milliseconds that it took."""
    started = time.process_time()
    result = work()
    return result, 1e3 * (time.process_time() - started)


def measure(case: Case, count: int, checkout: Path | None, advance: Callable[[], None]
            ) -> dict[str, Any]:
    """One case with so many candidates."""
    networks = [*case.drawn(count)]
    target = flow.Target(BOARD, multipliers=flow.Multipliers.DSP)
    oracle, goal = flow.cost_oracle(networks[0], target)
    priced, beside, scheduled, before = [], [], [], []
    with earlier(checkout) as seconds:
        for n, network in enumerate(networks):
            cost, took = timed(lambda network=network: oracle.cost(network, goal))  # type: ignore[misc]
            priced.append(took)
            if n % EVERY == EVERY - 1:
                plan, alone = timed(lambda network=network: flow.plan(network, target))  # type: ignore[misc]
                if Cost.of(network, plan, oracle.budget) != cost:
                    raise PenjingError(f"{case.title}: candidate {n} costs {cost}, by a schedule "
                                       f"{Cost.of(network, plan)}")
                beside.append(took)
                scheduled.append(alone)
                if seconds is not None:
                    before.append(1e3 * seconds(network))
            advance()
    row = {"candidates": count, "oracle_ms": round(median(priced), 2),
           "oracle_seconds": round(sum(priced) / 1e3, 1), "first_ms": round(priced[0], 1),
           "last_tenth_ms": round(median(priced[-max(1, count // 10):]), 2),
           "scheduled": len(scheduled), "schedule_ms": round(median(scheduled), 1),
           "ratio": round(median(scheduled) / median(beside), 1),
           "ratio_of_sums": round(sum(scheduled) / sum(beside), 1)}
    if before:
        row |= {"earlier_ms": round(median(before), 1),
                "earlier_ratio": round(median(before) / median(beside), 1),
                "earlier_ratio_of_sums": round(sum(before) / sum(beside), 1)}
    return row


def run(args: argparse.Namespace) -> dict[str, Any]:
    """The cases that are wanted, each stored as it comes."""
    result = common.read(FILE) | {"board": BOARD}
    found = result.setdefault("cases", {})
    with common.progress_bar() as bar:
        for name in args.only:
            case = case_of(name, args.models)
            task = bar.add_task(case.title, total=args.candidates)
            found[case.title] = measure(
                case, args.candidates, args.against,
                lambda task=task: bar.advance(task)) | common.stamp(  # type: ignore[misc]
                    f"python bench/search_speed.py --run --only {name}", "numpy")
            common.write(FILE, result)
    return result


def show(result: dict[str, Any]) -> None:
    """Print what a candidate takes."""
    common.show(
        f"a candidate on {result['board']}, ms of one core",
        ("candidates", "oracle", "all, s", "last tenth", "schedule", "ratio", "ratio of sums",
         "earlier schedule", "ratio", "of sums"),
        [(title, row["oracle_ms"], row["oracle_seconds"], row["last_tenth_ms"],
          row["schedule_ms"], row["ratio"], row["ratio_of_sums"],
          *(row.get(f"earlier_{what}", "") for what in ("ms", "ratio", "ratio_of_sums")))
         for title, row in result["cases"].items()])


def parse_args() -> argparse.Namespace:
    """Define the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--run", action="store_true", help="measure; else show what is stored")
    parser.add_argument("--models", type=Path, help="folder of the .tflite file")
    parser.add_argument("--against", type=Path, help="another checkout of Penjing")
    parser.add_argument("--candidates", type=int, default=1000)
    parser.add_argument("--only", nargs="*", default=[*CASES], choices=CASES)
    parser.add_argument("--json", action="store_true", help="one object on stdout, no table")
    return parser.parse_args()


def main() -> int:
    """Measure or read, and print."""
    args = parse_args()
    if args.run and args.models is None:
        print("--models: ResNet8 is not part of the project; name its folder", file=sys.stderr)
        return 2
    return common.present(FILE, lambda: run(args), show, anew=args.run, as_json=args.json)


if __name__ == "__main__":
    sys.exit(main())
