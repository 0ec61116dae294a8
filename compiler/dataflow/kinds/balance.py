"""Which processing element makes which outputs, so that all are busy equally long."""

from __future__ import annotations

from functools import lru_cache


@lru_cache(maxsize=4096)
def balanced(lengths: tuple[int, ...], pe: int, o_lanes: int) -> tuple[tuple[int, ...], ...]:
    """The outputs of each of ``pe`` elements, whose work is ``lengths``, in ascending order.

    The longest first, each goes to the element that has the least to do so far (Graham's longest
    processing time); but the ``o_lanes`` outputs of a beat go to different ones. No element is left
    without, if there are as many outputs.
    """
    loads = [0] * pe
    outputs: list[list[int]] = [[] for _ in range(pe)]
    for some in _longest_first(lengths, o_lanes):
        idle = sorted(range(pe), key=loads.__getitem__)
        for output, element in zip(some, idle, strict=False):
            loads[element] += lengths[output]
            outputs[element].append(output)
    return tuple(tuple(sorted(some)) for some in outputs)


@lru_cache(maxsize=4096)
def evenly(lengths: tuple[int, ...], pe: int, o_lanes: int) -> tuple[tuple[int, ...], ...]:
    """As `balanced`, but each element makes as many outputs as any other, or one less.

    Of those with the fewest outputs so far, the one with the least to do takes the longest. Where
    each makes only one, they take them in their order.
    """
    if pe == len(lengths):
        return tuple((output,) for output in range(pe))
    loads = [0] * pe
    outputs: list[list[int]] = [[] for _ in range(pe)]
    for some in _longest_first(lengths, o_lanes):
        idle = sorted(range(pe), key=lambda element: (len(outputs[element]), loads[element]))
        taking = sorted(idle[:len(some)], key=loads.__getitem__)
        for output, element in zip(some, taking, strict=True):
            loads[element] += lengths[output]
            outputs[element].append(output)
    return tuple(tuple(sorted(some)) for some in outputs)


def _longest_first(lengths: tuple[int, ...], o_lanes: int) -> list[list[int]]:
    """The outputs of each beat, the longest first; so are the beats by the longest of each."""
    found = [sorted(range(first, min(first + o_lanes, len(lengths))), key=lambda n: -lengths[n])
             for first in range(0, len(lengths), o_lanes)]
    return sorted(found, key=lambda some: -lengths[some[0]])
