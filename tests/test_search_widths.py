"""A search over the bits of weights and maps."""

from __future__ import annotations

import json
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import penjing
import pytest
import torch
from penjing.__main__ import main
from penjing.compiler import file, ir
from penjing.compiler.compress import trainable
from penjing.compiler.compress.fixed_point import Precision, Precisions
from penjing.compiler.compress.search.by_importance import ByImportance
from penjing.compiler.compress.search.haq import Haq, level, lowered
from penjing.compiler.compress.search.limits import Aim
from penjing.compiler.compress.search.runs import run
from penjing.compiler.compress.search.space import Space
from penjing.compiler.compress.search.widths import Widths
from penjing.compiler.compress.training import Data, Settings
from penjing.compiler.dataflow.pricing import Cost
from penjing.flow import Multipliers
from penjing.sim import golden
from test_search_agents import KNOBS, Made, cost, price
from torch import nn

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def environment() -> Widths:
    torch.manual_seed(3)
    module = nn.Sequential(OrderedDict(
        first=nn.Conv2d(1, 4, 3), relu=nn.ReLU(), second=nn.Conv2d(4, 4, 3), flat=nn.Flatten(),
        dense=nn.Linear(64, 3))).eval()
    images = torch.rand(60, 1, 8, 8)
    data = Data(images, torch.arange(60) % 3, lambda x, _: x)
    return Widths(trainable.read(module, (8, 8, 1)), images.permute(0, 2, 3, 1).numpy(), data,
                  data, Settings(1, batch=20))


def test_what_can_have_which_bits(environment: Widths) -> None:
    every, more = tuple(range(1, 9)), tuple(range(2, 9))
    assert [(knob.name, knob.levels) for knob in environment.knobs] == [
        ("first weights", every), ("first maps", every), ("second weights", every),
        ("second maps", more),  # no ReLU follows, so it is negative
        ("dense weights", every)]


def test_weights_of_zero_need_two_bits(environment: Widths) -> None:
    pruned = environment.model.copied()
    with torch.no_grad():
        pruned.layers["second"].weight[0, 0] = 0  # type: ignore[index]
    made = Space(replace(environment, model=pruned), price, Aim(minimize="cycles"))
    levels = {knob.name: knob.levels[0] for knob in made.knobs}
    assert levels == {"first weights": 1, "first maps": 1, "second weights": 2, "second maps": 2,
                      "dense weights": 1}
    made.environment.integers(made.lowest)


def test_widths_and_back(environment: Widths) -> None:
    bits = {"first": Precision(1, 2), "second": Precision(3, 4), "dense": Precision(5)}
    choice = environment.choice(bits)
    assert choice == (0, 1, 2, 2, 4)
    assert environment.precisions(choice) == Precisions(layers=bits)


def test_the_sketch_has_the_widths_of_the_network(environment: Widths) -> None:
    choice = environment.choice(
        {"first": Precision(4, 3), "second": Precision(2, 5), "dense": Precision(6)})
    sketch, made = environment.integers(choice), environment.made(choice).integers
    assert made is not None
    whole = made()
    for name in ("first", "second", "dense"):
        first, second = (next(layer for layer in network.layers if layer.name == name)
                         for network in (sketch, whole))
        assert isinstance(first, ir.MultiplyAccumulate)
        assert isinstance(second, ir.MultiplyAccumulate)
        assert first.weights.bits == second.weights.bits
    assert [sketch.type_of(layer.name).bits for layer in sketch.layers
            if isinstance(layer, ir.ShiftRequantize)] == [3, 5]


def test_what_is_trained_is_what_hardware_computes(environment: Widths) -> None:
    choice = environment.choice(
        {"first": Precision(4, 3), "second": Precision(3, 5), "dense": Precision(4)})
    made = environment.made(choice)
    from penjing.compiler.compress import training

    training.fit(made.model.module, environment.fitted, Settings(2, batch=20))
    assert made.integers is not None
    network = made.integers()
    x = environment.fitted.images
    values = np.floor(x.double().numpy() / network.input_type.step + 0.5).astype(np.int64)
    integers = golden.run(network, values.clip(0, 255).transpose(0, 2, 3, 1))
    with torch.no_grad():
        reals = made.model.module.double()(x.double()).numpy()
    assert np.array_equal(integers.reshape(60, 3) * network.output_type.step, reals)


