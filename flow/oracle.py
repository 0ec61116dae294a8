"""Who else can compute what a project's network computes: the framework that it came from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..compiler.ir import Integers
from .load import EXTRAS, needing
from .project import Project

__all__ = ["Answers", "Oracle", "find"]


@dataclass(frozen=True, eq=False)
class Answers:
    """The network's output (N, H, W, C), and the probabilities where a softmax follows it."""

    outputs: Integers
    probabilities: Integers | None = None


@dataclass(frozen=True)
class Oracle:
    """``name`` for people, what ``run`` makes of the network's input integers (N, H, W, C).

    Its outputs are those of the golden model up to ``steps``, which is 0 unless the framework
    computes by reals.
    """

    name: str
    run: Callable[[Integers], Answers]
    steps: int = 0


def find(project: Project) -> Oracle | None:
    """The oracle for ``project``; None where its file is not at hand.

    `PenjingError` says what to install where a package is missing.
    """
    model, framework = project.model, project.settings.framework
    if model is None or framework is None:
        return None
    with needing(model, EXTRAS[framework]):
        return _FIND[framework](project, model)


def _pytorch(project: Project, model: Path) -> Oracle:
    from ..sim.oracles import torch as pytorch  # deferred, as those below: slow, and an extra

    return Oracle("pytorch",
                  lambda x: Answers(pytorch.run(project.network, x)))


def _pt2e(project: Project, model: Path) -> Oracle:
    from ..sim.oracles import pt2e

    return Oracle("pytorch", lambda x: Answers(pt2e.run(model, x)), pt2e.ALLOWED_STEPS)


def _litert(project: Project, model: Path) -> Oracle:
    from ..sim.oracles import litert

    return Oracle("litert", lambda x: Answers(*litert.run(model, x)))


def _onnxruntime(project: Project, model: Path) -> Oracle:
    from ..sim.oracles import onnxruntime

    return Oracle("onnxruntime", lambda x: Answers(onnxruntime.run(model, x)),
                  onnxruntime.ALLOWED_STEPS)


_FIND: dict[str, Callable[[Project, Path], Oracle]] = {
    "pytorch": _pytorch, "pt2e": _pt2e, "tflite": _litert, "onnx": _onnxruntime}
