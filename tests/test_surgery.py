"""Optimal Brain Surgeon through networks small enough for numbers by hand."""

from __future__ import annotations

import pytest
from penjing.compiler.ir import PenjingError

torch = pytest.importorskip("torch")

from penjing.compiler.compress.surgery import Sample, curves, operate, round_weights  # noqa: E402
from penjing.compiler.compress.training import Data  # noqa: E402
from torch import Tensor, nn  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")


def corners() -> Data:
    """Two inputs, each -1 or 1, that tell nothing of each other."""
    x = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
    return Data(x, torch.zeros(4, dtype=torch.int64), lambda images, _: images)


def linear(weight: list[list[float]], bias: list[float] | None = None) -> nn.Linear:
    layer = nn.Linear(len(weight[0]), len(weight), bias is not None)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(weight))
        if bias is not None:
            layer.bias.copy_(torch.tensor(bias))
    return layer


def weights(model: nn.Sequential, number: int) -> Tensor:
    layer = model[number]
    assert isinstance(layer, nn.Linear)
    return layer.weight.detach()


def test_errors_count_by_the_deviation_of_their_output() -> None:
    """Without 20 of 100 and 20 an output has 400 / 10,400 of its power less, without 0.9 of 1 and
    0.9 the other one 0.81 / 1.81.
    """
    model = nn.Sequential(linear([[100.0, 20], [1, 0.9]]))
    masks = operate(model, {"0": 3}, Sample(corners()))
    torch.testing.assert_close(weights(model, 0), torch.tensor([[100.0, 0], [1, 0.9]]))
    assert masks.kept["0"].tolist() == [[True, False], [True, True]]


def test_layers_make_up_for_those_before() -> None:
    """relu(x + y / 2 - 0.75) is 0.75 once in four times; relu(x - 0.75) 0.25 twice.

    3 times the one is best made of the other by 3 · 0.75 · 0.25 / (2 · 0.25²) = 4.5.
    """
    model = nn.Sequential(linear([[1.0, 0.5]], [-0.75]), nn.ReLU(), linear([[3.0]], [1.0]))
    operate(model, {"0": 1, "2": 1}, Sample(corners()))
    torch.testing.assert_close(weights(model, 0), torch.tensor([[1.0, 0]]))
    assert float(weights(model, 2)) == pytest.approx(4.5, rel=1e-3)
    torch.testing.assert_close(model[2].bias.detach(), torch.tensor([1.0]), rtol=1e-3, atol=0)


def test_biases_make_up_for_what_is_always_there() -> None:
    """An input that is always 2 is worth 2 · 3 of the bias."""
    x = torch.tensor([[1.0, 2], [-1, 2]])
    data = Data(x, torch.zeros(2, dtype=torch.int64), lambda images, _: images)
    model = nn.Sequential(linear([[5.0, 3.0]], [1.0]))
    operate(model, {"0": 1}, Sample(data))
    assert weights(model, 0)[0].tolist() == [pytest.approx(5, rel=1e-3), 0]
    assert float(model[0].bias.detach()) == pytest.approx(7, rel=2e-2)


def test_weights_are_rounded_and_make_up_for_one_another() -> None:
    """Inputs that are alike: 1.25 becomes 1, so the other one 1.3 + 0.25, which is nearer to 2.

    The next layer reads 3 / 2.55 as much, and is fitted to that.
    """
    x = torch.tensor([[1.0, 1], [-1, -1], [1, 1.01], [-1, -1.01]])
    data = Data(x, torch.zeros(4, dtype=torch.int64), lambda images, _: images)
    model = nn.Sequential(linear([[1.3, 1.25]]), nn.Identity(), linear([[2.0], [0.0]]))
    values = torch.tensor([-2.0, 1.0, 2.0])
    round_weights(model, {"0": values, "2": torch.tensor([1.0, 1.6, 1.7, 2.0])}, Sample(data))
    assert weights(model, 0).tolist() == [[2, 1]]
    assert weights(model, 2).tolist() == [[pytest.approx(1.7)], [0]]


