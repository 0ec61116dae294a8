"""Train the Fashion-MNIST example in floating point and write everything the compiler needs.

Run it with the folder that holds the four IDX files of the data set::

    python examples/fashion_mnist/train.py --data DATA --out examples/fashion_mnist

Progress goes to stderr, so that stdout holds nothing but one JSON line with the result.
"""

import argparse
import datetime
import gzip
import json
import math
import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from model import INPUT_SHAPE, build, layer_costs
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import nn

BATCH = 256
MAX_SHIFT = 1  # the test images are centred, so one pixel of tolerance is plenty
PEAK_LEARNING_RATE = 0.01
WEIGHT_DECAY = 0.02
LABEL_SMOOTHING = 0.05
TEST_IMAGES = 512
CALIBRATION_IMAGES = 256


def read_idx(path: Path) -> npt.NDArray[np.uint8]:
    """Read a gzipped IDX file of bytes, the only element type that the data set uses."""
    with gzip.open(path, "rb") as stream:
        raw = stream.read()
    zeros, kind, rank = struct.unpack_from(">HBB", raw)
    if zeros != 0 or kind != 0x08:
        raise ValueError(f"{path.name} is not an IDX file of unsigned bytes")
    shape = struct.unpack_from(f">{rank}I", raw, 4)
    values = np.frombuffer(raw, np.uint8, offset=4 + 4 * rank)
    if values.size != math.prod(shape):
        raise ValueError(f"{path.name} should hold {math.prod(shape)} values, has {values.size}")
    return values.reshape(shape)


def read_split(folder: Path, prefix: str) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Read images and labels of one split ("train" or "t10k")."""
    images = read_idx(folder / f"{prefix}-images-idx3-ubyte.gz")
    labels = read_idx(folder / f"{prefix}-labels-idx1-ubyte.gz")
    if len(images) != len(labels):
        raise ValueError(f"{prefix}: {len(images)} images, but {len(labels)} labels")
    return images, labels.astype(np.int64)


def as_input(images: torch.Tensor) -> torch.Tensor:
    """Turn uint8 images (N, H, W) into network input, see `model.build`."""
    return images.unsqueeze(1).to(torch.float32) / 255


def augment(padded: torch.Tensor, picked: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Pick images, each randomly mirrored and shifted, from images padded by MAX_SHIFT."""
    count, size = len(picked), padded.shape[-1] - 2 * MAX_SHIFT
    shift = torch.randint(0, 2 * MAX_SHIFT + 1, (2, count, 1), generator=generator)
    mirror = torch.rand((count, 1), generator=generator) < 0.5
    ramp = torch.arange(size)
    rows = shift[0] + ramp
    columns = shift[1] + torch.where(mirror, size - 1 - ramp, ramp)
    return padded[picked[:, None, None], rows[:, :, None], columns[:, None, :]]


def fit(
    model: nn.Sequential,
    images: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.int64],
    epochs: int,
    seed: int,
    progress: Progress,
) -> None:
    """Train in place with a one-cycle schedule; the last state counts.

    No state is picked by its test accuracy on the way: that would be tuning on the test set.
    """
    generator = torch.Generator().manual_seed(seed)
    padded = nn.functional.pad(torch.from_numpy(images.copy()), (MAX_SHIFT,) * 4)
    targets = torch.from_numpy(labels)
    steps = len(padded) // BATCH  # a partial last batch would only add noise to the batch norm
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, PEAK_LEARNING_RATE, total_steps=epochs * steps, pct_start=0.2
    )
    criterion = nn.CrossEntropyLoss(label_smoothing=LABEL_SMOOTHING)
    task = progress.add_task("training", total=epochs * steps)
    model.train()
    for epoch in range(epochs):
        order = torch.randperm(len(padded), generator=generator)
        total = 0.0
        for step in range(steps):
            picked = order[step * BATCH : (step + 1) * BATCH]
            loss = criterion(model(as_input(augment(padded, picked, generator))), targets[picked])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
            progress.advance(task)
        progress.console.print(f"epoch {epoch + 1}/{epochs}: mean loss {total / steps:.4f}")


def accuracy(
    model: nn.Sequential, images: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64]
) -> float:
    """Return the share of correctly classified images."""
    model.eval()
    correct = 0
    with torch.no_grad():
        for start in range(0, len(images), 1000):
            x = as_input(torch.from_numpy(images[start : start + 1000].copy()))
            guess = model(x).argmax(1).numpy()
            correct += int((guess == labels[start : start + 1000]).sum())
    return correct / len(images)


def export(model: nn.Sequential, path: Path) -> None:
    """Save the network as an exported program, without traces of the machine that made it.

    The exporter notes for each node the Python stack that created it. Those notes hold absolute
    paths, make the file differ from machine to machine, and the compiler has no use for them.
    """
    program = torch.export.export(model.eval(), (torch.zeros(1, *INPUT_SHAPE),))
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    program.example_inputs = None  # a frame of zeros tells nobody anything
    torch.export.save(program, path)


def save_images(path: Path, images: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64]) -> None:
    """Save raw pixels with a channel axis at the end, the order in which hardware takes them."""
    np.savez_compressed(path, x=images[..., np.newaxis], y=labels)


def parse_args() -> argparse.Namespace:
    """Define the command line."""
    parser = argparse.ArgumentParser(description="Train the Fashion-MNIST example network.")
    parser.add_argument("--data", type=Path, required=True, help="folder with the IDX .gz files")
    parser.add_argument("--out", type=Path, default=Path(), help="folder for the results")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads; affects rounding")
    return parser.parse_args()


def main() -> None:
    """Train, evaluate and write the results."""
    args = parse_args()
    torch.set_num_threads(args.threads)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    train_images, train_labels = read_split(args.data, "train")
    test_images, test_labels = read_split(args.data, "t10k")

    model = build()
    costs = layer_costs(model)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as progress:
        fit(model, train_images, train_labels, args.epochs, args.seed, progress)

    options = f"--epochs {args.epochs} --seed {args.seed} --threads {args.threads}"
    result = {
        "float_accuracy": accuracy(model, test_images, test_labels),
        "samples": len(test_images),
        "weights": sum(cost.weights for cost in costs),
        "macs": sum(cost.macs for cost in costs),
        "torch": torch.__version__,
        "date": datetime.date.today().isoformat(),
        "command": f"python examples/fashion_mnist/train.py --data DATA {options}",
    }
    torch.save(model.state_dict(), args.out / "weights.pt")
    export(model, args.out / "fashion_mnist.pt2")
    save_images(args.out / "test_images.npz", test_images[:TEST_IMAGES], test_labels[:TEST_IMAGES])
    save_images(
        args.out / "calibration.npz",
        train_images[:CALIBRATION_IMAGES],
        train_labels[:CALIBRATION_IMAGES],
    )
    (args.out / "float_accuracy.json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
