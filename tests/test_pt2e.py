"""Programs that PT2E quantized: the golden model against PyTorch on the same program."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_files
import pt2_files
import pytest
from penjing.__main__ import main
from penjing.compiler import ir
from penjing.compiler.ir import PenjingError
from penjing.compiler.load import pt2
from penjing.compiler.load import pt2e as importer
from penjing.compiler.load.pt2 import ElementKind, Reference
from penjing.sim import golden, tail
from pt2_files import DECOMPOSED, Quantized

torch = pytest.importorskip("torch", reason="needs torch: pip install penjing[torch]")

from penjing.sim.oracles import pt2e as oracle  # noqa: E402

NETWORKS = (pt2_files.residual_network, pt2_files.line_network)


def steps(folder: Path, data: bytes, seed: int = 0, count: int = 20) -> np.ndarray:
    """How far the golden model is from PyTorch, value by value."""
    path = folder / "net.pt2"
    path.write_bytes(data)
    network = importer.load(path, "net")
    x = onnx_files.images(network.input_type, count, seed)
    mine, other = golden.run(network, x), oracle.run(path, x)
    assert mine.shape == other.shape
    assert len(np.unique(mine)) > 2
    return np.abs(mine - other)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("network", NETWORKS)
def test_powers_of_two_are_exact(network: Callable[..., Quantized], seed: int,
                                 tmp_path: Path) -> None:
    net = network(np.random.default_rng(seed), powers=True, unsigned=bool(seed))
    assert not steps(tmp_path, net.bytes(), seed).any()


@pytest.mark.parametrize("network", NETWORKS)
def test_other_scales_differ_by_halves(network: Callable[..., Quantized], tmp_path: Path) -> None:
    found = np.concatenate([
        steps(tmp_path, network(np.random.default_rng(seed), unsigned=bool(seed % 2)).bytes(),
              seed).reshape(-1) for seed in range(4)])
    assert found.max() <= 1
    assert np.count_nonzero(found) < 0.01 * found.size


# --- operators, one by one, with scales that are powers of two
OPERATORS: dict[str, Callable[[Quantized], object]] = {}


def operator(build: Callable[[Quantized], object]) -> Callable[[Quantized], object]:
    OPERATORS[build.__name__] = build
    return build


def ends(net: Quantized, real: Reference) -> None:
    net.end(net.quantize(real, net.start.scale * 60))


def unary(target: str, dims: tuple[int, ...], **arguments: object) -> None:
    """An operator of one tensor."""
    def build(net: Quantized) -> None:
        ends(net, net.node(target, dims, self=net.real(net.start), **arguments))
    OPERATORS[f"{target} {arguments}"] = build


unary("relu6.default", (4, 6, 6))
unary("hardtanh.default", (4, 6, 6))
unary("clamp_min_.default", (4, 6, 6), min=-0.5)
unary("max_pool2d.default", (4, 4, 3), kernel_size=[3, 2], stride=[2], padding=[1, 0],
      dilation=[1, 1], ceil_mode=True)
unary("avg_pool2d.default", (4, 4, 4), kernel_size=[2], stride=[2], padding=[1])
unary("adaptive_avg_pool2d.default", (4, 2, 6), output_size=[2, 6])
unary("mean.dim", (4, 1, 1), dim=[2, 3], keepdim=True)
unary("constant_pad_nd.default", (4, 7, 8), pad=[0, 2, 1, 0], value=0.0)
unary("slice.Tensor", (4, 2, 6), dim=2, start=1, end=5, step=2)
unary("slice.Tensor", (2, 6, 6), dim=1, start=2, end=2**63 - 1)
unary("mul.Tensor", (4, 6, 6), other=0.25)
unary("div.Tensor", (4, 6, 6), other=2)


unary("amax.default", (4, 1, 1), dim=[2, 3], keepdim=True)
unary("amax.default", (4,), dim=[-1, -2])
unary("clamp_max.default", (4, 6, 6), max=0.25)
unary("threshold.default", (4, 6, 6), threshold=0.25, value=0)
unary("threshold.default", (4, 6, 6), threshold=0.25, value=0.25)
unary("hardshrink.default", (4, 6, 6), lambd=0.75)
unary("softshrink.default", (4, 6, 6))
unary("pow.Tensor_Scalar", (4, 6, 6), exponent=2)
unary("rrelu.default", (4, 6, 6), lower=0.125, upper=0.375, training=False)

for activation in ("sigmoid", "tanh", "silu", "mish", "hardswish", "hardsigmoid", "gelu", "elu",
                   "softplus", "celu", "selu", "abs", "neg", "exp", "log_sigmoid"):
    unary(f"{activation}.default", (4, 6, 6))
unary("leaky_relu_.default", (4, 6, 6), negative_slope=0.125)
unary("gelu.default", (4, 6, 6), approximate="tanh")


@operator
def slopes_and_factors_of_channels(net: Quantized) -> None:
    def weight(values: np.ndarray) -> Reference:
        return net.weight(values.astype(np.float32))

    x = net.node("batch_norm.default", (4, 6, 6), input=net.real(net.start),
                 weight=weight(2.0 ** np.arange(-2, 2)), bias=weight(np.arange(4) / 4),
                 running_mean=weight(np.zeros(4)), running_var=weight(np.ones(4) - 2.0 ** -10),
                 training=False, momentum=0.1, eps=2.0 ** -10, cudnn_enabled=False)
    x = net.node("prelu.default", (4, 6, 6), self=net.real(net.quantize(x, 2.0)),
                 weight=weight(np.array([0.5, 0, -1, 0.25])))
    ends(net, x)


@operator
def channels_of_other_scales(net: Quantized) -> None:
    half = net.node("mul.Tensor", (4, 6, 6), self=net.real(net.start), other=0.5)
    second = net.quantize(half, 1.0)
    ends(net, net.node("cat.default", (8, 6, 6), tensors=[net.real(net.start), net.real(second)],
                       dim=1))


@operator
def tensors_for_parameters(net: Quantized) -> None:
    x = net.node("upsample_nearest2d.vec", (4, 12, 6), input=net.real(net.start),
                 output_size=None, scale_factors=[2.0, 1.0])
    scale, zero = net.weight(np.array([0.125], np.float32)), net.weight(np.array([3], np.int64))
    ends_of = {"scale": scale, "zero_point": zero, "quant_min": -128, "quant_max": 127,
               "dtype": ElementKind("int8")}
    q = net.node(f"{DECOMPOSED}.quantize_per_tensor.tensor", (4, 12, 6), input=x, **ends_of)
    net.node(f"{DECOMPOSED}.dequantize_per_tensor.tensor", (4, 12, 6), input=q, **ends_of)


@operator
def weights_quantized_in_the_graph(net: Quantized) -> None:
    """Halves of weights, which torch rounds to even, and ranges that cut some off."""
    w = net.weight((np.arange(-36, 36).reshape(2, 4, 3, 3) / 8).astype(np.float32))
    scales = net.weight(np.array([0.25, 0.5], np.float32))
    zeros = net.weight(np.array([0, 1], np.int64))
    range_of = {"axis": 0, "quant_min": -7, "quant_max": 7, "dtype": ElementKind("int8")}
    q = net.node(f"{DECOMPOSED}.quantize_per_channel.default", (4, 3, 3), input=w, scales=scales,
                 zero_points=zeros, **range_of)
    real = net.node(f"{DECOMPOSED}.dequantize_per_channel.default", (4, 3, 3), input=q,
                    scales=scales, zero_points=zeros, **range_of)
    x = net.node("conv2d.default", (2, 4, 4), input=net.real(net.start), weight=real, bias=None)
    net.end(net.quantize(x, 30.0))


@operator
def weights_by_tensor_and_a_quantized_bias(net: Quantized) -> None:
    """As other quantizers than torchao's store them; a constant that is lifted on the way."""
    low, high = -128, 127
    range_of = {"zero_point": 0, "quant_min": low, "quant_max": high, "dtype": ElementKind("int8")}
    values = net.weight(net.rng.integers(low, high + 1, (3, 4, 2, 2)).astype(np.int8))
    w = net.node(f"{DECOMPOSED}.dequantize_per_tensor.default", (4, 2, 2), input=values,
                 scale=2.0 ** -7, **range_of)
    steps = net.weight(net.rng.integers(-9999, 9999, 3).astype(np.int32))
    steps = net.node("lift_fresh_copy.default", (), self=steps)
    bias = net.node(f"{DECOMPOSED}.dequantize_per_tensor.default", (), input=steps,
                    scale=net.start.scale * 2.0 ** -7, zero_point=0, quant_min=-2**31,
                    quant_max=2**31 - 1, dtype=ElementKind("int32"))
    real = net.node("conv2d.default", (3, 5, 5), input=net.real(net.start), weight=w, bias=bias)
    net.end(net.quantize(real, net.start.scale * 200))


