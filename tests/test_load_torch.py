"""Loading PyTorch programs: the float network computes what the program computes, or is refused."""

from __future__ import annotations

import copy
import io
import json
import pickle
import random
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from graphs import check
from networks import PLENTY
from others import shared
from penjing import flow
from penjing.compiler.compress.fixed_point import quantize, quantize_input
from penjing.compiler.cost.families import ECP5
from penjing.compiler.dataflow.budget import Budget
from penjing.compiler.dataflow.search import Goal, search
from penjing.compiler.ir import PenjingError
from penjing.compiler.load import floats
from penjing.compiler.load.floats import FloatNetwork
from penjing.sim import golden, tail

torch = pytest.importorskip("torch", reason="needs torch: pip install penjing[torch]")

from penjing.compiler.load import pt2  # noqa: E402
from penjing.compiler.load import torch as loader  # noqa: E402
from penjing.sim.oracles import torch as oracle  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402
from torch.nn.utils import parametrizations  # noqa: E402


def unsettle(module: nn.Module, seed: int = 0) -> nn.Module:
    """``module`` in eval mode, its batch norms far from the identity."""
    generator = torch.Generator().manual_seed(seed)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d | nn.BatchNorm1d):
            for tensor in (part.running_mean, part.weight, part.bias):
                if tensor is not None:
                    tensor.data.normal_(generator=generator)
            part.running_var.uniform_(0.5, 2, generator=generator)
    return module.eval()


def agree(module: nn.Module, shape: tuple[int, ...], batch: int = 1,
          dynamic: bool = False) -> FloatNetwork:
    """The float network of ``module``, after comparing it with torch on random inputs."""
    unsettle(module)
    torch_shape = (shape[-1], *shape[:-1])
    sizes = {"dynamic_shapes": ({0: torch.export.Dim("n")},)} if dynamic else {}
    program = torch.export.export(module, (torch.zeros(batch, *torch_shape),), **sizes)
    network = loader.from_program(program)
    x = np.random.default_rng(2).normal(size=(3, *shape))
    with torch.no_grad():
        rows = [module(torch.from_numpy(np.broadcast_to(
            np.moveaxis(row, -1, 0), (batch, *torch_shape)).astype(np.float32).copy()))[0]
            for row in x]
    wanted = torch.stack(rows)
    wanted = (wanted.movedim(1, -1) if wanted.ndim > 2 else wanted).numpy()
    given = floats.run(network, x.reshape(3, *network.input_shape))
    assert given.size == wanted.size
    np.testing.assert_allclose(given.reshape(wanted.shape), wanted, rtol=1e-4, atol=1e-4)
    run = loader.run_float(program, x, batch=2)
    assert run.shape == wanted.shape
    np.testing.assert_allclose(run, wanted, rtol=1e-4, atol=1e-4)
    return network


def names(network: FloatNetwork) -> list[str]:
    return [layer.name for layer in network.layers]


