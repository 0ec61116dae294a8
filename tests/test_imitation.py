"""What is trained in fixed point is, number for number, what its integers compute."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from penjing.compiler.compress.fixed_point import (
    Precision,
    Precisions,
    quantize,
    quantize_input,
    widths,
)
from penjing.compiler.compress.fractions import Grid
from penjing.compiler.ir import Network, PenjingError
from penjing.sim import golden

torch = pytest.importorskip("torch", reason="needs torch: pip install penjing[torch]")

from penjing.compiler.compress import training  # noqa: E402
from penjing.compiler.compress.imitation import Imitable, Imitation, imitable  # noqa: E402
from penjing.compiler.compress.inputs import input_code  # noqa: E402
from penjing.compiler.compress.rounding import OnGrid  # noqa: E402
from penjing.compiler.compress.trainable import Trainable, read  # noqa: E402
from penjing.compiler.load import torch as loader  # noqa: E402
from test_load_torch import Lambda, Residual, Shifted, Wired, unsettle  # noqa: E402
from test_trainable import small  # noqa: E402
from torch import Tensor, nn  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")
SHAPE = (6, 5, 2)


def pixels(shape: tuple[int, ...] = SHAPE, count: int = 24, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def as_tensor(x: NDArray[np.uint8], model: Trainable) -> Tensor:
    """Pixels as parts of 255, as the ``model`` takes them."""
    channels_first = np.moveaxis(x.reshape(len(x), *x.shape[1:]), -1, 1)
    return torch.from_numpy((channels_first / 255).astype(np.float32)).reshape(-1, *model.dims)


def random_bits(able: Imitable, seed: int) -> Precisions:
    """Weights of 2 to 8 bits, maps of 3 to 8, each layer its own."""
    rng = np.random.default_rng(seed)
    return Precisions(7, 8, {name: Precision(
        own.weights and int(rng.integers(2, 9)), own.maps and int(rng.integers(3, 9)))
        for name, own in widths(able.floats).items()})


def require_equal(made: Imitation, network: Network, x: NDArray[np.uint8]) -> None:
    with torch.no_grad():
        found = made.model.module(as_tensor(x, made.model)).numpy()
    q = golden.run(network, quantize_input(x, network.input_type))
    steps = q * 2.0 ** -network.output_type.fraction
    np.testing.assert_array_equal(found, np.moveaxis(steps, -1, 1).reshape(found.shape))


def residual_from_the_input() -> nn.Module:
    """Where the input's odd step meets maps that are worth powers of two."""
    return Wired(lambda x, conv, last: last(torch.cat([conv(x) + x, torch.relu(x)], 1)),
                 nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(4, 3, 1))


def normalized() -> nn.Module:
    return Shifted(torch.tensor([0.5, 0.25]).reshape(2, 1, 1), nn.Conv2d(2, 6, 3, padding=1),
                   nn.ReLU(), nn.AvgPool2d((3, 2)), nn.Conv2d(6, 3, 1), nn.Tanh())


def gated() -> nn.Module:
    """A gate, and a batch norm that is not folded, since what it reads is read twice."""
    def run(x: Tensor, conv: nn.Module, norm: nn.Module, last: nn.Module) -> Tensor:
        y = conv(x)
        gate = y.mean((2, 3), keepdim=True).sigmoid()
        return last((norm(y) * gate).clamp(-1.0, 2.5).flatten(1))
    return Wired(run, nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Linear(4 * 4 * 3, 5))


def pools_first() -> nn.Module:
    """ReLUs behind pools, one within bounds, and a mean whose halves go up."""
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.MaxPool2d(2), nn.ReLU6(), nn.ZeroPad2d((1, 0, 0, 1)),
        nn.Conv2d(4, 4, 2, groups=2), nn.AdaptiveAvgPool2d(1), nn.Hardswish(), nn.Flatten(),
        nn.Linear(4, 3))


MODELS = [small, residual_from_the_input, normalized, gated, pools_first,
          lambda: nn.Sequential(nn.Conv2d(2, 4, 3), nn.PReLU(4), Residual(4, 4), nn.Flatten(),
                                nn.Linear(48, 4), nn.ReLU())]


@pytest.mark.parametrize("build", MODELS)
def test_outputs_are_those_of_the_integers(build: object) -> None:
    torch.manual_seed(1)
    assert callable(build)
    model = read(unsettle(build()), SHAPE)
    able = imitable(model, pixels())
    for seed in range(3):
        made = able.imitation(random_bits(able, seed))
        require_equal(made, made.network, pixels(seed=9))


def trained(made: Imitation, x: NDArray[np.uint8]) -> None:
    labels = torch.from_numpy(np.arange(len(x)) % 3)
    training.fit(made.model.module, training.Data(as_tensor(x, made.model), labels,
                                                  lambda batch, _: batch),
                 training.Settings(epochs=3, batch=8, learning_rate=3e-3))