@operator
def parts_and_their_difference(net: Quantized) -> None:
    real = net.real(net.start)
    first = net.node("chunk.default", (2, 6, 6), self=real, chunks=2, dim=1)
    net.nodes[-1]["outputs"].append({"as_tensor": {"name": "second"}})
    net.dims["second"] = (2, 6, 6)
    ends(net, net.node("sub.Tensor", (2, 6, 6), self=first, other=Reference("second")))


def axes_mixed(target: str, **arguments: object) -> None:
    """Channels that are shuffled as two groups, by an operator that turns axes."""
    def build(net: Quantized) -> None:
        split = net.node("view.default", (2, 2, 6, 6), self=net.real(net.start),
                         size=[-1, 2, 2, 6, 6])
        turned = net.node(target, (2, 2, 6, 6), self=split, **arguments)
        whole = net.node("view.default", (4, 6, 6), self=turned, size=[-1, 4, 6, 6])
        real, spread = net.convolution(net.quantize(whole, 0, net.start.scale, net.start.zero), 3,
                                       3)
        net.end(net.quantize(real, spread))
    OPERATORS[f"shuffle by {target}"] = build


axes_mixed("transpose.int", dim0=1, dim1=2)
axes_mixed("movedim.int", source=2, destination=1)
axes_mixed("swapaxes.default", axis0=-4, axis1=-3)


