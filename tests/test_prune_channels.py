"""Channels by what follows them, and by LASSO: numbers by hand, and layers rebuilt exactly."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import pytest
from penjing.compiler.ir import PenjingError

torch = pytest.importorskip("torch")

from penjing.compiler.compress import prune as p  # noqa: E402
from penjing.compiler.compress.prune import lasso  # noqa: E402
from penjing.compiler.compress.training import Data  # noqa: E402
from torch import Tensor, nn  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")
CHANNEL = p.Granularity.CHANNEL


def as_they_are(images: Tensor, _: torch.Generator | None) -> Tensor:
    return images


def block() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(OrderedDict(
        conv=nn.Conv2d(1, 3, 1, bias=False), norm=nn.BatchNorm2d(3), relu=nn.ReLU(),
        flatten=nn.Flatten(), dense=nn.Linear(12, 2))).double()


def of_conv(model: nn.Module, criterion: p.Criterion, data: Data | None = None) -> list[float]:
    layers = {"conv": p.layers_of(model)["conv"]}
    return p.channel_scores(model, layers, criterion, data)["conv"].tolist()


def test_activity_counts_what_is_not_zero() -> None:
    """The three channels are x, -x and 1 - x, of 8 values of which 5 are positive, 2 of them 1."""
    model = block()
    with torch.no_grad():
        model.conv.weight.copy_(torch.tensor([1.0, -1, -1]).reshape(3, 1, 1, 1))
        model.norm.bias.copy_(torch.tensor([0.0, 0, 1]))
        model.norm.eps = 0.0
    values = torch.tensor([[1.0, 2, 0, -3], [1, 4, 5, -6]]).double().reshape(2, 1, 2, 2)
    data = Data(values, torch.tensor([0, 1]), as_they_are)
    model.train()
    assert of_conv(model, p.Activity(), data) == pytest.approx([5 / 8, 2 / 8, 3 / 8], rel=1e-15)
    assert of_conv(model, p.Activity(samples=1), data) == pytest.approx([2 / 4, 1 / 4, 2 / 4],
                                                                        rel=1e-15)
    assert model.training
    # As a criterion of single weights, each has its part.
    scores = p.unit_scores(model, {"conv": p.layers_of(model)["conv"]}, p.Activity(),
                           p.Granularity.WEIGHT, data)["conv"]
    assert scores.flatten().tolist() == pytest.approx([5 / 8, 2 / 8, 3 / 8], rel=1e-15)
    with pytest.raises(PenjingError, match="activity: it needs data"):
        of_conv(model, p.Activity())
    with pytest.raises(PenjingError, match="layer dense: nothing behind its 2 channels is a ReLU"):
        p.channel_scores(model, p.layers_of(model), p.Activity(), data)


class Joined(nn.Module):
    """A residual block, written with functions."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv1d(2, 2, 1), nn.Conv1d(2, 2, 1, bias=False)
        self.norm = nn.BatchNorm1d(2, affine=False)
        self.last = nn.BatchNorm1d(2)
        self.dense = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.first(x))
        z = nn.functional.relu6(self.last(self.norm(self.second(y))) + y)
        return self.dense(z.flatten(1).clamp(max=4))


def test_activity_behind_a_join() -> None:
    """The first of what follows that is never negative: behind the sum, not the shortcut."""
    torch.manual_seed(0)
    model = Joined().double().eval()
    with torch.no_grad():
        model.first.weight.copy_(torch.eye(2)[:, :, None])
        model.first.bias.zero_()
        model.second.weight.copy_(torch.tensor([[-1.0, 0], [0, 1]])[:, :, None])
        model.norm.eps = model.last.eps = 0.0
    data = Data(torch.tensor([[[1.0, -1], [0, 2]]]).double(), torch.zeros(1), as_they_are)
    layers = {name: p.layers_of(model)[name] for name in ("first", "second")}
    found = p.channel_scores(model, layers, p.Activity(), data)
    # y is (1, 0), (0, 2); with the second convolution (0, 0), (0, 4).
    assert {name: one.tolist() for name, one in found.items()} == {
        "first": [0.5, 0.5], "second": [0, 0.5]}
    with torch.no_grad():
        model.last.weight.copy_(torch.tensor([0.5, -3]))
    scales = p.channel_scores(model, {"second": layers["second"]}, p.Scales())
    assert scales["second"].tolist() == [0.5, 3]


def test_what_is_far_below_the_mean_goes() -> None:
    """1, 5, 6, 8 have mean 5 and deviation sqrt(26 / 4), 2.55: 1 is below 2.45, and above -0.1."""
    model = nn.Sequential(nn.Linear(1, 4))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[5.0], [1], [6], [8]]))
    layers = p.layers_of(model)
    for deviations, kept in ((1.0, [1, 0, 1, 1]), (1.56, [1, 0, 1, 1]), (1.57, [1, 1, 1, 1])):
        masks = p.select(model, layers, p.Outlying(deviations), p.L1(), CHANNEL)
        assert masks.kept["0"].flatten().int().tolist() == kept
    with pytest.raises(PenjingError, match="deviations must be a number of at least 0, not -1"):
        p.Outlying(-1)


