"""Which of several outputs of a file becomes the network's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..ir import PenjingError

_TOLD = 8


def chosen(names: Sequence[str], result: str | None) -> int:
    """The place of the output called ``result`` among ``names``; without one, of the only one."""
    told = ", ".join(f"{name:.60}" for name in names[:_TOLD]) + ", …" * (len(names) > _TOLD)
    if not names:
        raise PenjingError("it has no outputs; export a network that returns a tensor")
    if result is None and len(names) > 1:
        raise PenjingError(f"it has {len(names)} outputs, {told}; choose one with --result NAME")
    if result is not None and result not in names:
        raise PenjingError(f"it has no output {result:.60}; choose one of {told} with --result")
    return 0 if result is None else names.index(result)


def needed(operations: Sequence[tuple[Iterable[object], Iterable[object]]],
           output: object) -> list[bool]:
    """Which of the ``operations``, each (inputs, outputs) in order, the tensor ``output`` needs."""
    wanted, kept = {output}, []
    for inputs, outputs in reversed(operations):
        kept.append(not wanted.isdisjoint(outputs))
        if kept[-1]:
            wanted.update(inputs)
    return kept[::-1]
