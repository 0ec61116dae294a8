"""What the PyTorch importer reads can be trained: the same outputs, names, and a file again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from others import shared
from penjing.compiler.ir import PenjingError
from penjing.compiler.load import aten
from penjing.compiler.load.aten import elementwise, linear
from penjing.compiler.load.pt2 import Reference
from pt2_files import File

torch = pytest.importorskip("torch", reason="needs torch: pip install penjing[torch]")

from penjing.compiler.compress import training  # noqa: E402
from penjing.compiler.compress.makers import MAKERS  # noqa: E402
from penjing.compiler.compress.trainable import Trainable, read  # noqa: E402
from penjing.compiler.load import torch as loader  # noqa: E402
from test_load_torch import (  # noqa: E402
    CHAINS,
    GRAPHS,
    Functional,
    Lambda,
    Residual,
    Wired,
    names,
    unsettle,
)
from torch import Tensor, nn  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")
EVERY = [*CHAINS, *GRAPHS]


def ran(model: Trainable, x: Tensor) -> Tensor:
    with torch.no_grad():
        result: Tensor = model.module(x)
    return result


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize("index", range(len(EVERY)))
def test_outputs_equal_those_of_the_program(index: int) -> None:
    """Of a batch, where the program was exported for one image; layers have their names."""
    build, shape = EVERY[index]
    torch.manual_seed(index)
    module = unsettle(build())
    program = torch.export.export(module, (torch.zeros(1, shape[-1], *shape[:-1]),))
    model = read(program)
    x = torch.randn(2, *model.dims)
    with torch.no_grad():
        wanted = torch.cat([module(image[None]) for image in x])
    torch.testing.assert_close(ran(model, x), wanted, rtol=1e-5, atol=1e-5)
    assert set(model.layers) <= set(names(loader.from_program(program)))


def small(dropout: float = 0.1) -> nn.Module:
    """A residual block, and layers of other kinds."""
    torch.manual_seed(0)
    return unsettle(nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4, eps=1e-3, momentum=0.2), nn.PReLU(4),
        Residual(4, 4), nn.ConvTranspose2d(4, 6, 3, 2, 1, groups=2), nn.Dropout(dropout),
        nn.Conv2d(6, 6, (3, 2), dilation=(1, 2), groups=6, bias=False), nn.ReLU6(inplace=True),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3), nn.BatchNorm1d(3, affine=False)))


def test_what_has_weights_is_a_module_called_as_its_layer() -> None:
    module = small()
    model = read(module, (6, 5, 2))
    kinds = {name: type(part) for name, part in model.module.named_modules() if name}
    assert kinds == {
        "conv2d_0": nn.Conv2d, "batch_no_1": nn.BatchNorm2d, "prelu_2": nn.PReLU,
        "conv2d_3_a": nn.Conv2d, "batch_no_3_norm_a": nn.BatchNorm2d, "conv2d_3_b": nn.Conv2d,
        "batch_no_3_norm_b": nn.BatchNorm2d, "conv_tra_4": nn.ConvTranspose2d,
        "dropout_5": nn.Dropout, "conv2d_6": nn.Conv2d, "linear_10": nn.Linear,
        "batch_no_11": nn.BatchNorm1d}
    assert list(model.layers) == ["conv2d_0", "conv2d_3_a", "conv2d_3_b", "conv_tra_4", "conv2d_6",
                                  "linear_10"]
    # Each as it was, to its last setting.
    others = {repr(part) for part in module.modules()}
    assert {repr(part) for part in model.module.children()} <= others
    assert not model.module.training


def test_it_trains_as_the_module_that_it_came_from() -> None:
    """The same loss and the same gradients, running statistics too, with batches."""
    module = small(dropout=0.0)
    model = read(module, (6, 5, 2))
    x = torch.randn(8, 2, 6, 5)
    for part in (module, model.module):
        part.train()
        (part(x) ** 3).sum().backward()
    others = list(module.parameters())
    for mine in model.module.parameters():
        same, = (other for other in others if torch.equal(other, mine))
        torch.testing.assert_close(mine.grad, same.grad, rtol=1e-3, atol=1e-3)
        others = [other for other in others if other is not same]
    assert not others
    torch.testing.assert_close(*(sorted(float(buffer.sum()) for buffer in part.buffers())
                                 for part in (model.module, module)))


def test_statistics_follow_the_weights_where_the_momentum_is_none() -> None:
    """It is exported as 0, with which training would leave the running statistics as they were."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4, momentum=None))
    model = read(module.eval(), (6, 5, 2))
    norm = model.module.get_submodule("batch_no_1")
    assert isinstance(norm, nn.BatchNorm2d)
    before, x = norm.running_mean.clone(), torch.randn(8, 2, 6, 5)  # type: ignore[union-attr]
    model.module.train()
    model.module(x)
    with torch.no_grad():
        mean = module[0](x).mean((0, 2, 3))
    torch.testing.assert_close(norm.running_mean, 0.9 * before + 0.1 * mean)


