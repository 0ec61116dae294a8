"""Make the integer network of the sparse VGG-16, and tell how good it is on CIFAR-10.

The number of codes, different weights in a layer, is the one that gets most of the training images
right, the least of equals. PyTorch computes the integers, in floats that hold them exactly; the
golden model must put out the same on a few images. Answers are stored as they come, so a run that
was interrupted goes on where it was::

    python examples/vgg16/evaluate.py --weights vgg16_cifar10_sparse.npz --data DIR --out DIR
    python examples/vgg16/evaluate.py                  # the table of what is stored

``--data`` is the folder of ``cifar10_test.npz`` and ``cifar10_train`` (mosaics of training images,
read by ``pillow``). ``--out`` gets ``vgg16.penjing``, which `penjing compile` takes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from network import SEARCH_IMAGES, integers, network
from numpy.typing import NDArray
from penjing.compiler import file, ir
from penjing.compiler.ir import Network, PenjingError
from penjing.compiler.load import floats as fl
from penjing.sim import golden
from penjing.sim.oracles import torch as oracle
from rich.progress import Progress
from torch.nn import functional

sys.path.append(str(Path(__file__).resolve().parents[2] / "bench"))

import common
from cifar_resnets import images

FILE = "vgg16_network.json"
CODES = (16, 32)
BATCH = 100
COMPARED = 4
"""Test images on which the golden model must equal PyTorch's integers in every value."""
MOSAIC = 2000
"""Images of one file of training images."""


@dataclass(frozen=True, eq=False)
class Judge:
    """Runs networks on images, and keeps their answers in ``folder``."""

    folder: Path
    bar: Progress

    def answers(self, title: str, key: bytes, run: Callable[[NDArray[Any]], NDArray[Any]],
                x: NDArray[np.uint8]) -> NDArray[np.int64]:
        """The classes (N,) of pixels ``x``; ``key`` is all that they depend on besides."""
        digest = hashlib.sha256(key + x.tobytes()).hexdigest()
        path = self.folder / f"{digest[:16]}.answers"
        found = self._stored(path, len(x))
        task = self.bar.add_task(title, total=len(x), completed=len(found))
        for start in range(len(found), len(x), BATCH):
            outputs = run(x[start:start + BATCH])
            found += outputs.reshape(len(outputs), -1).argmax(1).tolist()
            file.write_atomically(path, json.dumps(found).encode())
            self.bar.update(task, completed=len(found))
        return np.array(found)

    @staticmethod
    def _stored(path: Path, most: int) -> list[int]:
        try:
            found = json.loads(path.read_bytes())
        except (OSError, ValueError):
            return []
        whole = isinstance(found, list) and len(found) <= most and {*map(type, found)} <= {int}
        return found if whole else []


def run_float(floats: fl.FloatNetwork, x: NDArray[np.uint8]) -> NDArray[Any]:
    """The logits of the float network for pixels ``x``, by PyTorch in float32."""
    value = torch.from_numpy((x.transpose(0, 3, 1, 2) / 255).astype(np.float32))
    with torch.no_grad():
        for layer in floats.layers:
            value = _step(layer, value)
    return value.numpy()


def _step(layer: fl.FloatLayer, x: torch.Tensor) -> torch.Tensor:
    if isinstance(layer, fl.FloatConvolution):
        weights = layer.weights.transpose(0, 3, 1, 2).astype(np.float32)
        return functional.conv2d(x, torch.from_numpy(np.ascontiguousarray(weights)),
                                 _vector(layer.bias), layer.stride, layer.padding[0],
                                 groups=layer.groups)
    if isinstance(layer, fl.FloatDense):
        return functional.linear(x, torch.from_numpy(layer.weights.astype(np.float32)),
                                 _vector(layer.bias))
    if isinstance(layer, fl.FloatMaxPool):
        return functional.max_pool2d(x, layer.kernel, layer.stride)
    if isinstance(layer, fl.FloatClamp):
        return x.clamp(layer.minimum)
    assert isinstance(layer, fl.FloatFlatten)
    return x.flatten(1)


def _vector(values: fl.Floats) -> torch.Tensor:
    return torch.from_numpy(values.astype(np.float32))