@operator
def softsign_as_it_is_exported(net: Quantized) -> None:
    real = net.real(net.start)
    more = net.node("add.Tensor", (4, 6, 6), self=net.node("abs.default", (4, 6, 6), self=real),
                    other=1)
    ends(net, net.node("div.Tensor", (4, 6, 6), self=real, other=more))


@operator
def adaptive_maxima(net: Quantized) -> None:
    maxima = net.node("adaptive_max_pool2d.default", (4, 2, 3), self=net.real(net.start),
                      output_size=[2, 3])
    net.nodes[-1]["outputs"].append({"as_tensor": {"name": "indices"}})
    net.dims["indices"] = (4, 2, 3)
    ends(net, maxima)


def turned_convolution(target: str, **arguments: object) -> None:
    """A convolution the other way round, with weights of one scale."""
    def build(net: Quantized) -> None:
        rng = {"scale": 2.0 ** -7, "zero_point": 0, "quant_min": -128, "quant_max": 127,
               "dtype": ElementKind("int8")}
        values = net.weight(net.rng.integers(-128, 128, (4, 3, 3, 2)).astype(np.int8))
        w = net.node(f"{DECOMPOSED}.dequantize_per_tensor.default", (3, 3, 2), input=values, **rng)
        real = net.node(target, (6, 12, 12), input=net.real(net.start), weight=w, bias=None,
                        stride=[2, 2], padding=[1, 0], **arguments)
        net.end(net.quantize(real, net.start.scale * 200))
    OPERATORS[target] = build


turned_convolution("conv_transpose2d.input", output_padding=[1, 0], groups=2, dilation=[1, 1])
turned_convolution("convolution.default", dilation=[1, 1], transposed=True, output_padding=[1, 0],
                   groups=2)


@operator
def best_channel_at_the_end(net: Quantized) -> None:
    net.node("max.dim", (6, 6), self=net.real(net.start), dim=1)
    net.nodes[-1]["outputs"].append({"as_tensor": {"name": "indices"}})
    net.dims["indices"] = (6, 6)
    net.output = "indices"


@operator
def argmax_at_the_end(net: Quantized) -> None:
    net.node("argmax.default", (6, 6), self=net.real(net.start), dim=1)


@operator
def channels_last_before_a_matrix(net: Quantized) -> None:
    moved = net.node("permute.default", (6, 6, 4), self=net.real(net.start), dims=[0, 2, 3, 1])
    flat = net.node("view.default", (144,), self=moved, size=[-1, 144])
    x = net.quantize(flat, 0, net.start.scale, net.start.zero)
    real, spread = net.linear(x, 4)
    logits = net.real(net.quantize(real, spread))
    net.node("softmax.int", (4,), self=logits, dim=-1)


