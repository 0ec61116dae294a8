"""What weights are worth: criteria by hand, and the Gauss-Newton diagonal against all of it."""

from __future__ import annotations

import math
from collections import OrderedDict

import pytest
from penjing.compiler.ir import PenjingError

torch = pytest.importorskip("torch")

from penjing.compiler.compress import prune as p  # noqa: E402
from penjing.compiler.compress import quantizers as q  # noqa: E402
from penjing.compiler.compress.prune import hessian  # noqa: E402
from penjing.compiler.compress.training import Data  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.func import functional_call  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")


def as_they_are(images: Tensor, _: torch.Generator | None) -> Tensor:
    return images


def data(*shape: int, classes: int = 3, seed: int = 0) -> Data:
    """``shape`` is (N, ...)."""
    generator = torch.Generator().manual_seed(seed)
    return Data(torch.randn(shape, generator=generator, dtype=torch.float64),
                torch.randint(classes, shape[:1], generator=generator), as_they_are)


def of(model: nn.Module, criterion: p.Criterion, granularity: p.Granularity = p.Granularity.WEIGHT,
       given: Data | None = None) -> dict[str, list[float]]:
    scores = p.unit_scores(model, p.layers_of(model), criterion, granularity, given)
    return {name: one.flatten().tolist() for name, one in scores.items()}


def linear(*values: float) -> nn.Sequential:
    model = nn.Sequential(nn.Linear(len(values), 1))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([values]))
    return model


def test_magnitudes() -> None:
    assert of(linear(-3, 0, 2), p.L1()) == {"0": [3, 0, 2]}
    assert of(linear(-3, 0, 2), p.L2()) == {"0": [3, 0, 2]}  # the norm of each alone
    assert of(linear(-3, 0, 4), p.L1(), p.Granularity.CHANNEL) == {"0": [7]}
    assert of(linear(-3, 0, 4), p.L2(), p.Granularity.CHANNEL) == {"0": [5]}
    assert not p.L1().comparable
    assert not p.L2().comparable


def test_magnitudes_in_deviations() -> None:
    """The mean of 1, 3, 8 is 4, their variance (9 + 1 + 16) / 3."""
    deviation = math.sqrt(26 / 3)
    assert of(linear(1, 3, 8), p.Deviations())["0"] == pytest.approx(
        [1 / deviation, 3 / deviation, 8 / deviation])
    assert of(linear(1, 3, 8), p.Deviations(), p.Granularity.CHANNEL)["0"] == pytest.approx(
        [4 / deviation])
    assert of(linear(2, 2), p.Deviations()) == {"0": [1, 1]}


def test_layer_adaptive_scores() -> None:
    """Squares 4, 1, 16, 0: 1 / (1 + 4 + 16), 4 / (4 + 16), 16 / 16."""
    assert of(linear(-2, 1, 4, 0), p.LayerAdaptive())["0"] == pytest.approx(
        [4 / 20, 1 / 21, 1, 0], rel=1e-15)
    # Of equal weights each is followed by the next.
    assert of(linear(3, 3, -3), p.LayerAdaptive())["0"] == pytest.approx([1 / 3, 1 / 2, 1])
    # Units are ranked by their sums of squares: 5 and 20.
    model = nn.Sequential(nn.Linear(2, 2))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1., 2], [4, -2]]))
    assert of(model, p.LayerAdaptive(), p.Granularity.CHANNEL)["0"] == pytest.approx([1 / 5, 1])


def test_layer_adaptive_ranking_leaves_each_layer_its_largest() -> None:
    model = nn.Sequential(nn.Linear(50, 1), nn.Linear(1, 40))
    with torch.no_grad():
        model[1].weight.mul_(1000)
    masks = p.select(model, p.layers_of(model), p.Overall(88 / 90), p.LayerAdaptive())
    for name, layer in p.layers_of(model).items():
        largest = layer.weight.abs().flatten().argmax()
        assert masks.kept[name].flatten().nonzero().flatten().tolist() == [int(largest)]


def test_damage_by_hand() -> None:
    """Logits (w0 x, w1 x) = (0, ln 3) have p = (1/4, 3/4), and p0 p1 = 3/16 is their curvature."""
    model = nn.Sequential(nn.Linear(1, 2, bias=False)).double()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[0.0], [math.log(3) / 2]], dtype=torch.float64))
    given = Data(torch.tensor([[2.0], [0.0]]).double(), torch.tensor([0, 1]), as_they_are)
    # d2E/dw2 = p (1 - p) x**2, 3/16 * 4 of the first sample, 0 of the second.
    (h,) = p.diagonal(model, p.layers_of(model), given).values()
    assert h.flatten().tolist() == pytest.approx([3 / 8, 3 / 8], rel=1e-12)
    saliencies = of(model, p.OptimalBrainDamage(), given=given)["0"]
    assert saliencies == pytest.approx([0, 3 / 8 * (math.log(3) / 2) ** 2 / 2], rel=1e-12)
    # Of the first sample alone it is twice that.
    assert of(model, p.OptimalBrainDamage(samples=1), given=given)["0"] == pytest.approx(
        [0, 3 / 8 * (math.log(3) / 2) ** 2], rel=1e-12)
    with pytest.raises(PenjingError, match="Optimal Brain Damage: it needs data"):
        of(model, p.OptimalBrainDamage())
    with pytest.raises(PenjingError, match="samples must be a positive integer, not 0"):
        p.OptimalBrainDamage(samples=0)


