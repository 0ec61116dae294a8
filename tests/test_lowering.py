"""What was trained through quantizers and its integer network compute the same."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import numpy as np
import pytest
from penjing.compiler import ir
from penjing.compiler.ir import PenjingError, TensorType
from penjing.sim import golden

torch = pytest.importorskip("torch")

from penjing.compiler.compress import quantizers as q  # noqa: E402
from penjing.compiler.compress.blocks import Repeat, Residual  # noqa: E402
from penjing.compiler.compress.lowering import lower  # noqa: E402
from torch import Tensor, nn  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")
PIXELS = TensorType((8, 7, 3), 8, False, 8)


def with_weights(layer: nn.Module, kind: str) -> nn.Module:
    """``layer`` with weights of ``kind``."""
    assert isinstance(layer.weight, Tensor)
    w = layer.weight.detach()
    made = {"binary": q.Binary, "xnor": q.Xnor, "ternary": lambda: q.Ternary(w, t=0.3)}
    quantizer = made[kind]() if kind in made else q.FixedPointWeights(int(kind), w)
    if isinstance(quantizer, q.Ternary):
        quantizer.negative.data.mul_(0.6)
    q.quantize_weights(layer, quantizer)
    return layer


def disturbed(model: nn.Module, seed: int) -> nn.Module:
    """``model`` in eval mode, its batch norms of both signs, and one channel of each constant."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.momentum = 1.0
            with torch.no_grad():
                module.weight.copy_(torch.randn(module.num_features, generator=generator))
                module.weight[0] = 0
                module.bias.copy_(0.5 * torch.randn(module.num_features, generator=generator))
    model.train()(torch.rand((64, 3, 8, 7), generator=generator))  # for the statistics
    return model.eval()


def network(weights: str, activation: Callable[[], nn.Module], pad: float, seed: int
            ) -> nn.Sequential:
    """Convolutions of several kinds, pools before and behind activations, linear layers."""
    torch.manual_seed(seed)
    conv = nn.Sequential(OrderedDict(
        conv=with_weights(nn.Conv2d(3, 6, 3, padding=1, bias=False), "8"),
        norm=nn.BatchNorm2d(6), pool=nn.MaxPool2d(2), act=activation()))
    return nn.Sequential(OrderedDict(
        first=conv, drop=nn.Dropout(0.5), pad=nn.ConstantPad2d((1, 0, 2, 1), pad),
        second=with_weights(nn.Conv2d(6, 8, 3, (2, 1), groups=2, bias=False), weights),
        relu=nn.Hardtanh(-2.5, 2.5), norm=nn.BatchNorm2d(8), act=activation(),
        pool=nn.MaxPool2d(2, 1), third=with_weights(nn.Conv2d(8, 8, 1, groups=8, bias=False),
                                                    weights),
        norm3=nn.BatchNorm2d(8), act3=activation(), flatten=nn.Flatten(),
        fc1=with_weights(nn.Linear(8 * 2 * 1, 12, bias=False), weights),
        norm4=nn.BatchNorm1d(12), act4=activation(),
        fc2=with_weights(nn.Linear(12, 5, bias=False), "4")))


ACTIVATIONS: dict[str, tuple[Callable[[], nn.Module], float]] = {
    "sign": (q.Sign, -1.0), "bits": (lambda: q.FixedPoint(1, 0, signed=True), 1.0),
    "two": (lambda: q.FixedPoint(2, 1), 0.0),
    "signed": (lambda: q.FixedPoint(3, 1, signed=True), 0),
    "eight": (lambda: q.FixedPoint(8, 5), 0.25)}


