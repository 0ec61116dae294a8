"""Distillation: the loss by hand, of answers and of maps, and a teacher that stays as it is."""

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


def scaled(*factors: tuple[float, float]) -> nn.Sequential:
    """Layers that multiply two numbers by factors."""
    layers = nn.Sequential(*(nn.Linear(2, 2, bias=False) for _ in factors))
    for layer, diagonal in zip(layers, factors, strict=True):
        layer.weight.data = torch.diag(torch.tensor(diagonal).float())
    return layers


X, LABELS = torch.tensor([[3.0, 4.0]]), torch.tensor([0])


def test_maps_by_hand() -> None:
    """Of (3, 4), whose squares are 25, (6, 4) misses 9 and (6, 8) misses 25: 0.68 on average."""
    teacher, student = scaled((1, 1), (1, 1)), scaled((2, 1), (1, 2))
    answers = Distillation(teacher, alpha=0.5)(X, student(X), LABELS)
    with Distillation(teacher, alpha=0.5, student=student, maps=3.0) as loss:
        for _ in range(2):
            found = loss(X, student(X), LABELS)
            assert (found - answers).item() == pytest.approx(3 * 0.68, rel=1e-5)
    # The teacher's squares count, not the student's: of (6, 4), (3, 4) misses 9 of 52.
    with Distillation(student[:1], alpha=0.0, student=teacher[:1], maps=1.0) as loss:
        outputs = teacher[:1](X)
        hard = nn.functional.cross_entropy(outputs, LABELS)
        assert (loss(X, outputs, LABELS) - hard).item() == pytest.approx(9 / 52, rel=1e-5)


def test_maps_teach_layers_that_answers_do_not_reach() -> None:
    """The second layer is 0, so only the first one's own map pulls: by 2 * 3 / 25 * 3."""
    student = scaled((2, 1), (0, 0))
    with Distillation(scaled((1, 1), (1, 1)), alpha=1.0, student=student, maps=2.0) as loss:
        loss(X, student(X), LABELS).backward()
    # Half of each map's errors count, twice.
    assert student[0].weight.grad[0].tolist() == pytest.approx([2 * 3 * 3 / 25, 2 * 3 * 4 / 25])
    assert student[0].weight.grad[1].tolist() == [0, 0]


def test_batch_norms_maps_are_taken_where_there_are_some() -> None:
    """The layers' own differ by a factor that the norms take away."""
    teacher = nn.Sequential(*scaled((1, 1)), nn.BatchNorm1d(2)).eval()
    student = nn.Sequential(*scaled((2, 2)), nn.BatchNorm1d(2)).eval()
    nn.init.constant_(student[1].weight, 0.5)
    with Distillation(teacher, alpha=1.0, student=student, maps=1.0) as loss:
        assert loss(X, student(X), LABELS).item() == pytest.approx(0, abs=1e-6)


def test_maps_of_other_shapes_or_names_are_left_out() -> None:
    """Of four layers one is narrower, and one has a name of its own."""
    class Wide(nn.Module):
        def __init__(self, inner: int, last: str) -> None:
            super().__init__()
            self.first, self.wide = nn.Linear(2, 2, bias=False), nn.Linear(2, inner)
            self.back = nn.Linear(inner, 2)
            self.add_module(last, nn.Linear(2, 2))
            self.last = last
            nn.init.constant_(self.back.weight, 0.0)
            nn.init.constant_(self.back.bias, 1.0)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = getattr(self, self.last)(self.back(self.wide(self.first(x))))
            return out * 0

    teacher, student = Wide(5, "a"), Wide(3, "b")
    for one, factors in ((teacher, (1.0, 1.0)), (student, (2.0, 1.0))):
        one.first.weight.data = torch.diag(torch.tensor(factors))
    with Distillation(teacher, alpha=1.0, student=student, maps=1.0) as loss:
        assert loss(X, student(X), LABELS).item() == pytest.approx(9 / 25 / 2, rel=1e-5)


def test_a_student_is_left_as_it_was() -> None:
    student = scaled((2, 1))
    with Distillation(scaled((1, 1)), student=student, maps=1.0) as loss:
        data = training.Data(X.repeat(8, 1), LABELS.repeat(8), lambda x, _: x)
        history = training.fit(student, data, training.Settings(20, 4, 0.1), loss=loss)
        assert history[-1].loss < history[0].loss
    assert not student[0]._forward_hooks
    with pytest.raises(PenjingError, match="only while the loss is entered"):
        loss(X, student(X), LABELS)


def test_maps_of_nothing_are_refused() -> None:
    with (Distillation(scaled((1, 1)), student=nn.Identity(), maps=1.0) as loss,
          pytest.raises(PenjingError, match="no map of the network has the name and shape")):
        loss(X, X, LABELS)
    for wrong in (-1.0, math.nan, math.inf):
        with pytest.raises(PenjingError, match="maps, the weight of what they miss, must be at le"):
            Distillation(identity(), student=identity(), maps=wrong)
    for arguments, student in (((identity(), identity()), identity()), ((identity(),), None)):
        with pytest.raises(PenjingError, match="give one teacher, and the student"):
            Distillation(*arguments, student=student, maps=1.0)
