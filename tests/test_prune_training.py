"""Pruning while training: schedules by hand, masks at every step, and resume to the bit."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from penjing.compiler.ir import PenjingError

torch = pytest.importorskip("torch")

from penjing.compiler.compress import prune as p  # noqa: E402
from penjing.compiler.compress import quantizers as q  # noqa: E402
from penjing.compiler.compress.prune.ramp import ramp  # noqa: E402
from penjing.compiler.compress.training import Data, Settings, accuracy, cross_entropy  # noqa: E402
from torch import Tensor, nn  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")
SETTINGS = Settings(epochs=2, batch=20, learning_rate=0.02, seed=3)
STEPS = 2 * 200 // 20


def as_reals(images: Tensor, generator: torch.Generator | None) -> Tensor:
    x = images.to(torch.float32) / 16
    return x if generator is None else x + 0.1 * torch.randn(x.shape, generator=generator)


def data() -> Data:
    """Four classes of maps of 3 × 3: in which corner it is bright."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 200)
    images = rng.integers(0, 12, (200, 1, 3, 3))
    images[np.arange(200), 0, labels // 2 * 2, labels % 2 * 2] += 16
    return Data(torch.from_numpy(images), torch.from_numpy(labels), as_reals)


def model(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 8, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(),
                         nn.Linear(32, 10), nn.ReLU(), nn.Linear(10, 4))


def bits(trained: nn.Module) -> dict[str, bytes]:
    return {name: value.numpy().tobytes() for name, value in trained.state_dict().items()}


def zeros(trained: nn.Module) -> dict[str, int]:
    return {name: int((layer.module.weight == 0).sum())
            for name, layer in p.layers_of(trained).items()}


def watching(trained: nn.Module, seen: list[dict[str, int]]
             ) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """The usual loss, which notes the zeros in what each step computes with."""
    def loss(x: Tensor, outputs: Tensor, labels: Tensor) -> Tensor:
        seen.append(zeros(trained))
        return cross_entropy(x, outputs, labels)

    return loss


def stop_at(step: int) -> Callable[[int, int, str], None]:
    def progress(done: int, total: int, _: str) -> None:
        if done == step:
            raise KeyboardInterrupt

    return progress


def test_rounds_prune_the_same_share_of_what_is_left() -> None:
    amount = p.Each({"a": 0.875, "b": 0.0})
    rounds = p.geometric(amount, 3, SETTINGS)
    ratios = [one.amount.ratios for one in rounds if isinstance(one.amount, p.Each)]
    assert [of["a"] for of in ratios if isinstance(of, dict)] == pytest.approx([0.5, 0.75, 0.875])
    assert [of["b"] for of in ratios if isinstance(of, dict)] == [0, 0, 0]
    (one,) = p.geometric(p.Overall(0.75), 1, SETTINGS)
    assert one == p.Round(p.Overall(0.75), SETTINGS)


def test_gradual_ratios_by_hand() -> None:
    """s + (i - s) * (1 - (t - 10) / 20)**3 with s = 0.9, i = 0.1."""
    schedule = p.Gradual(p.Overall(0.9), SETTINGS, initial=0.1, start=10, every=5, updates=4)
    expected = {0: 0, 9: 0, 10: 0.1, 14: 0.1, 15: 0.9 - 0.8 * 27 / 64, 20: 0.9 - 0.8 / 8,
                25: 0.9 - 0.8 / 64, 29: 0.9 - 0.8 / 64, 30: 0.9, 31: 0.9, 1000: 0.9}
    assert {step: schedule.ratio(0.9, step) for step in expected} == pytest.approx(expected)
    assert [step for step in range(100) if schedule.updates_at(step)] == [10, 15, 20, 25, 30]
    assert schedule.end == 30
    assert schedule.at(30) == p.Overall(0.9)


def test_rounds_keep_what_is_pruned_at_zero() -> None:
    trained, seen, steps = model(), [], []
    rounds = (p.Round(p.Each(0.0), SETTINGS), p.Round(p.Each(0.5)), p.Round(p.Each(0.75), SETTINGS))
    found = p.prune(trained, data(), rounds, loss=watching(trained, seen),
                    progress=lambda done, total, line: steps.append((done, total, line)))
    assert seen == [{"0": 0, "4": 0, "6": 0}] * STEPS + [{"0": 24, "4": 240, "6": 30}] * STEPS
    assert [step[:2] for step in steps] == [(n, 2 * STEPS) for n in range(1, 2 * STEPS + 1)]
    assert steps[0][2] == "round 1"
    assert steps[-1][2].startswith("round 3, epoch 1: loss")
    assert [len(epochs) for epochs in found.epochs] == [2, 2]
    assert found.masks.densities == {"0": 0.25, "4": 0.25, "6": 0.25}
    assert p.Masks.of(trained).digest == found.masks.digest
    assert accuracy(trained, data()) > 0.7


class Other(p.L1):
    """Ranks the largest lowest."""

    def of(self, weights: Tensor) -> Tensor:
        return 10 - weights.abs()


def test_what_is_pruned_stays_so_under_any_criterion() -> None:
    trained = model()
    first = p.prune(trained, data(), [p.Round(p.Each(0.5))]).masks
    second = p.select(trained, p.layers_of(trained), p.Each(0.75), Other(), pruned=first)
    assert (first | second).digest == first.digest
    assert second.densities == {"0": 0.25, "4": 0.25, "6": 0.25}
    # Without the masks it would have taken the largest.
    assert (first | p.select(trained, p.layers_of(trained), p.Each(0.75), Other())
            ).digest != first.digest
    rounds = [p.Round(p.Each(0.5)), p.Round(p.Each({"4": 0.75}))]
    masks = p.prune(model(), data(), rounds, criterion=Other()).masks
    assert masks.densities == {"0": 0.5, "4": 0.25, "6": 0.5}


@pytest.mark.parametrize("schedule", [
    [p.Round(p.Each({"4": 0.6}), SETTINGS)],
    p.Gradual(p.Each({"4": 0.6}), SETTINGS, every=4, updates=4)], ids=["rounds", "gradual"])
def test_what_was_pruned_before_stays_so_and_counts(schedule: p.Gradual | list[p.Round]) -> None:
    """Also in layers that are not pruned now."""
    trained = model()
    first = p.prune(trained, data(), [p.Round(p.Each(0.5))]).masks
    found = p.prune(trained, data(), schedule, pruned=p.Masks.of(trained)).masks
    assert zeros(trained) == {"0": 16, "4": 192, "6": 20}
    assert p.Masks.of(trained).digest == found.digest
    assert (first | found).digest == first.digest


@pytest.mark.parametrize("criterion", [p.L2(), p.LayerAdaptive(), p.OptimalBrainDamage(50)])
def test_criteria_and_units(criterion: p.Criterion) -> None:
    trained = model()
    layers = p.layers_of(trained)
    some = {name: layers[name] for name in ("0", "4")}
    masks = p.prune(trained, data(), [p.Round(p.Each(0.5), SETTINGS)], criterion=criterion,
                    granularity=p.Granularity.CHANNEL, layers=some).masks
    assert masks.densities == {"0": 0.5, "4": 0.5}
    assert all(len(set(row.tolist())) == 1 for row in masks.kept["0"].flatten(1))
    assert zeros(trained) == {"0": 16, "4": 160, "6": 0}


def test_what_is_masked_has_no_curvature() -> None:
    """Ranked by damage, what is pruned stays so: its weight has no influence."""
    trained, kept = model(), []

    def loss(x: Tensor, outputs: Tensor, labels: Tensor) -> Tensor:
        kept.append(trained[6].weight != 0)
        return cross_entropy(x, outputs, labels)

    schedule = p.Gradual(p.Each({"6": 0.5}), SETTINGS, every=4, updates=2)
    p.prune(trained, data(), schedule, criterion=p.OptimalBrainDamage(20), loss=loss)
    assert [int(one.sum()) for one in kept] == [40] * 4 + [22] * 4 + [20] * (STEPS - 8)
    assert all((before | after).equal(before) for before, after in pairwise(kept))


def test_n_of_m_takes_the_layers_that_suit_it() -> None:
    trained = model()
    p.prune(trained, data(), [p.Round(p.NofM(2, 4), SETTINGS)])
    assert zeros(trained) == {"0": 0, "4": 160, "6": 16}  # 2 of the last 2 of 10 stay
    with pytest.raises(PenjingError, match="layer 0: 2 of 4 channels keeps all"):
        p.prune(trained, data(), [p.Round(p.NofM(2, 4))], layers=p.layers_of(trained))


def test_gradual_pruning_follows_its_schedule() -> None:
    trained, seen = model(), []
    schedule = p.Gradual(p.Each({"4": 0.8, "6": 0.5}), SETTINGS, start=3, every=4, updates=2)
    found = p.prune(trained, data(), schedule, loss=watching(trained, seen))
    # Half of the way has 7/8 of the ratios: 0.7 of 320, 0.4375 of 40. None at its start.
    expected = [(0, 0)] * 7 + [(224, 18)] * 4 + [(256, 20)] * (STEPS - 11)
    assert seen == [{"0": 0, "4": four, "6": six} for four, six in expected]
    assert zeros(trained) == {"0": 0, "4": 256, "6": 20}
    assert found.masks.densities == pytest.approx({"4": 0.2, "6": 0.5})
    # The order of parameters, by which optimizers store their state, is as before.
    assert list(trained.state_dict()) == list(model().state_dict())
    assert accuracy(trained, data()) > 0.7


def test_what_a_ramp_prunes_keeps_its_value_without_a_gradient() -> None:
    layer = nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[3.0, 4.0]]))
    trained = nn.Sequential(layer)
    x = torch.tensor([[5.0, 7.0]])
    with ramp(trained, p.layers_of(trained)) as ramped:
        ramped.change(p.Masks({"0": torch.tensor([[False, True]])}))
        assert trained(x).item() == 28
        trained(x).sum().backward()
        latent = p.layers_of(trained)["0"].weight
        assert latent.tolist() == [[3, 4]]
        assert latent.grad is not None
        assert latent.grad.tolist() == [[0, 7]]
        # Ranked anew, it comes back if the other has become smaller.
        with torch.no_grad():
            latent[0, 1] = 1.0
        ramped.change(p.select(trained, p.layers_of(trained), p.Each(0.5), p.L1()))
        assert trained(x).item() == 15
    assert trained[0].weight is latent
    assert latent.tolist() == [[3, 0]]


