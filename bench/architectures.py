"""Networks as they are known, written in PyTorch for `named_networks.py`; weights are random.

Each follows the paper or repository that it names, narrower where a small board asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

Activation = Callable[[], nn.Module]


class ConvNorm(nn.Sequential):
    """A convolution that keeps the map's size but for its ``stride``, a batch norm, a function."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1,
                 act: Activation = nn.ReLU) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
            nn.BatchNorm2d(outputs), act())


class Sum(nn.Module):
    """The sum of ``body`` and ``shortcut``, then ``act``."""

    def __init__(self, body: nn.Module, shortcut: nn.Module | None = None,
                 act: Activation = nn.Identity) -> None:
        super().__init__()
        self.body, self.shortcut, self.act = body, shortcut or nn.Identity(), act()

    def forward(self, x: Tensor) -> Tensor:
        """The block's output."""
        return self.act(self.shortcut(x) + self.body(x))


class Squeeze(nn.Module):
    """Squeeze and excitation (Hu et al. 2018): a factor for each channel, from the whole map."""

    def __init__(self, channels: int, inner: int, gate: Activation = nn.Sigmoid) -> None:
        super().__init__()
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, inner, 1), nn.ReLU(),
                                  nn.Conv2d(inner, channels, 1), gate())

    def forward(self, x: Tensor) -> Tensor:
        """The map times its factors."""
        return x * self.gate(x)


def divisible(channels: float, by: int = 8) -> int:
    """The multiple of ``by`` near ``channels`` that MobileNets round to."""
    near = max(by, int(channels + by / 2) // by * by)
    return near + by * (near < 0.9 * channels)


def inverted(inputs: int, hidden: int, outputs: int, kernel: int, stride: int,
             act: Activation = nn.ReLU6, squeeze: nn.Module | None = None) -> nn.Module:
    """An inverted residual block: wide inside, narrow and linear at its ends."""
    body = nn.Sequential(
        ConvNorm(inputs, hidden, act=act) if hidden != inputs else nn.Identity(),
        ConvNorm(hidden, hidden, kernel, stride, hidden, act), squeeze or nn.Identity(),
        ConvNorm(hidden, outputs, act=nn.Identity))
    return Sum(body) if inputs == outputs and stride == 1 else body


def classifier(features: int, classes: int) -> list[nn.Module]:
    """The mean of each channel, and a linear layer."""
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(features, classes)]


def mobilenet_v2(width: float = 0.35, classes: int = 10) -> nn.Module:
    """MobileNetV2 (Sandler et al. 2018)."""
    last = divisible(32 * width)
    layers: list[nn.Module] = [ConvNorm(3, last, 3, 2, act=nn.ReLU6)]
    for expand, channels, count, stride in ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2),
                                            (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
                                            (6, 320, 1, 1)):
        outputs = divisible(channels * width)
        for n in range(count):
            layers.append(inverted(last, last * expand, outputs, 3, 1 if n else stride))
            last = outputs
    features = max(1280, divisible(1280 * width))
    return nn.Sequential(*layers, ConvNorm(last, features, act=nn.ReLU6),
                         *classifier(features, classes))


def mobilenet_v3_small(width: float = 1.0, minimal: bool = False, classes: int = 10) -> nn.Module:
    """MobileNetV3-small (Howard et al. 2019), or its ``minimal`` form: 3×3, ReLU, no squeezing."""
    act: Activation = nn.ReLU if minimal else nn.Hardswish
    last = divisible(16 * width)
    layers: list[nn.Module] = [ConvNorm(3, last, 3, 2, act=act)]
    for kernel, hidden, channels, squeezes, early, stride in (
            (3, 16, 16, True, True, 2), (3, 72, 24, False, True, 2),
            (3, 88, 24, False, True, 1), (5, 96, 40, True, False, 2),
            (5, 240, 40, True, False, 1), (5, 240, 40, True, False, 1),
            (5, 120, 48, True, False, 1), (5, 144, 48, True, False, 1),
            (5, 288, 96, True, False, 2), (5, 576, 96, True, False, 1),
            (5, 576, 96, True, False, 1)):
        inner, outputs = divisible(hidden * width), divisible(channels * width)
        squeeze = (Squeeze(inner, divisible(inner / 4), nn.Hardsigmoid)
                   if squeezes and not minimal else None)
        layers.append(inverted(last, inner, outputs, 3 if minimal else kernel, stride,
                               nn.ReLU if early else act, squeeze))
        last = outputs
    wide, features = divisible(576 * width), divisible(1024 * width)
    return nn.Sequential(*layers, ConvNorm(last, wide, act=act), nn.AdaptiveAvgPool2d(1),
                         nn.Flatten(), nn.Linear(wide, features), act(),
                         nn.Linear(features, classes))


