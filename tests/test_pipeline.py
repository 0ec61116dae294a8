"""The steps of recipes on networks with branches, batch norms and depthwise layers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from penjing.compiler.compress import shortcuts, trainable
from penjing.compiler.compress.codebooks import Start
from penjing.compiler.compress.pipeline import Pipeline
from penjing.compiler.compress.steps import (
    Blocks,
    ChannelRanking,
    Channels,
    Inputs,
    Operate,
    Prune,
    Ranking,
    Rounding,
    Share,
    Step,
    Timing,
    Train,
)
from penjing.compiler.compress.trainable import Trainable
from penjing.compiler.compress.training import Data
from penjing.compiler.ir import PenjingError
from penjing.compiler.load import torch as pytorch
from penjing.compiler.load.floats import FloatMultiply
from torch import Tensor, nn


class Residual(nn.Module):
    """A stem, a residual block, a depthwise layer, and a dense one behind a mean."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(2, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.inner, self.inner_norm = nn.Conv2d(8, 12, 3, padding=1), nn.BatchNorm2d(12)
        self.outer, self.outer_norm = nn.Conv2d(12, 8, 1), nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 8, 3, groups=8)
        self.dense = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.stem(x)))
        x = torch.relu(x + self.outer_norm(self.outer(torch.relu(self.inner_norm(self.inner(x))))))
        result: Tensor = self.dense(torch.relu(self.depthwise(x)).mean((2, 3)))
        return result


DATA = Data(torch.randn(96, 2, 6, 6, generator=torch.Generator().manual_seed(1)),
            torch.arange(96) % 3, lambda x, _: x)


@pytest.fixture
def network() -> Trainable:
    torch.manual_seed(1)
    return trainable.read(Residual().eval(), (6, 6, 2))


def taken(network: Trainable, *steps: Step) -> Trainable:
    pipeline = Pipeline(DATA, 1, (network.copied(),))
    for step in steps:
        network = pipeline.take(step, network).network
        pipeline = pipeline.after(step, network)
    return network


def weights(network: Trainable, name: str) -> Tensor:
    return network.module.get_submodule(name).weight.detach()  # type: ignore[return-value,union-attr]


@pytest.mark.parametrize("criterion", list(Ranking))
@pytest.mark.parametrize("timing", list(Timing))
def test_each_layer_loses_its_ratio(network: Trainable, criterion: Ranking, timing: Timing) -> None:
    epochs = 1 if timing is not Timing.ONCE else 0
    made = taken(network, Prune(ratio=0.5, criterion=criterion, timing=timing, epochs=epochs,
                                batch=16, every=2, rounds=2, layers={"stem": 0.25, "dense": 0}))
    zeros = {name: float((weights(made, name) == 0).float().mean()) for name in made.layers}
    assert zeros == pytest.approx({"stem": 0.25, "inner": 0.5, "outer": 0.5, "depthwise": 0.5,
                                   "dense": 0}, abs=0.02)


def test_layers_stay_whole_where_others_are_ranked_together(network: Trainable) -> None:
    made = taken(network, Prune(ratio=0.5, criterion=Ranking.LAYER_ADAPTIVE, together=True,
                                layers={"stem": 0, "dense": 0}))
    assert all((weights(made, name) != 0).all() for name in ("stem", "dense"))
    ranked = torch.cat([weights(made, name).flatten() for name in ("inner", "outer", "depthwise")])
    assert float((ranked == 0).float().mean()) == pytest.approx(0.5, abs=0.01)


def test_a_threshold_is_in_deviations(network: Trainable) -> None:
    before = weights(network, "inner").clone()
    made = taken(network, Prune(criterion=Ranking.DEVIATIONS, below=0.7))
    expected = before.abs() >= 0.7 * before.std(correction=0)
    assert torch.equal(weights(made, "inner") != 0, expected)


def test_two_of_four_channels_stay(network: Trainable) -> None:
    made = taken(network, Prune(unit="2:4", epochs=1, batch=32))
    groups = (weights(made, "inner") != 0).unflatten(1, (2, 4)).sum(2)
    assert groups.unique().tolist() == [2]
    # Two channels are no four, and depthwise layers read one.
    assert (weights(made, "stem") != 0).all()
    assert (weights(made, "depthwise") != 0).all()