def test_groups_read_their_own_channels() -> None:
    """The first channel's two rows are the same, so 1 and 0.5 become 1.5; of the second, which are
    not, the larger weight stays as it is.
    """
    x = torch.tensor([[[[1.0], [1]], [[1], [-1]]], [[[-1], [-1]], [[1], [1]]],
                      [[[1], [1]], [[-1], [1]]], [[[-1], [-1]], [[-1], [-1]]]])
    data = Data(x, torch.zeros(4, dtype=torch.int64), lambda images, _: images)
    layer = nn.Conv2d(2, 2, (2, 1), groups=2, bias=False)
    layer.weight.data = torch.tensor([[[[1.0], [0.5]]], [[[1.0], [0.5]]]])
    masks = operate(nn.Sequential(layer), {"0": 2}, Sample(data))
    made = layer.weight.detach().flatten(1)
    assert masks.kept["0"].sum() == 2
    assert sorted(made[0].tolist()) == [0, pytest.approx(1.5, rel=1e-2)]
    assert made[1].tolist() == [pytest.approx(1, rel=1e-2), 0]


def test_transposed_layers_are_refused() -> None:
    with pytest.raises(PenjingError, match=r"layer 0: .* no transposed ones; leave it out"):
        operate(nn.Sequential(nn.ConvTranspose2d(2, 2, 3)), {"0": 1}, Sample(corners()))


def test_layers_that_are_not_named_stay() -> None:
    model = nn.Sequential(linear([[1.0, 0.5]], [-0.75]), nn.ReLU(), linear([[3.0]], [1.0]))
    assert operate(model, {"0": 1}, Sample(corners())).kept.keys() == {"0"}
    assert float(weights(model, 2)) == 3
    with pytest.raises(PenjingError, match="Optimal Brain Surgeon: 'conv' is no layer"):
        operate(model, {"conv": 1}, Sample(corners()))


def test_curves_tell_what_each_layer_alone_costs() -> None:
    """The answers x and y / 2: each costs the layer's other output nothing, and is all there is.

    Of two weights at most one goes, that of the output which has another one.
    """
    model = nn.Sequential(linear([[1.0, 0.5], [0, 2.0]]), nn.Identity(), linear([[1.0, 0], [0, 1]]))
    before = [weights(model, number).clone() for number in (0, 2)]
    found = curves(model, corners().images, Sample(corners()))
    assert found["2"].weights == (2,)
    assert found["0"].weights == (3, 2)
    model[0].weight.data = torch.tensor([[1.0, 0], [0, 2.0]])
    wanted = (corners().images @ before[0].T / 4).log_softmax(1)
    given = (corners().images @ weights(model, 0).T / 4).log_softmax(1)
    cost = 16 * float((wanted.exp() * (wanted - given)).sum(1).mean())
    assert found["0"].costs == (0, pytest.approx(cost, rel=2e-2))
    torch.testing.assert_close(weights(model, 2), before[1])


def test_layers_without_weights_have_no_curve() -> None:
    model = nn.Sequential(linear([[1.0, 0.5], [0, 2.0]]), nn.Identity(), linear([[0.0, 0]], [1.0]))
    assert curves(model, corners().images, Sample(corners())).keys() == {"0"}


def test_one_sample_has_no_deviations() -> None:
    """Then errors count alike: 1 · 3 and 2 · 1 go before 2 · 3 and 4 · 1, which are more."""
    data = Data(torch.tensor([[1.0, 3.0]]), torch.zeros(1, dtype=torch.int64), lambda x, _: x)
    model = nn.Sequential(linear([[4.0, 1.0], [2.0, 2.0]]))
    masks = operate(model, {"0": 2}, Sample(data))
    assert masks.kept["0"].sum(1).tolist() == [1, 1]