def run_integers(made: Network, x: NDArray[np.uint8]) -> NDArray[Any]:
    """The accumulators of the integer network for pixels ``x``, by PyTorch."""
    return oracle.run(made, x.astype(np.int64), batch=BATCH // 2)


def training(folder: Path, number: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The training images (2000, 32, 32, 3) of one file, and their labels."""
    from PIL import Image  # what only this needs: pip install pillow

    folder = folder / "cifar10_train"
    try:
        with Image.open(folder / f"m{number:02d}.webp") as mosaic:
            rows = np.asarray(mosaic.convert("RGB")).reshape(40, 32, 50, 32, 3)
        labels = np.load(folder / "labels.npy", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise PenjingError(f"{folder}: no training images ({error}); give the folder of "
                           f"cifar10_train with --data") from None
    pixels = rows.transpose(0, 2, 1, 3, 4).reshape(-1, 32, 32, 3)
    return pixels, labels[number * MOSAIC:(number + 1) * MOSAIC].astype(np.int64)


def layers(made: Network) -> list[dict[str, Any]]:
    """What is in each layer of the file; the three weights that normalize pixels come on top."""
    rows = []
    for layer in made.layers:
        if isinstance(layer, ir.MultiplyAccumulate) and not isinstance(layer, ir.Depthwise):
            values = layer.weights.values
            height, width, _ = made.type_of(layer.name).shape
            nonzeros = int(np.count_nonzero(values))
            rows.append({"layer": layer.name, "weights": values.size, "nonzeros": nonzeros,
                         "codes": len(layer.weights.codebook), "bits": layer.weights.bits,
                         "macs": values.size * height * width,
                         "nonzero_macs": nonzeros * height * width})
    return rows


def measure(args: argparse.Namespace, bar: Progress) -> dict[str, Any]:
    """Make the networks, store the best, and tell the accuracies."""
    args.out.mkdir(parents=True, exist_ok=True)
    judge = Judge(args.out, bar)
    floats = network(args.weights)
    calibration, _ = training(args.data, 0)
    made = {codes: integers(floats, calibration, codes) for codes in CODES}
    sets = {"training": training(args.data, 1), "test": images(args.data)}
    counts = {"training": args.training, "test": args.images}
    floating, by_codes = {}, {codes: {"codes": codes} for codes in CODES}
    for which, (x, y) in sets.items():
        x, y = x[:counts[which]], y[:counts[which]]
        floating[which] = float((judge.answers(
            f"float, {which}", args.weights.read_bytes(), partial(run_float, floats), x)
            == y).mean())
        for codes, one in made.items():
            by_codes[codes][which] = float((judge.answers(
                f"{codes} codes, {which}", file.to_bytes(one), partial(run_integers, one), x)
                == y).mean())
    best = max(CODES, key=lambda codes: (by_codes[codes]["training"], -codes))
    file.save(made[best], args.out / "vgg16.penjing", compressed=True)
    rows = layers(made[best])
    return {"images": counts, "calibration_images": SEARCH_IMAGES, "float": floating,
            "by_codes": list(by_codes.values()), "codes": best,
            "float_accuracy": floating["test"], "accuracy": by_codes[best]["test"],
            "golden_values": golden_values(made[best], sets["test"][0][:COMPARED]),
            "golden_images": COMPARED, "layers": rows,
            **{what: sum(row[what] for row in rows)
               for what in ("weights", "nonzeros", "macs", "nonzero_macs")},
            **common.stamp("python examples/vgg16/evaluate.py --weights FILE --data DIR",
                           "torch", "numpy")}


def golden_values(made: Network, x: NDArray[np.uint8]) -> int:
    """How many values the golden model puts out for ``x``, all of them PyTorch's."""
    outputs = golden.run(made, x.astype(np.int64))
    if not np.array_equal(outputs, run_integers(made, x)):
        raise PenjingError("vgg16: PyTorch's integers differ from the golden model's")
    return outputs.size


def show(result: dict[str, Any]) -> None:
    """Print the layers, then the accuracies."""
    columns = ("layer", "weights", "nonzeros", "codes", "bits", "macs", "nonzero_macs")
    rows = [*result["layers"], {**result, "layer": "sum", "codes": "", "bits": ""}]
    common.show("VGG-16", columns, [[f"{row[one]:,}" if isinstance(row[one], int) else row[one]
                                     for one in columns] for row in rows])
    common.show("CIFAR-10", ("network", *(f"{count:,} {which} images" for which, count in
                                          result["images"].items())), [
        ("float", *(f"{result['float'][which]:.2%}" for which in result["images"])),
        *((f"8 bits, {row['codes']} codes", *(f"{row[which]:.2%}" for which in result["images"]))
          for row in result["by_codes"])])


def main() -> int:
    """Measure if files are given; print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--weights", type=Path, help="the sparse arrays; without them, the stored "
                                                     "results are printed")
    parser.add_argument("--data", type=Path, help="folder of cifar10_test.npz and cifar10_train")
    parser.add_argument("--out", type=Path, default=Path("build", "vgg16"),
                        help="folder of the network and of the answers")
    parser.add_argument("--images", type=int, default=10_000, help="how many test images")
    parser.add_argument("--training", type=int, default=2000, help="how many training images")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--json", action="store_true", help="one object on stdout, no table")
    args = parser.parse_args()
    if (args.weights is None) != (args.data is None):
        parser.error("--weights and --data belong together")
    torch.set_num_threads(args.threads)

    def run() -> dict[str, Any]:
        with common.progress_bar() as bar:
            result = measure(args, bar)
        common.write(FILE, result)
        return result

    return common.present(FILE, run, show, anew=args.weights is not None, as_json=args.json)


if __name__ == "__main__":
    sys.exit(main())
