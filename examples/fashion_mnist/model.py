"""The Fashion-MNIST example network.

The layer sizes are not the usual powers of two on purpose. On a streaming accelerator every
layer owns its multipliers and the slowest layer sets the frame rate, so a layer is only well
used if its work is a simple multiple of the work of the others. Here the multiply-accumulates
of conv1 : conv2 : conv3 : conv4 are exactly 3 : 12 : 4 : 12, and the dense layer is a little
below 1. A budget of 32 multipliers (or 64, 96, 128) is therefore divided without a remainder.
"""

from collections import OrderedDict
from typing import NamedTuple

import torch
from torch import nn

INPUT_SHAPE = (1, 28, 28)
CLASSES = 10


class LayerCost(NamedTuple):
    """What one layer costs per frame, and the shape it produces."""

    name: str
    shape: tuple[int, ...]
    weights: int
    macs: int


def build(width: float = 1.0) -> nn.Sequential:
    """Return the untrained network; the names of the children become hardware module names.

    It expects pixels as ``value / 255``: any other normalisation would have to run in front of
    the accelerator, whereas this one is only the scale of an unsigned 8-bit input.
    The convolutions have no bias because the batch normalisation that follows supplies one.
    They have ``width`` times as many channels as the example.
    """
    first, second, third, fourth = (max(1, round(width * channels))
                                    for channels in (12, 16, 16, 48))
    return nn.Sequential(
        OrderedDict[str, nn.Module](
            conv1=nn.Conv2d(1, first, 3, padding=1, bias=False),
            bn1=nn.BatchNorm2d(first),
            relu1=nn.ReLU(),
            pool1=nn.MaxPool2d(2),
            conv2=nn.Conv2d(first, second, 3, padding=1, bias=False),
            bn2=nn.BatchNorm2d(second),
            relu2=nn.ReLU(),
            pool2=nn.MaxPool2d(2),
            conv3=nn.Conv2d(second, third, 3, padding=1, bias=False),
            bn3=nn.BatchNorm2d(third),
            relu3=nn.ReLU(),
            conv4=nn.Conv2d(third, fourth, 3, padding=1, bias=False),
            bn4=nn.BatchNorm2d(fourth),
            relu4=nn.ReLU(),
            flatten=nn.Flatten(),
            dropout=nn.Dropout(0.2),
            dense=nn.Linear(fourth * 7 * 7, CLASSES),
        )
    )


def layer_costs(model: nn.Sequential) -> list[LayerCost]:
    """List weights and multiply-accumulates per frame of each layer, in order.

    "Weights" are the factors of the multipliers only. Biases and the parameters of the batch
    normalisation are left out since they end up in one addition and one scaling per channel.
    """
    costs: list[LayerCost] = []
    was_training = model.training
    model.eval()  # one frame through a training batch norm would disturb its statistics
    with torch.no_grad():
        x = torch.zeros(1, *INPUT_SHAPE)
        for name, layer in model.named_children():
            x = layer(x)
            weights = macs = 0
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                weights = layer.weight.numel()
                macs = weights
            if isinstance(layer, nn.Conv2d):
                macs *= x.shape[-2] * x.shape[-1]
            costs.append(LayerCost(name, tuple(x.shape[1:]), weights, macs))
    model.train(was_training)
    return costs