def test_levels_of_actions() -> None:
    knob = KNOBS[0]  # of five levels: round(-0.5 + 5 a)
    assert [level(knob, action) for action in (0, 0.19, 0.21, 0.5, 0.79, 0.81, 1)] == [
        0, 0, 1, 2, 3, 4, 4]


def test_widths_go_down_from_the_last() -> None:
    # 450 work at five levels of a fifth each: of a 20, of b 60, of c 10 less a step.
    space = Space(cast(Any, Made()), price, Aim({"cycles": 375}))
    # c to 40, b to 240: 380. a to 80: 360.
    assert lowered(space, (4, 4, 4)) == (3, 3, 3)
    assert lowered(space, (4, 2, 4)) == (4, 2, 4)
    # Nothing is so small; the least there is.
    assert lowered(Space(cast(Any, Made()), price, Aim({"cycles": 1})), (4, 4, 4)) == (0, 0, 0)


def test_importance_lowers_what_the_loss_feels_least(environment: Widths) -> None:
    def bits(network: ir.Network) -> Cost:
        return cost(1, weight_bits=sum(layer.weights.memory_bits for layer in network.layers
                                       if isinstance(layer, ir.MultiplyAccumulate)))

    free = Space(environment, bits, Aim({"weight_bits": 1e9}))
    assert [trial.choice for trial in run(ByImportance(free, environment), free, lambda _: [0.5])
            ] == [free.highest]
    # Of 8 bits for each of 36, 144 and 192 weights, half.
    half = Space(environment, bits, Aim({"weight_bits": 4 * 372}))
    (trial,) = run(ByImportance(half, environment), half, lambda _: [0.5])
    assert half.fits(trial.choice)
    chosen = environment.precisions(trial.choice)
    assert 3 * 372 < sum(count * chosen.weights_of(name) for name, count in (
        ("first", 36), ("second", 144), ("dense", 192))) <= 4 * 372


@pytest.mark.slow
def test_haq_keeps_the_limits_and_begins_with_all() -> None:
    space = Space(cast(Any, Made()), price, Aim({"cycles": 225}))
    agent = Haq(space, 21, 1)
    found = run(agent, space, lambda choices: [space.environment.accuracy(one) for one in choices])
    assert found[0].choice == (4, 4, 4)
    assert len(found) == 21
    assert all(space.fits(trial.choice) for trial in found[1:])
    # The reward is ten for each hundred points better than the whole network.
    assert agent._whole == 0.9
    assert float(agent._learner._memory[0][0, -1]) == pytest.approx(10 * (found[1].accuracy - 0.9))


@pytest.mark.slow
def test_bits_from_the_command_line(environment: Widths, tmp_path: Path,
                                    capsys: pytest.CaptureFixture[str]) -> None:
    environment.model.save(tmp_path / "net.pt2")
    rng = np.random.default_rng(1)
    np.savez(tmp_path / "images.npz", x=rng.integers(0, 255, (60, 8, 8, 1), np.uint8),
             y=rng.integers(0, 3, 60))
    asked = ["search", str(tmp_path / "net.pt2"), "--agent", "haq", "--board", "icebreaker",
             "--multipliers", "any", "--data", str(tmp_path / "images.npz"), "--workers", "0",
             "--episodes", "5", "--limit", "luts=2500", "-o"]
    assert main([*asked, str(tmp_path / "best.pt2")]) == 2
    assert "best.pt2: a network whose layers have bits of their own" in capsys.readouterr().err
    assert main([*asked, str(tmp_path / "best.penjing"), "--tune", "0", "--epochs", "1"]) == 0
    told = json.loads((tmp_path / "best.json").read_text())
    network = file.load(tmp_path / "best.penjing")
    assert [layer.weights.bits for layer in network.layers if isinstance(
        layer, ir.MultiplyAccumulate)] == [max(2, bits) for bits in told["best"]["levels"][::2]]
    assert told["cost"]["luts"] <= 2500
    project = penjing.compile_model(tmp_path / "best.penjing", tmp_path / "build", penjing.Target(
        "icebreaker", budget={"luts": 2500}, multipliers=Multipliers.ANY))
    assert project.plan.cycles_per_frame == told["cost"]["cycles"]
    assert project.plan.resources.luts <= 2500