class Turning(p.L1):
    """Ranks the first weights lowest, then the last, in turns."""

    def __init__(self) -> None:
        object.__setattr__(self, "turn", 0)

    def of(self, weights: Tensor) -> Tensor:
        object.__setattr__(self, "turn", self.turn + 1)
        ranks = torch.arange(weights.numel()).reshape(weights.shape)
        return ranks if self.turn % 2 else ranks.flip(0, 1)


def test_masks_open_again_while_they_change() -> None:
    trained, seen = model(), []

    def loss(x: Tensor, outputs: Tensor, labels: Tensor) -> Tensor:
        seen.append((trained[6].weight != 0).flatten().tolist())
        return cross_entropy(x, outputs, labels)

    p.prune(trained, data(), p.Gradual(p.Each({"6": 0.5}), SETTINGS, initial=0.5, every=1,
                                       updates=2), criterion=Turning(), loss=loss)
    first, last = [False] * 20 + [True] * 20, [True] * 20 + [False] * 20
    assert seen == [first, last, *[first] * (STEPS - 2)]


def test_no_momentum_and_no_decay_moves_what_a_ramp_has_pruned() -> None:
    trained, seen = model(), []

    def loss(x: Tensor, outputs: Tensor, labels: Tensor) -> Tensor:
        masked = trained[4].parametrizations["weight"]
        seen.append((masked[0].kept.clone(), masked.original.detach().clone()))
        return cross_entropy(x, outputs, labels)

    p.prune(trained, data(), p.Gradual(p.Each({"4": 0.6}), replace(SETTINGS, weight_decay=0.1),
                                       start=4, every=6, updates=2), loss=loss)
    changes = 0
    for (kept, weights), (after, others) in pairwise(seen):
        assert torch.equal(weights[~kept], others[~kept])
        assert (weights[kept] != others[kept]).all()
        changes += not torch.equal(kept, after)
    assert changes == 2


