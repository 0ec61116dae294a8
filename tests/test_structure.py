"""Networks without some channels: what goes together, and that nothing else changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from penjing.compiler.ir import PenjingError
from penjing.compiler.load import floats

torch = pytest.importorskip("torch", reason="needs torch: pip install penjing[torch]")
pytest.importorskip("torch_pruning", reason="needs it: pip install penjing[compress]")

from penjing.compiler.compress import shortcuts  # noqa: E402
from penjing.compiler.compress.structure import channel_norms, narrow  # noqa: E402
from penjing.compiler.compress.trainable import Trainable, read  # noqa: E402
from penjing.compiler.compress.training import Data, mean_loss  # noqa: E402
from penjing.compiler.load import torch as loader  # noqa: E402
from test_load_torch import (  # noqa: E402
    Lambda,
    Residual,
    SqueezeExcitation,
    Wired,
    dense_block,
    unsettle,
)
from torch import Tensor, nn  # noqa: E402
from torch.nn import functional  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")


def model(module: nn.Module, *shape: int) -> Trainable:
    torch.manual_seed(1)
    for parameter in module.parameters():
        parameter.data.normal_(0, 0.5)
    return read(unsettle(module), shape)


def ran(network: Trainable, x: Tensor) -> Tensor:
    with torch.no_grad():
        result: Tensor = network.module(x)
    return result


def sizes(network: Trainable) -> dict[str, tuple[int, ...]]:
    return {name: tuple(layer.weight.shape[:2]) for name, layer in network.layers.items()}


def without_rows(network: Trainable, rows: Mapping[str, list[int]]) -> Trainable:
    """``network`` in which these channels of layers and batch norms are 0."""
    zeroed = network.copied()
    for name, channels in rows.items():
        part = zeroed.module.get_submodule(name)
        for parameter in part.parameters():
            turned = isinstance(part, nn.ConvTranspose2d) and parameter.ndim > 1
            (parameter.data.transpose(0, 1) if turned else parameter.data)[channels] = 0
    return zeroed


def option_a() -> nn.Module:
    """A shortcut to more channels, as in the ResNets of CIFAR-10: zeros on both sides."""
    first, a, b, norm, last = (nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 8, 3, 2, 1),
                               nn.Conv2d(8, 8, 3, 1, 1), nn.BatchNorm2d(8), nn.Linear(8, 3))

    def forward(x: Tensor, *_: nn.Module) -> Tensor:
        x = first(x).relu()
        y = norm(b(a(x).relu()))
        y = y + functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2))
        return last(y.relu().mean((2, 3)))

    return Wired(forward, first, a, b, norm, last)


Case = tuple[Callable[[], nn.Module], tuple[int, ...], dict[str, list[str]],
             dict[str, tuple[int, int]]]
CASES: dict[str, Case] = {
    "chain": (
        lambda: nn.Sequential(nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2),
                              nn.Conv2d(6, 4, 2), nn.PReLU(4), nn.Flatten(), nn.Linear(8, 6),
                              nn.ReLU(), nn.Linear(6, 3)), (6, 8, 2),
        {"conv2d_0": ["batch_no_1"], "conv2d_4": [], "linear_7": []},
        {"conv2d_0": (3, 2), "conv2d_4": (2, 3), "linear_7": (3, 4), "linear_9": (3, 3)}),
    "residual": (
        lambda: nn.Sequential(Residual(2, 4), Residual(4, 4), Residual(4, 6, 2),
                              nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)), (5, 6, 2),
        {"conv2d_0_a": ["batch_no_0_norm_a"], "conv2d_1_a": ["batch_no_1_norm_a"],
         "conv2d_0_b": ["batch_no_0_norm_b", "conv2d_0_short_0", "batch_no_0_short_1",
                        "conv2d_1_b", "batch_no_1_norm_b"],
         "conv2d_2_short_0": ["batch_no_2_short_1", "conv2d_2_b", "batch_no_2_norm_b"]},
        {"conv2d_0_a": (2, 2), "conv2d_0_b": (2, 2), "conv2d_0_short_0": (2, 2),
         "conv2d_1_a": (2, 2), "conv2d_1_b": (2, 2), "conv2d_2_a": (6, 2), "conv2d_2_b": (3, 6),
         "conv2d_2_short_0": (3, 2), "linear_5": (3, 3)}),
    "depthwise": (
        lambda: nn.Sequential(nn.Conv2d(2, 6, 1), nn.ReLU6(), nn.Conv2d(6, 6, 3, groups=6),
                              nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 1)), (5, 4, 2),
        {"conv2d_0": ["conv2d_2", "batch_no_3"]},
        {"conv2d_0": (3, 2), "conv2d_2": (3, 1), "conv2d_5": (4, 3)}),
    "transposed": (
        lambda: nn.Sequential(nn.Conv2d(2, 4, 1), nn.ReLU(), nn.ConvTranspose2d(4, 6, 3, 2),
                              nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 2, 1)), (3, 4, 2),
        {"conv2d_0": [], "conv_tra_2": ["batch_no_3"]},
        {"conv2d_0": (2, 2), "conv_tra_2": (2, 3), "conv2d_5": (2, 3)}),
    "line": (
        lambda: nn.Sequential(nn.Conv1d(2, 4, 3), nn.BatchNorm1d(4), nn.ReLU(),
                              nn.Conv1d(4, 4, 2, groups=4), nn.Flatten(), nn.Linear(20, 2)), (8, 2),
        {"conv1d_0": ["batch_no_1", "conv1d_3"]},
        {"conv1d_0": (2, 2), "conv1d_3": (2, 1), "linear_5": (2, 10)}),
    "squeeze": (
        lambda: nn.Sequential(nn.Conv2d(2, 4, 1), SqueezeExcitation(4, linear=True),
                              nn.Conv2d(4, 3, 1)), (4, 5, 2),
        {"conv2d_0": ["conv2d_1_convolution", "batch_no_1_norm", "linear_1_gate_2"],
         "linear_1_gate_0": []},
        {"conv2d_0": (2, 2), "conv2d_1_convolution": (2, 2), "linear_1_gate_0": (1, 2),
         "linear_1_gate_2": (2, 1), "conv2d_2": (3, 2)}),
}


@pytest.mark.parametrize("name", CASES)
def test_without_channels_that_are_zero(name: str, tmp_path: Path) -> None:
    """It is the network whose channels are 0, and a file of it is read."""
    build, shape, coupled, wanted = CASES[name]
    network = model(build(), *shape)
    rng = np.random.default_rng(0)
    scores, rows = {}, {}
    for root, others in coupled.items():
        count = network.layers[root].weight.shape[int("tra" in root)]
        order = rng.permutation(count)
        scores[root] = torch.from_numpy(order.astype(np.float64))
        for layer in (root, *others):
            rows[layer] = np.flatnonzero(order < count // 2).tolist()
    small = narrow(network, scores, dict.fromkeys(coupled, 0.5))
    assert sizes(small) == wanted
    x = torch.randn(3, *network.dims)
    torch.testing.assert_close(ran(small, x), ran(without_rows(network, rows), x), rtol=1e-4,
                               atol=1e-4)
    small.save(tmp_path / "small.pt2")
    loaded = loader.load(tmp_path / "small.pt2")
    images = x.movedim(1, -1).reshape(3, *loaded.input_shape).double().numpy()
    given = floats.run(loaded, images).reshape(3, -1)
    result = ran(small, x).movedim(1, -1).reshape(3, -1)
    np.testing.assert_allclose(given, result, rtol=1e-4, atol=1e-4)


def test_groups_of_a_convolution_stay_equal() -> None:
    """Of inputs and outputs the same places go in each group, by the mean of their scores."""
    network = model(nn.Sequential(nn.Conv2d(2, 8, 1), nn.ReLU(), nn.Conv2d(8, 12, 3, groups=4),
                                  nn.ReLU(), nn.Conv2d(12, 3, 1)), 4, 5, 2)
    scores = {"conv2d_0": torch.tensor([9.0, 1, 0, 1, 2, 1, 0, 1]),
              "conv2d_2": torch.tensor([1.0, 2, 3, 1, 0, 3, 1, 2, 0, 1, 2, 3])}
    # Means of places: 11/4 and 1; 1, 3/2 and 2. Of 12 channels 0.4 are 5, but only 4 go at once.
    small = narrow(network, scores, {"conv2d_0": 0.5, "conv2d_2": 0.4})
    assert sizes(small) == {"conv2d_0": (4, 2), "conv2d_2": (8, 1), "conv2d_4": (3, 8)}
    x = torch.randn(3, *network.dims)
    zeroed = without_rows(network, {"conv2d_0": [1, 3, 5, 7], "conv2d_2": [0, 3, 6, 9]})
    torch.testing.assert_close(ran(small, x), ran(zeroed, x), rtol=1e-4, atol=1e-4)
    # One channel of each group feeds two: none can go without the others.
    network = model(nn.Sequential(nn.Conv2d(2, 4, 1), nn.Conv2d(4, 8, 3, groups=4),
                                  nn.Conv2d(8, 3, 1)), 4, 5, 2)
    assert sizes(narrow(network, channel_norms(network, 1), 0.5)) == {
        "conv2d_0": (4, 2), "conv2d_1": (4, 1), "conv2d_2": (3, 4)}


def test_parts_of_a_concatenation() -> None:
    network = model(nn.Sequential(
        nn.Conv2d(2, 3, 1), Wired(dense_block, nn.Conv2d(3, 2, 3, padding=1), nn.Conv2d(5, 4, 1)),
        nn.ReLU(), nn.Conv2d(9, 3, 1)), 5, 4, 2)
    small = narrow(network, {"conv2d_0": torch.tensor([2.0, 1, 3]),
                             "conv2d_1_parts_0": torch.tensor([1.0, 2]),
                             "conv2d_1_parts_1": torch.tensor([4.0, 1, 2, 3])},
                   {"conv2d_0": 0.3, "conv2d_1_parts_0": 0.5, "conv2d_1_parts_1": 0.5})
    assert sizes(small) == {"conv2d_0": (2, 2), "conv2d_1_parts_0": (1, 2),
                            "conv2d_1_parts_1": (2, 3), "conv2d_3": (3, 5)}
    x = torch.randn(3, *network.dims)
    zeroed = without_rows(network, {"conv2d_0": [1], "conv2d_1_parts_0": [0],
                                    "conv2d_1_parts_1": [1, 2]})
    torch.testing.assert_close(ran(small, x), ran(zeroed, x), rtol=1e-4, atol=1e-4)
    # Some channels of what is depthwise are those of one part.
    network = model(Wired(lambda x, a, b, c, d: d(c(torch.cat([a(x), b(x)], 1))),
                          nn.Conv2d(2, 3, 1), nn.Conv2d(2, 4, 1), nn.Conv2d(7, 7, 2, groups=7),
                          nn.Conv2d(7, 2, 1)), 4, 5, 2)
    small = narrow(network, {"parts_1": torch.tensor([1.0, 3, 2, 4])}, {"parts_1": 0.5})
    zeroed = without_rows(network, {"parts_1": [0, 2], "parts_2": [3, 5]})
    assert sizes(small) == {"parts_0": (3, 2), "parts_1": (2, 2), "parts_2": (5, 1),
                            "parts_3": (2, 5)}
    x = torch.randn(3, *network.dims)
    torch.testing.assert_close(ran(small, x), ran(zeroed, x), rtol=1e-4, atol=1e-4)


def test_a_shortcut_padded_with_channels(tmp_path: Path) -> None:
    """Channels 2 to 5 of a sum are those of the first layer."""
    network = model(option_a(), 6, 5, 2)
    first, middle, b, last = network.layers
    scores = {b: torch.tensor([0.0, 9, 1, 9, 2, 9, 3, 9])}
    small = narrow(network, scores, {b: 0.5})
    assert sizes(small)[first] == (2, 2)
    assert sizes(small)[last] == (3, 4)
    norm = next(name for name, part in network.module.named_modules()
                if isinstance(part, nn.BatchNorm2d))
    rows = {b: [0, 2, 4, 6], norm: [0, 2, 4, 6], first: [0, 2]}
    x = torch.randn(3, *network.dims)
    torch.testing.assert_close(ran(small, x), ran(without_rows(network, rows), x), rtol=1e-4,
                               atol=1e-4)
    # Twice, and to a file: the zeros became fewer.
    smaller = narrow(small, channel_norms(small, 2), {b: 0.25})
    smaller.save(tmp_path / "net.pt2")
    torch.testing.assert_close(ran(read(tmp_path / "net.pt2"), x), ran(smaller, x))
    # Of those that only it has, the sum may lose all; the first layer may not.
    scores = channel_norms(network, 1)
    inner = torch.tensor([0.0, 0, 9, 9, 9, 9, 0, 0])
    assert sizes(narrow(network, {**scores, b: inner, first: torch.full((4,), 9.0)}, 0.5,
                        across=True, keep=[middle]))[b] == (4, 8)
    with pytest.raises(PenjingError, match=f"layer {first}: it would be left without channels"):
        narrow(network, {**scores, b: 9 - inner, first: torch.zeros(4)}, 0.3, across=True)


def test_norms_by_hand() -> None:
    network = model(nn.Sequential(nn.Conv2d(2, 2, 1), nn.ConvTranspose2d(2, 4, 1, groups=2),
                                  nn.Flatten(), nn.Linear(4, 2)), 1, 1, 2)
    weights = [layer.weight.data for layer in network.layers.values()]
    weights[0][:] = torch.tensor([[3.0, -4], [0, -1]])[..., None, None]
    # Two groups of an input and two outputs each.
    weights[1][:] = torch.tensor([[1.0, -2], [3, 4]])[..., None, None]
    weights[2][:] = torch.tensor([[1.0, -1, 1, -1], [2, 0, 0, 0]])
    one, two = (list(channel_norms(network, power).values()) for power in (1, 2))
    assert [norms.tolist() for norms in one] == [[7, 1], [1, 2, 3, 4], [4, 2]]
    assert [norms.tolist() for norms in two] == [[5, 1], [1, 2, 3, 4], [2, 2]]


def two_layers() -> Trainable:
    return model(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 6),
                               nn.ReLU(), nn.Linear(6, 2)), 3)


def test_the_lowest_of_all_layers_go() -> None:
    network = two_layers()
    # Over their means 2 and 5: 0.5, 1, 1, 1.5 and 0, 0.2, 0.4, 1, 2.2, 2.2.
    scores = {"linear_0": torch.tensor([1.0, 2, 2, 3]),
              "linear_3": torch.tensor([5.0, 11, 0, 1, 2, 11])}
    small = narrow(network, scores, 0.4, across=True)
    assert sizes(small) == {"linear_0": (3, 3), "linear_3": (3, 3), "linear_5": (2, 3)}
    zeroed = without_rows(network, {"linear_0": [0], "batch_no_1": [0], "linear_3": [2, 3, 4]})
    x = torch.randn(5, 3)
    torch.testing.assert_close(ran(small, x), ran(zeroed, x), rtol=1e-4, atol=1e-4)
    kept = narrow(network, scores, 0.5, across=True, keep=["linear_0"])
    assert sizes(kept) == {"linear_0": (4, 3), "linear_3": (3, 4), "linear_5": (2, 3)}
    with pytest.raises(PenjingError, match="layer linear_0: it would be left without"):
        narrow(network, {**scores, "linear_0": torch.zeros(4)}, 0.6, across=True)


def test_coupled_channels_go_by_the_mean_of_their_scores() -> None:
    network = two_layers()
    # Over their means 1 and 4 the sums are 1, 2.5, 3 and 1.5: the third was lowest in the first.
    scores = {"linear_0": torch.tensor([1.0, 1.5, 0.5, 1]),
              "batch_no_1": torch.tensor([0.0, 4, 10, 2])}
    small = narrow(network, scores, {"batch_no_1": 0.25})
    torch.testing.assert_close(small.layers["linear_0"].weight,
                               network.layers["linear_0"].weight[1:])
    torch.testing.assert_close(small.module.get_submodule("batch_no_1").running_mean,
                               network.module.get_submodule("batch_no_1").running_mean[1:])


@pytest.mark.parametrize(("ratio", "round_to", "left"), [
    (0.5, 1, (2, 3)), (0.5, 2, (2, 4)), (0.5, 4, (4, 4)), (0.3, 1, (3, 4)), (0.5, 8, (4, 6)),
    (0.0, 1, (4, 6)), ({"linear_3": 0.8}, 1, (4, 1)), ({}, 1, (4, 6))])
def test_ratio_and_rounding(ratio: float | dict[str, float], round_to: int, left: tuple[int, int]
                            ) -> None:
    network = two_layers()
    small = narrow(network, channel_norms(network, 2), ratio, round_to=round_to)
    assert tuple(count for count, _ in sizes(small).values()) == (*left, 2)
    assert sizes(network) == {"linear_0": (4, 3), "linear_3": (6, 4), "linear_5": (2, 6)}


def test_what_is_frozen_or_trained_remains_so() -> None:
    network = two_layers()
    network.layers["linear_0"].requires_grad_(False)
    network.module.train()
    small = narrow(network, channel_norms(network, 1), 0.5)
    assert small.module.training
    assert [parameter.requires_grad for parameter in small.module.parameters()] == [
        False, False, *[True] * 6]


WRONG: list[tuple[dict[str, object], str]] = [
    ({"ratio": 1.0}, "ratio: a share of the channels is at least 0 and less than 1, not 1.0"),
    ({"ratio": {"linear_0": -0.5}}, "at least 0 and less than 1, not -0.5"),
    ({"ratio": "half"}, "at least 0 and less than 1, not 'half'"),
    ({"ratio": {"linear_7": 0.5}}, "layer linear_7: unknown, .*; there are batch_no_1, linear_0"),
    ({"keep": ["fc"]}, "layer fc: unknown"),
    ({"ratio": {"linear_5": 0.5}}, "layer linear_5: its channels cannot be removed, since they"),
    ({"ratio": 0.9}, "layer linear_0: it would be left without channels; lower the ratio"),
    ({"ratio": {"linear_0": 0.5, "batch_no_1": 0}}, "layers batch_no_1, linear_0: they have the"),
    ({"ratio": {"linear_0": 0.5}, "across": True}, "across all layers there is one"),
    ({"round_to": 0}, "round_to: it must be an integer of at least 1, not 0"),
    ({"scores": {"linear_0": torch.ones(4)}}, "layer linear_3: it has no scores; give some, or"),
    ({"scores": {"linear_3": torch.ones(5)}}, "layer linear_3: its scores must be one finite"),
    ({"scores": {"linear_3": torch.full((6,), torch.nan)}}, "must be one finite number a channel"),
]


@pytest.mark.parametrize(("arguments", "reason"), WRONG)
def test_wrong_arguments(arguments: dict[str, object], reason: str) -> None:
    network = two_layers()
    given = {"scores": channel_norms(network, 1), "ratio": 0.5, **arguments}
    with pytest.raises(PenjingError, match=reason) as info:
        narrow(network, **given)  # type: ignore[arg-type]
    assert "\n" not in str(info.value)


def test_a_wrong_norm() -> None:
    with pytest.raises(PenjingError, match="channel norms: their power is 1 or 2, not 3"):
        channel_norms(two_layers(), 3)


@pytest.mark.parametrize(("build", "shape", "root", "reason"), [
    (lambda: Wired(lambda x, a, b: b(a(x).permute(0, 2, 3, 1).flatten(1)), nn.Conv2d(2, 4, 2),
                   nn.Linear(48, 2)), (4, 5, 2), "parts_0", "fixed places or numbers; keep it"),
    (lambda: Wired(lambda x, a, b: b(torch.cat([*a(x).chunk(2, 1)], 1)), nn.Conv2d(2, 4, 2),
                   nn.Conv2d(4, 2, 1)), (4, 5, 2), "parts_0", "they are divided into parts"),
    (lambda: Wired(lambda x, a, b: a(x) * b(x), nn.Conv2d(2, 1, 1), nn.Conv2d(2, 4, 1)),
     (4, 5, 2), "parts_1", "the network's inputs or outputs|goes with many"),
    (lambda: Wired(lambda x, a, b: b(a(x)), nn.Conv2d(2, 4, 1), nn.ConvTranspose2d(
        4, 2, 2, groups=2)), (4, 5, 2), "parts_0", "the groups of .*parts_1 take them in fixed"),
    (lambda: Wired(lambda x, a, b: b(a(x).sigmoid() * x), nn.Conv2d(3, 3, 1), nn.Conv2d(3, 2, 1)),
     (4, 5, 3), "parts_0", "the network's inputs or outputs"),
])
def test_channels_that_must_stay(build: Callable[[], nn.Module], shape: tuple[int, ...], root: str,
                                 reason: str) -> None:
    network = model(build(), *shape)
    name = next(name for name in network.layers if name.endswith(root))
    with pytest.raises(PenjingError, match=f"layer {name}: its channels cannot be.*{reason}"):
        narrow(network, channel_norms(network, 1), {name: 0.5})
    others = [layer for layer in network.layers if layer != name]
    narrow(network, channel_norms(network, 1), 0.0, keep=others)


def residuals() -> Trainable:
    return model(nn.Sequential(Residual(2, 2), Residual(2, 4, 2), Residual(4, 4), Residual(4, 4),
                               nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)), 6, 7, 2)


def test_residual_blocks_leave(tmp_path: Path) -> None:
    """Where a block is left out, the next one takes what it took."""
    network = residuals()
    found = shortcuts.blocks(network)
    assert list(found.values()) == [(f"conv2d_{index}_a", f"conv2d_{index}_b")
                                    for index in (0, 2, 3)]
    assert set(found) <= {layer.name for layer in loader.from_module(
        unsettle(nn.Sequential(*(Residual(2, 2), Residual(2, 4, 2), Residual(4, 4), Residual(4, 4),
                                 nn.AdaptiveAvgPool2d(1)))), (6, 7, 2)).layers}
    first, *others = found
    small = shortcuts.without(network, others)
    assert list(small.layers) == ["conv2d_0_a", "conv2d_0_b", "conv2d_1_a", "conv2d_1_b",
                                  "conv2d_1_short_0", "linear_6"]
    zeroed = without_rows(network, {f"batch_no_{index}_norm_b": [0, 1, 2, 3] for index in (2, 3)})
    x = torch.randn(3, *network.dims)
    torch.testing.assert_close(ran(small, x), ran(zeroed, x))
    assert list(shortcuts.blocks(small)) == [first]
    assert len(network.layers) == 10
    small.save(tmp_path / "net.pt2")
    torch.testing.assert_close(ran(read(tmp_path / "net.pt2"), x), ran(small, x))
    with pytest.raises(PenjingError, match=rf"block conv2d_0_a: no sum .*; there are {first}, "):
        shortcuts.without(network, ["conv2d_0_a"])


def test_the_block_that_costs_least_goes_first() -> None:
    network = residuals()
    first, second, third = shortcuts.blocks(network)
    norms = dict(network.module.named_modules())
    for index, scale in ((0, 0.5), (2, 0.01), (3, 0.0)):
        norm = norms[f"batch_no_{index}_norm_b"]
        norm.weight.data *= scale
        norm.bias.data *= scale
    images = torch.rand(40, *network.dims)
    data = Data(images, torch.zeros(40, dtype=torch.int64), lambda x, _: x)
    whole = network.copied().module

    def difference(x: Tensor, outputs: Tensor, _: Tensor) -> Tensor:
        return (outputs - whole(x)).square().mean()

    assert mean_loss(network.module, data, difference) == 0
    for count, names in ((1, (third,)), (3, (third, second, first))):
        assert shortcuts.cheapest(network, count, data, loss=difference) == names
    with pytest.raises(PenjingError, match="blocks: 4 are to go, and there are 3"):
        shortcuts.cheapest(network, 4, data)


@pytest.mark.parametrize("function", [
    lambda x, a: a(x) + a(x).relu(), lambda x, a: a(x.relu()) + x.mean((2, 3), keepdim=True),
    lambda x, a: a(x) + 1, lambda x, a: torch.cat([y := a(x), x + y], 1),
    lambda x, a: a(x) - x])
def test_what_is_no_block(function: Callable[..., Tensor]) -> None:
    network = model(Wired(function, nn.Conv2d(2, 2, 1)), 4, 5, 2)
    assert not shortcuts.blocks(network)
    with pytest.raises(PenjingError, match=r"block add: .*there are none"):
        shortcuts.without(network, ["add"])


def test_a_sum_of_more_than_its_input() -> None:
    """The branch reads the network's input beside, or its middle is read elsewhere."""
    for function in (lambda x, a, b: (y := x.relu()) + b(a(y) + x),
                     lambda x, a, b: (y := a(x)).relu() + b(y).relu() + y):
        network = model(Wired(function, nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 1)), 4, 5, 2)
        assert all(len(layers) < 2 for layers in shortcuts.blocks(network).values())
    network = model(Lambda(lambda x: x + x.relu(), nn.Conv2d(2, 2, 1)), 4, 5, 2)
    assert not shortcuts.blocks(network)