def efficientnet_lite0(width: float = 1.0, classes: int = 10) -> nn.Module:
    """EfficientNet-Lite0: EfficientNet (Tan & Le 2019) without squeezing, with ReLU6."""
    last = divisible(32 * width)
    layers: list[nn.Module] = [ConvNorm(3, last, 3, 2, act=nn.ReLU6)]
    for expand, channels, count, stride, kernel in (
            (1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3),
            (6, 112, 3, 1, 5), (6, 192, 4, 2, 5), (6, 320, 1, 1, 3)):
        outputs = divisible(channels * width)
        for n in range(count):
            layers.append(inverted(last, last * expand, outputs, kernel, 1 if n else stride))
            last = outputs
    features = divisible(1280 * width)
    return nn.Sequential(*layers, ConvNorm(last, features, act=nn.ReLU6),
                         *classifier(features, classes))


class YoloFastest(nn.Module):
    """A detector like YOLO-Fastest: inverted residuals, and a head that sees two scales."""

    def __init__(self, anchors: int = 3, classes: int = 3) -> None:
        super().__init__()
        self.early = nn.Sequential(
            ConvNorm(3, 8, 3, 2), inverted(8, 8, 4, 3, 1, nn.ReLU),
            inverted(4, 24, 8, 3, 2, nn.ReLU), inverted(8, 32, 8, 3, 1, nn.ReLU),
            inverted(8, 32, 8, 3, 2, nn.ReLU), inverted(8, 48, 8, 3, 1, nn.ReLU),
            inverted(8, 48, 16, 3, 2, nn.ReLU), inverted(16, 96, 16, 3, 1, nn.ReLU))
        self.late = nn.Sequential(inverted(16, 96, 24, 3, 2, nn.ReLU),
                                  inverted(24, 136, 24, 3, 1, nn.ReLU), ConvNorm(24, 48))
        self.head = nn.Sequential(ConvNorm(64, 64, 5, 1, 64), ConvNorm(64, 32),
                                  nn.Conv2d(32, anchors * (5 + classes), 1))

    def forward(self, x: Tensor) -> Tensor:
        """Boxes, objects and classes of each anchor of the finer scale."""
        fine = self.early(x)
        coarse = functional.interpolate(self.late(fine), scale_factor=2.0)
        return self.head(torch.cat((fine, coarse), 1))


class YoloV3Tiny(nn.Module):
    """YOLOv3-tiny (Redmon & Farhadi 2018), its finer scale."""

    def __init__(self, width: float = 1.0, anchors: int = 3, classes: int = 3) -> None:
        super().__init__()
        c = [divisible(n * width) for n in (16, 32, 64, 128, 256, 512, 1024)]

        def conv(inputs: int, outputs: int, kernel: int = 3) -> ConvNorm:
            return ConvNorm(inputs, outputs, kernel, act=lambda: nn.LeakyReLU(0.1))

        pool = nn.MaxPool2d(2, 2)
        self.early = nn.Sequential(conv(3, c[0]), pool, conv(c[0], c[1]), pool, conv(c[1], c[2]),
                                   pool, conv(c[2], c[3]), pool, conv(c[3], c[4]))
        self.late = nn.Sequential(pool, conv(c[4], c[5]), nn.ZeroPad2d((0, 1, 0, 1)),
                                  nn.MaxPool2d(2, 1), conv(c[5], c[6]), conv(c[6], c[4], 1),
                                  conv(c[4], c[3], 1))
        self.head = nn.Sequential(conv(c[3] + c[4], c[4]),
                                  nn.Conv2d(c[4], anchors * (5 + classes), 1))

    def forward(self, x: Tensor) -> Tensor:
        """Boxes, objects and classes of each anchor of the finer scale."""
        fine = self.early(x)
        coarse = functional.interpolate(self.late(fine), scale_factor=2.0)
        return self.head(torch.cat((coarse, fine), 1))