def test_scales_of_a_batch_norm() -> None:
    model = block()
    with torch.no_grad():
        model.norm.weight.copy_(torch.tensor([0.5, -2.0, 0.25]))
    assert of_conv(model, p.Scales()) == pytest.approx([0.5, 2, 0.25], rel=1e-15)
    masks = p.select(model, {"conv": p.layers_of(model)["conv"]}, p.Overall(0.3), p.Scales(),
                     CHANNEL)
    assert masks.kept["conv"].flatten().int().tolist() == [1, 1, 0]
    with pytest.raises(PenjingError, match="layer dense: no batch norm with scales is behind it"):
        p.channel_scores(model, p.layers_of(model), p.Scales())


def test_slimming_adds_magnitudes_of_scales() -> None:
    model = block()
    with torch.no_grad():
        model.norm.weight.copy_(torch.tensor([0.5, -2.0, 0.0]))
    loss = p.slimming(model, 0.1, loss=lambda x, outputs, labels: outputs.sum())
    zero = torch.zeros(1, dtype=torch.float64)
    value = loss(zero, zero + 3, zero)
    assert value.item() == pytest.approx(3 + 0.1 * 2.5)
    value.backward()
    assert model.norm.weight.grad is not None
    assert model.norm.weight.grad.tolist() == pytest.approx([0.1, -0.1, 0])
    with pytest.raises(PenjingError, match="slimming: the model has no batch norm with scales"):
        p.slimming(nn.Sequential(nn.Linear(2, 2)), 0.1)
    with pytest.raises(PenjingError, match="its strength must be a number of at least 0, not -1"):
        p.slimming(model, -1)


def test_what_is_behind_the_next_layer_is_its_own() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 3), nn.BatchNorm1d(3), nn.ReLU())
    data = Data(torch.randn(4, 2), torch.zeros(4), as_they_are)
    for criterion in (p.Activity(), p.Scales()):
        with pytest.raises(PenjingError, match=r"layer 0: .*; leave it out, or rank by magnitude"):
            p.channel_scores(model, p.layers_of(model), criterion, data)


