"""Layers of low rank: each rule by numbers made by hand, and chains against the whole layer."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import numpy as np
import penjing
import pytest
from penjing.compiler import ir
from penjing.compiler.ir import PenjingError

torch = pytest.importorskip("torch", reason="needs torch: pip install penjing[torch]")
pytest.importorskip("tensorly", reason="needs it: pip install penjing[compress]")

from penjing.compiler.compress.low_rank import (  # noqa: E402
    Method,
    by_responses,
    by_tensors,
    evbmf_rank,
    factored,
    ranks_by_energy,
)
from penjing.compiler.compress.low_rank.by_responses import Responses  # noqa: E402
from penjing.compiler.compress.low_rank.by_tensors import cp, singular, tucker  # noqa: E402
from penjing.compiler.compress.low_rank.chains import places  # noqa: E402
from penjing.compiler.compress.low_rank.energy import Spectrum  # noqa: E402
from penjing.compiler.compress.low_rank.method import ranks_for  # noqa: E402
from penjing.compiler.compress.low_rank.regression import (  # noqa: E402
    nearest,
    nonlinear,
    principal,
    reduced_rank,
)
from penjing.compiler.compress.trainable import Trainable, read  # noqa: E402
from penjing.compiler.compress.training import Data  # noqa: E402
from torch import Tensor, nn  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")


def tensor(*rows: object) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def run(layers: object, x: Tensor) -> Tensor:
    with torch.no_grad():
        made: Tensor = nn.Sequential(*layers)(x)  # type: ignore[misc]
    return made


def network() -> Trainable:
    torch.manual_seed(1)
    return read(nn.Sequential(
        nn.Conv2d(2, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 12, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(),
        nn.Linear(192, 6)).eval(), (8, 8, 2))


def images(count: int = 60) -> Data:
    torch.manual_seed(2)
    return Data(torch.randn(count, 2, 8, 8), torch.arange(count) % 6, lambda x, _: x)


def test_principal_components_by_hand() -> None:
    """Samples lie on a line through (1, 2) along (3, 4), but for one direction across it."""
    along, across = tensor(3, 4) / 5, tensor(-4, 3) / 5
    y = tensor(1, 2) + torch.stack([2 * along, -2 * along, across, -across])
    found = principal(y, 1)
    torch.testing.assert_close(found.outer @ found.inner, torch.outer(along, along))
    torch.testing.assert_close(found(tensor([1, 2])), tensor([1, 2]))


def test_reduced_rank_weighs_outputs_by_what_can_be_made() -> None:
    """x1 makes outputs of size 2, x2 of size 1: the first stays. Their offsets are fitted."""
    x = tensor([1, 0], [-1, 0], [0, 1], [0, -1]) + tensor(5, 7)
    y = (x - tensor(5, 7)) @ tensor([2, 0, 0], [0, 1, 0]) + tensor(1, 2, 3)
    found = reduced_rank(x, y, 1)
    torch.testing.assert_close(found(x), tensor([3, 2, 3], [-1, 2, 3], [1, 2, 3], [1, 2, 3]))
    torch.testing.assert_close(reduced_rank(x, y, 2)(x), y)


def test_auxiliary_responses_by_hand() -> None:
    """(wanted, made, penalty): what costs less of both sides of 0."""
    for wanted, made, penalty, expected in (
            (4.0, 2.0, 1.0, 3.0),      # (1 * 2 + 4) / 2
            (4.0, 2.0, 0.25, 3.6),     # (0.25 * 2 + 4) / 1.25
            (-3.0, -1.0, 1.0, -1.0),   # both below: free
            (-3.0, 2.0, 1.0, 1.0),     # (2 + 0) / 2 costs 2, to stay at 0 costs 4
            (1.0, -3.0, 1.0, -3.0),    # 0 costs 1 + 9 or 0 + ..., to stay costs 1
            (4.0, -1.0, 1.0, 1.5)):    # (-1 + 4) / 2 costs 12.5, to stay 16
        assert nearest(tensor(wanted), tensor(made), penalty).tolist() == pytest.approx([expected])


def test_what_is_behind_a_relu_is_fitted_better_with_it() -> None:
    torch.manual_seed(3)
    y = torch.randn(400, 6, dtype=torch.float64) @ torch.randn(6, 6, dtype=torch.float64) - 2

    def error(made: Tensor) -> float:
        return float(((made.clamp(min=0) - y.clamp(min=0)) ** 2).sum())

    assert error(nonlinear(y, y, 3)(y)) < 0.9 * error(principal(y, 3)(y))


def test_ranks_by_energy_by_hand() -> None:
    """Shares of energy by what they save: b's 1 of 10 for 20, then a's 2 of 10 for 10, and so on.
    """
    layers = {"a": Spectrum((8, 2), 10, 20), "b": Spectrum((6, 3, 1), 20, 60)}
    assert ranks_by_energy(layers, 80) == {}
    assert ranks_by_energy(layers, 60) == {"b": 2}
    # b's 3 of 9 for 20 is 1/60, a's 2 of 10 for 10 is 1/50.
    assert ranks_by_energy(layers, 40) == {"b": 1}
    assert ranks_by_energy(layers, 30) == {"a": 1, "b": 1}
    with pytest.raises(PenjingError, match="one dimension a layer leaves 30 of 80 .*at most 29 are "
                                           r"asked for; the ratio can be 0\.625 at most"):
        ranks_by_energy(layers, 29)
    # Other layers, which stay, cost 20 of 100.
    assert ranks_by_energy(layers, 60, 20) == {"b": 1}
    with pytest.raises(PenjingError, match=r"leaves 50 of 100 .*the ratio can be 0\.5 at most"):
        ranks_by_energy(layers, 49, 20)
    # What two layers cost counts only where it is less than one.
    dear = {"a": Spectrum((8, 2, 2), 10, 15)}
    assert ranks_by_energy(dear, 15) == {}
    assert ranks_by_energy(dear, 14) == {"a": 1}


@pytest.mark.parametrize(("rows", "columns", "rank"), [(40, 60, 5), (60, 40, 5), (30, 200, 1)])
def test_the_rank_stands_out_of_noise(rows: int, columns: int, rank: int) -> None:
    torch.manual_seed(rows)
    signal = torch.randn(rows, rank) @ torch.randn(rank, columns)
    assert evbmf_rank(signal + 0.3 * torch.randn(rows, columns)) == rank
    assert evbmf_rank(torch.randn(rows, columns)) <= 2
    assert evbmf_rank(torch.zeros(rows, columns)) == 1


@pytest.mark.parametrize("layer", [
    nn.Conv2d(6, 8, 3, padding=1), nn.Conv2d(6, 8, (3, 5), stride=(2, 1), padding=(0, 2)),
    nn.Conv2d(6, 8, 3, dilation=2, bias=False), nn.Conv1d(6, 8, 5, stride=2, padding=2)])
def test_chains_equal_the_whole_convolution(layer: nn.Module) -> None:
    assert isinstance(layer, nn.Conv1d | nn.Conv2d)
    x = torch.randn(2, 6, *(11, 13)[:layer.weight.ndim - 2])
    # CP finds a sum of three products again, which the weights are made of.
    torch.manual_seed(4)
    vectors = [torch.randn(size, 3) for size in layer.weight.shape]
    axes = "oihw"[:len(vectors)]
    rule = ",".join(f"{axis}r" for axis in axes) + f"->{axes}"
    layer.weight.data = torch.einsum(rule, *vectors)
    whole = run([layer], x)
    scale = float(whole.abs().max())
    for chain in (cp(layer, 3), tucker(layer, (3, 3)), tucker(layer, (6, 8)), tucker(layer, (3, 8)),
                  tucker(layer, (6, 3))):
        torch.testing.assert_close(run(chain, x), whole, rtol=0, atol=1e-5 * scale)
    assert [part.weight.shape[0] for part in tucker(layer, (3, 4))] == [3, 4, 8]
    assert len(tucker(layer, (6, 8))) == 1
    factors = cp(layer, 3)
    assert factors[1].groups == 3  # type: ignore[union-attr]
    norms = [part.weight.detach().transpose(0, 1).flatten(1).norm(dim=1) if number in (
        len(factors) - 1,) else part.weight.detach().flatten(1).norm(dim=1)
        for number, part in enumerate(factors)]
    for norm in norms[1:]:
        torch.testing.assert_close(norm, norms[0])


def test_singular_values_by_hand() -> None:
    """3 along one pair of directions, 1 along another: rank 1 keeps the 3, half of it each side."""
    layer = nn.Linear(2, 2)
    layer.weight.data = torch.tensor([[0.0, 3.0], [1.0, 0.0]])
    layer.bias.data = torch.tensor([0.5, 0.25])
    chain = singular(layer, 1)
    torch.testing.assert_close(run(chain, torch.eye(2)), torch.tensor([[0.5, 0.25], [3.5, 0.25]]))
    assert [float(part.weight.detach().norm()) ** 2 for part in chain] == pytest.approx([3, 3])
    torch.testing.assert_close(run(singular(layer, 2), torch.eye(2)), layer(torch.eye(2)))


def test_each_layer_repairs_what_those_before_it_lost() -> None:
    """At equal ranks the responses of the last layer are nearer to the original's."""
    model, data = network(), images()
    responses = Responses(data, samples=60, positions=16)
    first, second, last = model.layers
    wanted = model.module(data.images)

    def error(rectified: bool, asymmetric: bool) -> float:
        made = by_responses(model, {first: 3, second: 4}, responses, rectified=rectified,
                            asymmetric=asymmetric)
        with torch.no_grad():
            return float(((made.module(data.images) - wanted) ** 2).sum())

    linear, bent, asymmetric = error(False, False), error(True, False), error(True, True)
    assert asymmetric < bent < linear
    made = by_responses(model, {second: 11}, responses)
    names = list(made.layers)
    assert names == [first, f"{second}_a", f"{second}_b", last]
    assert tuple(made.layers[f"{second}_a"].weight.shape) == (11, 8, 3, 3)