class Functional(nn.Module):
    """Calls instead of modules, and one module used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Conv2d(2, 4, 3, bias=False), nn.BatchNorm2d(4))
        self.act = nn.ReLU(inplace=True)
        self.fc = nn.Linear(4 * 3 * 2, 7)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act(self.block(x))
        x = functional.max_pool2d(x, 2)
        x = functional.dropout(functional.relu6(x), training=self.training)
        x = x.view(x.size(0), -1)
        return self.act(self.fc(x))


@pytest.mark.parametrize(("batch", "dynamic"), [(1, False), (2, False), (2, True)])
def test_functional(batch: int, dynamic: bool) -> None:
    network = agree(Functional(), (8, 6, 2), batch, dynamic)
    assert names(network) == ["block_0", "act", "max_pool2d", "relu6", "view", "fc", "act_2"]
    assert network.input_shape == (8, 6, 2)


CHAINS: list[tuple[Callable[[], nn.Module], tuple[int, ...]]] = [
    (lambda: nn.Sequential(nn.Conv2d(2, 3, (7, 5), stride=(2, 1), padding=(3, 1))), (11, 9, 2)),
    (lambda: nn.Sequential(nn.Conv2d(2, 3, (4, 3), padding="same"), nn.ReLU6()), (7, 9, 2)),
    (lambda: nn.Sequential(nn.Conv2d(2, 3, 3, padding="valid")), (7, 9, 2)),
    (lambda: nn.Sequential(nn.ZeroPad2d((1, 2, 0, 1)), nn.Conv2d(2, 3, 3, stride=2)), (8, 7, 2)),
    (lambda: nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(2, 3, 5, padding=1)), (8, 7, 2)),
    (lambda: nn.Sequential(nn.ZeroPad2d((1, 0, 1, 0)), nn.ReLU(), nn.Conv2d(2, 3, 3)), (8, 7, 2)),
    (lambda: nn.Sequential(nn.ReLU(), nn.ZeroPad2d((1, 0, 0, 1)), nn.MaxPool2d(3, 2)), (8, 7, 2)),
    (lambda: nn.Sequential(nn.ZeroPad2d((1, 0, 0, 1)), nn.AvgPool2d(3, 2)), (8, 7, 2)),
    (lambda: nn.Sequential(nn.MaxPool2d(3, 2, padding=1)), (8, 7, 2)),
    (lambda: nn.Sequential(nn.MaxPool2d(3, 2, padding=1, ceil_mode=True)), (8, 7, 2)),
    (lambda: nn.Sequential(nn.MaxPool2d(2, 3, ceil_mode=True)), (6, 7, 1)),
    (lambda: nn.Sequential(nn.MaxPool2d((3, 2), (3, 4), ceil_mode=True)), (7, 9, 2)),
    (lambda: nn.Sequential(nn.AvgPool2d(3, 2, padding=1)), (8, 7, 2)),
    (lambda: nn.Sequential(nn.AvgPool2d((2, 3), ceil_mode=True)), (8, 9, 2)),
    (lambda: nn.Sequential(nn.AvgPool2d(2, count_include_pad=False)), (8, 9, 2)),
    (lambda: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 3)), (8, 9, 2)),
    (lambda: nn.Sequential(nn.AdaptiveAvgPool2d((4, None)), nn.Hardtanh(0, 1.5)), (8, 9, 2)),
    (lambda: nn.Sequential(nn.Flatten(), nn.Linear(24, 5), nn.BatchNorm1d(5)), (3, 4, 2)),
    (lambda: nn.Sequential(nn.Linear(6, 5), nn.Dropout(), nn.Identity(), nn.Linear(5, 2)), (6,)),
    (lambda: nn.Sequential(nn.Flatten(), nn.ReLU(), nn.Linear(12, 2, bias=False)), (3, 2, 2)),
    (lambda: nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2, affine=False)), (3, 2, 1)),
    (lambda: nn.Sequential(nn.Conv2d(1, 2, 3).to(memory_format=torch.channels_last)), (5, 4, 1)),
]


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize("index", range(len(CHAINS)))
def test_chain(index: int) -> None:
    build, shape = CHAINS[index]
    torch.manual_seed(index)
    agree(build(), shape)


class Residual(nn.Module):
    """Two convolutions with batch norms beside a shortcut, which may have one too."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.a, self.b = (nn.Conv2d(n, outputs, 3, s, 1, bias=False)
                          for n, s in ((inputs, stride), (outputs, 1)))
        self.norm_a, self.norm_b = nn.BatchNorm2d(outputs), nn.BatchNorm2d(outputs)
        self.short: nn.Module = nn.Identity()
        if (inputs, stride) != (outputs, 1):
            self.short = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride), nn.BatchNorm2d(
                outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = functional.relu(self.norm_a(self.a(x)))
        return functional.relu(self.norm_b(self.b(y)) + self.short(x))


def dense_block(x: torch.Tensor, a: nn.Module, b: nn.Module) -> torch.Tensor:
    y = torch.cat([x, a(x).relu()], 1)
    return torch.cat([y, b(y)], 1)


def shuffled(x: torch.Tensor, a: nn.Module) -> torch.Tensor:
    first, second = x.chunk(2, 1)
    left, middle, right = second.split([1, 2, 1], 1)
    return torch.cat([right, a(first), x[:, 1:3], middle, left], dim=1)


def read_twice(x: torch.Tensor, a: nn.Module, norm: nn.Module) -> torch.Tensor:
    """A batch norm that cannot be folded, since its convolution has another reader."""
    y = a(x)
    return norm(y) + y.relu()


class SqueezeExcitation(nn.Module):
    """A residual block whose channels are weighed by what the whole map says of them.

    ``linear`` writes it with layers that take vectors.
    """

    def __init__(self, channels: int, linear: bool = False) -> None:
        super().__init__()
        few = max(1, channels // 2)
        self.convolution = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(channels)
        self.linear = linear
        self.gate = nn.Sequential(
            nn.Linear(channels, few), nn.ReLU(), nn.Linear(few, channels), nn.Sigmoid(),
        ) if linear else nn.Sequential(
            nn.Conv2d(channels, few, 1), nn.ReLU(), nn.Conv2d(few, channels, 1), nn.Hardsigmoid())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(self.convolution(x))
        if self.linear:
            factors = self.gate(functional.adaptive_avg_pool2d(y, 1).flatten(1))
            y = y * factors.view(-1, y.shape[1], 1, 1).expand_as(y)
        else:
            y = self.gate(y.mean((2, 3), keepdim=True)) * y
        return torch.relu(x + y)


class Shifted(nn.Module):
    """The input less a mean, over a deviation, as it stands in front of many networks."""

    def __init__(self, mean: torch.Tensor, *parts: nn.Module) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("deviation", torch.full_like(mean, 0.25) + mean)
        self.parts = nn.Sequential(*parts)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.parts((x - self.mean) / self.deviation) * 1.5 + 0.25


class Parameter(nn.Module):
    """What ``function`` computes of the input and a parameter of six numbers."""

    def __init__(self, function: Callable[..., torch.Tensor]) -> None:
        super().__init__()
        self.function = function
        self.p = nn.Parameter(torch.randn(6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x, self.p)


class Wired(nn.Module):
    """What ``function`` computes of the input and the ``parts``."""

    def __init__(self, function: Callable[..., torch.Tensor], *parts: nn.Module) -> None:
        super().__init__()
        self.function = function
        self.parts = nn.ModuleList(parts)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x, *self.parts)


GRAPHS: list[tuple[Callable[[], nn.Module], tuple[int, ...]]] = [
    (lambda: nn.Sequential(Residual(2, 2), Residual(2, 4, 2), nn.AdaptiveAvgPool2d(1),
                           nn.Flatten(), nn.Linear(4, 3)), (6, 7, 2)),
    (lambda: Wired(dense_block, nn.Conv2d(3, 2, 3, padding=1), nn.Conv2d(5, 4, 1)), (5, 4, 3)),
    (lambda: Wired(shuffled, nn.Conv2d(4, 3, 1)), (5, 4, 8)),
    (lambda: Wired(read_twice, nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3)), (5, 4, 2)),
    (lambda: Lambda(lambda x: x + x), (5, 4, 2)),
    (lambda: nn.Sequential(SqueezeExcitation(4), SqueezeExcitation(4, linear=True)), (5, 4, 4)),
    (lambda: Lambda(lambda x: x * x), (5, 4, 2)),
    (lambda: Lambda(lambda x: x - x.mean((2, 3), keepdim=True)), (5, 4, 2)),
    (lambda: Lambda(lambda x: x * (1 - x)), (5, 4, 2)),
    (lambda: Wired(lambda x, a: x * a(x).sigmoid(), nn.Conv2d(3, 1, 1)), (5, 4, 3)),
    (lambda: Wired(lambda x, a: x * a(x.mean(2, keepdim=True)) - x, nn.Conv1d(2, 2, 1)), (7, 2)),
    (lambda: Wired(lambda x, a: a(x) * x, nn.Linear(5, 5)), (5,)),
    (lambda: Lambda(lambda x: x[:, 1:][:, -2:] + x[:, :2]), (5, 4, 4)),
    (lambda: Shifted(torch.tensor([0.5, 0.25, 0.1]).reshape(3, 1, 1),
                     nn.Conv2d(3, 2, 3, padding=1)), (4, 5, 3)),
    (lambda: Shifted(torch.tensor([0.5, 0.25]).reshape(1, 2, 1, 1), nn.ReLU()), (4, 5, 2)),
    (lambda: Lambda(lambda x: 2 * (3 + x)), (4, 5, 2)),
    (lambda: nn.Sequential(nn.Conv2d(2, 3, 2), nn.Upsample(scale_factor=(2, 3))), (4, 5, 2)),
    (lambda: nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv1d(2, 3, 2)), (6, 2)),
    (lambda: nn.Sequential(nn.ConvTranspose2d(2, 3, 4, 2, 1), nn.BatchNorm2d(3), nn.ReLU(),
                           nn.ConvTranspose2d(3, 2, (2, 3), (2, 1), bias=False)), (3, 4, 2)),
    (lambda: nn.ConvTranspose2d(4, 6, 3, (3, 2), (2, 1), (2, 1), 2, dilation=(2, 1)), (3, 2, 4)),
    (lambda: nn.Sequential(nn.ZeroPad2d((1, 0, 0, 2)),
                           nn.ConvTranspose2d(3, 3, 2, 3, groups=3, output_padding=2)), (2, 3, 3)),
    (lambda: nn.Sequential(nn.ConvTranspose1d(2, 4, 5, 2, 2, 1), nn.ReLU(),
                           nn.ConvTranspose1d(4, 4, 3, groups=4, dilation=3)), (6, 2)),
    (lambda: Wired(lambda x, a: torch.convolution(
        x, a.weight, None, (2, 2), (0, 1), (1, 1), True, (1, 0), 2),
        nn.ConvTranspose2d(2, 2, (2, 3), groups=2)), (3, 3, 2)),
    (lambda: Lambda(lambda x: x[:, :, 1:-1, 2::3] - x[:, :, :3, :2]), (5, 7, 2)),
    (lambda: Lambda(lambda x: functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 1, 1))), (6, 7, 2)),
    (lambda: Wired(lambda x, a: x[:, :, 1::2] - a(x), nn.Conv1d(2, 2, 2, 2)), (8, 2)),
    (lambda: Shifted(torch.tensor([0.5, 0.25, 0.75]), nn.Linear(3, 2)), (3,)),
    (lambda: Lambda(lambda x: functional.pad(x, (0, 0, 0, 0, 2, 7))), (3, 4, 3)),
    (lambda: Wired(lambda x, a: a(functional.pad(x, (1, 0, 0, 1, 0, 2)).relu()),
                   nn.Conv2d(4, 3, 2)), (3, 4, 2)),
    (lambda: Wired(lambda x, a: a(functional.pad(x, (0, 0, 1, 0))), nn.Conv1d(3, 3, 2)), (5, 2)),
    (lambda: Wired(lambda x, a: torch.cat([a(x.flatten(1)), x.mean((2, 3))], 1),
                    nn.Linear(24, 3)), (3, 4, 2)),
    (lambda: nn.Sequential(nn.Conv2d(4, 6, 3, groups=2, padding=1), nn.BatchNorm2d(6)), (5, 4, 4)),
    (lambda: nn.Sequential(nn.Conv2d(3, 3, 3, groups=3), nn.Conv2d(3, 6, (3, 1), groups=3)),
     (6, 5, 3)),
    (lambda: nn.Sequential(nn.Conv2d(2, 3, (3, 2), dilation=(2, 3), padding="same")), (7, 8, 2)),
    (lambda: nn.Sequential(nn.BatchNorm2d(2), nn.Conv2d(2, 3, 3, padding=1), nn.MaxPool2d(2),
                           nn.BatchNorm2d(3)), (6, 6, 2)),
    (lambda: nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.BatchNorm1d(5)), (6,)),
    (lambda: nn.Sequential(nn.AvgPool2d(3, 2, 1, count_include_pad=False)), (7, 6, 2)),
    (lambda: Lambda(lambda x: x.amax((2, 3)).relu()), (5, 4, 3)),
    (lambda: nn.Sequential(nn.AdaptiveMaxPool2d((2, 1)), nn.Flatten(), nn.Linear(6, 2)), (4, 5, 3)),
    (lambda: nn.AdaptiveMaxPool1d(1), (6, 3)),
    (lambda: Wired(lambda x, a: a(x[:, :, None, None].expand(-1, -1, 4, 5)),
                   nn.Conv2d(3, 2, 2)), (3,)),
    # Clamps.
    *((lambda act=act: nn.Sequential(nn.Conv2d(2, 3, 1), act), (4, 5, 2)) for act in (
        nn.Hardtanh(), nn.Hardtanh(-0.5, 0.25), nn.Threshold(0.25, 0.25))),
    (lambda: Lambda(lambda x: x.clamp(max=0.5) + x.clamp_min(-0.25).clamp_max_(2)), (4, 5, 2)),
    (lambda: nn.Sequential(nn.ZeroPad2d(1), nn.Hardtanh(), nn.Conv2d(2, 2, 3)), (4, 5, 2)),
    (lambda: nn.Sequential(nn.ZeroPad2d(1), nn.Threshold(0.5, 0.5), nn.Conv2d(2, 2, 3)), (4, 5, 2)),
    (lambda: Lambda(lambda x: -x - functional.softsign(x)), (4, 5, 2)),
    (lambda: Lambda(lambda x: x.square().exp() - x.abs() * x.pow(2)), (4, 5, 2)),
    *((lambda act=act: nn.Sequential(nn.Conv2d(2, 3, 1), act()), (4, 5, 2)) for act in (
        nn.Sigmoid, nn.Tanh, nn.SiLU, nn.Hardsigmoid, nn.Hardswish, nn.GELU, nn.ELU, nn.Softplus,
        nn.LeakyReLU, nn.PReLU, lambda: nn.PReLU(3), lambda: nn.GELU("tanh"),
        lambda: nn.ELU(0.3, inplace=True), lambda: nn.LeakyReLU(0.3, inplace=True),
        lambda: nn.Softplus(2.5), nn.Mish, nn.LogSigmoid, nn.SELU, lambda: nn.CELU(0.7), nn.RReLU,
        lambda: nn.Hardshrink(0.3), lambda: nn.Softshrink(0.3), lambda: nn.Threshold(0.3, 0),
        nn.Tanhshrink)),
    (lambda: nn.Sequential(nn.Conv1d(3, 4, 5, 2, 2), nn.BatchNorm1d(4), nn.ReLU(),
                           nn.MaxPool1d(2), nn.Conv1d(4, 4, 3, groups=4, dilation=2, padding=2),
                           nn.AvgPool1d(2), nn.Flatten(), nn.Linear(12, 2)), (24, 3)),
    (lambda: nn.Sequential(nn.ConstantPad1d((2, 0), 0.0), nn.Conv1d(2, 3, 3), nn.PReLU(3),
                           nn.AdaptiveAvgPool1d(1), nn.Flatten()), (9, 2)),
    (lambda: Wired(lambda x, a: (torch.cat([x, a(x)], 1).unsqueeze(2)).mean((2, 3)),
                    nn.Conv1d(2, 2, 1)), (8, 2)),
    # Paddings that no window takes over.
    (lambda: nn.Conv2d(2, 4, 1, padding=1), (5, 4, 2)),
    (lambda: nn.Sequential(nn.Conv2d(2, 3, 1), nn.ZeroPad2d((1, 0, 2, 0))), (5, 4, 2)),
    (lambda: nn.Sequential(nn.ZeroPad2d((0, 3, 1, 2)), nn.Sigmoid(), nn.MaxPool2d(2)), (5, 5, 2)),
    (lambda: nn.Sequential(nn.ZeroPad2d(2), nn.Flatten(), nn.Linear(144, 2)), (4, 5, 2)),
    (lambda: nn.Sequential(nn.ZeroPad2d(1), nn.AvgPool2d(3, padding=1, count_include_pad=False)),
     (5, 5, 2)),
    (lambda: nn.Sequential(nn.ReLU(), nn.ZeroPad2d(1), nn.MaxPool2d(3, 2, ceil_mode=True)),
     (6, 5, 2)),
    (lambda: Wired(lambda x, a: functional.pad(a(x), (1, 0)) - functional.pad(x, (0, 1)),
                    nn.Conv1d(2, 2, 1)), (5, 2)),
    # Parameters of parameters.
    (lambda: nn.Sequential(parametrizations.weight_norm(nn.Conv2d(2, 3, 3)), nn.ReLU()), (5, 4, 2)),
    (lambda: parametrizations.weight_norm(nn.Linear(5, 4), dim=None), (5,)),
    (lambda: parametrizations.spectral_norm(nn.Conv1d(2, 3, 3)), (6, 2)),
    *((lambda of=of: Parameter(of), (4, 5, 3)) for of in (
        lambda x, p: x * p[:3, None, None], lambda x, p: x + p[1:4].view(1, -1, 1, 1),
        lambda x, p: x * p[-3:].exp().reshape(3, 1, 1).expand_as(x) - p[2],
        lambda x, p: x / (1 + p[:3] ** 2).sqrt().unsqueeze(-1).unsqueeze(-1),
        lambda x, p: x - p.view(2, 3).transpose(0, 1)[:, 1].sigmoid()[None, :, None, None],
        lambda x, p: (2 * p[::2, None, None]).expand(1, 3, 4, 5).relu() * x,
        lambda x, p: x * p.view(3, 2).abs().select(1, 0).tanh().neg()[:, None, None],
        lambda x, p: (x - torch.tensor([0.5, 0.4, 0.3])[:, None, None]) / (p.std() + p.var(0)),
        lambda x, p: x * functional.normalize(p.view(3, 2), dim=1).mean(1)[:, None, None],
        lambda x, p: x * (p / p.norm() + p.mean()).view(3, 2).sum(1)[:, None, None] - p.max(),
        lambda x, p: x * p.view(3, 2).amax(-1).sign()[:, None, None] + p.sum() - p.min(),
        lambda x, p: x * (p * 4).round().clamp(-2, 3).view(3, 2).amin(1)[:, None, None],
        lambda x, p: x * p.view(3, 2).var((1,), unbiased=False, keepdim=True)[:, :, None])),
    # Axes: channels that are shuffled, maps that are turned and back, vectors that become maps.
    (lambda: Wired(lambda x, a: a(x.reshape(-1, 2, 3, 4, 5).transpose(1, 2).reshape(-1, 6, 4, 5)),
                    nn.Conv2d(6, 2, 2)), (4, 5, 6)),
    (lambda: Wired(lambda x, a: a(x.reshape(-1, 3, 2, 7).movedim(1, 2).flatten(1, 2)),
                    nn.Conv1d(6, 2, 1)), (7, 6)),
    (lambda: nn.Sequential(nn.Conv2d(2, 6, 2), nn.ChannelShuffle(3)), (4, 5, 2)),
    (lambda: Wired(lambda x, a: a(x.reshape(-1, 2, 3).transpose(1, 2).flatten(1)),
                    nn.Linear(6, 4)), (6,)),
    (lambda: Wired(lambda x, a, b: b(a(x).permute(0, 2, 3, 1).flatten(1)), nn.Conv2d(2, 3, 2),
                    nn.Linear(36, 2)), (4, 5, 2)),
    (lambda: Wired(lambda x, a, b: b(a(x).permute(0, 3, 1, 2).relu().flatten(1)),
                    nn.Conv2d(2, 3, 2), nn.Linear(36, 2)), (4, 5, 2)),
    (lambda: Wired(lambda x, a: a(x.transpose(1, 3).sigmoid().swapaxes(3, 1)),
                    nn.Conv2d(2, 3, 2)), (4, 5, 2)),
    (lambda: nn.Sequential(nn.Linear(5, 24), nn.LeakyReLU(), nn.Unflatten(1, (2, 3, 4)),
                           nn.Conv2d(2, 3, 2)), (5,)),
    (lambda: nn.Sequential(nn.Linear(5, 12), nn.Unflatten(1, (2, 6)), nn.Conv1d(2, 3, 2)), (5,)),
    (lambda: Wired(lambda x, a, b: b(a(x).transpose(1, 2).reshape(-1, 12)), nn.Conv1d(2, 3, 2),
                    nn.Linear(12, 2)), (5, 2)),
    (lambda: Wired(lambda x, a, b: b(a(x).reshape(-1, 4, 3).transpose(2, 1)), nn.Linear(5, 12),
                    nn.Conv1d(3, 2, 2)), (5,)),
    (lambda: nn.Sequential(nn.Conv2d(2, 3, 2), nn.ZeroPad2d((0, 1, 2, 0)), nn.MaxPool2d(2, 1)),
     (5, 4, 2)),
]


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize("index", range(len(GRAPHS)))
def test_graph(index: int) -> None:
    build, shape = GRAPHS[index]
    torch.manual_seed(index)
    agree(build(), shape)


