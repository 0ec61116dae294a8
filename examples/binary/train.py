"""Train one small network for Fashion-MNIST with weights and activations of few bits.

The same convolutions are trained in floating point and through quantizers of seven kinds, and made
integer networks that compute the same; so is a smaller one, of -1 and +1, for an iCEBreaker::

    python examples/binary/train.py --data DATA                # all kinds, a few minutes each
    python examples/binary/train.py --data DATA --kind bnn ttq
    python examples/binary/train.py                            # the table of what is stored

``DATA`` is the folder of the four ``.gz`` files of Fashion-MNIST. Each kind leaves
``<kind>.penjing``, which `penjing compile` takes, in ``--out``, and a row in
``bench/results/binary.json``, to which ``bench/few_bits.py`` adds what its hardware takes. A
training that was interrupted goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from penjing.compiler import file, ir
from penjing.compiler.compress import fixed_point, training
from penjing.compiler.compress.blocks import Repeat, Residual
from penjing.compiler.compress.lowering import lower
from penjing.compiler.compress.quantizers import (
    Binary,
    FixedPoint,
    FixedPointWeights,
    RPReLU,
    RSign,
    Sign,
    Ternary,
    WeightQuantizer,
    Xnor,
    quantize_weights,
)
from penjing.compiler.ir import Network, PenjingError, TensorType
from penjing.compiler.load import torch as pytorch
from penjing.sim import golden
from torch import Tensor, nn

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parents[1] / "bench"))  # the results, and the reader of the data set

import common  # noqa: E402
from fashion_mnist import read_split  # noqa: E402
from few_bits import FILE, show  # noqa: E402

INPUT = TensorType((28, 28, 1), 8, False, 8)
"""Pixels stand for pixel / 256: then every sum in PyTorch's float32 is exact."""
FRACTION = 5
"""Fraction length of what runs past convolutions: 8 bits reach from -4 to 4."""
CALIBRATION = 256
BATCH = 250


@dataclass(frozen=True)
class Kind:
    """How one of the networks is quantized: activations, and the weights of the middle and ends.

    ``temperature`` divides the outputs before the softmax of the loss. With ``shortcuts`` the
    activations run past the middle convolutions, which take their signs, as in ReActNet. A
    ``strided`` network has strides in place of pools, and two convolutions in place of three.
    """

    title: str
    activation: Callable[[], nn.Module]
    middle: Callable[[Tensor], WeightQuantizer] | None
    ends: Callable[[Tensor], WeightQuantizer] | None
    signs: bool = False
    temperature: float = 1.0
    shortcuts: bool = False
    strided: bool = False


def uniform(bits: int) -> Callable[[Tensor], WeightQuantizer]:
    """Weights in fixed point of ``bits``."""
    return lambda latent: FixedPointWeights(bits, latent)


def _mixed(bits: int) -> Kind:
    return Kind(f"weights and activations of {bits} bits", lambda: FixedPoint(bits, bits - 1),
                uniform(bits), uniform(8))


KINDS: dict[str, Kind] = {
    "float": Kind("floating point, then 8 bits", nn.ReLU, None, None),
    "bnn": Kind("BNN: all weights and activations ±1", Sign, lambda _: Binary(),
                lambda _: Binary(), signs=True, temperature=16.0),
    "small": Kind("BNN with strides in place of pools, for an iCEBreaker", Sign,
                  lambda _: Binary(), lambda _: Binary(), signs=True, temperature=16.0,
                  strided=True),
    "xnor": Kind("XNOR-Net, 8-bit weights at the ends", Sign, lambda _: Xnor(), uniform(8),
                 signs=True),
    "reactnet": Kind("ReActNet: signs into XNOR-Net's convolutions, 8 bits past them",
                     lambda: FixedPoint(8, FRACTION, signed=True), lambda _: Xnor(), uniform(8),
                     signs=True, shortcuts=True),
    "ttq": Kind("trained ternary, 4-bit activations", lambda: FixedPoint(4, 3), Ternary,
                uniform(8)),
    "w2a2": _mixed(2), "w3a3": _mixed(3), "w4a4": _mixed(4)}