@pytest.mark.parametrize("layer", [
    nn.Conv2d(6, 8, 1, stride=2), nn.Conv2d(6, 8, 1, padding=1), nn.Conv2d(6, 8, 1, padding="same"),
    nn.Conv1d(6, 8, 1, stride=3, padding=2, bias=False)])
def test_singular_values_move_as_the_layer_does(layer: nn.Conv1d | nn.Conv2d) -> None:
    """All that nobody reads is left out at once."""
    x = torch.randn(2, 6, *(7, 9)[:layer.weight.ndim - 2])
    chain = singular(layer, 6)
    torch.testing.assert_close(run(chain, x), layer(x).detach(), rtol=0, atol=1e-5)
    assert run(chain[:1], x).shape[2:] == layer(x).shape[2:]


def test_layers_with_nothing_to_lose_stay() -> None:
    model, data = network(), images()
    first, second, last = model.layers
    for method in Method:
        named = last if method is Method.SINGULAR else second
        made = factored(model, method, {first: 0.0, named: 0.8}, data, samples=20)
        assert first in made.layers and named not in made.layers
        with pytest.raises(PenjingError, match="every layer that is named has 0, and stays"):
            factored(model, method, {named: 0.0}, data, samples=20)


def test_ranks_of_singular_values_are_of_places_that_are_read() -> None:
    """Of 4 x 4 places, 6 + 8 multiply-accumulates a dimension, half of 48."""
    layer = nn.Conv2d(6, 8, 1, stride=2)
    model = read(nn.Sequential(nn.Conv2d(2, 6, 1), nn.ReLU(), layer, nn.Flatten(),
                               nn.Linear(128, 3)).eval(), (8, 8, 2))
    strided = list(model.layers)[1]
    assert ranks_for(model, Method.SINGULAR, {strided: 0.4}) == {strided: (int(0.6 * 48 / 14),)}
    made = factored(model, Method.SINGULAR, {strided: 0.4}, images())
    assert sum(places(made)[name].macs(part) for name, part in made.layers.items()
               if name.startswith(strided)) == 16 * 14 * 2