@pytest.mark.parametrize("name", ["act", "cat", "conv1d", "dil", "dw", "mlpvec", "res"])
def test_program_of_today(name: str) -> None:
    """The same reals as PyTorch, and a fixed-point network that comes close to them."""
    path = shared("cases", "networks", f"torch_{name}.pt2")
    network = loader.load(path)
    x = np.random.default_rng(0).uniform(0, 1, (200, *network.input_shape))
    wanted = floats.run(network, x)
    run = loader.run_float(path, x)
    if name != "mlpvec":  # the softmax is left to the host
        np.testing.assert_allclose(wanted.reshape(run.shape), run, atol=1e-5)
    fixed = quantize(network, x)
    given = golden.run(fixed, quantize_input(x, fixed.input_type)) * 2.0 ** -(
        fixed.output_type.fraction)
    assert np.abs(given - wanted).mean() < 0.02 * np.abs(wanted).mean()


@pytest.mark.parametrize("act", [
    nn.Hardtanh(-0.5, 0.25), nn.Hardtanh(-1, 1), nn.Threshold(0.25, 0.25), nn.Hardtanh(-1, -0.25),
    nn.Mish(), nn.Softsign(), nn.Hardshrink(0.3)])
@pytest.mark.parametrize("alone", [False, True])
def test_clamps_and_functions_in_integers(act: nn.Module, alone: bool) -> None:
    """PyTorch has the same integers, which stand for what the program computes."""
    torch.manual_seed(0)
    module = nn.Sequential(*([] if alone else [nn.Conv2d(2, 3, 2)]), act,
                           nn.Conv2d(2 if alone else 3, 2, 1)).eval()
    program = torch.export.export(module, (torch.zeros(1, 2, 4, 5),))
    x = np.random.default_rng(0).uniform(-1, 1, (50, 4, 5, 2))
    network = quantize(loader.from_program(program), x)
    integers = quantize_input(x, network.input_type)
    mine = golden.run(network, integers)
    np.testing.assert_array_equal(mine, oracle.run(network, integers))
    wanted = loader.run_float(program, x)
    assert np.abs(mine * 2.0 ** -network.output_type.fraction - wanted).mean() < 0.02 * np.abs(
        wanted).mean()