class Untraceable(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


def test_what_cannot_be_traced_is_refused() -> None:
    model = nn.Sequential(OrderedDict(conv=nn.Conv2d(1, 3, 1), odd=Untraceable()))
    with pytest.raises(PenjingError, match=r"model: torch.fx cannot trace it \(symbolically traced "
                                           r"variables.*\); mend the model"):
        of_conv(model, p.Scales())


def test_lasso_by_hand() -> None:
    """Each factor alone: what it pulls, less the strength, towards 0."""
    gram = torch.diag(torch.tensor([1.0, 2, 1])).double()
    target = torch.tensor([3.0, -4, 0.5]).double()
    assert lasso.lasso(gram, target, 1.0).tolist() == [2, -1.5, 0]
    assert lasso.lasso(gram, target, 0.0).tolist() == [3, -2, 0.5]
    # Correlated: at the minimum the gradient of the error is -strength * sign where it is not 0.
    gram = torch.tensor([[2.0, 1, 1.5], [1, 2, 0.5], [1.5, 0.5, 1.2]]).double()
    target = torch.tensor([2.0, 1.5, 1.4]).double()
    beta = lasso.lasso(gram, target, 0.3)
    pull = target - gram @ beta
    assert 0 < (beta != 0).sum() < 3
    assert torch.allclose(pull[beta != 0], 0.3 * beta[beta != 0].sign(), atol=1e-7)
    assert (pull.abs() <= 0.3 + 1e-7).all()


def chain(bias: bool = True) -> nn.Sequential:
    torch.manual_seed(2)
    return nn.Sequential(OrderedDict(
        first=nn.Conv2d(2, 4, 3, padding=1), relu=nn.ReLU(),
        conv=nn.Conv2d(4, 5, (3, 2), stride=2, padding=1, bias=bias), act=nn.ReLU(),
        flatten=nn.Flatten(), dense=nn.Linear(5 * 3 * 4, 3))).double()


def images() -> Data:
    return Data(torch.from_numpy(np.random.default_rng(5).normal(0, 1, (60, 2, 6, 6))),
                torch.zeros(60, dtype=torch.int64), as_they_are)


@pytest.mark.parametrize("bias", [True, False])
def test_what_others_make_up_for_goes_without_loss(bias: bool) -> None:
    """Channel 2 of the first layer is twice channel 0, and channel 3 is always 0."""
    original, data = chain(bias), images()
    with torch.no_grad():
        original.first.weight[2], original.first.bias[2] = (
            2 * original.first.weight[0], 2 * original.first.bias[0])
        original.first.weight[3], original.first.bias[3] = 0, -1
    model = chain(bias)
    model.load_state_dict(original.state_dict())
    masks = p.select_inputs(model, original, p.layers_of(model)["conv"], 2, data)
    kept = masks.kept["conv"]
    assert kept.shape == model.conv.weight.shape
    assert kept[0, :, 0, 0].int().tolist() == [0, 1, 1, 0]  # the larger of both
    assert masks.density == 0.5
    assert torch.equal(model.conv.weight != 0, kept)
    torch.testing.assert_close(model(data.images), original(data.images), rtol=0, atol=1e-9)
    w, v = original.conv.weight, model.conv.weight
    torch.testing.assert_close(v[:, 2], w[:, 2] + w[:, 0] / 2, rtol=0, atol=1e-9)
    torch.testing.assert_close(v[:, 1], w[:, 1], rtol=0, atol=1e-9)


def test_reconstruction_is_better_than_what_was_there() -> None:
    original, model, data = chain(), chain(), images()
    layers = p.layers_of(model, flattened={"dense": (3, 4)})
    masks = p.select_inputs(model, original, layers["conv"], 2, data)
    cut = chain()
    masks.apply(cut)
    error, other = ((one[:3](data.images) - original[:3](data.images)).square().mean().item()
                    for one in (model, cut))
    assert error < other
    # Behind the pruned layer, a linear one reads its channels pixel by pixel.
    masks = p.select_inputs(model, original, layers["dense"], 3, data)
    assert masks.kept["dense"].reshape(3, 5, 12).any(2).sum(1).tolist() == [3] * 3
    assert masks.density == pytest.approx(3 / 5)


def test_channels_are_the_same_in_small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    x, weights, y = (torch.randn(shape, generator=generator, dtype=torch.float64)
                     for shape in ((50, 6, 2), (4, 6, 2), (50, 4)))
    y += torch.einsum("nct,oct->no", x, weights)
    whole = lasso.fewest_errors(x, weights, y, 3)
    # The channels that add most stay, as they are independent.
    shares = torch.einsum("nct,oct->cno", x, weights).square().sum((1, 2))
    assert whole.nonzero().flatten().tolist() == sorted(shares.argsort()[3:].tolist())
    monkeypatch.setattr(lasso, "MOST_ELEMENTS", 7 * 24)
    assert torch.equal(lasso.fewest_errors(x, weights, y, 3), whole)


def test_least_squares_leave_an_error_that_no_input_explains() -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(shape, generator=generator, dtype=torch.float64)
            for shape in ((50, 3, 2), (50, 4)))
    weights = lasso.least_squares(x, y)
    assert weights.shape == (4, 3, 2)
    error = y - torch.einsum("nct,oct->no", x, weights)
    assert torch.einsum("nct,no->cto", x, error).abs().max() < 1e-12


def test_channels_that_depend_on_others_get_no_large_weights() -> None:
    """Eight channels of three, but for rounding errors, and outputs that are not linear in them."""
    generator = torch.Generator().manual_seed(0)
    first = torch.randn(50, 3, generator=generator)
    x = (first @ torch.randn(3, 8, generator=generator)).double()
    y = first.tanh().double()
    assert lasso.least_squares(x[..., None], y).abs().max() < 1


def test_unfit_selections_are_refused() -> None:
    model, data = chain(), images()
    layers = p.layers_of(model)
    with pytest.raises(PenjingError, match="layer conv: 1 to 4 of its channels may be kept, not 5"):
        p.select_inputs(model, model, layers["conv"], 5, data)
    with pytest.raises(PenjingError, match="channel selection: 'conv' is no layer with weights"):
        p.select_inputs(model, nn.Sequential(nn.Linear(1, 1)), layers["conv"], 2, data)
    grouped = nn.Sequential(nn.Conv2d(2, 2, 1, groups=2))
    with pytest.raises(PenjingError, match="least squares fit plain convolutions"):
        p.select_inputs(grouped, grouped, p.layers_of(grouped)["0"], 1, data)


def test_ridge_by_hand() -> None:
    """One input of 1 and 3, whose outputs are 2 and 9; the weight was 1.

    Errors are 1 and 6; the sum of squares is 10, of products 1 * 1 + 3 * 6 = 19. With a strength of
    a half, 10 / 2 come on top.
    """
    x = torch.tensor([[[1.0]], [[3.0]]], dtype=torch.float64)
    y = torch.tensor([[2.0], [9.0]], dtype=torch.float64)
    weights = torch.tensor([[[1.0]]], dtype=torch.float64)
    assert float(lasso.ridge(x, weights, y, 0.5)) == pytest.approx(1 + 19 / 15)
    assert float(lasso.ridge(x, weights, y, 0.0)) == pytest.approx(1 + 19 / 10)
    # What no sample has stays as it is.
    none = torch.zeros(2, 2, 1, dtype=torch.float64)
    same = torch.ones(1, 2, 1, dtype=torch.float64)
    assert torch.equal(lasso.ridge(none, same, y), same)