def test_what_it_learns_becomes_these_integers() -> None:
    model = read(small(), SHAPE)
    before = {name: value.clone() for name, value in model.module.state_dict().items()}
    able = imitable(model, pixels())
    made = able.imitation(random_bits(able, 5))
    trained(made, pixels(seed=7))
    integers = made.integers()
    require_equal(made, integers, pixels(seed=9))
    changed = [not np.array_equal(new.weights.values, old.weights.values) for new, old in zip(
        *([layer for layer in network.layers if hasattr(layer, "weights")]
          for network in (integers, made.network)), strict=True)]
    assert sum(changed) >= 5
    # The latent weights are floats; the model that it came from is as it was.
    plain = made.plain()
    assert all(len(part.weight.unique()) > 16 for name, part in plain.layers.items())
    assert all(torch.equal(value, before[name])
               for name, value in model.module.state_dict().items())


def test_latent_weights_are_a_file_again(tmp_path: Path) -> None:
    """Which becomes the same integers where the same fraction lengths are chosen."""
    able = imitable(read(small(), SHAPE), pixels(), images=24)
    made = able.imitation(Precisions(6, 7))
    path = tmp_path / "net.pt2"
    made.plain().save(path)
    network = quantize(loader.load(path), pixels(), 6, 7, images=24)
    assert network.layers == made.network.layers
    require_equal(made, network, pixels(seed=9))


def test_images_of_floats() -> None:
    x = np.random.default_rng(0).normal(size=(30, 1, 1, 6))
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
    able = imitable(read(module, (6,)), x, input_bits=6)
    made = able.imitation(Precisions(3, 4))
    with torch.no_grad():
        found = made.model.module(torch.from_numpy(x.reshape(30, 6)).float()).numpy()
    kind = input_code(x, (1, 1, 6), 6).type
    assert kind == made.network.input_type
    q = golden.run(made.network, quantize_input(x, kind)).reshape(30, 3)
    np.testing.assert_array_equal(found, q * 2.0 ** -made.network.output_type.fraction)


def test_gradients_pass_straight_through() -> None:
    """Between the outermost levels, -4 and 3 quarters, and of signs up to ±1/2."""
    x = torch.tensor([-2.0, -1.0, -0.7, 0.0, 0.1, 0.3, 0.75, 0.76], requires_grad=True)
    made = OnGrid(Grid(-4, 3, 2))(x)
    assert made.tolist() == [-1.0, -1.0, -0.75, 0.0, 0.0, 0.25, 0.75, 0.75]
    (gradient,) = torch.autograd.grad(made.sum(), x)
    assert gradient.tolist() == [0, 1, 1, 1, 1, 1, 1, 0]
    made = OnGrid(Grid(-1, 1, 1, zero=False))(x)
    assert made.tolist() == [-0.5, -0.5, -0.5, 0.5, 0.5, 0.5, 0.5, 0.5]
    (gradient,) = torch.autograd.grad(made.sum(), x)
    assert gradient.tolist() == [0, 0, 0, 1, 1, 1, 0, 0]
    made = OnGrid(Grid(-4, 3, 2), 2.0)(x)
    assert made.tolist() == [-1.0, -1.0, -1.0, 0.0, 0.25, 0.5, 0.75, 0.75]


def twice() -> nn.Module:
    return Wired(lambda x, conv: conv(conv(x)), nn.Conv2d(2, 2, 3, padding=1))


def scaled_behind(between: nn.Module) -> nn.Module:
    return Wired(lambda x, conv, between: between(conv(x)) * 1.5, nn.Conv2d(2, 2, 3, padding=1),
                 between).eval()


def dropped_between() -> nn.Module:
    return scaled_behind(nn.Dropout(0.1))


def computed() -> nn.Module:
    return Lambda(lambda x: x * x.sigmoid())


@pytest.mark.parametrize(("build", "match"), [
    (twice, "layer parts_0_2: its weights are computed, or another layer's too"),
    (dropped_between, "model: PyTorch has layers of it in another way than hardware"),
    (computed, "model: PyTorch has layers of it in another way than hardware")])
def test_what_is_refused(build: object, match: str) -> None:
    assert callable(build)
    torch.manual_seed(0)
    with pytest.raises(PenjingError, match=match):
        imitable(read(build().eval(), SHAPE), pixels())


def test_a_constant_behind_a_layer_is_in_its_weights() -> None:
    torch.manual_seed(0)
    layer, = imitable(read(scaled_behind(nn.Identity()), SHAPE), pixels()).model.layers.values()
    torch.manual_seed(0)
    plain = nn.Conv2d(2, 2, 3, padding=1)
    torch.testing.assert_close(layer.weight, 1.5 * plain.weight)


def test_widths_are_checked() -> None:
    able = imitable(read(small(), SHAPE), pixels())
    with pytest.raises(PenjingError, match="'none' is no layer with a width"):
        able.imitation(Precisions(layers={"none": Precision(4)}))