def test_a_block_that_squeezes_and_excites_runs_in_hardware() -> None:
    """Values equal PyTorch's in integers, and every frame ends in the predicted cycle."""
    torch.manual_seed(0)
    module = unsettle(SqueezeExcitation(3))
    program = torch.export.export(module, (torch.zeros(1, 3, 4, 3),))
    x = np.random.default_rng(0).uniform(-1, 1, (50, 4, 3, 3))
    network = quantize(loader.from_program(program), x)
    assert {"multiply", "upsample"} <= {layer.kind for layer in network.layers}
    integers = quantize_input(x, network.input_type)
    np.testing.assert_array_equal(oracle.run(network, integers), golden.run(network, integers))
    with torch.no_grad():
        wanted = module(torch.from_numpy(x).float().permute(0, 3, 1, 2)).permute(0, 2, 3, 1).numpy()
    given = golden.run(network, integers) * 2.0 ** -network.output_type.fraction
    assert np.abs(given - wanted).mean() < 0.02 * np.abs(wanted).mean()
    check(network, search(network, Budget(ECP5, PLENTY, 40), Goal()))


ENDS: list[tuple[Callable[[torch.Tensor], torch.Tensor], str]] = [
    (lambda x: x.softmax(1), "softmax"), (lambda x: x.log_softmax(-3).contiguous(), "log_softmax"),
    (lambda x: x.mean((2, 3)).softmax(-1), "softmax"),
    (lambda x: x.permute(0, 2, 3, 1).log_softmax(-1), "log_softmax"),
    (lambda x: x[:, :, :1].squeeze(2).transpose(1, 2).softmax(2), "softmax")]