@pytest.mark.parametrize("criterion", list(ChannelRanking))
def test_channels_leave_a_smaller_network(network: Trainable, criterion: ChannelRanking,
                                          tmp_path: Path) -> None:
    made = taken(network, Channels(ratio=0.5, criterion=criterion, epochs=1, batch=32,
                                   before=int(criterion is ChannelRanking.BATCH_NORM)))
    assert weights(made, "inner").shape[0] == 6
    made.save(tmp_path / "small.pt2")
    shapes = {layer.name: layer.weights.shape
              for layer in pytorch.load(tmp_path / "small.pt2").layers
              if isinstance(layer, FloatMultiply)}
    assert shapes["inner"][0] == shapes["outer"][3] == 6


def test_lasso_leaves_inputs_unread(network: Trainable) -> None:
    made = taken(network, Inputs(layers={"outer": 0.5}))
    read = (weights(made, "outer") != 0).any(0).flatten()
    assert 1 <= int(read.sum()) <= 6


@pytest.mark.parametrize("step", [
    Prune(ratio=0.5, epochs=1, batch=32, maps=1e3), Train(epochs=1, batch=32, maps=1e3),
    Channels(layers={"inner": 0.25}, before=1, epochs=1, batch=32, maps=1e3),
    Share(codes=6, epochs=1, batch=32, maps=1e3)], ids=lambda step: step.do)
def test_maps_of_the_teacher_are_taught(network: Trainable, step: Step) -> None:
    """They weigh so much that they alone are trained to; the student has no hooks behind that."""
    start = network.copied()
    made = Pipeline(DATA, 1, (network.copied(),)).take(step, network).network
    other = Pipeline(DATA, 1, (network.copied(),)).take(replace(step, maps=0.0), start).network
    assert any(not torch.equal(weights(made, name), weights(other, name)) for name in made.layers)
    assert not any(part._forward_hooks for part in made.module.modules())


@pytest.mark.parametrize("step", [
    Prune(ratio=0.5, epochs=1, batch=32, distil=1.0), Train(epochs=1, batch=32, distil=1.0)],
    ids=lambda step: step.do)
def test_images_are_blended(network: Trainable, step: Step) -> None:
    """What is trained with, and in no step but those that ask for it."""
    start = network.copied()
    made = Pipeline(DATA, 1, (network.copied(),)).take(replace(step, blend=1.0), network).network
    other = Pipeline(DATA, 1, (network.copied(),)).take(step, start).network
    assert all(not torch.equal(weights(made, name), weights(other, name)) for name in made.layers)


def test_maps_are_those_of_one_teacher(network: Trainable) -> None:
    pipeline = Pipeline(DATA, 1, (network, network))
    with pytest.raises(PenjingError, match="maps are those of one teacher, not of 2"):
        pipeline.check(Train(epochs=1, batch=32, maps=1.0), network)


def test_shared_weights_stay_shared_while_they_are_trained(network: Trainable) -> None:
    made = taken(network, Prune(ratio=0.5), Share(codes=6, layers={"dense": 4}, epochs=1, batch=32,
                                                  distil=0.5))
    before = {name: weights(made, name).clone() for name in made.layers}
    pipeline = Pipeline(DATA, 1, (network.copied(),), dict.fromkeys(made.layers, 6))
    after = pipeline.take(Train(epochs=1, batch=32, learning_rate=0.05), made).network
    for name, old in before.items():
        new = weights(after, name)
        assert torch.equal(new == 0, old == 0)
        assert len(new.unique()) <= len(old.unique()) <= 6
        assert not torch.equal(new, old)
        for value in old.unique():
            assert len(new[old == value].unique()) == 1


def test_roundings_make_up_for_one_another(network: Trainable) -> None:
    """As few values, zeros where they were, and answers nearer to those of before."""
    pruned = taken(network, Prune(ratio=0.5, layers={"stem": 0.0}))
    x = DATA.images
    wanted = pruned.copied().module(x).detach()
    errors = []
    for rounding in Rounding:
        made = taken(pruned, Share(codes=5, start=Start.EXACT, rounding=rounding))
        for name in made.layers:
            assert len(weights(made, name).unique()) <= 5
            assert torch.equal(weights(made, name) == 0, weights(pruned, name) == 0)
        errors.append(float((made.module(x) - wanted).detach().square().sum()))
    assert errors[1] < 0.7 * errors[0]
    trained = taken(pruned, Share(codes=5, rounding=Rounding.SURGEON, epochs=1, batch=32))
    assert all(len(weights(trained, name).unique()) <= 5 for name in trained.layers)