def build(kind: Kind) -> nn.Sequential:
    """The untrained network; the names of its modules become those of the hardware's."""
    model = nn.Sequential(_strided(kind) if kind.strided else _pooled(kind))
    for name, layer in list(model.named_modules()):
        quantizer = kind.ends if name in ("conv1", "dense") else kind.middle
        if isinstance(layer, nn.Conv2d | nn.Linear) and quantizer is not None:
            quantize_weights(layer, quantizer(layer.weight.detach()))
    # The pools of this order of elements are faster on a processor; nothing computes otherwise.
    return model.to(memory_format=torch.channels_last)


def _pooled(kind: Kind) -> OrderedDict[str, nn.Module]:
    return OrderedDict(
        conv1=nn.Conv2d(1, 16, 3, padding=1, bias=False), norm1=nn.BatchNorm2d(16),
        pool1=nn.MaxPool2d(2), act1=kind.activation(),
        **_block(kind, 2, 16, 32, nn.MaxPool2d(2)), **_block(kind, 3, 32, 64),
        flatten=nn.Flatten(), dense=nn.Linear(64 * 7 * 7, 10, bias=False))


def _strided(kind: Kind) -> OrderedDict[str, nn.Module]:
    return OrderedDict(
        conv1=nn.Conv2d(1, 16, 3, 2, padding=1, bias=False), norm1=nn.BatchNorm2d(16),
        act1=kind.activation(), **_block(kind, 2, 16, 64, stride=2),
        flatten=nn.Flatten(), dense=nn.Linear(64 * 7 * 7, 10, bias=False))