ROUNDS = p.geometric(p.Each(0.7), 2, SETTINGS)
RAMP = p.Gradual(p.Overall(0.7), replace(SETTINGS, epochs=4), start=5, every=4, updates=6)


@pytest.mark.parametrize("schedule", [ROUNDS, RAMP], ids=["rounds", "gradual"])
def test_resume_is_bit_identical(schedule: p.Gradual | tuple[p.Round, ...], tmp_path: Path) -> None:
    path = tmp_path / "pruning"
    whole, criterion = model(), p.LayerAdaptive()
    found = p.prune(whole, data(), schedule, criterion=criterion)
    for step in (13, 25, 2 * STEPS):
        with pytest.raises(KeyboardInterrupt):
            p.prune(model(), data(), schedule, criterion=criterion, checkpoint=path,
                    progress=stop_at(step))
    resumed = model()
    again = p.prune(resumed, data(), schedule, criterion=criterion, checkpoint=path)
    assert bits(resumed) == bits(whole)
    assert again.epochs == found.epochs
    assert again.masks.digest == found.masks.digest
    # With other units it is another pruning.
    with pytest.raises(PenjingError, match=r"made with another (masks|pruning); delete it"):
        p.prune(model(), data(), schedule, criterion=criterion, checkpoint=path,
                granularity=p.Granularity.VECTOR)


