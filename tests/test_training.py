"""The training loop: it learns, it can be repeated, and resumes to the bit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from penjing.compiler.ir import PenjingError

torch = pytest.importorskip("torch")

from penjing.compiler.compress import quantizers as q  # noqa: E402
from penjing.compiler.compress import training  # noqa: E402
from torch import Tensor, nn  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")
SETTINGS = training.Settings(epochs=4, batch=16, learning_rate=0.02, seed=3)


def noisy(images: Tensor, generator: torch.Generator | None) -> Tensor:
    """Reals, with noise where the model is trained."""
    x = images.to(torch.float32) / 16
    return x if generator is None else x + 0.1 * torch.randn(x.shape, generator=generator)


def data(seed: int = 0) -> training.Data:
    """Four classes of 6 numbers: which two of them are the larger."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, 200)
    images = rng.integers(0, 16, (200, 6))
    images[np.arange(200), labels] += 16
    return training.Data(torch.from_numpy(images), torch.from_numpy(labels), noisy)


def model(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    made = nn.Sequential(nn.Linear(6, 32, bias=False), nn.BatchNorm1d(32), q.Sign(),
                         nn.Dropout(0.1), nn.Linear(32, 16), q.RPReLU(16), nn.Linear(16, 4))
    q.quantize_weights(made[0], q.FixedPointWeights(4, made[0].weight))
    q.quantize_weights(made[4], q.Ternary(made[4].weight))
    return made


def bits(trained: nn.Module) -> dict[str, bytes]:
    return {name: value.numpy().tobytes() for name, value in trained.state_dict().items()}


def test_it_learns_and_ends_in_eval_mode() -> None:
    trained, images = model(), data()
    before = training.accuracy(trained, images)
    history = training.fit(trained, images, replace(SETTINGS, epochs=12))
    assert not trained.training
    assert len(history) == 12
    assert history[-1].loss < history[0].loss
    assert training.accuracy(trained, images) > max(0.8, before)


def test_it_ends_in_the_same_bits_each_time_but_for_another_seed() -> None:
    one, two, other = model(), model(), model()
    state = torch.get_rng_state()
    training.fit(one, data(), SETTINGS)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(99)  # whatever the caller draws
    training.fit(two, data(), SETTINGS)
    training.fit(other, data(), replace(SETTINGS, seed=4))
    assert bits(one) == bits(two) != bits(other)


def stop_at(step: int) -> Callable[[int, int, str], None]:
    def progress(done: int, total: int, _: str) -> None:
        if done == step:
            raise KeyboardInterrupt

    return progress


def test_resume_is_bit_identical(tmp_path: Path) -> None:
    whole, path = model(), tmp_path / "training.safetensors"
    history = training.fit(whole, data(), SETTINGS)
    steps = 200 // 16
    # In the third epoch, then in the fourth; what is resumed does not start from the model given.
    for seed, step in ((0, 2 * steps + 5), (7, 3 * steps + 1)):
        with pytest.raises(KeyboardInterrupt):
            training.fit(model(seed), data(), SETTINGS, checkpoint=path, progress=stop_at(step))
    resumed = model(8)
    assert training.fit(resumed, data(), SETTINGS, checkpoint=path) == history
    assert bits(resumed) == bits(whole)
    # A finished training is taken as it is.
    again = model(9)
    assert training.fit(again, data(), SETTINGS, checkpoint=path, progress=stop_at(1)) == history
    assert bits(again) == bits(whole)
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


def test_hooks_run_after_each_step() -> None:
    trained, seen = model(), []

    def mask(step: int) -> None:
        with torch.no_grad():
            trained[6].weight[:, 0] = 0
        seen.append(step)

    def loss(x: Tensor, outputs: Tensor, labels: Tensor) -> Tensor:
        assert x.shape == (16, 6)
        return training.cross_entropy(x, outputs, labels)

    training.fit(trained, data(), SETTINGS, loss=loss, after_step=mask)
    assert seen == list(range(1, 4 * (200 // 16) + 1))
    assert not trained[6].weight[:, 0].any()


def test_the_rate_climbs_and_falls() -> None:
    settings = training.Settings(learning_rate=0.5, warm_up=0.1)
    rates = [settings.rate(step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(0.05)
    assert max(rates) == rates[9] == pytest.approx(0.5, rel=0.03)
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert rates[99] < 1e-3


@pytest.mark.parametrize(("change", "message"), [
    ({"epochs": 0}, "training: epochs must be an integer of at least 1, not 0"),
    ({"batch": 2.5}, "training: batch must be an integer of at least 1, not 2.5"),
    ({"seed": -1}, "training: seed must be an integer of at least 0, not -1"),
    ({"learning_rate": 0.0}, "training: the learning rate must be positive"),
    ({"learning_rate": float("nan")}, "training: the learning rate must be positive"),
    ({"warm_up": 2.0}, "the warm-up within 0 and 1")])
def test_settings_out_of_range_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(PenjingError, match=message):
        replace(SETTINGS, **change)


def test_unfit_data_are_refused() -> None:
    with pytest.raises(PenjingError, match="training data: 3 images and 2 labels; give as many"):
        training.Data(torch.zeros(3, 6), torch.zeros(2, dtype=torch.int64), noisy)
    with pytest.raises(PenjingError, match="a batch of 201 is larger than the 200 images; lower"):
        training.fit(model(), data(), replace(SETTINGS, batch=201))


def test_a_loss_that_is_no_number_is_refused() -> None:
    def loss(x: Tensor, outputs: Tensor, labels: Tensor) -> Tensor:
        return training.cross_entropy(x, outputs, labels) * float("nan")

    with pytest.raises(PenjingError, match="the loss is no number in epoch 1; lower the learning"):
        training.fit(model(), data(), SETTINGS, loss=loss)


def test_other_checkpoints_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "training.safetensors"
    short = replace(SETTINGS, epochs=1)
    training.fit(model(), data(), short, checkpoint=path)
    with pytest.raises(PenjingError, match="was made with another batch, seed; delete it"):
        training.fit(model(), data(), replace(short, batch=8, seed=5), checkpoint=path)
    with pytest.raises(PenjingError, match="was made with another masks; delete it"):
        training.fit(model(), data(), short, checkpoint=path, made_with={"masks": "0a"})
    with pytest.raises(PenjingError, match="this checkpoint is of another model; delete it"):
        training.fit(nn.Linear(6, 4), data(), short, checkpoint=path)
    whole = path.read_bytes()
    for damaged in (whole[:-9], b"", b"PK" + whole, whole[:8] + b"[" + whole[9:],
                    whole[:-1] + bytes([whole[-1] ^ 1]), whole.replace(b"made_with", b"made_wish"),
                    whole.replace(b"accuracy", b"accurate")):
        path.write_bytes(damaged)
        with pytest.raises(PenjingError, match="no checkpoint, or damaged; delete it"):
            training.fit(model(), data(), short, checkpoint=path)