def test_layers_stay_whole_where_something_else_says_how_many_weights_go(network: Trainable
                                                                        ) -> None:
    for step in (Prune(unit="2:4", layers={"inner": 0}), Prune(below=0.1, layers={"inner": 0})):
        made = taken(network.copied(), step)
        assert (weights(made, "inner") != 0).all()
        assert not (weights(made, "outer") != 0).all()


def test_the_surgeon_leaves_what_was_asked(network: Trainable) -> None:
    """Depthwise layers lose theirs, too, those with 0 none; what an earlier step set to 0 counts.
    """
    made = taken(network, Prune(layers={"inner": 0.5, "stem": 0.0}, ratio=0.0),
                 Operate(ratio=0.75, layers={"stem": 0, "outer": 0.3}, epochs=1, batch=32))
    left = {name: int((weights(made, name) != 0).sum()) for name in made.layers}
    assert left == {"stem": 144, "inner": 216, "outer": 67, "depthwise": 18, "dense": 6}
    pruned = taken(network, Prune(layers={"inner": 0.5, "stem": 0.0}, ratio=0.0))
    assert torch.all((weights(pruned, "inner") != 0) | (weights(made, "inner") == 0))


def test_the_surgeon_shares_out_what_is_left(network: Trainable) -> None:
    """Without data in between, so that what is left computes nearly the same."""
    plain = {name: int((weights(network, name) != 0).sum()) for name in network.layers}
    seen: list[tuple[int, int]] = []
    made = Pipeline(DATA, 1, ()).take(
        Operate(ratio=0.6, together=True, layers={"stem": 0}, samples=50), network.copied(),
        progress=lambda done, total, _: seen.append((done, total))).network
    left = {name: int((weights(made, name) != 0).sum()) for name in made.layers}
    assert left["stem"] == plain["stem"]
    shared = ("inner", "outer", "depthwise", "dense")
    assert sum(left[name] for name in shared) == int(0.4 * sum(plain[name] for name in shared))
    assert len({round(left[name] / plain[name], 2) for name in shared}) == 4
    assert seen == [(done, 8) for done in range(8)]


def test_the_surgeon_shares_out_what_another_step_left(network: Trainable) -> None:
    """A whole layer went."""
    gone = taken(network, Prune(layers={"stem": 0.0}, ratio=0.0))
    with torch.no_grad():
        gone.module.get_submodule("inner").weight.zero_()  # type: ignore[operator,union-attr]
    made = taken(gone, Operate(ratio=0.8, together=True, samples=50))
    total = sum(weights(made, name).numel() for name in made.layers)
    assert (weights(made, "inner") == 0).all()
    assert sum(int((weights(made, name) != 0).sum()) for name in made.layers) == int(0.2 * total)