@pytest.mark.parametrize("index", range(len(ENDS)))
def test_a_softmax_is_left_to_the_host(index: int) -> None:
    """It makes of the integers what PyTorch makes of the reals that they stand for."""
    end, function = ENDS[index]
    torch.manual_seed(0)
    logits = nn.Conv2d(3, 4, 2)
    module = Wired(lambda x, a: end(a(x)), logits).eval()
    program = torch.export.export(module, (torch.zeros(1, 3, 4, 5),))
    network = loader.from_program(program)
    assert network.function.value == function
    x = np.random.default_rng(0).normal(size=(6, 4, 5, 3))
    wanted = module(torch.from_numpy(np.moveaxis(x, -1, 1).copy()).float()).detach()
    if index == 1:
        wanted = wanted.permute(0, 2, 3, 1)
    wanted = wanted.movedim(1, -1) if index == 0 else wanted
    run = loader.run_float(program, x)
    np.testing.assert_allclose(run, wanted, atol=1e-5)
    fixed = quantize(network, x)
    integers = quantize_input(x, fixed.input_type)
    mine = golden.run(fixed, integers)
    np.testing.assert_array_equal(mine, oracle.run(fixed, integers))
    answers = tail.answers(fixed.tail, mine)
    assert fixed.tail is not None and fixed.tail.function.value == function
    reals = torch.from_numpy(mine * 2.0 ** -fixed.output_type.fraction)
    torch_end = getattr(functional, function)
    np.testing.assert_allclose(answers, torch_end(reals, -1), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(oracle.final(fixed, mine), answers, rtol=1e-12, atol=1e-12)
    assert np.abs(answers.reshape(run.shape) - run).mean() < 0.02 * np.abs(run).mean()


def test_a_softmax_is_evaluated(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(5, 4), nn.LogSoftmax(1)).eval()
    torch.export.save(torch.export.export(module, (torch.zeros(1, 5),)), tmp_path / "net.pt2")
    np.savez(tmp_path / "x.npz", x=np.random.default_rng(0).uniform(-1, 1, (50, 5)))
    flow.compile_model(tmp_path / "net.pt2", tmp_path / "out", flow.Target("generic"),
                       flow.Quantization(tmp_path / "x.npz"))
    found = flow.evaluate(tmp_path / "out", tmp_path / "x.npz")
    assert found.passed and (found.answers_compared, found.answer_mismatches) == (200, 0)
    assert found.float_difference is not None and found.float_difference < 0.01


class Lambda(nn.Module):
    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor], *parts: nn.Module) -> None:
        super().__init__()
        self.function = function
        self.parts = nn.ModuleList(parts)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.function(x)
        for part in self.parts:
            x = part(x)
        return x


@pytest.mark.parametrize("function", [
    lambda x: x.mean((2, 3)), lambda x: x.mean((-1, -2), keepdim=True).flatten(1),
    lambda x: functional.adaptive_avg_pool2d(x, 1).squeeze(-1).squeeze(-1),
    lambda x: functional.adaptive_avg_pool2d(x, 1).reshape(-1, 4),
    lambda x: functional.avg_pool2d(functional.pad(x, (1, 1)), (5, 8)).flatten(1),
    lambda x: functional.relu_(x.clone()).clamp_(0, 2).contiguous().mean([2, 3]),
])
def test_calls(function: Callable[[torch.Tensor], torch.Tensor]) -> None:
    agree(Lambda(function, nn.Linear(4, 3)), (5, 6, 4))


def test_gray_images_without_channel_axis() -> None:
    module = Lambda(lambda x: x.unsqueeze(1), nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(24, 3))
    network = loader.from_program(torch.export.export(unsettle(module), (torch.zeros(1, 6, 5),)))
    assert network.input_shape == (6, 5, 1)
    x = np.random.default_rng(0).normal(size=(4, 6, 5, 1))
    wanted = module(torch.from_numpy(x[..., 0].astype(np.float32))).detach().numpy()
    np.testing.assert_allclose(floats.run(network, x)[:, 0, 0], wanted, atol=1e-5)


@pytest.mark.parametrize("dim", [1, -1])
def test_argmax(dim: int) -> None:
    network = agree(Lambda(lambda x: x, nn.Linear(6, 5), Lambda(lambda x: x.argmax(dim))), (6,))
    assert isinstance(network.layers[-1], floats.FloatArgMax)


@pytest.mark.parametrize("function", [
    lambda x: x.argmax(-3), lambda x: x.softmax(1).argmax(1), lambda x: x.max(1).indices,
    lambda x: x.max(dim=-3, keepdim=True)[1], lambda x: x.permute(0, 2, 3, 1).argmax(-1)])
def test_other_words_for_an_argmax(function: Callable[[torch.Tensor], torch.Tensor]) -> None:
    torch.manual_seed(0)
    program = torch.export.export(Wired(function).eval(), (torch.zeros(1, 4, 3, 5),))
    network = loader.from_program(program)
    x = np.random.default_rng(0).normal(size=(3, 3, 5, 4))
    wanted = floats.run(network, x)
    np.testing.assert_array_equal(wanted[..., 0], x.argmax(-1))
    np.testing.assert_array_equal(loader.run_float(program, x), wanted)


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("shape", [(4, 6, 6), (4, 3, 5), (4, 1, 5)])
def test_argmax_of_places(shape: tuple[int, ...], keep: bool) -> None:
    """PyTorch's classes lie where the network's do, whether the channels remain an axis or not."""
    torch.manual_seed(0)
    module = Lambda(lambda x: x.argmax(1, keepdim=keep)).eval()
    program = torch.export.export(module, (torch.zeros(1, *shape),))
    network = loader.from_program(program)
    x = np.random.default_rng(0).normal(size=(3, *network.input_shape))
    wanted = floats.run(network, x)
    assert len(np.unique(wanted)) > 2
    given = loader.run_float(program, x)
    np.testing.assert_array_equal(given.reshape(wanted.shape), wanted)


