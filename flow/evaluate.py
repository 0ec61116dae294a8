"""The golden model against labels, the float network, and the framework's own arithmetic."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..compiler import ir
from ..compiler.dataflow.report import Table, table_of
from ..compiler.ir import Integers, Network, PenjingError, Tail
from ..sim import golden, halves, tail
from .data import Data, read
from .load import Model
from .oracle import Oracle, find
from .progress import Progress, silent
from .project import MODELS, Project, integers

__all__ = ["Evaluation", "evaluate", "golden_accuracy"]

_BATCH = 64
_FLOAT_ERROR = 1024
"""Rounding errors of a float by which a sum may be off, as a part of the largest answer."""


@dataclass(frozen=True)
class Evaluation:
    """How often the network is right, and how often it is what others compute.

    ``oracle`` names what ran the network besides the golden model, ``oracle_mismatches`` is the
    number of output values that differ, ``oracle_largest`` by how much, of which ``oracle_steps``
    are allowed. Of an oracle that rounds floats, ``layer_values`` were compared layer by layer,
    each layer computing with its integers: ``halves`` of them differ next to a half, where a float
    falls either way, and ``layer_mismatches`` besides. ``answers_compared`` are what the host makes
    of outputs that are equal, of which ``answer_mismatches`` differ; those that are reals by more
    than the oracle's floats explain. ``accuracy`` is None where there are no labels;
    ``float_difference`` is how far the output of a float network is from the golden model's, both
    in root mean square, as a part of the output. ``notes`` tell why something else is missing.
    """

    samples: int
    accuracy: float | None
    float_accuracy: float | None = None
    float_difference: float | None = None
    oracle: str | None = None
    oracle_mismatches: int | None = None
    values_compared: int = 0
    oracle_largest: int | None = None
    oracle_steps: int = 0
    layer_values: int = 0
    halves: int = 0
    layer_mismatches: int = 0
    answers_compared: int = 0
    answer_mismatches: int = 0
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether the oracle, where there is one, agrees in every value, but for halves.

        Where layers cannot be compared, an output may differ by the oracle's own steps.
        """
        agrees = (not self.layer_mismatches if self.layer_values
                  else (self.oracle_largest or 0) <= self.oracle_steps)
        return agrees and not self.answer_mismatches

    def json(self) -> dict[str, Any]:
        """What ``penjing evaluate --json`` prints."""
        return {**vars(self), "notes": list(self.notes)}

    def table(self) -> Table:
        """The same for people."""
        rows: list[tuple[object, ...]] = [("samples", self.samples)]
        if self.accuracy is not None:
            rows.append(("accuracy", f"{self.accuracy:.2%}"))
        if self.float_accuracy is not None:
            rows.append(("float accuracy", f"{self.float_accuracy:.2%}"))
        if self.float_difference is not None:
            rows.append(("difference from the float network (RMS)",
                         f"{self.float_difference:.2%}"))
        if self.oracle is not None:
            rows += [(f"values compared with {self.oracle}", self.values_compared),
                     ("values that differ", self.oracle_mismatches)]
            if self.oracle_mismatches:
                rows.append(("largest difference", self.oracle_largest))
                if not self.layer_values:
                    rows.append(("allowed", self.oracle_steps))
        if self.layer_values:
            rows += [("values compared layer by layer", self.layer_values),
                     ("halves that differ", self.halves),
                     ("others that differ", self.layer_mismatches)]
        if self.answers_compared:
            rows += [("answers compared", self.answers_compared),
                     ("answers that differ", self.answer_mismatches)]
        rows += [("note", note) for note in self.notes]
        return table_of("Evaluation", ("", ""), rows)