def test_ranks_follow_from_what_goes(tmp_path: Path) -> None:
    model, data = network(), images()
    _, second, last = model.layers
    at = places(model)
    # conv 8 -> 12, 3x3, from 8x8 to 4x4 places: 16 * 864 = 13824.
    assert at[second].macs(model.layers[second]) == 13824
    # CP: 64 * 8 + 32 * 3 + 16 * 3 + 16 * 12 = 848 a product; 6912 // 848 = 8.
    assert ranks_for(model, Method.CP, {second: 0.5}) == {second: (8,)}
    # Two linear layers: 198 a dimension, of 1152.
    assert ranks_for(model, Method.SINGULAR, {last: 0.5}) == {last: (2,)}
    inner, outer = ranks_for(model, Method.TUCKER, {second: 0.5})[second]
    assert 64 * 8 * inner + 16 * outer * (inner * 9 + 12) <= 6912 < (
        64 * 8 * (inner + 1) + 16 * (outer + 2) * ((inner + 1) * 9 + 12))
    assert ranks_for(model, Method.TUCKER, None).keys() == {second}
    whole = sum(at[name].macs(layer) for name, layer in model.layers.items())
    made = factored(model, Method.ASYMMETRIC, 0.5, data, samples=60)
    now = places(made)
    assert 0.4 * whole < sum(now[name].macs(layer) for name, layer in made.layers.items()
                             ) <= 0.5 * whole
    made.save(tmp_path / "low.pt2")
    again = read(tmp_path / "low.pt2")
    with torch.no_grad():
        torch.testing.assert_close(again.module(data.images), made.module(data.images))