def _block(kind: Kind, number: int, inputs: int, outputs: int, *pools: nn.Module, stride: int = 1
           ) -> dict[str, nn.Module]:
    """A convolution with all that follows up to the next, ``pools`` among it."""
    layers = {**_convolution(kind, number, inputs, outputs, stride),
              f"norm{number}": nn.BatchNorm2d(outputs)}
    pooled = {f"pool{number}": pool for pool in pools}
    if not kind.shortcuts:
        return {**layers, **pooled, f"act{number}": kind.activation()}
    body = OrderedDict(sign=RSign(inputs), **layers, act=kind.activation())
    shortcut = OrderedDict(repeat=Repeat(outputs // inputs))
    return {f"block{number}": Residual(nn.Sequential(body), nn.Sequential(shortcut)),
            f"prelu{number}": RPReLU(outputs), f"act{number}": kind.activation(), **pooled}


def _convolution(kind: Kind, number: int, inputs: int, outputs: int, stride: int
                 ) -> dict[str, nn.Module]:
    """A convolution with a border of 0, or of -1 where there is no 0."""
    convolution = nn.Conv2d(inputs, outputs, 3, stride, 0 if kind.signs else 1, bias=False)
    border = {f"pad{number}": nn.ConstantPad2d(1, -1.0)} if kind.signs else {}
    return {**border, f"conv{number}": convolution}


def as_input(images: Tensor, _: torch.Generator | None) -> Tensor:
    """Pixels (N, 28, 28) as the model takes them."""
    return images.unsqueeze(1).to(torch.float32) / 256


def read(folder: Path, prefix: str, count: int | None) -> training.Data:
    """The first ``count`` images of one split ("train" or "t10k")."""
    images, labels = read_split(folder, prefix)
    return training.Data(torch.from_numpy(images[:count, :, :, 0].copy()),
                         torch.from_numpy(labels[:count]), as_input)


def integers(name: str, model: nn.Sequential, calibration: Tensor) -> Network:
    """The integer network; the float one is quantized to 8 bits behind the training."""
    if name != "float":
        return lower(model, INPUT, name)
    floats = pytorch.from_module(model, INPUT.shape)
    return fixed_point.quantize(floats, calibration.unsqueeze(3).numpy(), name="float8",
                                input_scale=1 / 256, mode=fixed_point.Mode.OUTPUT)


def weight_bits(network: Network) -> int:
    """Bits that the weights take: one for ±1, two for three values, else their width."""
    total = 0
    for layer in network.layers:
        if isinstance(layer, ir.MultiplyAccumulate):
            values = layer.weights.values
            different = len(np.unique(values))
            total += values.size * (different - 1 if different <= 3 else layer.weights.bits)
    return total


def judge(network: Network, model: nn.Sequential, test: training.Data) -> dict[str, float]:
    """Accuracy of the integer network, and in how many labels it differs from PyTorch."""
    right = different = 0
    for start in range(0, len(test.images), BATCH):
        images, labels = test.images[start:start + BATCH], test.labels[start:start + BATCH]
        mine = golden.run(network, images.unsqueeze(3).numpy().astype(np.int64))
        guesses = mine.reshape(len(images), -1).argmax(1)
        with torch.no_grad():
            other = model(as_input(images, None)).argmax(1).numpy()
        right += int((guesses == labels.numpy()).sum())
        different += int((guesses != other).sum())
    return {"accuracy": right / len(test.images), "labels_unlike_pytorch": different}


def study(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """Train one kind, lower it, store the network, and tell how good it is."""
    kind = KINDS[name]
    settings = training.Settings(args.epochs, learning_rate=args.learning_rate, seed=args.seed)
    data, test = read(args.data, "train", args.images), read(args.data, "t10k", args.images)
    torch.manual_seed(args.seed)
    model = build(kind)
    checkpoint = args.out / f"{name}.training"

    def loss(_: Tensor, outputs: Tensor, labels: Tensor) -> Tensor:
        return nn.functional.cross_entropy(outputs / kind.temperature, labels)

    started = time.process_time()
    with common.progress_bar() as bar:
        task = bar.add_task(name, total=None)
        history = training.fit(
            model, data, settings, loss=loss, checkpoint=checkpoint,
            progress=lambda done, total, line: bar.update(
                task, completed=done, total=total, description=f"{name} {line}"))
    seconds = time.process_time() - started
    network = integers(name, model, data.images[:CALIBRATION])
    file.save(network, args.out / f"{name}.penjing")
    checkpoint.unlink()
    return {"kind": name, "title": kind.title, **judge(network, model, test),
            "pytorch_accuracy": training.accuracy(model, test), "samples": len(test.images),
            "weights": sum(layer.weights.values.size for layer in network.layers
                           if isinstance(layer, ir.MultiplyAccumulate)),
            "weight_bits": weight_bits(network), "macs": network.macs,
            "settings": asdict(settings), "images": len(data.images), "threads": args.threads,
            "history": [asdict(epoch) for epoch in history], "cpu_seconds": round(seconds)}


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Each kind that was asked for; stored rows of the others are kept."""
    torch.set_num_threads(args.threads)
    torch.use_deterministic_algorithms(True)
    # That also fills all memory that nothing is in yet, which takes a quarter of the time.
    torch.utils.deterministic.fill_uninitialized_memory = False
    args.out.mkdir(parents=True, exist_ok=True)
    stamp = common.stamp("python examples/binary/train.py --data DATA", "torch", "numpy")
    result: dict[str, Any] = {}
    for name in args.kind:
        row = {**study(name, args), **stamp}
        # Read again: hardware may have been built meanwhile.
        rows = {row["kind"]: row for row in common.read(FILE).get("rows", [])} | {name: row}
        result = {"rows": [rows[kind] for kind in KINDS if kind in rows]}
        common.write(FILE, result)
    return result


def main() -> int:
    """Train if data are given; print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, help="folder with the IDX .gz files; without it, the "
                                                  "stored results are printed")
    parser.add_argument("--kind", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--out", type=Path, default=HERE, help="folder for the networks")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--images", type=int, help="use the first so many of each split only")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads; affects rounding")
    parser.add_argument("--json", action="store_true", help="one object on stdout, no table")
    args = parser.parse_args()
    try:
        result = run(args) if args.data else common.read(FILE)
        if not result:
            raise PenjingError(f"{FILE}: there are no stored results; give --data")
    except PenjingError as error:
        print(f"train: error: {error}", file=sys.stderr)
        return 2
    if args.json:
        print(json.dumps(result))
    else:
        show(result["rows"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