def evaluate(folder: str | Path, images: str | Path, progress: Progress = silent) -> Evaluation:
    """Compare the golden model with labels, where ``images`` has them, and with its framework."""
    opened = Project.open(folder)
    given = read(images)
    framework = opened.settings.framework
    labels = None if given.y is None and framework is not None else _labels(opened.network, given)
    inputs = opened.integers(given)
    outputs = _golden(opened.network, inputs, progress)
    reals = _tail(opened.network).reals(outputs)
    result = Evaluation(len(inputs), None if labels is None else _accuracy(
        opened.network, reals, labels))
    oracle = None
    if framework is None:
        result = replace(result, notes=("no float network: this one came as integers",))
    elif opened.model is None:
        result = replace(result, notes=(f"{MODELS[framework]}: not in {folder}, so no oracle",))
    else:
        try:
            oracle = find(opened)
        except PenjingError as error:  # a package is missing; what is here goes on without
            result = replace(result, notes=(f"no oracle: {error}",))
    if oracle is not None:
        if framework == "pytorch":
            progress("float network", 0, 0)
            result = _beside_floats(result, opened, given,
                                    tail.answers(_tail(opened.network), outputs), labels)
        progress("oracle", 0, 0)
        try:
            result = _compared(result, opened, oracle, inputs, outputs)
        except PenjingError as error:  # its framework may refuse what is read here rightly
            result = replace(result, notes=(*result.notes, f"no oracle: {error}"))
    opened.record("evaluate", result.json())
    return result


def golden_accuracy(model: Model, given: Data, progress: Progress = silent) -> float:
    """The share of the labels of ``given`` that the golden model has right."""
    network = model.network
    outputs = _golden(network, integers(network, model.settings, given), progress)
    return _accuracy(network, _tail(network).reals(outputs), _labels(network, given))


def _compared(result: Evaluation, opened: Project, oracle: Oracle, inputs: Integers,
              outputs: Integers) -> Evaluation:
    """``result`` with how far ``outputs``, and what the host makes of them, are from the oracle's.
    """
    mismatches, largest, answers_compared, answer_mismatches = 0, 0, 0, 0
    layers, start = halves.Count(), 0
    for answers in oracle.run(inputs):
        part = slice(start, start := start + len(answers.outputs))
        far = np.abs(answers.outputs - outputs[part])
        mismatches += int(np.count_nonzero(far))
        largest = max(largest, int(far.max(initial=0)))
        if answers.inner:
            inner = {name: np.delete(values, opened.settings.removed.get(name, ()), -1)
                     for name, values in answers.inner.items()}
            layers += halves.count(opened.network, inputs[part], replace(answers, inner=inner))
        if answers.final is not None:
            equal = ~far.any((1, 2, 3))
            mine = opened.answers(outputs[part][equal])
            answers_compared += mine.size
            answer_mismatches += _differing(mine, answers.final[equal])
    return replace(result, oracle=oracle.name, oracle_steps=oracle.steps,
                   oracle_mismatches=mismatches, oracle_largest=largest,
                   values_compared=outputs.size, layer_values=layers.values, halves=layers.halves,
                   layer_mismatches=layers.others, answers_compared=answers_compared,
                   answer_mismatches=answer_mismatches)


def _differing(mine: NDArray[Any], theirs: NDArray[Any]) -> int:
    """How many answers differ, those in reals by more than a part of the largest."""
    if theirs.dtype.kind != "f":
        return int(np.count_nonzero(mine != theirs))
    error = _FLOAT_ERROR * np.finfo(theirs.dtype).eps * np.abs(theirs).max(initial=0)
    return int(np.count_nonzero(~(np.abs(mine - theirs) <= error)))


def _accuracy(network: Network, outputs: NDArray[Any], labels: Integers) -> float:
    return float((_classes(network, outputs) == labels).mean())


def _beside_floats(result: Evaluation, opened: Project, given: Data, answers: NDArray[Any],
                   labels: Integers | None) -> Evaluation:
    """``result`` with how right the float network is, and how far from it ``answers`` are."""
    from ..compiler.load import torch as pytorch  # deferred: slow, and an extra

    assert opened.model is not None
    kind = opened.network.output_type
    floats = pytorch.run_float(opened.model, opened.code.real(given.x),
                               result=opened.settings.result)
    floats = floats.reshape(len(given.x), *kind.shape)
    if labels is not None:
        return replace(result, float_accuracy=_accuracy(opened.network, floats, labels))
    if isinstance(opened.network.layers[-1], ir.ArgMax):
        return replace(result, float_difference=float((floats != answers).mean()))
    size = float(np.sqrt((floats ** 2).mean())) or 1.0
    error = float(np.sqrt(((answers - floats) ** 2).mean()))
    return replace(result, float_difference=error / size)


def _tail(network: Network) -> Tail:
    """What the network's output is worth."""
    return network.tail or Tail.of(network.output_type)


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
