"""What stands between beats of different lanes: nothing, a collector, or a gearbox."""

from __future__ import annotations

from .plan import Port

COLLECTOR_LATENCY = 2
GEARBOX_LATENCY = 1


def is_regrouped(i: Port, o: Port) -> bool:
    """Whether beats of ``i`` must be repacked to those of ``o``."""
    uneven = i.group % i.lanes > 0 or o.group % o.lanes > 0
    return i.lanes != o.lanes or (i.group != o.group and uneven)


def collects(i: Port, lanes: int, elements: int) -> bool:
    """Whether words of ``lanes`` elements of the frame are several whole beats of ``i``.

    A last word of one beat would cost a cycle, as there is none to make room for it in.
    """
    whole = i.group % i.lanes == 0 and elements % i.lanes == 0
    return (lanes > i.lanes and lanes % i.lanes == 0 and whole
            and (elements - 1) % lanes + 1 > i.lanes)


def gear_latency(i: Port, lanes: int, elements: int) -> int:
    """Cycles to repack beats of ``i`` to words of ``lanes`` elements of the frame; 0 for none."""
    if collects(i, lanes, elements):
        return COLLECTOR_LATENCY
    same = i.lanes == lanes and (i.group % lanes == 0 or i.group == elements)
    return 0 if same else GEARBOX_LATENCY
