"""Bits by importance: what rounding does to the loss, and whose bits go first, by hand."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from penjing.compiler.compress.fixed_point import Precision, Precisions
from penjing.compiler.ir import PenjingError

torch = pytest.importorskip("torch", reason="needs torch: pip install penjing[torch]")

from penjing.compiler.compress.imitation import imitable  # noqa: E402
from penjing.compiler.compress.importance import (  # noqa: E402
    Importance,
    by_importance,
    importance,
    increase,
)
from penjing.compiler.compress.trainable import read  # noqa: E402
from penjing.compiler.compress.training import Data  # noqa: E402
from torch import nn  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")

TWO = Importance({"a": {4: 0.0, 3: 1.0, 2: 5.0}, "b": {4: 0.0, 3: 2.0, 2: 8.0}}, {},
                 {"a": 10, "b": 40})


@pytest.mark.parametrize(("limit", "a", "b"), [
    (200, 4, 4),
    (199, 4, 3),  # 2 for 40 bits; a offers 1 for 10 and 5 for 20, b also 8 for 80
    (160, 4, 3),
    (159, 3, 3),  # 1 for 10; b offers 6 for 40
    (149, 3, 2),  # 6 for 40; a offers 4 for 10
    (100, 2, 2)])
def test_the_least_loss_that_buys_the_most(limit: float, a: int, b: int) -> None:
    assert by_importance(TWO, limit) == {"a": Precision(a), "b": Precision(b)}


def test_two_bits_at_once() -> None:
    """3 bits may lose more than 2, if their range fits worse."""
    of = Importance({"a": {4: 0.0, 3: 4.0, 2: 1.0}, "b": {4: 0.0, 3: 1.0}}, {}, {"a": 10, "b": 10})
    assert by_importance(of, 79) == {"a": Precision(2), "b": Precision(4)}


def test_a_limit_that_nothing_meets() -> None:
    with pytest.raises(PenjingError, match="precision: 99 is below 100, which the network costs"):
        by_importance(TWO, 99)


def test_a_cost_of_its_own() -> None:
    """Of a slowest layer one step alone saves nothing; then the least loss goes first."""
    def slowest(bits: Mapping[str, Precision]) -> float:
        return max((own.weights or 0) + (own.maps or 0) for own in bits.values())

    assert by_importance(TWO, 3, slowest) == {"a": Precision(3), "b": Precision(3)}
    of = Importance(TWO.weights, {"a": {8: 0.0, 7: 0.5, 6: 0.75}, "c": {5: 0.0}}, TWO.counts)
    assert by_importance(of, 10, slowest) == {
        "a": Precision(4, 6), "b": Precision(4), "c": Precision(None, 5)}
    assert by_importance(of, 199)["a"] == Precision(4, 8)  # no map saves bits of weights


def test_what_rounding_adds() -> None:
    h = torch.tensor([[2.0, 0.5], [1.0, 4.0]])
    moved = torch.tensor([[0.5, -1.0], [0.0, 0.25]])
    assert increase(h, moved) == (2 * 0.25 + 0.5 * 1 + 4 / 16) / 2


def test_of_a_network() -> None:
    torch.manual_seed(3)
    module = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 5)).eval()
    x = np.random.default_rng(0).normal(size=(7, 3))
    able = imitable(read(module, (3,)), x)
    data = Data(torch.from_numpy(x).float(), torch.zeros(7, dtype=torch.int64), lambda b, _: b)
    found = importance(able, data, choices=(5, 3), samples=6)
    assert found.counts == {"linear_0": 12, "linear_2": 20}
    assert set(found.maps) == {"linear_0"}

    (w1, b1), (w2, b2) = ([value.detach().double().numpy() for value in (
        layer.weight, layer.bias)] for layer in (module[0], module[2]))
    h1, h2, hidden = np.zeros((6, 4, 3)), np.zeros((6, 5, 4)), np.zeros((6, 4))
    maps = np.maximum(x[:6] @ w1.T + b1, 0)
    for n, (image, map_) in enumerate(zip(x, maps, strict=False)):
        p = np.exp(w2 @ map_ + b2)
        p /= p.sum()
        for k in range(5):
            column = np.sqrt(p[k]) * (np.eye(5)[k] - p)
            hidden[n] += (column @ w2) ** 2
            h2[n] += np.outer(column, map_) ** 2
            h1[n] += np.outer((column @ w2) * (map_ > 0), image) ** 2
    for bits in (5, 3):
        grids = able.imitation(Precisions(bits, bits)).grids
        for name, w, h in (("linear_0", w1, h1), ("linear_2", w2, h2)):
            moved = grids.weights[name].reals(w) - w
            assert found.weights[name][bits] == pytest.approx(
                (h.mean(0) * moved ** 2).sum() / 2, rel=1e-4)
        moved = grids.maps[able.maps["linear_0"]].reals(maps) - maps
        assert found.maps["linear_0"][bits] == pytest.approx(
            (hidden * moved ** 2).sum() / 2 / 6, rel=1e-4)