def test_names() -> None:
    class Deep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features = nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU(), nn.Conv2d(1, 1, 1))
            self._hidden = nn.Conv2d(1, 1, 1)
            self.features_0 = nn.Conv2d(1, 1, 1)
            self.add_module("inpüt", nn.ReLU())
            self.input = nn.ReLU()
            self.add_module("x" * 90, nn.Conv2d(1, 1, 1))
            self.add_module("9th", nn.MaxPool2d(1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for part in self.children():
                x = part(x)
            return x

    network = agree(Deep(), (2, 2, 1))
    assert names(network) == ["features_0", "features_1", "features_2", "hidden", "features_0_2",
                              "inp_t", "input_2", "x" * 48, "max_pool_9th"]
    assert names(agree(nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU()), (2, 2, 1))) == ["conv2d_0",
                                                                                     "relu_1"]


def test_from_module() -> None:
    module = unsettle(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()))
    assert loader.from_module(module, (6, 5, 3)).shapes["relu_2"] == (4, 3, 4)
    assert loader.from_module(nn.Linear(3, 2).eval(), (3,)).input_shape == (1, 1, 3)
    with pytest.raises(PenjingError, match=r"training mode; call model.eval\(\)"):
        loader.from_module(module.train(), (6, 5, 3))
    with pytest.raises(PenjingError, match=r"torch.export cannot trace it"):
        loader.from_module(nn.Conv2d(4, 4, 3).eval(), (6, 5, 3))
    with pytest.raises(PenjingError, match=r"must be \(H, W, C\), \(L, C\) or \(F,\)"):
        loader.from_module(module.eval(), (6, 5, 3, 2))


def test_batch_norm_is_folded_exactly() -> None:
    module = nn.Sequential(nn.Conv2d(2, 3, 3, bias=True), nn.BatchNorm2d(3, eps=0.125))
    (layer,) = agree(module, (5, 5, 2)).layers
    assert isinstance(layer, floats.FloatConvolution)
    norm, weight = module[1], module[0].weight.detach().numpy().astype(np.float64)
    scale = norm.weight.detach().numpy() / np.sqrt(norm.running_var.numpy().astype(float) + 0.125)
    np.testing.assert_allclose(layer.weights, weight.transpose(0, 2, 3, 1)
                               * scale[:, None, None, None], rtol=1e-12)


def spoiled(value: float, what: str) -> nn.Module:
    module = nn.Sequential()
    module.add_module("conv1", nn.Conv2d(2, 3, 3))
    getattr(module.conv1, what).data.flatten()[0] = value
    return module


REFUSALS: list[tuple[Callable[[], nn.Module], tuple[int, ...], str]] = [
    (lambda: nn.Conv2d(2, 4, 3, padding=1, padding_mode="reflect"), (5, 5, 2),
     "mode 'reflect' and value 0.0 is not supported; pad with zeros"),
    (lambda: nn.Sequential(nn.ConstantPad2d(1, 2.0), nn.Conv2d(2, 4, 3)), (5, 5, 2), "value 2.0"),
    (lambda: nn.Sequential(nn.ZeroPad2d(-1), nn.Conv2d(2, 4, 1)), (5, 5, 2), "none negative"),
    (lambda: nn.AvgPool2d(2, ceil_mode=True), (5, 5, 2), "ceil_mode divides by another number"),
    (lambda: nn.AvgPool2d(2, divisor_override=3), (4, 4, 2), "divisor_override"),
    (lambda: nn.MaxPool2d(2, dilation=2), (5, 5, 2), "dilated max pool"),
    (lambda: nn.AdaptiveAvgPool2d(2), (5, 5, 2), "has no equal windows"),
    (lambda: nn.GLU(1), (5, 5, 2), r"aten.glu.default\): not supported; .*Supp"),
    (lambda: nn.GroupNorm(1, 2), (5, 5, 2), "not supported; train with BatchNorm"),
    (lambda: Lambda(lambda x: x.clamp(1, 1)), (5, 5, 2), "its minimum 1 is not below its maximum"),
    (lambda: Lambda(lambda x: x.clamp(float("nan"))), (5, 5, 2), "is not below its maximum"),
    (lambda: nn.Threshold(0.25, 2), (5, 5, 2), "it puts 2.0 where its input is not above 0.25"),
    (lambda: nn.CELU(0.0), (5, 5, 2), "its alpha is 0"),
    (lambda: Lambda(lambda x: x ** 3), (5, 5, 2), "only squares are supported"),
    (lambda: Lambda(lambda x: x / (2 + x.abs())), (5, 5, 2), "quotients of maps"),
    (lambda: Lambda(lambda x: x.flip(3)), (5, 5, 2), "flip.default.*reverse the data, or the"),
    (lambda: Lambda(lambda x: x.max(1).values), (5, 5, 2), "its values, not the indices, are read"),
    (lambda: Lambda(lambda x: functional.adaptive_max_pool2d(x, 1, True)[1]), (5, 5, 2),
     "the indices of its maxima are read"),
    (lambda: nn.AdaptiveMaxPool2d(2), (5, 5, 2), "has no equal windows"),
    (lambda: nn.Sequential(nn.Linear(5, 4), nn.Softmax(1), nn.ReLU()), (5,), "follows a softmax"),
    (lambda: nn.Softmax(2), (5, 5, 2), "only the softmax over the channels"),
    (lambda: nn.Linear(4, 3), (5, 4, 2), r"a linear layer takes \(N, F\), not \(N, 2, 5, 4\)"),
    (lambda: nn.Sequential(nn.Conv2d(2, 2, 2), nn.Linear(4, 3)), (5, 5, 2), "put a Flatten before"),
    (lambda: nn.Flatten(), (5, 4, 2), "ends with a map that is flattened or turned"),
    (lambda: Lambda(lambda x: x.flatten(1).view(-1, 5, 8)), (5, 4, 2), "flattened or turned"),
    (lambda: nn.Unflatten(1, (1, 2)), (5, 4, 2), "has no layers"),
    (lambda: nn.Sequential(nn.Flatten(), nn.BatchNorm1d(40)), (5, 4, 2), "move it before the flat"),
    (lambda: nn.Sequential(nn.Conv2d(2, 2, 1),
                           nn.BatchNorm2d(2, track_running_stats=False)), (5, 4, 2),
     "exported in training mode|it has no running_mean"),
    (lambda: Lambda(lambda x: x / 0), (5, 4, 2), "is 0 or not finite"),
    (lambda: Shifted(torch.arange(20.0).reshape(5, 4)), (5, 4, 2), "its constant has shape"),
    (lambda: Parameter(lambda x, p: x + p[:5, None]), (5, 4, 2), "its constant has shape"),
    (lambda: Lambda(lambda x: torch.add(x, x, alpha=2)), (5, 4, 2), "its alpha is not 1"),
    (lambda: Lambda(lambda x: x * x.mean((2, 3))), (5, 2, 2), "only axes of 1 behind the batch"),
    (lambda: Lambda(lambda x: x[:, :, None].expand(1, 2, 3, 5, 2).amax((3, 4))), (5, 2, 2),
     "only axes of 1 behind the batch"),
    (lambda: Lambda(lambda x: 1 / x), (5, 4, 2), "not supported"),
    (lambda: Lambda(lambda x: torch.cat([x, x], 2)), (5, 4, 2), "is along axis 2 of .*use dim=1"),
    (lambda: Lambda(lambda x: torch.cat([x.flatten(1), x.flatten(1)], 1)), (5, 4, 2), "flattened"),
    (lambda: Lambda(lambda x: x.chunk(2, 3)[0]), (5, 4, 2), "only channels are supported"),
    (lambda: Lambda(lambda x: x[:, ::2]), (5, 4, 3), "with a step of 2"),
    (lambda: nn.Upsample(scale_factor=1.5), (4, 4, 2), "only whole factors"),
    (lambda: nn.Upsample(size=(8, 7)), (4, 4, 2), "only whole factors"),
    (lambda: nn.Upsample(scale_factor=2, mode="bilinear"), (4, 4, 2), "upsample_bilinear2d"),
    (lambda: Lambda(lambda x: x.relu().transpose(2, 3)), (5, 4, 2), "flattened or turned"),
    (lambda: Lambda(lambda x: x.transpose(0, 1)), (5, 4, 2), "it moves the batch"),
    (lambda: nn.Sequential(nn.Conv2d(2, 2, 1), Lambda(lambda x: x.transpose(1, 2)),
                           nn.Conv2d(5, 2, 1)), (5, 4, 2), "are turned or divided; turn them"),
    (lambda: Wired(lambda x, a, b: (y := a(x)) + b(y.reshape(-1, 2, 2)).flatten(1),
                   nn.Linear(3, 4), nn.Conv1d(2, 2, 1)), (3,), "are turned or divided; turn them"),
    (lambda: Wired(lambda x, a, b: (y := a(x)) + b(y.relu().reshape(-1, 2, 2)).flatten(1),
                   nn.Linear(3, 4), nn.Conv1d(2, 2, 1)), (3,), "are turned or divided; turn them"),
    (lambda: Lambda(lambda x: x.reshape(2, -1)), (5, 4, 2), "changes the batch"),
    (lambda: Lambda(lambda x: x.mean(1)), (5, 4, 2), "only over height and width"),
    (lambda: Lambda(lambda x: x.argmax(2)), (5, 4, 2), "only the argmax over the channels"),
    (lambda: Lambda(lambda x: x.argmax(1, keepdim=True).relu()), (5, 4, 2), "follows an argmax"),
    (lambda: Lambda(lambda x: functional.conv2d(x, torch.ones(1, 2, 1, 1))), (5, 4, 2),
     "is no parameter of the model|not supported"),
    (lambda: Lambda(lambda x: x), (5, 4, 2), "has no layers|residual"),
    (lambda: spoiled(float("nan"), "weight"), (5, 5, 2), "layer conv1: its weights hold NaN"),
    (lambda: spoiled(float("inf"), "bias"), (5, 5, 2), "layer conv1: its bias hold NaN"),
]