class Tied(nn.Module):
    """Two layers of one weight tensor, the second of which is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(2, 2, 3, padding=1) for _ in range(2))
        self.second.weight = self.first.weight
        self.dense = nn.Linear(2, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.second(torch.relu(self.second(torch.relu(self.first(x)))))
        result: Tensor = self.dense(x.mean((2, 3)))
        return result


@pytest.mark.parametrize("step", [
    Operate(ratio=0.5), Operate(ratio=0.5, layers={"second_2": 0.9}),
    Share(codes=5, rounding=Rounding.SURGEON), Share(codes=5)])
def test_what_has_the_same_weights_parts(step: Step) -> None:
    """Each call has weights, and a bias, of its own then, for what it reads."""
    torch.manual_seed(1)
    made = taken(trainable.read(Tied().eval(), (6, 6, 2)), step)
    assert set(made.layers) == {"first", "second", "second_2", "dense"}
    calls = [weights(made, name) for name in ("first", "second", "second_2")]
    if isinstance(step, Operate):
        assert [int((one != 0).sum()) for one in calls] == [18, 18, 3 if step.layers else 18]
    else:
        assert all(len(one.unique()) <= 5 for one in calls)
    if not isinstance(step, Share) or step.rounding is Rounding.SURGEON:
        biases = [made.module.get_submodule(name).bias for name in ("first", "second", "second_2")]
        assert not torch.equal(calls[0], calls[1])
        assert not torch.equal(biases[0], biases[1])  # type: ignore[arg-type]


def test_the_start_is_that_of_layers_that_are_not_fitted() -> None:
    """A transposed layer is rounded to the nearest value as if there were no surgeon."""
    transposed = nn.ConvTranspose2d(2, 4, 3, groups=2)
    model = nn.Sequential(nn.Conv2d(2, 2, 3), nn.ReLU(), transposed, nn.Flatten(),
                          nn.Linear(144, 3))
    begun = trainable.read(model.eval(), (6, 6, 2))
    for start in (Start.LINEAR, Start.DENSITY):
        made = [taken(begun, Share(codes=4, start=start, rounding=rounding))
                for rounding in Rounding]
        (name,) = (one for one, layer in made[0].layers.items()
                   if isinstance(layer, nn.ConvTranspose2d))
        assert torch.equal(weights(made[0], name), weights(made[1], name))


def test_what_goes_with_a_layer_that_has_scores_needs_none(network: Trainable) -> None:
    """The depthwise layer has no batch norm; its channels are those of the stem's sum."""
    made = taken(network, Channels(ratio=0.5, criterion=ChannelRanking.BATCH_NORM))
    assert weights(made, "stem").shape[0] == weights(made, "depthwise").shape[0] == 4


def test_the_block_that_costs_least_goes(network: Trainable) -> None:
    made = taken(network, Blocks())
    assert set(made.layers) == {"stem", "depthwise", "dense"}
    named = taken(network, Blocks(names=tuple(shortcuts.blocks(network)), epochs=1, batch=32))
    assert set(named.layers) == set(made.layers)
    assert not torch.equal(weights(named, "stem"), weights(made, "stem"))


@pytest.mark.parametrize(("step", "message"), [
    (Blocks(names=("nowhere",)), "block nowhere: no sum of layers"),
    (Blocks(count=2), "blocks: 2 are to go, and there are 1"),
    (Prune(unit="12:16"), "unit 12:16: no layer would lose weights"),
    (Channels(ratio=0.01), "no channels would go, of 5 layers with scores"),
    (Channels(layers={"dense": 0.5}, criterion=ChannelRanking.BATCH_NORM), "layer dense: no batch"),
    (Inputs(layers={"depthwise": 0.5}), "layer depthwise: it reads one channel"),
    (Prune(layers={"nowhere": 0.5}), "'nowhere'"),
    (Share(layers={"nowhere": 5}), "'nowhere'"),
    (Inputs(layers={"nowhere": 0.5}), "'nowhere'"),
    (Operate(layers={"nowhere": 0.5}), "'nowhere'"),
    (Operate(layers=dict.fromkeys(("stem", "inner", "outer", "depthwise", "dense"), 0)),
     "all layers stay whole"),
    (Operate(ratio=0.99, together=True), "12 weights cannot be shared out: at least 39 of 5"),
    (Channels(layers={"nowhere": 0.5}), "nowhere"),
    (Channels(layers={"dense": 0.5}), "dense"),
    (Prune(ratio=0.9999), "layer stem"),
])
def test_what_does_not_suit_the_network_is_named(network: Trainable, step: Step, message: str
                                                 ) -> None:
    with pytest.raises(PenjingError, match=message):
        taken(network, step)


def test_a_saved_network_computes_the_same(network: Trainable, tmp_path: Path) -> None:
    made = taken(network, Prune(ratio=0.6, together=True, criterion=Ranking.LAYER_ADAPTIVE),
                 Share(codes=8))
    made.save(tmp_path / "net.pt2")
    x = np.random.default_rng(1).normal(size=(4, 6, 6, 2)).astype(np.float32)
    with torch.no_grad():
        mine = made.module(torch.from_numpy(x.transpose(0, 3, 1, 2).copy())).numpy()
    theirs = pytorch.run_float(tmp_path / "net.pt2", x.astype(np.float64))
    assert np.allclose(mine, theirs.reshape(mine.shape), atol=1e-5)