class Split(nn.Module):
    """YOLOv8's C2f: half of the channels pass, half go through ``count`` blocks, all are kept."""

    def __init__(self, inputs: int, outputs: int, count: int, adds: bool) -> None:
        super().__init__()
        half = outputs // 2
        self.first = ConvNorm(inputs, outputs, act=nn.SiLU)
        self.last = ConvNorm((2 + count) * half, outputs, act=nn.SiLU)
        self.blocks = nn.ModuleList()
        for _ in range(count):
            body = nn.Sequential(ConvNorm(half, half, 3, act=nn.SiLU),
                                 ConvNorm(half, half, 3, act=nn.SiLU))
            self.blocks.append(Sum(body) if adds else body)

    def forward(self, x: Tensor) -> Tensor:
        """The block's output."""
        parts = list(self.first(x).chunk(2, 1))
        for block in self.blocks:
            parts.append(block(parts[-1]))
        return self.last(torch.cat(parts, 1))


class Pyramid(nn.Module):
    """Spatial pyramid pooling as YOLOv5 and later have it (SPPF)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = ConvNorm(channels, channels // 2, act=nn.SiLU)
        self.pool = nn.MaxPool2d(5, 1, 2)
        self.last = ConvNorm(2 * channels, channels, act=nn.SiLU)

    def forward(self, x: Tensor) -> Tensor:
        """The block's output."""
        parts = [self.first(x)]
        for _ in range(3):
            parts.append(self.pool(parts[-1]))
        return self.last(torch.cat(parts, 1))