def test_no_layers_have_no_curvature() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    data = Data(torch.zeros(3, 2), torch.zeros(3, dtype=torch.int64), lambda x, generator: x)
    assert p.diagonal(model, {}, data) == {}


def test_what_is_quantized_has_no_curvature() -> None:
    model = nn.Sequential(nn.Linear(3, 3), q.Sign(), nn.Linear(3, 3)).double()
    with pytest.raises(PenjingError, match=r"Gauss-Newton matrix: the model has no gradient sample "
                                           r"by sample \(.*\); prune it before it is quantized"):
        p.diagonal(model, p.layers_of(model), data(4, 3))


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {layer.weight_name: layer.weight.detach() for layer in p.layers_of(model).values()}


def exact_hessian(model: nn.Module, given: Data) -> dict[str, Tensor]:
    """The diagonal of all second derivatives of the loss."""
    def loss(at: dict[str, Tensor]) -> Tensor:
        return nn.functional.cross_entropy(functional_call(model, at, (given.images,)),
                                           given.labels)

    whole = torch.func.jacrev(torch.func.jacrev(loss))(weights(model))
    return {name: whole[name][name].reshape(w.numel(), w.numel()).diagonal().reshape(w.shape)
            for name, w in weights(model).items()}


def full_gauss_newton(model: nn.Module, given: Data) -> dict[str, Tensor]:
    """The diagonal of ``J^T (diag(p) - p p^T) J``, of the whole Jacobian J."""
    def logits(at: dict[str, Tensor]) -> Tensor:
        return functional_call(model, at, (given.images,))

    p = logits(weights(model)).softmax(1)
    inner = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    jacobian = torch.func.jacrev(logits)(weights(model))
    return {name: torch.einsum("nc...,nce,ne...->...", jacobian[name], inner, jacobian[name])
            / len(p) for name in jacobian}


def compared(model: nn.Module, given: Data, exact: dict[str, Tensor]) -> None:
    found = p.diagonal(model, p.layers_of(model), given)
    for name, layer in p.layers_of(model).items():
        torch.testing.assert_close(found[name], exact[layer.weight_name], rtol=1e-10, atol=1e-14)
        assert found[name].max() > 1e-6


def test_the_diagonal_is_the_hessians_where_logits_are_linear() -> None:
    torch.manual_seed(0)
    dense = nn.Sequential(nn.Linear(5, 3)).double()
    given = data(20, 5)
    compared(dense, given, exact_hessian(dense, given))
    # A kernel's weights are used at each position.
    conv = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.AvgPool2d(4), nn.Flatten()).double()
    given = data(6, 2, 4, 4)
    compared(conv, given, exact_hessian(conv, given))


def deep() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(OrderedDict(
        conv=nn.Conv2d(2, 4, 3, groups=2), norm=nn.BatchNorm2d(4), relu=nn.ReLU(),
        up=nn.ConvTranspose2d(4, 2, 2, stride=2), act=nn.ReLU(), flatten=nn.Flatten(),
        hidden=nn.Linear(64, 5), last=nn.ReLU(), dense=nn.Linear(5, 3))).double()


def test_the_diagonal_is_that_of_the_whole_gauss_newton_matrix(
        monkeypatch: pytest.MonkeyPatch) -> None:
    model, given = deep(), data(7, 2, 4, 6)
    with torch.no_grad():
        model.norm.running_mean.copy_(torch.randn(4))
    model.train()
    model.last.eval()
    judged = deep().eval()
    judged.load_state_dict(model.state_dict())
    exact = full_gauss_newton(judged, given)
    compared(model, given, exact)
    # Modes are as before, and the statistics of the norm.
    assert [part.training for part in model.children()] == [True] * 7 + [False, True]
    assert torch.equal(model.norm.running_mean, judged.norm.running_mean)
    # Sample by sample, if memory is short.
    monkeypatch.setattr(hessian, "MOST_ELEMENTS", 1)
    compared(model, given, exact)
    monkeypatch.setattr(hessian, "MOST_ELEMENTS", 3 * 450)
    compared(model, given, exact)


def test_it_is_the_hessians_with_relus_and_not_with_others() -> None:
    model, given = deep().eval(), data(7, 2, 4, 6)
    compared(model, given, exact_hessian(model, given))
    assert not any(one.requires_grad
                   for one in p.diagonal(model, p.layers_of(model), given).values())
    model.act = nn.Tanh()
    exact, found = exact_hessian(model, given), p.diagonal(model, p.layers_of(model), given)
    assert not torch.allclose(found["up"], exact["up.weight"], rtol=1e-3)
    torch.testing.assert_close(found["dense"], exact["dense.weight"], rtol=1e-10, atol=1e-14)
    assert all((one >= 0).all() for one in found.values())