@pytest.mark.parametrize("index", range(len(REFUSALS)))
def test_refusal(index: int) -> None:
    build, shape, match = REFUSALS[index]
    torch_shape = (shape[2], shape[0], shape[1]) if len(shape) == 3 else shape[::-1]
    program = torch.export.export(build().eval(), (torch.zeros(1, *torch_shape),))
    with pytest.raises(PenjingError, match=match) as info:
        loader.from_program(program)
    assert "\n" not in str(info.value)


def test_training_mode_is_refused() -> None:
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout()).train()
    program = torch.export.export(module, (torch.zeros(2, 1, 5, 5),))
    with pytest.raises(PenjingError, match=r"exported in training mode; call model.eval\(\)"):
        loader.from_program(program)


def test_two_inputs_or_outputs_are_refused() -> None:
    class Two(nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return x.relu(), x

    class Both(nn.Module):
        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return x + y

    one = torch.zeros(1, 3)
    with pytest.raises(PenjingError, match="it has 2 outputs, relu, x; choose one with --result"):
        loader.from_program(torch.export.export(Two(), (one,)))
    with pytest.raises(PenjingError, match="the program has 2 inputs"):
        loader.from_program(torch.export.export(Both(), (one, one)))


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_decomposed_program_is_refused() -> None:
    module = unsettle(nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)))
    program = torch.export.export(module, (torch.zeros(1, 1, 5, 5),)).run_decompositions()
    with pytest.raises(PenjingError, match=r"without run_decompositions\(\)"):
        loader.from_program(program)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_other_float_types(dtype: str) -> None:
    kind = getattr(torch, dtype)
    module = nn.Sequential(nn.Linear(5, 3)).to(kind).eval()
    network = loader.from_program(torch.export.export(module, (torch.zeros(1, 5, dtype=kind),)))
    (layer,) = network.layers
    assert isinstance(layer, floats.FloatDense)
    np.testing.assert_array_equal(layer.weights, module[0].weight.detach().double().numpy())


# Files


def saved(path: Path, module: nn.Module | None = None) -> bytes:
    module = module or nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(27, 4))
    torch.export.save(torch.export.export(unsettle(module), (torch.zeros(1, 2, 5, 5),)), path)
    return path.read_bytes()


def rewritten(data: bytes, changes: dict[str, bytes | None], compression: int = 0) -> bytes:
    """The archive with entries replaced, added or left out; the names lie below its root folder."""
    source, target = zipfile.ZipFile(io.BytesIO(data)), io.BytesIO()
    root = source.namelist()[0].partition("/")[0]
    with zipfile.ZipFile(target, "w", compression) as archive:
        for name in source.namelist():
            content = changes.get(name.partition("/")[2], source.read(name))
            if content is not None:
                archive.writestr(name, content)
        for name, content in changes.items():
            if f"{root}/{name}" not in source.namelist() and content is not None:
                archive.writestr(f"{root}/{name}", content)
    return target.getvalue()


def entry(data: bytes, name: str) -> Any:
    source = zipfile.ZipFile(io.BytesIO(data))
    root = source.namelist()[0].partition("/")[0]
    return json.loads(source.read(f"{root}/{name}"))


def refused(path: Path, data: bytes, match: str) -> None:
    path.write_bytes(data)
    for read in (loader.load, lambda p: loader.run_float(p, np.zeros((1, 5, 5, 2)))):
        with pytest.raises(PenjingError, match=match) as info:
            read(path)
        message = str(info.value)
        assert message.startswith(f"{path}: ")
        assert "\n" not in message
        assert len(message) < 700 + len(str(path))


CONFIG = "data/weights/model_weights_config.json"


def test_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "m.pt2"
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(27, 4))
    saved(path, module)
    network = loader.load(path)
    x = np.random.default_rng(0).normal(size=(5, 5, 5, 2))
    wanted = module(torch.from_numpy(x.transpose(0, 3, 1, 2).astype(np.float32))).detach().numpy()
    np.testing.assert_allclose(floats.run(network, x)[:, 0, 0], wanted, atol=1e-5)
    np.testing.assert_allclose(loader.run_float(path, x, batch=2), wanted, atol=1e-6)
    assert capfd.readouterr() == ("", "")