def test_fit_and_back_to_a_file(tmp_path: Path) -> None:
    """What was trained is in the file, which the importer reads with the same layers."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 60)
    images = rng.normal(size=(60, 2, 6, 5)).astype(np.float32)
    images[np.arange(60), 0, labels * 2] += 3
    data = training.Data(torch.from_numpy(images), torch.from_numpy(labels), lambda x, _: x)
    model = read(small(), (6, 5, 2))
    before = training.accuracy(model.module, data)
    training.fit(model.module, data, training.Settings(epochs=12, batch=20, learning_rate=0.02))
    assert training.accuracy(model.module, data) > max(0.6, before)
    model.module.train()
    model.save(tmp_path / "net.pt2")
    assert model.module.training
    model.module.eval()
    again = read(tmp_path / "net.pt2")
    x = data.images[:5]
    torch.testing.assert_close(ran(again, x), ran(model, x), rtol=1e-6, atol=1e-6)
    assert set(names(loader.load(tmp_path / "net.pt2"))) >= set(model.layers)
    assert list(again.layers) == list(model.layers)


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    model, path = read(small(), (6, 5, 2)), tmp_path / "net.pt2"
    path.write_bytes(b"before")
    model.layers["conv2d_6"].weight.data[0] = float("nan")
    with pytest.raises(PenjingError, match="layer conv2d_6: its weights hold NaN"):
        model.save(path)
    assert path.read_bytes() == b"before"
    assert [file.name for file in tmp_path.iterdir()] == ["net.pt2"]


@pytest.mark.parametrize("dynamic", [False, True])
def test_batches_of_a_program(dynamic: bool) -> None:
    module = unsettle(Functional())
    sizes = {"dynamic_shapes": ({0: torch.export.Dim("n")},)} if dynamic else {}
    model = read(torch.export.export(module, (torch.zeros(2, 2, 8, 6),), **sizes))
    x = torch.randn(5, *model.dims)
    torch.testing.assert_close(ran(model, x), module(x).detach())


@pytest.mark.parametrize("name", ["act", "cat", "conv1d", "dil", "dw", "mlpvec", "res"])
def test_program_of_today(name: str) -> None:
    path = shared("cases", "networks", f"torch_{name}.pt2")
    model = read(path)
    x = np.random.default_rng(0).uniform(0, 1, (3, *loader.load(path).input_shape))
    given = ran(model, torch.from_numpy(x).float().permute(0, 3, 1, 2).reshape(3, *model.dims))
    assert (model.softmax is not None) == (name == "mlpvec")
    if model.softmax is not None:
        given = given.softmax(1)
    np.testing.assert_allclose(given.movedim(1, -1), loader.run_float(path, x), rtol=1e-5,
                               atol=1e-5)


def test_what_is_called_twice_is_one_module() -> None:
    """Its gradient is the sum of both; weights that two layers share are one parameter."""
    conv, other = nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 1, stride=2)
    other.weight = conv.weight
    module = Wired(lambda x, a, b: b(a(a(x).relu())), conv, other).eval()
    model = read(module, (4, 4, 2))
    assert list(model.layers) == names(loader.from_module(module, (4, 4, 2)))[::3]
    first, second = model.layers.values()
    assert first.weight is second.weight
    x = torch.randn(2, 2, 4, 4)
    for part in (module, model.module):
        part(x).square().sum().backward()
    torch.testing.assert_close(first.weight.grad, conv.weight.grad)


def test_names_stay_when_it_is_saved(tmp_path: Path) -> None:
    """Of layers whose padding is a layer of its own, and of those that share their weights."""
    module = nn.Sequential(nn.Conv2d(1, 4, 1, padding=1), nn.Conv2d(4, 4, (1, 3), padding=1),
                           nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=2, dilation=2))
    module[3].weight = module[2].weight
    program = torch.export.export(module.eval(), (torch.zeros(1, 1, 6, 6),))
    model = read(program)
    assert list(model.layers) == ["conv2d_0", "conv2d_1", "conv2d_2", "conv2d_3"]
    assert {"conv2d_0_pad", *model.layers} <= set(names(loader.from_program(program)))
    model.save(tmp_path / "net.pt2")
    assert list(read(tmp_path / "net.pt2").layers) == list(model.layers)


def test_names_that_a_module_needs_itself() -> None:
    module = nn.Module()
    for name in ("graph", "code"):
        module.add_module(name, nn.Conv2d(2, 2, 1))
    module.forward = lambda x: module.code(module.graph(x).relu())  # type: ignore[method-assign]
    model = read(module.eval(), (4, 4, 2))
    assert list(model.layers) == ["graph_2", "code_2"]
    x = torch.randn(2, 2, 4, 4)
    torch.testing.assert_close(ran(model, x), module(x).detach())


def test_operators_with_weights_are_modules() -> None:
    takes_weights = {linear.convolution, linear.transposed, linear.linear, linear.batch_norm,
                     elementwise.prelu}
    assert {name for name, entry in aten.OPERATORS.items() if entry.convert in takes_weights} <= (
        set(MAKERS)) <= {*aten.OPERATORS, *aten.IDENTITIES}


def test_nothing_works_in_place() -> None:
    model = read(Lambda(lambda x: x.clone().relu_().add_(1.5).pow_(2).mul_(x)).eval(), (4, 4, 2))
    x = torch.randn(2, 2, 4, 4)
    given = x.clone().requires_grad_()
    model.module(given).sum().backward()
    torch.testing.assert_close(given.detach(), x)
    torch.testing.assert_close(ran(model, x), (x.relu() + 1.5) ** 2 * x)


def test_reading_draws_nothing_at_random() -> None:
    module = small()
    state = torch.get_rng_state()
    read(module, (6, 5, 2))
    assert torch.equal(torch.get_rng_state(), state)


def test_odd_files(tmp_path: Path) -> None:
    """Integers as weights are trained as reals; an argument too many is no crash."""
    net, path = File((2, 3, 3)), tmp_path / "net.pt2"
    weight = net.weight(np.arange(2, dtype=np.int8).reshape(1, 2, 1, 1))
    real = net.node("conv2d.default", (1, 3, 3), input=Reference("x"), weight=weight)
    path.write_bytes(net.bytes())
    model = read(path)
    model.module(torch.ones(2, *model.dims)).sum().backward()
    assert next(iter(model.layers.values())).weight.grad.flatten().tolist() == [18, 18]
    net.node("relu.default", (1, 3, 3), self=real, other=3)
    path.write_bytes(net.bytes())
    with pytest.raises(PenjingError, match=r"net.pt2: PyTorch cannot run it \(aten::relu.*export"):
        read(path)


def test_refusals(tmp_path: Path) -> None:
    path = tmp_path / "net.pt2"
    torch.export.save(torch.export.export(nn.GLU(1).eval(), (torch.zeros(1, 4, 5, 5),)), path)
    with pytest.raises(PenjingError, match=r"net.pt2: node glu \(aten.glu.default\): not su"):
        read(path)
    path.write_bytes(b"PK")
    with pytest.raises(PenjingError, match=r"net.pt2: damaged, or not a PyTorch program"):
        read(path)
    with pytest.raises(PenjingError, match=r"^layer argmax: no gradient passes an argmax"):
        read(Lambda(lambda x: x.relu().argmax(1)).eval(), (4, 5, 3))
    with pytest.raises(PenjingError, match="model: its input shape is missing"):
        read(small())
    with pytest.raises(PenjingError, match=r"training mode; call model.eval\(\)"):
        read(small().train(), (6, 5, 2))