@pytest.mark.parametrize("weights", ["binary", "xnor", "ternary", "2", "3", "8"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_value_is_that_of_pytorch(weights: str, activation: str) -> None:
    act, pad = ACTIVATIONS[activation]
    seen: set[int] = set()
    for seed in range(3):
        model = disturbed(network(weights, act, pad, seed), seed)
        assert isinstance(model, nn.Sequential)
        made = lower(model, PIXELS)
        x = np.random.default_rng(seed).integers(0, 256, (20, 8, 7, 3))
        x[0], x[1] = 0, 255
        with torch.no_grad():
            wanted = model(torch.from_numpy(x.transpose(0, 3, 1, 2) / 256).float()).numpy()
        mine = golden.run(made, x).reshape(wanted.shape)
        step = wanted[np.abs(mine) > 0] / mine[np.abs(mine) > 0]
        assert np.ptp(step) == 0  # float32 is exact, so that only one power of two lies between
        assert step[0] == made.output_type.step
        assert np.array_equal(mine * step[0], wanted)
        seen |= set(mine.flat)
    assert len(seen) > 10
    kinds = {type(layer) for layer in made.layers}
    assert (ir.SlopeRequantize in kinds) <= (activation == "eight")
    assert kinds - {ir.SlopeRequantize} == {ir.Convolution, ir.Depthwise, ir.Dense, ir.Threshold,
                                            ir.MaxPool, ir.Flatten}
    assert [layer.name for layer in made.layers][:3] == ["first_conv", "first_act", "first_pool"]


def residual_network(seed: int, fraction: int) -> nn.Sequential:
    """ReActNet's blocks: shortcuts that keep, pool and repeat; slopes of both signs, and of 0."""
    torch.manual_seed(seed)

    def block(inputs: int, outputs: int, stride: int, *shortcut: nn.Module) -> list[nn.Module]:
        body = nn.Sequential(OrderedDict(
            sign=q.RSign(inputs), pad=nn.ConstantPad2d(1, -1.0),
            conv=with_weights(nn.Conv2d(inputs, outputs, 3, stride, bias=False), "binary"),
            norm=nn.BatchNorm2d(outputs), act=stream()))
        return [Residual(body, nn.Sequential(*shortcut)), q.RPReLU(outputs), stream()]

    def stream() -> nn.Module:
        return q.FixedPoint(8, fraction, signed=True)

    made = nn.Sequential(
        with_weights(nn.Conv2d(3, 4, 3, bias=False), "8"), nn.BatchNorm2d(4), stream(),
        *block(4, 4, 1), *block(4, 12, 2, nn.AvgPool2d(2, 2, (0, 1)), stream(), Repeat(3)),
        nn.AdaptiveAvgPool2d(1), stream(), nn.Flatten(),
        with_weights(nn.Linear(12, 5, bias=False), "8"))
    for module in made.modules():
        if isinstance(module, q.RSign | q.RPReLU):
            for name, values in module.named_parameters():
                values.data = 0.4 * torch.randn(values.shape)
                if name == "slope":
                    values.data[0] = 0
    return made


def test_shortcuts_and_two_slopes_compute_what_pytorch_does() -> None:
    seen: set[int] = set()
    for seed in range(6):
        model = disturbed(residual_network(seed, 3 + seed % 3), seed)
        assert isinstance(model, nn.Sequential)
        made = lower(model, PIXELS)
        x = np.random.default_rng(seed).integers(0, 256, (20, 8, 7, 3))
        x[0], x[1] = 0, 255
        with torch.no_grad():
            wanted = model(torch.from_numpy(x.transpose(0, 3, 1, 2) / 256).float()).numpy()
        mine = golden.run(made, x).reshape(wanted.shape)
        assert np.array_equal(mine * made.output_type.step, wanted)
        seen |= set(mine.flat)
    assert len(seen) > 100
    layers = {layer.name: layer for layer in made.layers}
    assert isinstance(layers["layer_3"], ir.Add)
    assert layers["layer_3"].inputs == ("layer_3_act", "layer_2")
    assert layers["layer_6"].inputs == ("layer_6_act", "layer_6_shortcut_2")
    assert layers["layer_6_shortcut_1"] == ir.ShiftRequantize(
        "layer_6_shortcut_1", "layer_6_shortcut_0", 2, 8, True)
    bent = [layer for layer in made.layers if isinstance(layer, ir.SlopeRequantize)
            and layer.is_bent]
    assert [layer.name for layer in bent] == ["layer_5", "layer_8"]
    # RPReLU's own constants need few bits.
    assert all(np.abs(layer.multipliers).max() <= 64 * 2 for layer in bent)


def flat(*modules: nn.Module) -> ir.Network:
    first = nn.Linear(3, 3, bias=False)
    with torch.no_grad():
        first.weight.copy_(2 * torch.eye(3) - 1)
    q.quantize_weights(first, q.Binary())
    return lower(nn.Sequential(first, *modules).eval(), TensorType((1, 1, 3), 4, True))


def test_ties_fall_as_in_pytorch() -> None:
    # -(x - 3) / 2 and (x - 3) / 2 are 0 at 3, whose sign is +1, and a half at 4, which rounds up.
    norm = nn.BatchNorm1d(3, eps=0.0)
    norm.running_mean = torch.full((3,), 3.0)
    norm.running_var = torch.full((3,), 4.0)
    norm.weight.data = torch.tensor([1.0, -1.0, 0.0])
    x = np.arange(-8, 8).repeat(3).reshape(-1, 1, 1, 3)
    layer = flat(norm, q.Sign()).layers[-1]
    assert isinstance(layer, ir.Threshold)
    sums = x[:, 0, 0, 0]
    assert np.array_equal(golden.execute(layer, x).reshape(-1, 3), np.stack(
        (np.where(sums >= 3, 1, -1), np.where(sums <= 3, 1, -1), np.ones(16)), 1))
    layer = flat(norm, q.FixedPoint(2, 0)).layers[-1]
    assert isinstance(layer, ir.Threshold)
    assert golden.execute(layer, np.full((1, 1, 1, 3), 4)).reshape(-1).tolist() == [1, 0, 0]
    assert golden.execute(layer, np.full((1, 1, 1, 3), 2)).reshape(-1).tolist() == [0, 1, 0]


def test_rsign_is_a_threshold_for_each_channel() -> None:
    module = q.RSign(3)
    module.shift.data = torch.tensor([0.0, 1.5, -2.0])
    layer = flat(module).layers[-1]
    assert isinstance(layer, ir.Threshold)
    assert layer.thresholds.tolist() == [[0], [2], [-2]]


def test_alpha_takes_no_hardware_where_a_sign_follows() -> None:
    model = disturbed(network("xnor", q.Sign, -1.0, 1), 1)
    assert isinstance(model, nn.Sequential)
    layers = {layer.name: layer for layer in lower(model, PIXELS).layers}
    for name in ("second", "third", "fc1"):
        layer = layers[name]
        assert isinstance(layer, ir.MultiplyAccumulate)
        assert set(np.unique(layer.weights.values)) == {-1, 1}


def quantized(layer: nn.Module) -> nn.Module:
    return with_weights(layer, "binary")


def falling() -> nn.Module:
    norm = nn.BatchNorm2d(2)
    norm.weight.data.fill_(-1)
    return norm


def turning(channels: int) -> q.RPReLU:
    module = q.RPReLU(channels)
    module.slope.data.fill_(-1)
    return module


@pytest.mark.parametrize(("modules", "message"), [
    ([nn.Conv2d(3, 2, 1, bias=False)], "layer 0: its weights are floats; put a quantizer before"),
    ([quantized(nn.Conv2d(3, 2, 1))], "layer 0: it has a bias; leave that to the batch norm"),
    ([quantized(nn.Conv2d(3, 2, 1, bias=False, padding_mode="circular", padding=0))],
     "layer 0: its padding is no number, or it is dilated"),
    ([quantized(nn.Linear(3, 2, bias=False))], "layer 0: its input is a map; put a Flatten before"),
    ([nn.BatchNorm2d(3)], "layer 0: nothing behind it takes what it gives; end with a layer"),
    ([nn.BatchNorm2d(5)], "layer 0: it has 5 channels or no statistics, its input has 3"),
    ([nn.BatchNorm2d(3, track_running_stats=False)], "layer 0: it has 3 channels or no statistics"),
    ([nn.Flatten()], "layer 0: nothing behind it takes what it gives"),
    ([nn.Flatten(), nn.BatchNorm1d(168)], "layer 1: it comes behind a Flatten; put it before"),
    ([nn.BatchNorm2d(3), quantized(nn.Conv2d(3, 2, 1, bias=False))],
     "layer 1: its input is not quantized; put a Sign or a FixedPoint before it"),
    ([with_weights(nn.Conv2d(3, 2, 1, bias=False), "xnor")], "model: its outputs have a scale ea"),
    ([nn.ConstantPad2d(1, 0.3), quantized(nn.Conv2d(3, 2, 1, bias=False))],
     "layer 1: its padding of 0.3 is no integer of its input; pad with"),
    ([nn.ConstantPad2d(1, 0.5), quantized(nn.Conv2d(3, 2, 3, bias=False, padding=1))],
     "layer 1: it pads what is padded already"),
    ([nn.ConstantPad2d(1, 0.5), q.Sign()], "layer 1: a padding comes before it; pad in front"),
    ([nn.ConstantPad2d(1, 0.5), nn.MaxPool2d(2)], "layer 1: a padding comes before it; pad in"),
    ([quantized(nn.Conv2d(3, 2, 1, bias=False)), nn.BatchNorm2d(2), nn.MaxPool2d(2), falling()],
     "layer 3: it falls in some channels, behind a max pool; put it before the pool"),
    ([nn.MaxPool2d(2, ceil_mode=True)], "layer 0: it is dilated, of ceil_mode or returns indices"),
    ([Residual(nn.Sequential(q.FixedPoint(8, 3, signed=True)),
               nn.Sequential(q.FixedPoint(8, 2, signed=True)))],
     "layer 0: one step is 0.125 in its body and 0.25 in its shortcut, or one is flattened; end"),
    ([Residual(nn.Sequential(nn.BatchNorm2d(3)))], "layer 0: its input is not quantized; put a"),
    ([nn.BatchNorm2d(3), Residual(nn.Sequential())], "layer 1: its input is not quantized; put a"),
    ([nn.ConstantPad2d(1, 0), Residual(nn.Sequential())], "layer 1: a padding comes before it"),
    ([nn.Flatten(), Repeat(2)], "layer 1: it comes behind a Flatten; put it before"),
    ([nn.AvgPool2d(2), quantized(nn.Conv2d(3, 2, 1, bias=False))],
     "layer 1: its input is not quantized; put a Sign or a FixedPoint before it"),
    ([nn.AvgPool2d(2, count_include_pad=False, padding=1)], "layer 0: it divides by another num"),
    ([nn.AdaptiveAvgPool2d(2)], "layer 0: it puts out more than one position; use AvgPool2d"),
    ([q.RPReLU(2)], "layer 0: it has 2 channels, its input has 3, or it comes behind a Flatten"),
    ([quantized(nn.Conv2d(3, 2, 1, bias=False)), nn.BatchNorm2d(2), nn.MaxPool2d(2),
      turning(2)], "layer 3: it falls in some channels, behind a max pool; put it before the pool"),
    ([turning(3), q.Sign()], "layer 1: what it quantizes rises and falls, and is no two lines of"),
    ([nn.Softsign()], "layer 0: Softsign is not known here; use the modules that"),
    ([nn.MaxPool2d(9)], "layer layer_0: kernel .* exceeds its input")])
def test_refusals(modules: list[nn.Module], message: str) -> None:
    with pytest.raises(PenjingError, match=message):
        lower(nn.Sequential(*modules).eval(), PIXELS)


def test_a_model_in_training_mode_is_refused() -> None:
    with pytest.raises(PenjingError, match=r"model: it is in training mode; call model.eval\(\)"):
        lower(nn.Sequential(q.Sign()), PIXELS)
