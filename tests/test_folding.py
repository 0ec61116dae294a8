"""Folded batch norms: the same answers, and shared weights that stay shared in hardware."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from penjing.compiler.compress import codebooks, trainable
from penjing.compiler.compress.folding import folded, parted
from penjing.compiler.compress.pipeline import Pipeline
from penjing.compiler.compress.steps import Share
from penjing.compiler.compress.training import Data
from penjing.compiler.ir import PenjingError
from penjing.compiler.load import torch as pytorch
from penjing.compiler.load.floats import FloatMultiply
from torch import Tensor, nn


class Normed(nn.Module):
    """Batch norms behind layers of all kinds; one reads a sum, another what a second reader has."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 6, 3, padding=1, groups=2, bias=False)
        self.turned = nn.ConvTranspose2d(6, 4, 2, groups=2)
        self.twice = nn.Conv2d(4, 4, 1)
        self.dense = nn.Linear(4, 3)
        self.norms = nn.ModuleList([nn.BatchNorm2d(6), nn.BatchNorm2d(4, affine=False),
                                    nn.BatchNorm2d(4), nn.BatchNorm2d(4), nn.BatchNorm1d(3)])

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norms[1](self.turned(torch.relu(self.norms[0](self.first(x))))))
        y = self.twice(x)
        x = torch.relu(self.norms[3](self.norms[2](y) + y))
        result: Tensor = self.norms[4](self.dense(x.mean((2, 3))))
        return result


def settled(module: nn.Module) -> nn.Module:
    """``module`` as if it were trained: batch norms with statistics, scales and offsets."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(part.running_mean)  # type: ignore[arg-type]
            nn.init.uniform_(part.running_var, 0.5, 2)  # type: ignore[arg-type]
            if part.affine:
                nn.init.uniform_(part.weight, -2, 2)
                nn.init.normal_(part.bias)
    return module.eval()


@pytest.fixture
def network() -> trainable.Trainable:
    torch.manual_seed(2)
    return trainable.read(settled(Normed()), (6, 6, 2))


def test_the_answers_stay(network: trainable.Trainable) -> None:
    made, x = folded(network), torch.randn(5, 2, 6, 6)
    norms = [part for part in made.module.modules()
             if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d)]
    # The sum, and what is read twice, keep theirs.
    assert len(norms) == 2
    with torch.no_grad():
        torch.testing.assert_close(made.module(x), network.module(x), rtol=1e-4, atol=1e-5)
    assert len(list(network.module.modules())) > len(list(made.module.modules()))


def test_shared_weights_have_few_values_where_they_are_multiplied(network: trainable.Trainable
                                                                  ) -> None:
    data = Data(torch.randn(8, 2, 6, 6), torch.arange(8) % 3, lambda x, _: x)
    made = Pipeline(data, 1, (network.copied(),)).take(Share(codes=4), network).network
    for name, layer in folded(made).layers.items():
        assert len(layer.weight.unique()) <= 4, name  # type: ignore[operator,union-attr]


class Scaled(nn.Module):
    """Convolutions scaled in all ways that the importer folds, behind which a dense layer reads."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way
        dilation = 2 if way == "dilated" else 1
        self.conv = nn.Conv2d(4, 4, 3, padding=dilation, dilation=dilation)
        self.norm, self.other = nn.BatchNorm2d(4), nn.BatchNorm2d(4)
        self.dense = nn.Linear(4, 3)
        self.dropout = nn.Dropout(0.1)
        self.register_buffer("each", torch.tensor([0.3, -0.7, 1.1, 2.0]))

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.dense(torch.relu(self._scaled(x)).mean((2, 3)))
        return result / self.each[:3] if self.way == "dense" else result

    def _scaled(self, x: Tensor) -> Tensor:
        each = self.each[:, None, None]
        if self.way == "called twice":
            return self.other(self.conv(torch.relu(self.norm(self.conv(x)))))
        if self.way == "one norm twice":
            return self.norm(self.norm(self.conv(x)))
        if self.way == "one norm of two calls":
            return self.norm(self.conv(torch.relu(self.norm(self.conv(x)))))
        if self.way == "constants":
            return 1.5 * (each + (each * self.conv(x) - 0.25) / each[None] * each)
        if self.way == "a norm behind a constant":
            return self.norm(self.conv(x) * 0.5 + each)
        if self.way == "dropped between":
            return self.norm(self.dropout(self.conv(x)))
        return self.conv(x)


WAYS = ["called twice", "one norm twice", "one norm of two calls", "constants",
        "a norm behind a constant", "dense", "dilated"]


def scaled(way: str) -> trainable.Trainable:
    torch.manual_seed(3)
    return trainable.read(settled(Scaled(way)), (6, 6, 4))


@pytest.mark.parametrize("way", WAYS)
def test_whatever_scales_channels_is_folded(way: str) -> None:
    """In each call, in training too, and the file has the same layers in the same order."""
    model, x = scaled(way), torch.randn(5, 4, 6, 6)
    whole = folded(parted(model))
    with torch.no_grad():
        torch.testing.assert_close(whole.module(x), model.module(x), rtol=1e-4, atol=1e-5)
    data = Data(torch.randn(8, 4, 6, 6), torch.arange(8) % 3, lambda x, _: x)
    made = Pipeline(data, 1, (model.copied(),)).take(
        Share(codes=4, epochs=1, batch=4, learning_rate=0.01, maps=1.0), model).network
    program = pytorch.traced(made.copied().module.eval(), made.example())
    layers = {layer.name: layer for layer in pytorch.from_program(program).layers
              if isinstance(layer, FloatMultiply)}
    assert {name: len(np.unique(layer.weights)) for name, layer in layers.items()
            } == dict.fromkeys(made.layers, 4)
    assert list(layers) == (["conv", "conv_2", "dense"] if "call" in way else ["conv", "dense"])
    again = trainable.read(program)
    assert list(again.layers) == list(made.layers)
    assert again.module.state_dict().keys() == made.module.state_dict().keys()


def test_each_call_of_a_layer_has_its_codes() -> None:
    """Named as in the file, as those of layers that had the same weights."""
    model = scaled("called twice")
    data = Data(torch.randn(8, 4, 6, 6), torch.arange(8) % 3, lambda x, _: x)
    made = Pipeline(data, 1, ()).take(Share(codes=4, layers={"conv_2": 3}), model).network
    assert {name: len(layer.weight.unique())  # type: ignore[operator,union-attr]
            for name, layer in made.layers.items()} == {"conv": 4, "conv_2": 3, "dense": 4}


def test_values_that_are_more_in_hardware_are_one_line() -> None:
    """Before anything is trained; what is shared is plain again."""
    model = scaled("dropped between")
    data = Data(torch.randn(8, 4, 6, 6), torch.arange(8) % 3, lambda x, _: x)
    with pytest.raises(PenjingError, match="layer conv: what follows it scales its channels, so "
                                           "that its weights take 16 values in hardware, not 4;"):
        Pipeline(data, 1, ()).take(Share(codes=4, epochs=1, batch=4), model)
    assert not any(map(codebooks.is_shared, model.layers.values()))