@pytest.mark.parametrize(("method", "ratio", "line"), [
    (Method.CP, {"nothing": 0.5}, "'nothing' is no linear layer, and no convolution"),
    (Method.CP, 0.99, "not even rank 1 leaves out 99%"),
    (Method.TUCKER, 0.999, "not even rank 1 leaves out 100%"),
    (Method.CP, None, "cp needs a ratio"), (Method.LINEAR, None, "responses need a ratio"),
    (Method.ASYMMETRIC, 0.999, "leaves 4,160 of 24,192 .*; the ratio can be 0.828 at most")])
def test_what_no_rank_gives_is_one_line(method: Method, ratio: object, line: str) -> None:
    with pytest.raises(PenjingError, match=line):
        factored(network(), method, ratio, images(), samples=20)  # type: ignore[arg-type]


def test_the_ratio_that_is_told_can_be_reached() -> None:
    with pytest.raises(PenjingError, match=r"the ratio can be ([0-9.]+) at most") as refused:
        factored(network(), Method.LINEAR, 0.999, images(), samples=20)
    told = float(str(refused.value).split("can be ")[1].split()[0])
    made = factored(network(), Method.LINEAR, told, images(), samples=20)
    assert [len(layer.weight) for layer in made.layers.values()  # type: ignore[arg-type]
            ] == [1, 8, 1, 12, 6]


@pytest.mark.parametrize("method", list(Method))
def test_where_no_layer_suits_is_one_line(method: Method) -> None:
    """None behind the first sees more than one place, or only one; all but the last have groups."""
    def separable(taps: int, groups: int) -> nn.Module:
        return nn.Conv2d(4, 4, taps, padding=taps // 2, groups=groups)

    layers = {Method.SINGULAR: [separable(1, 1), separable(3, 1)],
              Method.TUCKER: [separable(3, 1), separable(3, 4), separable(1, 1)],
              Method.CP: [separable(3, 1), separable(3, 4), separable(1, 1)]}
    module = nn.Sequential(*layers.get(method, [separable(3, 4), separable(3, 1)]))
    data = Data(torch.randn(9, 4, 5, 5), torch.arange(9) % 3, lambda x, _: x)
    line = ("no layer but perhaps the last" if method.sees_responses
            else f"{method.value} suits no layer but perhaps the first")
    with pytest.raises(PenjingError, match=f"low rank: {line}, which stays"):
        factored(read(module.eval(), (5, 5, 4)), method, 0.9, data)


@pytest.mark.parametrize("method", [one for one in Method if one.sees_responses])
@pytest.mark.parametrize("ratio", [0.3, {"linear_0": 0.5}])
def test_too_few_responses_are_one_line(method: Method, ratio: object) -> None:
    """Those of 8 images at one place cannot tell 8 outputs; those of 9 just can."""
    torch.manual_seed(5)
    model = read(nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 3)).eval(), (12,))
    data = Data(torch.randn(20, 12), torch.arange(20) % 3, lambda x, _: x)
    for samples in (1, 8):
        with pytest.raises(PenjingError, match=f"layer linear_0: its 8 outputs are fitted to "
                                               f"{samples} responses, and more than 8"):
            factored(model, method, ratio, data, samples=samples)  # type: ignore[arg-type]
    made = factored(model, method, ratio, data, samples=9)  # type: ignore[arg-type]
    for name in ("linear_0_a", "linear_0_b"):
        assert made.layers[name].weight.abs().min() > 0  # type: ignore[operator, union-attr]