@pytest.mark.parametrize("name", OPERATORS)
def test_operator(name: str, tmp_path: Path) -> None:
    net = Quantized(np.random.default_rng(len(name)), (4, 6, 6), powers=True)
    OPERATORS[name](net)
    assert not steps(tmp_path, net.bytes()).any()


# --- programs of PyTorch itself
class Quantizer(torch.nn.Module):
    """A layer whose output is quantized to uint8 and back, as PT2E writes it."""

    def __init__(self, layer: torch.nn.Module, scale: float) -> None:
        super().__init__()
        self.layer, self.scale = layer, scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        ends = self.scale, 128, 0, 255, torch.uint8
        q = torch.ops.quantized_decomposed.quantize_per_tensor(self.layer(x), *ends)
        return torch.ops.quantized_decomposed.dequantize_per_tensor(q, *ends)


class Weighted(torch.nn.Module):
    """A convolution or a linear layer with stored int8 weights and a bias of floats."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.register_buffer("q", torch.randint(-127, 128, shape, dtype=torch.int8))
        self.register_buffer("scales", torch.rand(shape[0]) / 200 + 0.001)
        self.register_buffer("zeros", torch.zeros(shape[0], dtype=torch.int64))
        self.bias = torch.nn.Parameter(torch.randn(shape[0]) / 4)
        self.function = torch.nn.functional.linear if len(shape) == 2 else (
            torch.nn.functional.conv2d)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        w = torch.ops.quantized_decomposed.dequantize_per_channel(
            self.q, self.scales, self.zeros, 0, -127, 127, torch.int8)
        return self.function(x, w, self.bias)


def exported(path: Path) -> None:
    """A network as ``torch.export.save`` stores it, of any batch."""
    import torch.ao.quantization.fx._decomposed  # defines the operators

    torch.manual_seed(0)
    nn = torch.nn
    net = nn.Sequential(
        Quantizer(nn.Identity(), 1 / 64), Quantizer(nn.Sequential(Weighted(5, 3, 3, 3), nn.ReLU()),
                                                    1 / 70),
        nn.MaxPool2d(2), nn.Flatten(), Quantizer(Weighted(4, 45), 1 / 20)).eval()
    program = torch.export.export(net, (torch.zeros(2, 3, 8, 8),), dynamic_shapes=(
        {0: torch.export.Dim("batch", max=64)},))
    torch.export.save(program, path)


def test_from_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exported(tmp_path / "net.pt2")
    np.savez(tmp_path / "net.npz",
             x=np.random.default_rng(0).uniform(-2, 2, (50, 8, 8, 3)).astype(np.float32))
    main(["compile", str(tmp_path / "net.pt2"), "-b", "generic", "-o", str(tmp_path / "out")])
    capsys.readouterr()
    main(["evaluate", str(tmp_path / "out"), "--data", str(tmp_path / "net.npz"), "--json"])
    told = json.loads(capsys.readouterr().out)
    assert (told["oracle"], told["values_compared"], told["oracle_steps"]) == ("pytorch", 200, 1)
    assert told["oracle_mismatches"] <= 2
    assert told["layer_values"] > 9_000 and not told["layer_mismatches"]


@pytest.mark.parametrize("operator", ["softmax", "log_softmax"])
@pytest.mark.parametrize("of_map", [False, True])
def test_what_the_host_makes_of_it_is_pytorchs(operator: str, of_map: bool,
                                               tmp_path: Path) -> None:
    """Of a map, a softmax leaves the logits."""
    net = Quantized(np.random.default_rng(0), (4, 6, 6), powers=True)
    x = net.quantize(net.pooled(net.start, "max_pool2d.default"), 1.0)
    if not of_map:
        x = net.quantize(*net.linear(net.flattened(x), 5))
    net.node(f"{operator}.int", x.dims, self=net.real(x), dim=1)
    path = tmp_path / "net.pt2"
    path.write_bytes(net.bytes())
    network = importer.load(path, "net")
    assert network.tail is not None
    assert network.tail.function.value == ("none" if of_map else operator)
    integers = onnx_files.images(network.input_type, 20, 0)
    found, = oracle.batches(path, integers)
    assert found.final is not None
    np.testing.assert_allclose(tail.answers(network.tail, golden.run(network, integers)),
                               found.final, 1e-5, 1e-6)


# --- what is refused
def refused(folder: Path, net: Quantized, reason: str) -> None:
    path = folder / "net.pt2"
    path.write_bytes(net.bytes())
    with pytest.raises(PenjingError, match=reason) as caught:
        importer.load(path, "net")
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("target", "arguments", "reason"), [
    ("glu.default", {"dim": 1}, r"node glu_2 \(aten.glu.default\): not supported in a quantized"),
    ("dropout.default", {"p": 0.5, "train": True}, r"training mode; call model.eval\(\)"),
    ("amax.default", {"dim": [2]}, "only over height and width"),
    ("pow.Tensor_Scalar", {"exponent": 3}, "only squares are supported"),
    ("max.dim", {"dim": 1}, "its values, not the indices, are read"),
    ("upsample_nearest2d.vec", {"scale_factors": [1.5, 1.0]}, "only whole factors are supported"),
    ("add.Tensor", {"other": Reference("quantize_per_tensor_0"), "alpha": 2}, "its alpha is not 1"),
    ("adaptive_avg_pool2d.default", {"output_size": [4, 4]}, "no equal windows for"),
    ("avg_pool2d.default", {"kernel_size": [2, 2], "divisor_override": 3}, "divisor_override"),
    ("softmax.int", {"dim": 2}, "only the softmax over the channels"),
    ("mean.dim", {"dim": [1]}, "it averages over the axes"),
    ("conv2d.default", {"weight": Reference("x"), "bias": None},
     "its weights are computed from the network's input")])
def test_operators_that_are_refused(target: str, arguments: dict[str, object], reason: str,
                                    tmp_path: Path) -> None:
    net = Quantized(np.random.default_rng(0), (4, 6, 6))
    first = "input" if target.startswith(("conv", "dropout", "upsample")) else "self"
    real = net.node(target, (4, 6, 6), **{first: net.real(net.start)}, **arguments)
    net.end(net.quantize(real, 1.0))
    refused(tmp_path, net, reason)


@pytest.mark.parametrize(("name", "value", "reason"), [
    ("scale", 0.0, "its scale 0 is not positive, or out of the range of float32"),
    ("scale", float("nan"), "its scale nan is not positive"),
    ("zero_point", 400, "its zero point 400 is outside of -128 to 127"),
    ("quant_max", 300, "its range, -128 to 300, is no part of int8"),
    ("quant_min", 127, "its range, 127 to 127, is no part of int8"),
    ("dtype", ElementKind("float32"), "its integers are of a type that is not read"),
    ("input", Reference("nowhere"), "its input nowhere is made by no earlier node")])
def test_quantizers_that_are_refused(name: str, value: object, reason: str,
                                     tmp_path: Path) -> None:
    net = Quantized(np.random.default_rng(0), (4, 6, 6))
    good = {"input": net.real(net.start), "scale": 0.1, "zero_point": 0, "quant_min": -128,
            "quant_max": 127, "dtype": ElementKind("int8")}
    net.node(f"{DECOMPOSED}.quantize_per_tensor.default", (4, 6, 6), **{**good, name: value})
    refused(tmp_path, net, reason)


def test_other_ends_are_refused(tmp_path: Path) -> None:
    net = Quantized(np.random.default_rng(0), (4,))
    net.node("relu.default", (4,), self=net.linear(net.start, 4)[0])
    refused(tmp_path, net, "its output .* has bounds that nothing has quantized")
    net = Quantized(np.random.default_rng(0), (4,))
    net.node("relu.default", (4,), self=Reference("x"))
    refused(tmp_path, net, "it reads the network's input before that is quantized")


def test_parts_of_a_range_are_narrower_types(tmp_path: Path) -> None:
    net = Quantized(np.random.default_rng(0), (4,))
    net.range = (-8, 7)
    net.end(net.quantize(net.real(net.start), 1.0, zero=0))
    (tmp_path / "net.pt2").write_bytes(net.bytes())
    assert importer.is_quantized(pt2.read(tmp_path / "net.pt2"))
    network = importer.load(tmp_path / "net.pt2", "net")
    assert isinstance(network.layers[-1], ir.ScaleRequantize)
    assert (network.output_type.bits, network.output_type.signed) == (4, True)
