"""Folded batch norms: the same answers, and shared weights that stay shared in hardware."""

from __future__ import annotations

import pytest
import torch
from penjing.compiler.compress import trainable
from penjing.compiler.compress.folding import folded
from penjing.compiler.compress.pipeline import Pipeline
from penjing.compiler.compress.steps import Share
from penjing.compiler.compress.training import Data
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


@pytest.fixture
def network() -> trainable.Trainable:
    torch.manual_seed(2)
    module = Normed()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(part.running_mean)  # type: ignore[arg-type]
            nn.init.uniform_(part.running_var, 0.5, 2)  # type: ignore[arg-type]
            if part.affine:
                nn.init.uniform_(part.weight, -2, 2)
                nn.init.normal_(part.bias)
    return trainable.read(module.eval(), (6, 6, 2))


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