class Evil:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def test_no_pickle_runs(tmp_path: Path) -> None:
    path, mark = tmp_path / "m.pt2", tmp_path / "ran"
    good = saved(path)
    buffer = io.BytesIO()
    torch.save(Evil(mark), buffer)
    plain = pickle.dumps(Evil(mark))

    pickle.loads(plain)  # noqa: S301
    assert mark.exists()  # the trap works
    mark.unlink()

    path.write_bytes(rewritten(good, {"data/sample_inputs/model.pt": buffer.getvalue(),
                                      "data/constants/opaque_obj_0": plain,
                                      "data/weights/model.pt": buffer.getvalue()}))
    loader.load(path)
    loader.run_float(path, np.zeros((1, 5, 5, 2)))
    config = entry(good, CONFIG)
    first = next(iter(config["config"].values()))
    first["use_pickle"] = True
    refused(path, rewritten(good, {CONFIG: json.dumps(config).encode(),
                                   f"data/weights/{first['path_name']}": buffer.getvalue()}),
            "is pickled, which can run code")
    refused(path, buffer.getvalue(), "comes from torch.save or TorchScript, whose files can run")
    assert not mark.exists()


def test_no_expression_is_evaluated(tmp_path: Path) -> None:
    path, mark = tmp_path / "m.pt2", tmp_path / "ran"
    good = saved(path)
    model = entry(good, "models/model.json")
    code = f"__import__('pathlib').Path({str(mark)!r}).touch()"
    model["guards_code"] = [code]
    for meta in model["graph_module"]["graph"]["tensor_values"].values():
        meta["sizes"][0] = {"as_expr": {"expr_str": code, "hint": {"as_int": 1}}}
    path.write_bytes(rewritten(good, {"models/model.json": json.dumps(model).encode()}))
    loader.load(path)
    loader.run_float(path, np.zeros((1, 5, 5, 2)))
    node = model["graph_module"]["graph"]["nodes"][0]
    node["target"] = "os.system"
    refused(path, rewritten(good, {"models/model.json": json.dumps(model).encode()}),
            r"\(os.system in 0\): not supported")
    assert not mark.exists()


def test_damaged_files(tmp_path: Path) -> None:
    path = tmp_path / "m.pt2"
    good = saved(path)
    config = entry(good, CONFIG)
    refused(path, b"", "damaged, or not a PyTorch program")
    refused(path, good[:-100], "damaged, or not a PyTorch program")
    refused(path, b"hello" * 100, "damaged, or not a PyTorch program; save it with torch.export")
    refused(path, rewritten(good, {}, zipfile.ZIP_DEFLATED), "compressed or overlapping")
    refused(path, rewritten(good, {"archive_format": None}), "not a PyTorch program")
    refused(path, rewritten(good, {"archive_format": b"aoti"}), "not a PyTorch program")
    refused(path, rewritten(good, {"models/model.json": None}), "it holds 0 programs")
    refused(path, rewritten(good, {"models/two.json": b"{}"}), "it holds 2 programs")
    refused(path, rewritten(good, {"models/model.json": b"{"}), "graph or weights are damaged")
    refused(path, rewritten(good, {"models/model.json": b"[" * 99999}), "are damaged")
    refused(path, rewritten(good, {"models/model.json": b"{}"}), "are damaged")
    refused(path, rewritten(good, {CONFIG: b"{}"}), "graph or weights are damaged")
    refused(path, rewritten(good, {CONFIG: None}), "it holds no entry 'data/weights/model_w")
    refused(path, rewritten(good, {"data/weights/weight_0": b"\0" * 8}), "its entry holds 2")
    refused(path, rewritten(good, {"data/weights/weight_0": None}), "it holds no entry")
    model = entry(good, "models/model.json")
    model["schema_version"]["major"] = 9
    refused(path, rewritten(good, {"models/model.json": json.dumps(model).encode()}),
            "its schema version is 9, not 8")
    meta = next(iter(config["config"].values()))["tensor_meta"]
    meta["sizes"][0]["as_int"], meta["strides"][0]["as_int"] = 1 << 40, 0
    refused(path, rewritten(good, {CONFIG: json.dumps(config).encode()}), "claim more than")
    meta["sizes"][0]["as_int"] = -1
    refused(path, rewritten(good, {CONFIG: json.dumps(config).encode()}), "damaged|empty|claims")


def test_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PenjingError, match="cannot be read"):
        loader.load(tmp_path / "missing.pt2")
    with pytest.raises(PenjingError, match="cannot be read"):
        loader.load(tmp_path)
    saved(tmp_path / "m.pt2")
    monkeypatch.setattr(pt2, "MAX_FILE_BYTES", 1000)
    with pytest.raises(PenjingError, match="larger than"):
        loader.load(tmp_path / "m.pt2")


def test_old_format(tmp_path: Path) -> None:
    path = tmp_path / "m.pt2"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("version", "8.2")
        archive.writestr("serialized_exported_program.json", "{}")
    refused(path, path.read_bytes(), "written by an old torch")


def test_recorded_sizes_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "m.pt2"
    good = saved(path)
    model = entry(good, "models/model.json")
    sizes = model["graph_module"]["graph"]["tensor_values"]["conv2d"]["sizes"]
    sizes[2]["as_int"] = 7
    refused(path, rewritten(good, {"models/model.json": json.dumps(model).encode()}),
            r"its output has shape \(3, 7, 3\) in the file, \(3, 3, 3\) by its arguments")


def test_mutated_files(tmp_path: Path) -> None:
    path, rng = tmp_path / "m.pt2", random.Random(5)
    good = saved(path)
    for _ in range(150):
        data = bytearray(good)
        for _ in range(rng.randint(1, 3)):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(data[:rng.randrange(len(data))] if rng.random() < 0.2 else data)
        try:
            loader.load(path)
        except PenjingError:
            continue


def test_mutated_graphs(tmp_path: Path) -> None:
    path, rng = tmp_path / "m.pt2", random.Random(6)
    good = saved(path)
    values = [None, True, 0, -1, 1 << 70, 1.5, "relu", "", [], [[]], {}, {"as_int": 3}]

    def spoil(node: Any) -> None:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        key = rng.choice(keys)
        if isinstance(node[key], dict | list) and node[key] and rng.random() < 0.9:
            spoil(node[key])
        elif isinstance(node, dict) and rng.random() < 0.2:
            node[rng.choice(keys)] = node.pop(key)
        else:
            node[key] = copy.deepcopy(rng.choice(values))

    for _ in range(300):
        name = rng.choice(["models/model.json", CONFIG])
        content = entry(good, name)
        spoil(content["graph_module"]["graph"] if "graph_module" in content else content)
        path.write_bytes(rewritten(good, {name: json.dumps(content).encode()}))
        try:
            loader.load(path)
            loader.run_float(path, np.zeros((1, 5, 5, 2)))
        except PenjingError:
            continue


def test_run_float_refuses(tmp_path: Path) -> None:
    path = tmp_path / "m.pt2"
    saved(path)
    for x in (np.zeros((1, 2, 5, 5)), np.zeros((1, 7)), np.zeros(50)):
        with pytest.raises(PenjingError, match=re.escape(f"shape {x.shape}")):
            loader.run_float(path, x)
    with pytest.raises(PenjingError, match="NaN"):
        loader.run_float(path, np.full((1, 5, 5, 2), np.nan))
