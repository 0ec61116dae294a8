"""Weights that share values while they are trained: k-means by hand, gradients, what cannot change.
"""

from __future__ import annotations

import itertools

import pytest
import torch
from penjing.compiler.compress import training
from penjing.compiler.compress.codebooks import Start, centroids, release, share
from penjing.compiler.ir import PenjingError
from torch import Tensor, nn

VALUES = torch.tensor([-1.0, -0.9, 0.1, 0.2, 0.3, 4.0])


@pytest.mark.parametrize(("start", "wanted"), [
    # From -1, 1.5 and 4: -1 to 0.2 lie nearest to the first, then its mean moves away from 0.3.
    (Start.LINEAR, [-0.95, 0.2, 4.0]),
    (Start.EXACT, [-0.95, 0.2, 4.0]),
    # From -0.9, 0.2 and 4, the second, fourth and sixth.
    (Start.DENSITY, [-0.95, 0.2, 4.0]),
])
def test_centroids_of_three_heaps(start: Start, wanted: list[float]) -> None:
    assert centroids(VALUES, 3, start).tolist() == pytest.approx(wanted)


def test_a_linear_start_keeps_a_large_weight_where_density_does_not() -> None:
    values = torch.cat([torch.linspace(-0.1, 0.1, 1001), torch.tensor([1.0])])
    assert centroids(values, 4, Start.LINEAR)[-1] == 1
    assert centroids(values, 4, Start.DENSITY)[-1] < 0.2


def test_a_round_of_lloyd_ends_where_borders_and_means_agree() -> None:
    values = torch.randn(500, generator=torch.Generator().manual_seed(1))
    for start in (Start.LINEAR, Start.DENSITY, Start.RANDOM):
        found = centroids(values, 8, start, torch.Generator().manual_seed(2))
        nearest = (values[:, None] - found).abs().argmin(1)
        means = torch.stack([values[nearest == code].mean() for code in range(len(found))])
        assert torch.allclose(means, found, atol=1e-6)


def test_the_exact_optimum_is_better_than_any_partition() -> None:
    values = torch.randn(9, generator=torch.Generator().manual_seed(3)).sort().values

    def error(cuts: tuple[int, ...]) -> float:
        parts = torch.tensor_split(values, cuts)
        return sum(float(((part - part.mean()) ** 2).sum()) for part in parts)

    best = min(error(cuts) for cuts in itertools.combinations(range(1, 9), 2))
    found = centroids(values, 3, Start.EXACT)
    assert float(((values[:, None] - found) ** 2).min(1).values.sum()) == pytest.approx(best)


def test_random_starts_depend_on_the_seed_alone() -> None:
    values = torch.randn(200, generator=torch.Generator().manual_seed(1))
    one, other = (centroids(values, 8, Start.RANDOM, torch.Generator().manual_seed(seed))
                  for seed in (1, 1))
    assert torch.equal(one, other)
    assert not torch.equal(one, centroids(values, 8, Start.RANDOM,
                                          torch.Generator().manual_seed(2)))


def test_few_values_are_their_own_centroids() -> None:
    assert centroids(torch.tensor([2.0, -1.0, 2.0]), 4).tolist() == [-1, 2]


def linear(weight: list[list[float]]) -> nn.Linear:
    layer = nn.Linear(len(weight[0]), len(weight), bias=False)
    layer.weight.data = torch.tensor(weight)
    return layer


def test_a_centroid_gets_the_summed_gradients_of_its_weights() -> None:
    layer = linear([[1.0, 0.0, 3.0], [1.0, 1.0, 0.0]])
    share({"layer": layer}, 3)
    assert layer.weight.tolist() == [[1, 0, 3], [1, 1, 0]]
    (parameter,) = layer.parameters()
    assert parameter.tolist() == [1, 3]
    layer(torch.tensor([[1.0, 10.0, 100.0]])).sum().backward()
    # The 1s are at the first input twice and at the second once; the 3 is at the third.
    assert parameter.grad is not None
    assert parameter.grad.tolist() == [12, 100]


def test_codes_and_zeros_survive_training() -> None:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    layers = {"one": model[0], "two": model[2]}
    for layer in layers.values():
        layer.weight.data[layer.weight.abs() < 0.15] = 0  # type: ignore[union-attr,operator]
    share(layers, {"one": 4, "two": 5})
    before = [layer.weight.detach().clone() for layer in layers.values()]  # type: ignore[operator]
    data = training.Data(torch.randn(64, 6), torch.arange(64) % 3, lambda x, _: x)
    training.fit(model, data, training.Settings(2, batch=16, learning_rate=0.05))
    release(layers.values())
    for old, layer, codes in zip(before, layers.values(), (4, 5), strict=True):
        new = layer.weight.detach()
        assert isinstance(new, Tensor)
        assert isinstance(layer.weight, nn.Parameter)
        assert torch.equal(new == 0, old == 0)
        assert not torch.equal(new, old)
        assert len(new.unique()) <= codes
        for value in old.unique():
            assert len(new[old == value].unique()) == 1


def test_a_layer_of_zeros_stays_one() -> None:
    layer = linear([[0.0, 0.0]])
    share({"layer": layer}, 2)
    assert layer.weight.tolist() == [[0, 0]]


@pytest.mark.parametrize("codes", [1, 257, 2.0, {"other": 4}])
def test_codes_out_of_range_are_named(codes: object) -> None:
    with pytest.raises(PenjingError, match="layer one: codes must be an integer from 2 to 256"):
        share({"one": linear([[1.0, 2.0]])}, codes)  # type: ignore[arg-type]


def test_weights_are_shared_once() -> None:
    layers = {"one": linear([[1.0, 2.0]])}
    share(layers, 2)
    with pytest.raises(PenjingError, match="layer one: its weights are no plain floats"):
        share(layers, 2)


def test_layers_with_the_same_weights_get_codes_of_their_own() -> None:
    torch.manual_seed(1)
    module = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6))
    module[1].weight = module[0].weight
    share(dict(module.named_children()), {"0": 3, "1": 5})
    module(torch.ones(1, 6)).sum().backward()
    release(module)
    assert [len(layer.weight.unique()) for layer in module] == [3, 5]
