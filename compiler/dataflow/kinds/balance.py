"""Which processing element makes which outputs, so that all are busy equally long."""

from __future__ import annotations

from functools import lru_cache

from ....hdl.stream import beats


@lru_cache(maxsize=4096)
def balanced(lengths: tuple[int, ...], pe: int, o_lanes: int) -> tuple[tuple[int, ...], ...]:
    """The outputs of each of ``pe`` elements, whose work is ``lengths``, in ascending order.

    The longest first, each goes to the element that has the least to do so far (Graham's longest
    processing time); but the ``o_lanes`` outputs of a beat go to different ones. No element is left
    without, if there are as many outputs.
    """
    order = sorted(range(beats(len(lengths), o_lanes)),
                   key=lambda beat: -max(lengths[beat * o_lanes:(beat + 1) * o_lanes]))
    loads = [0] * pe
    outputs: list[list[int]] = [[] for _ in range(pe)]
    for beat in order:
        some = range(beat * o_lanes, min((beat + 1) * o_lanes, len(lengths)))
        idle = sorted(range(pe), key=loads.__getitem__)
        for output, element in zip(sorted(some, key=lambda n: -lengths[n]), idle, strict=False):
            loads[element] += lengths[output]
            outputs[element].append(output)
    return tuple(tuple(sorted(some)) for some in outputs)