def test_weights_that_are_no_sum_of_products_are_one_line() -> None:
    module = nn.Sequential(nn.Conv2d(2, 4, 3)).eval()
    nn.init.zeros_(module[0].weight)
    network = read(module, (5, 5, 2))
    with pytest.raises(PenjingError, match="layer conv2d_0: its weights are no sum of 2 products"):
        by_tensors(network, {"conv2d_0": (2,)})


def test_layers_that_do_not_suit_are_one_line() -> None:
    model = network()
    _, second, last = model.layers
    for method, name in ((Method.SINGULAR, second), (Method.CP, last)):
        with pytest.raises(PenjingError, match=f"layer {name}: {method.value} does not suit it"):
            ranks_for(model, method, {name: 0.5})
    for ranks, line in (({second: (0,)}, "at least 1"), ({last: (1, 2)}, "a linear layer has one"),
                        ({second: (1, 2, 3)}, "one or two")):
        with pytest.raises(PenjingError, match=line):
            by_tensors(model, ranks)
    with pytest.raises(PenjingError, match="its rank must be 1 to 11"):
        by_responses(model, {second: 12}, Responses(images()))
    broken = model.copied()
    broken.layers[second].weight.data[0] = float("nan")  # type: ignore[union-attr, index]
    with pytest.raises(PenjingError, match="no finite numbers"):
        by_tensors(broken, {second: (2,)})


RECIPE = """
batch = 16
[[step]]
do = "low-rank"
layers = { conv2 = 0.5 }
samples = 40
[[step]]
do = "low-rank"
method = "singular"
layers = { dense = 0.3 }
epochs = 1
"""


def test_a_recipe_makes_chains_that_hardware_runs(tmp_path: Path) -> None:
    """Two steps, of which the second trains; the chains are layers of the plan."""
    torch.manual_seed(1)
    module = nn.Sequential(OrderedDict(
        conv1=nn.Conv2d(1, 6, 3, padding=1), relu1=nn.ReLU(), pool=nn.MaxPool2d(2),
        conv2=nn.Conv2d(6, 8, 3, padding=1), relu2=nn.ReLU(), flatten=nn.Flatten(),
        dense=nn.Linear(128, 8)))
    read(module.eval(), (8, 8, 1)).save(tmp_path / "net.pt2")
    rng = np.random.default_rng(1)
    np.savez(tmp_path / "data.npz", x=rng.integers(0, 256, (60, 8, 8, 1)).astype(np.uint8),
             y=np.arange(60) % 8)
    (tmp_path / "recipe.toml").write_text(RECIPE)
    made = penjing.compress(tmp_path / "net.pt2", tmp_path / "low.pt2", tmp_path / "recipe.toml",
                            tmp_path / "data.npz")
    assert [stage.do for stage in made.stages] == ["", "low-rank", "low-rank"]
    assert len(made.stages[2].epochs) == 1
    project = penjing.compile_model(tmp_path / "low.pt2", tmp_path / "built",
                                    penjing.Target("ulx3s-85f"),
                                    penjing.Quantization(tmp_path / "data.npz"))
    weighted = [layer.name for layer in project.network.layers
                if isinstance(layer, ir.MultiplyAccumulate)]
    assert weighted == ["conv1", "conv2_a", "conv2_b", "dense_a", "dense_b"]
    (tmp_path / "recipe.toml").write_text('[[step]]\ndo = "low-rank"\nautomatic = true\n')
    with pytest.raises(PenjingError, match="only tucker, and of all layers, chooses"):
        penjing.compress(tmp_path / "net.pt2", tmp_path / "no.pt2", tmp_path / "recipe.toml",
                         tmp_path / "data.npz")