class YoloV8(nn.Module):
    """YOLOv8 (Jocher et al. 2023), backbone, way down and the head of its finest scale."""

    def __init__(self, width: float = 0.25, classes: int = 3, bins: int = 16) -> None:
        super().__init__()
        c = [divisible(n * width) for n in (64, 128, 256, 512, 1024)]

        def down(inputs: int, outputs: int) -> ConvNorm:
            return ConvNorm(inputs, outputs, 3, 2, act=nn.SiLU)

        self.early = nn.Sequential(down(3, c[0]), down(c[0], c[1]), Split(c[1], c[1], 1, True),
                                   down(c[1], c[2]), Split(c[2], c[2], 2, True))
        self.middle = nn.Sequential(down(c[2], c[3]), Split(c[3], c[3], 2, True))
        self.late = nn.Sequential(down(c[3], c[4]), Split(c[4], c[4], 1, True), Pyramid(c[4]))
        self.up_middle = Split(c[4] + c[3], c[3], 1, False)
        self.up_early = Split(c[3] + c[2], c[2], 1, False)
        self.boxes = nn.Sequential(ConvNorm(c[2], c[2], 3, act=nn.SiLU),
                                   nn.Conv2d(c[2], 4 * bins, 1))
        self.classes = nn.Sequential(ConvNorm(c[2], c[2], 3, act=nn.SiLU),
                                     nn.Conv2d(c[2], classes, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Distributions of the boxes' sides and the classes' logits, side by side."""
        early = self.early(x)
        middle = self.middle(early)
        up = functional.interpolate(self.late(middle), scale_factor=2.0)
        up = self.up_middle(torch.cat((up, middle), 1))
        up = self.up_early(torch.cat((functional.interpolate(up, scale_factor=2.0), early), 1))
        return torch.cat((self.boxes(up), self.classes(up)), 1)


class ShuffleUnit(nn.Module):
    """ShuffleNetV2's unit (Ma et al. 2018); of stride 2 where the channels grow."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        half, stride = outputs // 2, 1 if inputs == outputs else 2
        leaky: Activation = lambda: nn.LeakyReLU(0.1)  # noqa: E731
        begin = inputs // 2 if stride == 1 else inputs
        self.stride = stride
        self.side = (nn.Identity() if stride == 1 else nn.Sequential(
            ConvNorm(inputs, inputs, 3, 2, inputs, nn.Identity), ConvNorm(inputs, half, act=leaky)))
        self.main = nn.Sequential(ConvNorm(begin, half, act=leaky),
                                  ConvNorm(half, half, 3, stride, half, nn.Identity),
                                  ConvNorm(half, half, act=leaky))

    def forward(self, x: Tensor) -> Tensor:
        """The unit's output, channels of its two ways by turns."""
        side, main = x.chunk(2, 1) if self.stride == 1 else (x, x)
        y = torch.cat((self.side(side), self.main(main)), 1)
        n, c, h, w = y.shape
        return y.reshape(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


class NanoDet(nn.Module):
    """NanoDet (RangiLyu 2020): ShuffleNetV2, a path of sums, and its finest head."""

    def __init__(self, width: float = 0.5, classes: int = 3, bins: int = 8) -> None:
        super().__init__()
        c = [divisible(n * width, 4) for n in (24, 116, 232, 464)]

        def stage(inputs: int, outputs: int, count: int) -> nn.Sequential:
            return nn.Sequential(ShuffleUnit(inputs, outputs),
                                 *(ShuffleUnit(outputs, outputs) for _ in range(count)))

        self.stem = nn.Sequential(ConvNorm(3, c[0], 3, 2), nn.MaxPool2d(3, 2, 1))
        self.stages = nn.ModuleList([stage(c[0], c[1], 3), stage(c[1], c[2], 7),
                                     stage(c[2], c[3], 3)])
        inner = divisible(96 * width)
        self.sides = nn.ModuleList([nn.Conv2d(n, inner, 1) for n in c[1:]])
        self.head = nn.Sequential(ConvNorm(inner, inner, 3, 1, inner), ConvNorm(inner, inner),
                                  nn.Conv2d(inner, classes + 4 * (bins), 1))

    def forward(self, x: Tensor) -> Tensor:
        """Classes and distributions of the boxes' sides at each place."""
        x = self.stem(x)
        maps = []
        for stage, side in zip(self.stages, self.sides, strict=True):
            x = stage(x)
            maps.append(side(x))
        path = maps[2]
        for finer in (maps[1], maps[0]):
            path = finer + functional.interpolate(path, scale_factor=2.0)
        return self.head(path)


class UNet(nn.Module):
    """A small U-Net (Ronneberger et al. 2015): ``levels`` down, upsampling, concatenation."""

    def __init__(self, channels: Sequence[int] = (8, 16, 32), classes: int = 2) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(2)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        last = 3
        for width in channels:
            self.down.append(nn.Sequential(ConvNorm(last, width, 3), ConvNorm(width, width, 3)))
            last = width
        for width in reversed(channels[:-1]):
            self.up.append(nn.Sequential(ConvNorm(last + width, width, 3),
                                         ConvNorm(width, width, 3)))
            last = width
        self.head = nn.Conv2d(last, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """The classes' logits at each place."""
        kept = []
        for n, block in enumerate(self.down):
            x = block(self.pool(x) if n else x)
            kept.append(x)
        for block, skip in zip(self.up, reversed(kept[:-1]), strict=True):
            x = block(torch.cat((functional.interpolate(x, scale_factor=2.0), skip), 1))
        return self.head(x)


def ds_cnn(channels: int = 64, classes: int = 12) -> nn.Module:
    """DS-CNN of keyword spotting (Zhang et al. 2017) as MLPerf Tiny has it."""
    blocks = [nn.Sequential(ConvNorm(channels, channels, 3, 1, channels),
                            ConvNorm(channels, channels)) for _ in range(4)]
    return nn.Sequential(nn.Conv2d(1, channels, (10, 4), 2, (4, 1), bias=False),
                         nn.BatchNorm2d(channels), nn.ReLU(), *blocks,
                         *classifier(channels, classes))


class Line(nn.Sequential):
    """A convolution along a line, a batch norm, and a ReLU where ``acts``."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, dilation: int = 1,
                 groups: int = 1, acts: bool = True) -> None:
        super().__init__(
            nn.Conv1d(inputs, outputs, kernel, stride, dilation * (kernel // 2), dilation, groups,
                      bias=False),
            nn.BatchNorm1d(outputs), nn.ReLU() if acts else nn.Identity())


def tc_resnet8(classes: int = 12) -> nn.Module:
    """TC-ResNet8 (Choi et al. 2019): 40 coefficients as the channels of a line of 101 steps."""
    layers: list[nn.Module] = [Line(40, 16, 3)]
    last = 16
    for width in (24, 32, 48):
        layers.append(Sum(nn.Sequential(Line(last, width, 9, 2), Line(width, width, 9, acts=False)),
                          Line(last, width, 1, 2), nn.ReLU))
        last = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(last, classes))


def matchboxnet(channels: int = 64, classes: int = 30) -> nn.Module:
    """MatchboxNet-3×1×64 (Majumdar & Ginsburg 2020): 64 coefficients, 128 steps."""
    def separable(inputs: int, outputs: int, kernel: int, stride: int = 1, dilation: int = 1,
                  acts: bool = True) -> nn.Module:
        deep = nn.Conv1d(inputs, inputs, kernel, stride, dilation * (kernel // 2), dilation, inputs,
                         bias=False)
        return nn.Sequential(deep, Line(inputs, outputs, 1, acts=acts))

    wide = 2 * channels
    layers = [separable(64, wide, 11, 2)]
    last = wide
    for kernel in (13, 15, 17):
        layers.append(Sum(separable(last, channels, kernel, acts=False),
                          Line(last, channels, 1, acts=False), nn.ReLU))
        last = channels
    return nn.Sequential(*layers, separable(last, wide, 29, dilation=2), Line(wide, wide, 1),
                         nn.Conv1d(wide, classes, 1), nn.AdaptiveAvgPool1d(1), nn.Flatten())


def ecg_resnet(leads: int = 12, classes: int = 6) -> nn.Module:
    """A residual network along a line for electrocardiograms (Ribeiro et al. 2020, narrower)."""
    layers: list[nn.Module] = [Line(leads, 16, 17)]
    last = 16
    for width in (24, 32, 48, 64):
        body = nn.Sequential(Line(last, width, 17), Line(width, width, 17, 4, acts=False))
        shortcut = nn.Sequential(nn.MaxPool1d(4), nn.Conv1d(last, width, 1, bias=False))
        layers.append(Sum(body, shortcut, nn.ReLU))
        last = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(last, classes))


def autoencoder() -> nn.Module:
    """A convolutional autoencoder; transposed convolutions bring the map back to its size."""
    return nn.Sequential(
        ConvNorm(1, 8, 3, 2), ConvNorm(8, 16, 3, 2), ConvNorm(16, 8, 3, 2),
        nn.ConvTranspose2d(8, 16, 2, 2), nn.ReLU(), nn.ConvTranspose2d(16, 8, 4, 2, 1), nn.ReLU(),
        nn.ConvTranspose2d(8, 1, 3, 2, 1, 1), nn.Sigmoid())


def se_resnet(classes: int = 10) -> nn.Module:
    """A residual network of 8 layers whose blocks squeeze and excite (Hu et al. 2018)."""
    layers: list[nn.Module] = [ConvNorm(3, 16, 3)]
    last = 16
    for width in (16, 32, 64):
        stride = 1 if width == last else 2
        body = nn.Sequential(ConvNorm(last, width, 3, stride),
                             ConvNorm(width, width, 3, act=nn.Identity), Squeeze(width, width // 8))
        shortcut = None if stride == 1 else ConvNorm(last, width, 1, stride, act=nn.Identity)
        layers.append(Sum(body, shortcut, nn.ReLU))
        last = width
    return nn.Sequential(*layers, *classifier(last, classes))
