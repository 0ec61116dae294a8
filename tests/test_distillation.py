"""Distillation: the loss by hand, and a teacher that stays as it is."""

from __future__ import annotations

import math

import pytest
from penjing.compiler.ir import PenjingError

torch = pytest.importorskip("torch", reason="needs torch: pip install penjing[torch]")

from penjing.compiler.compress import training  # noqa: E402
from penjing.compiler.compress.distillation import Distillation  # noqa: E402
from torch import nn  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")
LOG3 = math.log(3)


def identity() -> nn.Module:
    """A teacher whose logits are its inputs."""
    return nn.Identity()


def test_loss_by_hand() -> None:
    """At T = 2 the teacher says 3/4 and 1/4, the student 1/2 and 1/2."""
    x, outputs = torch.tensor([[2 * LOG3, 0.0]]), torch.zeros(1, 2)
    divergence = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    for label, alpha in ((0, 0.7), (1, 0.7), (1, 0.0), (0, 1.0)):
        loss = Distillation(identity(), temperature=2.0, alpha=alpha)(
            x, outputs, torch.tensor([label]))
        wanted = alpha * 4 * divergence + (1 - alpha) * math.log(2)
        assert float(loss) == pytest.approx(wanted, rel=1e-5)
    # The divergence is not the reverse one, and the hard loss is at a temperature of 1.
    x, outputs = torch.zeros(1, 2), torch.tensor([[2 * LOG3, 0.0]])
    reverse = 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)
    loss = Distillation(identity(), temperature=2.0, alpha=0.5)(x, outputs, torch.tensor([1]))
    assert float(loss) == pytest.approx(0.5 * 4 * reverse + 0.5 * math.log(10), rel=1e-5)


def test_several_teachers_say_their_mean() -> None:
    """3/4 and 1/4, and 1/2 and 1/2, are 5/8 and 3/8; the student says 1/2 and 1/2."""
    class Even(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.zeros_like(x)

    loss = Distillation(identity(), Even(), temperature=1.0, alpha=1.0)
    wanted = 0.625 * math.log(1.25) + 0.375 * math.log(0.75)
    found = loss(torch.tensor([[LOG3, 0.0]]), torch.zeros(1, 2), torch.tensor([0]))
    assert float(found) == pytest.approx(wanted, rel=1e-5)
    with pytest.raises(PenjingError, match="there is no teacher"):
        Distillation()


def test_means_of_images_and_places() -> None:
    """Each place of a map counts as an image does."""
    torch.manual_seed(0)
    x, outputs = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    labels = torch.tensor([[0, 1, 2, 1]] * 2)
    loss = Distillation(identity(), temperature=3.0, alpha=0.6)
    rows = x.transpose(1, 2).reshape(8, 3), outputs.transpose(1, 2).reshape(8, 3)
    torch.testing.assert_close(loss(x, outputs, labels), loss(*rows, labels.reshape(8)))


def test_gradients_at_many_temperatures_are_alike() -> None:
    """T² makes up for the temperature: for small logits it is half their squared distance."""
    x, labels = torch.tensor([[0.03, -0.01, -0.02]]), torch.tensor([0])
    for temperature in (5.0, 50.0):
        outputs = torch.zeros(1, 3, requires_grad=True)
        Distillation(identity(), temperature=temperature, alpha=1.0)(x, outputs, labels).backward()
        torch.testing.assert_close(outputs.grad, -x / 3, rtol=1e-2, atol=0)


def test_pure_distillation_takes_no_labels() -> None:
    loss = Distillation(identity(), temperature=4.0, alpha=1.0)
    assert float(loss(torch.zeros(2, 3), torch.zeros(2, 3), torch.tensor([-5, 99]))) == 0


def test_the_teacher_is_a_frozen_copy_in_eval_mode() -> None:
    """A network learns from what it was, by its running statistics."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, 3)).train()
    loss = Distillation(model, temperature=2.0, alpha=1.0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    data = training.Data(torch.randn(64, 4), torch.zeros(64, dtype=torch.int64), lambda x, _: x)
    history = training.fit(model, data, training.Settings(epochs=3, batch=16), loss=loss)
    assert history[-1].loss < history[0].loss
    for name, value in loss.teachers[0].state_dict().items():
        torch.testing.assert_close(value, before[name])
    assert not any(part.training for part in loss.teachers[0].modules())
    assert not any(parameter.requires_grad for parameter in loss.teachers[0].parameters())
    assert any((value != before[name]).any() for name, value in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize(("temperature", "alpha", "reason"), [
    (0.0, 0.5, "the temperature must be positive, not 0.0"),
    (math.inf, 0.5, "the temperature must be positive"), (math.nan, 0.5, "must be positive"),
    (2.0, 1.5, "alpha, the share of the teacher, must be within 0 and 1, not 1.5"),
    (2.0, math.nan, "alpha, the share of the teacher")])
def test_wrong_settings(temperature: float, alpha: float, reason: str) -> None:
    with pytest.raises(PenjingError, match=reason):
        Distillation(identity(), temperature=temperature, alpha=alpha)


def test_a_teacher_of_other_classes() -> None:
    with pytest.raises(PenjingError, match=r"teacher puts out \(1, 4\), the network \(1, 3\)"):
        Distillation(identity())(torch.zeros(1, 4), torch.zeros(1, 3), torch.tensor([0]))
