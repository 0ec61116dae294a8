"""The sensitivity scan: accuracies that can be counted by hand, and a model that stays."""

from __future__ import annotations

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from penjing.compiler.compress import prune as p  # noqa: E402
from penjing.compiler.compress.training import Data  # noqa: E402
from torch import Tensor, nn  # noqa: E402


def as_they_are(images: Tensor, _: torch.Generator | None) -> Tensor:
    return images


def model() -> nn.Sequential:
    """Picks the largest of four inputs: in each layer 4 of 16 weights are of use."""
    made = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    with torch.no_grad():
        made[0].weight.copy_(torch.diag(torch.tensor([1.0, 2, 3, 4])) + 0.1)
        made[1].weight.copy_(torch.eye(4))
    return made


def data() -> Data:
    """Each class once."""
    return Data(torch.eye(4), torch.arange(4), as_they_are)


def test_accuracies_by_hand() -> None:
    made = model()
    before = {name: value.clone() for name, value in made.state_dict().items()}
    made.train()
    seen: list[tuple[int, int, str]] = []
    found = p.scan(made, data(), progress=lambda *said: seen.append(said))
    assert found.accuracy == 1.0
    assert len(found.points) == 20
    # 12 of 16 weights are of no use, and go first. Of the others one is gone at 0.8 (13 of 16),
    # three at 0.9 (15 of 16). Without its weight in layer 0, class 0 still wins as the first of
    # equals; without that in layer 1, others do by what layer 0 adds to all.
    for layer, last in (("0", [1, 0.5]), ("1", [0.75, 0.25])):
        points = [point for point in found.points if point.layer == layer]
        assert [point.ratio for point in points] == pytest.approx(np.arange(10) / 10, abs=1e-15)
        assert [point.accuracy for point in points] == [1] * 8 + last
    assert found.largest(0.0) == {"0": 0.8, "1": 0.7}
    assert found.largest(0.49) == {"0": 0.8, "1": 0.8}
    assert found.largest(0.5) == {"0": 0.9, "1": 0.8}
    assert made.training
    assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items())
    assert [said[:2] for said in seen] == [(n, 20) for n in range(1, 21)]
    assert json.loads(json.dumps(found.rows))[9] == {"layer": "0", "ratio": 0.9, "accuracy": 0.5}


def test_a_drop_of_exactly_the_limit_is_allowed() -> None:
    points = (p.Point("a", 0.1, 0.91), p.Point("a", 0.2, 0.90), p.Point("b", 0.3, 0.5))
    assert p.Sensitivity(0.92, points).largest(0.01) == {"a": 0.1, "b": 0.0}


def test_ratios_that_would_empty_a_layer_are_left_out() -> None:
    found = p.scan(model(), data(), granularity=p.Granularity.CHANNEL, ratios=(0.5, 0.75, 0.8),
                   layers={"1": p.layers_of(model())["1"]})
    assert [(point.layer, point.ratio) for point in found.points] == [("1", 0.5), ("1", 0.75)]
    assert [point.accuracy for point in found.points] == [0.5, 0.25]