def test_unfit_schedules_are_refused_before_anything_is_trained() -> None:
    def never(*_: object) -> None:
        raise AssertionError

    late = replace(RAMP, start=17)
    with pytest.raises(PenjingError, match="its last update is after step 41, the training ends "
                                           "after 40; train longer"):
        p.prune(model(), data(), late, criterion=p.LayerAdaptive(), progress=never)
    for schedule in (p.geometric(p.Each({"6": 0.98}), 3, SETTINGS),
                     replace(RAMP, amount=p.Each({"6": 0.98}))):
        with pytest.raises(PenjingError, match="layer 6: nothing of its 40 weights would be kept"):
            p.prune(model(), data(), schedule, progress=never)
    quantized = model()
    q.quantize_weights(quantized[4], q.FixedPointWeights(4, quantized[4].weight))
    with pytest.raises(PenjingError, match="layer 4: its weights are quantized while they are"):
        p.prune(quantized, data(), replace(RAMP, amount=p.Each(0.5)), progress=never)
    shared = nn.Sequential(nn.Flatten(), nn.Linear(9, 9), nn.Linear(9, 9))
    shared[2].weight = shared[1].weight
    with pytest.raises(PenjingError, match="layer 1: another layer shares its weights; prune it"):
        p.prune(shared, data(), replace(RAMP, amount=p.Each(0.5)), progress=never)
    with pytest.raises(PenjingError, match="a batch of 300 is larger than the 200 images"):
        p.prune(model(), data(), p.geometric(p.Each(0.5), 2, replace(SETTINGS, batch=300)))


@pytest.mark.parametrize(("change", "message"), [
    ({"every": 0}, "every must be an integer of at least 1, not 0"),
    ({"start": -1}, "start must be an integer of at least 0, not -1"),
    ({"updates": 1.5}, "updates must be an integer of at least 1, not 1.5"),
    ({"initial": 1.0}, "the initial ratio must be at least 0 and below 1, not 1.0"),
    ({"initial": math.nan}, "the initial ratio must be at least 0 and below 1, not nan")])
def test_bad_numbers_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(PenjingError, match=message):
        replace(RAMP, **change)
    with pytest.raises(PenjingError, match="rounds must be a positive integer, not 0"):
        p.geometric(p.Each(0.5), 0, SETTINGS)


def test_only_ratios_grow() -> None:
    with pytest.raises(PenjingError, match="only ratios grow step by step, not NofM; prune in one"):
        p.geometric(p.NofM(2, 4), 2, SETTINGS)
    with pytest.raises(PenjingError, match="only ratios grow step by step, not Below; prune in"):
        replace(RAMP, amount=p.Below(1.0))
