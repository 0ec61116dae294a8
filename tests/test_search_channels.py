"""A search over the channels of a PyTorch network, and what becomes of the network."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import penjing
import pytest
import torch
from penjing.__main__ import main
from penjing.compiler import ir
from penjing.compiler.compress import trainable
from penjing.compiler.compress.fixed_point import quantize
from penjing.compiler.compress.search.channels import Channels
from penjing.compiler.compress.search.limits import Aim
from penjing.compiler.compress.training import Data, Settings
from penjing.compiler.dataflow.budget import TooSmall
from penjing.compiler.load import torch as pytorch
from penjing.flow.load import Quantization, load
from penjing.flow.pricing import Pricing
from penjing.flow.project import Project
from penjing.sim import golden
from torch import Tensor, nn

pytestmark = pytest.mark.usefixtures("one_thread")


class Net(nn.Module):
    """A residual block, a depthwise layer, a flattened map."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 8, 3, padding=1)
        self.inner = nn.Conv2d(8, 12, 3, padding=1)
        self.norm = nn.BatchNorm2d(12)
        self.outer = nn.Conv2d(12, 8, 1)
        self.deep = nn.Conv2d(8, 8, 3, groups=8)
        self.point = nn.Conv2d(8, 10, 1)
        self.dense = nn.Linear(10 * 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu()
        x = (x + self.outer(self.norm(self.inner(x)).relu())).relu()
        x = self.point(self.deep(x).relu()).relu()
        return self.dense(x.flatten(1))


@pytest.fixture(scope="module")
def environment() -> Channels:
    torch.manual_seed(2)
    module = Net().eval()
    nn.init.uniform_(module.norm.running_mean, -1, 1)
    images = torch.rand(60, 2, 4, 4)
    data = Data(images, torch.arange(60) % 3, lambda x, _: x)
    network = trainable.read(module, (4, 4, 2))
    whole = quantize(pytorch.from_module(module, (4, 4, 2)), images.permute(0, 2, 3, 1).numpy())
    return Channels(network, whole, data, data, samples=30)


def test_channels_that_belong_together_are_one_knob(environment: Channels) -> None:
    names = [knob.name for knob in environment.knobs]
    assert names == ["stem+outer+deep", "inner", "point"]
    stem, inner, point = environment.knobs
    assert stem.levels == (2, 3, 4, 5, 6, 7, 8)  # a fifth of 8, rounded up, and so on
    assert inner.levels[0] == 3 and inner.levels[-1] == 12
    # 16 places of 8 * 9 * 2 and 12 * 8, and 4 of 8 * 9.
    assert stem.work == 16 * (8 * 9 * 2 + 12 * 8) + 4 * 8 * 9
    assert inner.work == 16 * 12 * 9 * 8
    assert point.features == (2, 10, 8, 2, 2, 1, 1, 4 * 80, 1)


def test_the_least_norms_go(environment: Channels) -> None:
    network = environment.model
    norms = network.layers["point"].weight.detach().abs().sum((1, 2, 3))  # type: ignore[operator]
    silent = environment._silent(environment._gone((6, 9, 3)))
    assert set(silent) == {"point"}
    kept = int((~silent["point"]).sum())
    assert kept == environment.knobs[2].levels[3]
    assert norms[~silent["point"]].min() >= norms[silent["point"]].max()


def test_what_is_narrowed_computes_what_others_do_without(environment: Channels) -> None:
    """The integers of a network with weights of 0 for what went, and of one without them."""
    silent = environment._silent(environment._gone((2, 4, 1)))
    whole = environment.whole
    cut = environment.integers((2, 4, 1))
    made = ir.Builder(whole.input_type, whole.input)
    for layer in whole.layers:
        if layer.name in silent:
            assert isinstance(layer, ir.Convolution | ir.Depthwise)
            mask = silent[layer.name].numpy()
            values, bias = layer.weights.values.copy(), layer.bias.copy()
            values[mask], bias[mask] = 0, 0
            layer = replace(layer, weights=replace(layer.weights, values=values), bias=bias)
        made.add(layer)
    silenced = made.network("silenced", tail=whole.tail)
    x = np.random.default_rng(1).integers(0, 255, (20, 4, 4, 2), endpoint=True)
    assert np.array_equal(golden.run(cut, x), golden.run(silenced, x))
    assert {name: cut.type_of(name).shape[2] for name in ("stem", "inner", "outer", "deep", "point")
            } == {"stem": 4, "inner": 7, "outer": 4, "deep": 4, "point": 3}


def test_what_is_left_is_fitted(environment: Channels) -> None:
    """Least squares come nearer to what was there than what is left by itself."""
    choice = (3, 5, 4)
    x = environment.fitted.images
    wanted = environment.model.module(x)

    def error(one: Channels) -> float:
        return float((one.made(choice).model.module(x) - wanted).detach().square().mean())

    assert error(environment) < 0.7 * error(replace(environment, samples=0))
    whole = tuple(len(knob.levels) - 1 for knob in environment.knobs)
    assert torch.allclose(environment.made(whole).model.module(x), wanted, atol=1e-5)
    left = environment.made(choice).model.layers
    shapes = {name: len(layer.weight) for name, layer in left.items()}
    assert shapes == {"stem": 5, "inner": 8, "outer": 5, "deep": 5, "point": 6, "dense": 3}


class Grouped(nn.Module):
    """Two layers of one weight tensor, and one in groups."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 8, 3, padding=1)
        self.first, self.second = (nn.Conv2d(8, 8, 1) for _ in range(2))
        self.second.weight = self.first.weight
        self.grouped = nn.Conv2d(8, 8, 3, groups=2)
        self.dense = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.second(self.first(self.stem(x).relu()).relu()).relu()
        return self.dense(self.grouped(x).relu().mean((2, 3)))


def test_what_layers_in_groups_read_or_make_stays() -> None:
    """And layers of one weight tensor part, as they do in hardware."""
    torch.manual_seed(2)
    images = torch.rand(30, 2, 4, 4)
    data = Data(images, torch.arange(30) % 3, lambda x, _: x)
    module = Grouped().eval()
    whole = quantize(pytorch.from_module(module, (4, 4, 2)), images.permute(0, 2, 3, 1).numpy())
    made = Channels(trainable.read(module, (4, 4, 2)), whole, data, data, samples=20)
    assert [knob.name for knob in made.knobs] == ["stem", "first"]
    cut, narrowed = made.integers((1, 0)), made.made((1, 0)).model
    widths = {"stem": 3, "first": 2, "second": 8, "grouped": 8, "dense": 3}
    assert {name: cut.type_of(name).shape[2] for name in widths} == widths
    assert {name: len(layer.weight) for name, layer in narrowed.layers.items()} == widths


def test_what_was_found_may_take_more_than_the_fastest_plan(folder: Path) -> None:
    """That leaves some of the board to the router; what no plan makes is told by it."""
    network = load(folder / "net.pt2", Quantization(folder / "images.npz")).network
    price = Pricing.on(penjing.Target("icebreaker"), network, Aim(frames=9000.0))
    assert price.leanest is not None
    asked = price.leanest(network)

    class Slow:
        def __call__(self, _: ir.Network) -> Any:
            return replace(asked, frames_per_second=8999.0)

    full = replace(price, fastest=Slow())  # type: ignore[arg-type]
    assert full(network).frames_per_second == 8999
    assert full.of_found(network) == asked
    never = Pricing.on(penjing.Target("icebreaker"), network, Aim(frames=1e7))
    assert never.of_found(network) == never(network) == never.fastest(network)


def test_tuning_trains_each_trial(environment: Channels) -> None:
    tuned = replace(environment, tuning=Settings(20, batch=20, learning_rate=1e-2))
    assert tuned.accuracy((3, 5, 4)) == tuned.accuracy((3, 5, 4))
    assert tuned.accuracy((3, 5, 4)) > environment.accuracy((3, 5, 4))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained program and its data: a class is a bright quarter of the image."""
    made = tmp_path_factory.mktemp("search")
    torch.manual_seed(1)
    module = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(),
                           nn.Flatten(), nn.Linear(128, 3)).eval()
    rng = np.random.default_rng(1)
    y = rng.integers(0, 3, 300)
    x = rng.integers(0, 60, (300, 8, 8, 1))
    for image, label in zip(x, y, strict=True):
        image[4 * (label // 2):4 * (label // 2) + 4, 4 * (label % 2):4 * (label % 2) + 4] += 90
    np.savez(made / "images.npz", x=x.astype(np.uint8), y=y)
    np.savez(made / "vectors.npz", x=x.astype(np.uint8)[:, 0], y=y)
    np.savez(made / "sorted.npz", x=x.astype(np.uint8).repeat(40, 0), y=np.sort(y).repeat(40))
    from penjing.compiler.compress import training

    data = Data(torch.from_numpy(x / 255).float().permute(0, 3, 1, 2), torch.from_numpy(y),
                lambda x, _: x)
    training.fit(module, data, Settings(4, batch=30, learning_rate=5e-3))
    torch.export.save(torch.export.export(module, (torch.zeros(1, 1, 8, 8),)), made / "net.pt2")
    return made


def run(folder: Path, *more: str, agent: str = "random", output: str = "best.pt2") -> int:
    return main(["search", str(folder / "net.pt2"), "--agent", agent, "--board", "icebreaker",
                 "--data", str(folder / "images.npz"), "-o", str(folder / output), "--workers",
                 "0", "--episodes", "6", *more])


def test_a_search_from_the_command_line(folder: Path) -> None:
    pytest.importorskip("matplotlib")
    assert run(folder, "--limit", "luts=3000", "--minimize", "cycles", "--limit", "accuracy=0.5",
               "--epochs", "1", "--plots") == 0
    told = json.loads((folder / "best.json").read_text())
    assert told["fits"]
    assert told["accuracy"] > 0.5
    assert len(told["trials"]) == 6
    assert told["cost"]["luts"] <= 3000
    assert told["cost"]["cycles"] <= told["whole"]["cost"]["cycles"]
    assert not (folder / "best.work").exists()
    assert (folder / "best.svg").read_text().startswith("<?xml")
    layers = trainable.read(folder / "best.pt2").layers
    assert [len(layer.weight) for layer in layers.values()] == [*told["best"]["levels"], 3]


@pytest.mark.slow
def test_an_interrupted_search_ends_in_the_same_bits(folder: Path) -> None:
    class Stop(Exception):
        pass

    def progress(what: str, done: int, total: int) -> None:
        if what.startswith("trials") and done == 3:
            raise Stop

    def search(output: str, **more: Any) -> None:
        target = penjing.Target("icebreaker", multipliers=penjing.flow.Multipliers.DSP)
        penjing.search(folder / "net.pt2", folder / output, "amc", target, ["cycles=1200"],
                       folder / "images.npz", workers=0, effort=penjing.Effort(8), **more)

    with pytest.raises(Stop):
        search("stopped.penjing", progress=progress)
    assert len((folder / "stopped.work" / "1.trials").read_text().splitlines()) == 3
    search("stopped.penjing")
    search("whole.penjing")
    whole, stopped = (json.loads((folder / f"{name}.json").read_text())
                      for name in ("whole", "stopped"))
    assert {**whole, "path": ""} == {**stopped, "path": ""}
    assert penjing.load(folder / "whole.penjing").network.layers[0].weights.values.tolist() == (  # type: ignore[attr-defined]
        penjing.load(folder / "stopped.penjing").network.layers[0].weights.values.tolist())  # type: ignore[attr-defined]


def test_plans_and_trials_are_told(folder: Path) -> None:
    """And of trials the best within the limits."""
    told: list[tuple[str, int, int]] = []
    found = penjing.search(folder / "net.pt2", folder / "told.pt2", "netadapt",
                           penjing.Target("icebreaker"), ["cycles=600"], folder / "images.npz",
                           workers=0, progress=lambda *one: told.append(one))
    plans = [what for what, _, _ in told if what.endswith(" plans")]
    assert plans == [f"{number:,} plans" for number in range(1, len(plans) + 1)]
    trials = [what for what, _, _ in told if what.startswith("trials, ")]
    assert trials[0] == "trials, none within the limits yet"
    within = max(trial.accuracy for trial in found.trials if trial.fits)
    assert trials[-1] == f"trials, the best {within:.1%}"


def test_a_network_that_keeps_the_limits_stays_whole(folder: Path) -> None:
    assert run(folder, "--limit", "cycles=1e6", agent="amc", output="whole.pt2") == 0
    told = json.loads((folder / "whole.json").read_text())
    assert len(told["trials"]) == 1
    assert told["best"]["levels"] == told["whole"]["levels"] == [8, 8]


def test_what_is_not_accurate_enough_fails(folder: Path, capsys: pytest.CaptureFixture[str]
                                           ) -> None:
    """Of random labels none can tell all."""
    held = np.load(folder / "images.npz")
    np.savez(folder / "any.npz", x=held["x"], y=np.random.default_rng(5).permutation(held["y"]))
    assert run(folder, "--minimize", "cycles", "--limit", "accuracy=0.99", "--data",
               str(folder / "any.npz"), output="few.pt2") == 1
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "of 99.00% at least" in shown
    assert not json.loads((folder / "few.json").read_text())["fits"]


def test_the_next_command_keeps_the_limits(folder: Path, capsys: pytest.CaptureFixture[str]
                                           ) -> None:
    assert run(folder, "--limit", "frames=9000", "--limit", "luts=4500", agent="uniform") == 0
    told = json.loads((folder / "best.json").read_text())
    line = capsys.readouterr().err.partition("next: penjing ")[2].split()
    assert line[4:8] == ["--fps", "9000", "--budget", "luts=4500"]
    line[-1] = str(folder / "build")
    assert main(line) == 0
    plan = Project.open(folder / "build").plan
    assert plan.cycles_per_frame == told["cost"]["cycles"]


def test_a_budget_is_no_less_a_limit(folder: Path) -> None:
    """A plan needs a multiplier for each of the three layers, whatever the limits are."""
    network = load(folder / "net.pt2", Quantization(folder / "images.npz")).network
    aim = Aim(minimize="cycles")
    with pytest.raises(TooSmall, match="multipliers"):
        Pricing.on(penjing.Target("icebreaker", budget={"multipliers": 2}), network, aim)(network)
    # Where multipliers are limited, frames do not stand for them.
    frames = replace(aim, frames=1000.0)
    for target, most in ((penjing.Target("icebreaker", budget={"multipliers": 4}), {}),
                         (penjing.Target("icebreaker"), {"multipliers": 4.0})):
        price = Pricing.on(target, network, replace(frames, most=most))
        assert price.leanest is None
        assert price(network).multipliers <= 4


def test_more_episodes_go_on(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Trials stay, whoever asked for them; lines that are damaged do not count."""
    def search(agent: str, *more: str) -> int:
        return run(folder, "--limit", "cycles=1500", "--knobs", "bits", "--tune", "0", *more,
                   agent=agent, output="more.penjing")

    assert search("haq", "--episodes", "1", "--multipliers", "dsp") == 2
    assert "none of 1 networks keeps the limits; give it more" in capsys.readouterr().err
    journal = folder / "more.work" / "1.trials"
    (line,) = journal.read_text().splitlines()
    damaged = b'\xff\n[]\n{"choice": [1], "accuracy": NaN}\n{"choice": [7, 7'
    journal.write_bytes(line.encode() + b"\n" + damaged)
    assert search("uniform", "--tune", "1") == 2
    assert "step 1 was done in another way; delete its 1.tr* there" in capsys.readouterr().err
    assert search("uniform", "--multipliers", "dsp") == 0


@pytest.mark.parametrize(("options", "why"), [
    ((), "no limit: nothing needs to become smaller"),
    (("--limit", "speed=3"), "limit speed=3: give NAME=NUMBER"),
    (("--limit", "cycles=1"), "limits: the smallest network that is tried does not keep them: it"),
    (("--limit", "cycles=1"), " of 1 at most; ease them"),
    (("--limit", "frames=1e6"), " of 1,000,000 at least; ease them"),
    (("--limit", "cycles=900", "--clock", "-1"), "clock: it must be above 0"),
    (("--limit", "cycles=900", "--data", "nowhere.npz"), "nowhere.npz: cannot be read"),
    (("--limit", "cycles=900", "--test", "nowhere.npz"), "nowhere.npz: cannot be read"),
    (("--limit", "cycles=900", "-o", "best.txt"), "best.txt: a compressed network is"),
    (("--limit", "cycles=900", "--test", "vectors.npz"), "vectors.npz: "),
    (("--limit", "cycles=900", "--data", "sorted.npz"), "of one class; shuffle them"),
    (("--limit", "cycles=900", "--episodes", "99999999"), "episodes: it must be an integer from"),
    (("--limit", "cycles=900", "--agent", "importance", "--knobs", "channels"), "importance: it"),
    (("--minimize", "luts", "--agent", "importance"), "importance: it tells the bits"),
    (("--limit", "accuracy=2", "--minimize", "luts"), "limit accuracy: it is a share"),
    (("--limit", "cycles=900", "--board", "none"), "none")])
def test_bad_input_is_told_in_a_line(folder: Path, capsys: pytest.CaptureFixture[str],
                                     options: tuple[str, ...], why: str) -> None:
    options = tuple(str(folder / word) if word in ("vectors.npz", "sorted.npz") else word
                    for word in options)
    assert run(folder, *options, output="bad.pt2") == 2
    complaint = capsys.readouterr().err
    assert why in complaint
    assert "Traceback" not in complaint
    assert not list(folder.glob("bad.*"))


def test_data_of_one_class(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(folder / "one.npz", x=np.zeros((40, 8, 8, 1), np.uint8), y=np.zeros(40, np.int64))
    assert run(folder, "--limit", "cycles=900", "--data", str(folder / "one.npz")) == 2
    assert "at least two different ones" in capsys.readouterr().err


def test_integers_cannot_be_searched(folder: Path, capsys: pytest.CaptureFixture[str],
                                     environment: Channels) -> None:
    penjing.save(environment.whole, folder / "whole.penjing")
    assert main(["search", str(folder / "whole.penjing"), "--agent", "random", "--board",
                 "icebreaker", "--limit", "cycles=900", "--data", str(folder / "images.npz"), "-o",
                 str(folder / "bad.pt2")]) == 2
    assert "it holds integers, of which no search can be made" in capsys.readouterr().err
