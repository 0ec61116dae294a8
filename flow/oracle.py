"""Who else can compute what a project's network computes: the framework that it came from."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from ..compiler.ir import Integers
from ..sim.oracles import Answers
from .load import EXTRAS, needing
from .project import Project

__all__ = ["Oracle", "find"]


@dataclass(frozen=True)
class Oracle:
    """``name`` for people, what ``run`` makes of the network's input integers (N, H, W, C).

    It hands out all images, some at a time. Its outputs are those of the golden model up to
    ``steps``, which is 0 unless the framework computes by reals.
    """

    name: str
    run: Callable[[Integers], Iterable[Answers]]
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

    def run(x: Integers) -> list[Answers]:
        outputs = pytorch.run(project.network, x)
        return [Answers(outputs, pytorch.final(project.network, outputs))]

    return Oracle("pytorch", run)


def _pt2e(project: Project, model: Path) -> Oracle:
    from ..sim.oracles import pt2e

    return Oracle("pytorch", lambda x: pt2e.batches(model, x, project.settings.result),
                  pt2e.ALLOWED_STEPS)


def _litert(project: Project, model: Path) -> Oracle:
    from ..sim.oracles import litert

    return Oracle("litert", lambda x: [Answers(*litert.run(model, x, project.settings.result))])


def _onnxruntime(project: Project, model: Path) -> Oracle:
    from ..sim.oracles import onnxruntime

    return Oracle("onnxruntime", lambda x: onnxruntime.batches(model, x, project.settings.result),
                  onnxruntime.ALLOWED_STEPS)


_FIND: dict[str, Callable[[Project, Path], Oracle]] = {
    "pytorch": _pytorch, "pt2e": _pt2e, "tflite": _litert, "onnx": _onnxruntime}
