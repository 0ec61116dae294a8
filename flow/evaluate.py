"""The golden model against labels, the float network, and the framework's own arithmetic."""

from __future__ import annotations

import importlib.util
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..compiler import ir
from ..compiler.ir import Integers, Network, PenjingError
from ..compiler.report import Table, table_of
from ..sim import golden
from .data import Data, read
from .progress import Progress, silent
from .project import Project

__all__ = ["Evaluation", "evaluate"]

_BATCH = 64
_NO_TORCH = ("torch: not installed, so no float accuracy and no oracle; "
             "pip install 'penjing[torch]'")


@dataclass(frozen=True)
class Evaluation:
    """How often the network is right, and how often it is what others compute.

    ``oracle`` names what ran the integer network besides the golden model, ``oracle_mismatches`` is
    the number of output values that differ; ``notes`` tell why something is missing.
    """

    samples: int
    accuracy: float
    float_accuracy: float | None = None
    oracle: str | None = None
    oracle_mismatches: int | None = None
    values_compared: int = 0
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether the oracle, where there is one, agrees in every value."""
        return not self.oracle_mismatches

    def json(self) -> dict[str, Any]:
        """What ``penjing evaluate --json`` prints."""
        return {**vars(self), "notes": list(self.notes)}

    def table(self) -> Table:
        """The same for people."""
        rows: list[tuple[object, ...]] = [
            ("samples", self.samples), ("accuracy", f"{self.accuracy:.2%}")]
        if self.float_accuracy is not None:
            rows.append(("float accuracy", f"{self.float_accuracy:.2%}"))
        if self.oracle is not None:
            rows += [(f"values compared with {self.oracle}", self.values_compared),
                     ("values that differ", self.oracle_mismatches)]
        rows += [("note", note) for note in self.notes]
        return table_of("Evaluation", ("", ""), rows)


def evaluate(folder: str | Path, images: str | Path, progress: Progress = silent) -> Evaluation:
    """Compare the golden model with the labels ``y`` of the file ``images`` and with PyTorch."""
    opened = Project.open(folder)
    given = read(images)
    labels = _labels(opened.network, given)
    inputs = opened.integers(given)
    outputs = _golden(opened.network, inputs, progress)
    accuracy = float((_classes(opened.network, outputs) == labels).mean())
    result = Evaluation(len(inputs), accuracy)
    if opened.model is None:
        result = replace(result, notes=("no float network: this one came as integers",))
    elif importlib.util.find_spec("torch") is None:
        result = replace(result, notes=(_NO_TORCH,))
    else:
        from ..compiler.load import torch as pytorch  # deferred: slow, and an extra

        progress("float network", 0, 0)
        floats = pytorch.run_float(opened.model, opened.code.real(given.x))
        height, width, _ = opened.network.output_type.shape
        shaped = floats.reshape(len(inputs), height, width, -1)
        progress("oracle", 0, 0)
        expected = pytorch.execute_integers(opened.network, inputs)
        result = replace(
            result, float_accuracy=float((_classes(opened.network, shaped) == labels).mean()),
            oracle="pytorch", oracle_mismatches=int(np.count_nonzero(expected != outputs)),
            values_compared=outputs.size)
    opened.record("evaluate", result.json())
    return result


def _golden(network: Network, inputs: Integers, progress: Progress) -> Integers:
    parts = []
    for start in range(0, len(inputs), _BATCH):
        progress("golden model", start, len(inputs))
        parts.append(golden.run(network, inputs[start:start + _BATCH]))
    return np.concatenate(parts)


def _labels(network: Network, given: Data) -> Integers:
    """The labels of ``given``, in the shape of the network's answers."""
    labels = given.labels
    last = network.layers[-1]
    height, width, channels = network.output_type.shape
    if isinstance(last, ir.ArgMax):
        channels = network.source_type(last).shape[2]
    wanted = (len(given.x), height, width)
    if labels.size != math.prod(wanted):
        raise PenjingError(f"{given.path}: y has shape {labels.shape}, the network answers with "
                           f"{height}×{width} classes an image; give labels for each")
    if labels.min() < 0 or labels.max() >= channels:
        raise PenjingError(f"{given.path}: y holds labels from {labels.min()} to {labels.max()}, "
                           f"the network tells {channels} classes apart; number them from 0")
    return labels.reshape(wanted)


def _classes(network: Network, outputs: NDArray[Any]) -> NDArray[Any]:
    if isinstance(network.layers[-1], ir.ArgMax):
        return outputs[..., 0]
    return outputs.argmax(-1)
