"""Products of two maps, and of a map and a vector: exact cycles and latency, what waits where."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from graphs import check
from networks import PLENTY, random_requantization, random_weights
from penjing.compiler import ir
from penjing.compiler.cost import Storage
from penjing.compiler.cost.families import ECP5
from penjing.compiler.dataflow import frames
from penjing.compiler.dataflow.budget import Budget
from penjing.compiler.dataflow.kinds import Enlargement, Product
from penjing.compiler.dataflow.search import Candidate, Goal, search
from penjing.compiler.dataflow.timing import BUFFER_MARGIN
from penjing.compiler.ir import Builder, Network, TensorType


def found(network: Network, cycles: int | None = None) -> Candidate:
    return search(network, Budget(ECP5, PLENTY, 1000), Goal(cycles))


def weighed(size: tuple[int, int, int], join: type[ir.Elementwise] = ir.Multiply) -> Network:
    """A map whose channels are weighed by a vector that the whole map gives."""
    height, width, channels = size
    rng = np.random.default_rng(size)
    grow = Builder(TensorType(size, 6, True))
    grow.add(ir.SumPool("sum", "x", (height, width), (1, 1)))
    grow.add(ir.ShiftRequantize("mean", "sum", 4, 6, True))
    grow.add(ir.Dense("squeeze", "mean", random_weights(rng, (2, channels)), np.zeros(2, np.int64)))
    grow.add(ir.ShiftRequantize("relu", "squeeze", 5, 6, False))
    grow.add(ir.Dense("excite", "relu", random_weights(rng, (channels, 2)),
                      rng.integers(-50, 50, channels)))
    grow.add(ir.ShiftRequantize("factors", "excite", 4, 6, True))
    grow.add(ir.Upsample("repeated", "factors", (height, width)))
    grow.add(join("join", "x", "repeated"))
    grow.add(random_requantization(rng, "out", "join", grow.type))
    return grow.network()


@pytest.mark.parametrize(("size", "join", "cycles"), [
    ((6, 5, 4), ir.Multiply, None), ((4, 3, 5), ir.Multiply, 24), ((3, 4, 3), ir.Add, 36),
    ((1, 1, 5), ir.Multiply, 40)])
def test_a_vector_meets_the_map_that_it_comes_from(size: tuple[int, int, int],
                                                   join: type[ir.Elementwise],
                                                   cycles: int | None) -> None:
    network = weighed(size, join)
    check(network, found(network, cycles))


def interval_with(candidate: Candidate, beats: int) -> int | None:
    """Cycles from frame to frame if so many beats of the map may wait; None for a standstill."""
    done = candidate.finished
    (place,) = (n for n, room in enumerate(done.rooms) if len(room.queues) == 2)
    rooms = list(done.rooms)
    rooms[place] = replace(rooms[place], queues=(beats, rooms[place].queues[1]))
    try:
        return int(np.diff(frames.frame_ends(done.nodes, rooms, done.i_beats, 40))[-1])
    except RuntimeError:
        return None


def test_the_queue_holds_the_map_and_what_comes_before_the_vector() -> None:
    """It has room for no more: with a few beats less it is slower, and without room for the map
    nothing moves."""
    candidate = found(weighed((16, 16, 4)))
    plan = candidate.timed()
    map_queue, vector_queue = plan.layer("join").queues
    assert map_queue is not None and vector_queue is not None
    assert vector_queue.words <= 16 and map_queue.storage is Storage.BLOCK
    assert plan.layer("join").resources.brams >= map_queue.bits // 18432
    # The first product leaves when the output of a frame, 256 beats, is all that is left to do.
    waits = plan.latency_cycles - 256
    assert plan.cycles_per_frame == 256 < map_queue.words <= waits + BUFFER_MARGIN
    assert interval_with(candidate, map_queue.words) == 256
    slower = interval_with(candidate, map_queue.words - 2 * BUFFER_MARGIN)
    assert slower is not None and slower > 256
    assert interval_with(candidate, 200) is None
    repeated = plan.layer("repeated").kind
    assert isinstance(repeated, Enlargement) and repeated.buffer is not None
    assert repeated.buffer.words <= 16  # the vector, and no rows of it


def shared(bits: int, wide: int, narrow: int) -> Candidate:
    """A map of ``bits`` that is read twice: by a mean, and by what makes ``wide`` of it, or
    ``narrow``."""
    grow = Builder(TensorType((12, 12, 4), bits, True))
    grow.add(ir.SumPool("sum", "x", (12, 12), (1, 1)))
    grow.add(ir.ShiftRequantize("mean", "sum", 7, 8, True))
    grow.add(ir.Upsample("repeated", "mean", (12, 12)))
    grow.add(ir.ShiftRequantize("changed", "x", narrow - wide, bits + wide - narrow, True))
    grow.add(ir.Add("join", "changed", "repeated"))
    return found(grow.network())


def test_a_map_waits_where_it_is_narrowest() -> None:
    for candidate, deep, shallow in ((shared(8, 9, 0), "changed", "join"),
                                     (shared(20, 0, 12), "join", "changed")):
        plan = candidate.plan
        waiting, passing = (plan.layer(name).queues[0] for name in (deep, shallow))
        assert waiting is not None and passing is not None
        assert waiting.words > 144 and passing.words <= 16
        ends = np.diff(candidate.finished.frame_ends(40))
        assert ends[-1] == plan.cycles_per_frame


@pytest.mark.parametrize(("dsps", "bits"), [(4, 8), (1, 8), (0, 8), (4, 2)])
def test_multipliers_are_dsp_blocks_as_far_as_there_are_any(dsps: int, bits: int) -> None:
    network = Network("net", "x", TensorType((4, 4, 4), bits, True), (
        ir.Clamp("clamp", "x", -1, 1), ir.Multiply("join", "clamp", "x", (3, 0)),))
    resources = replace(PLENTY, dsps=dsps)
    plan = search(network, Budget(ECP5, resources, 100), Goal(16)).plan
    layer = plan.layer("join")
    assert isinstance(layer.kind, Product)
    assert layer.work("multipliers") == 4
    assert layer.kind.dsps == (min(dsps, 4) if ECP5.fits_dsp(3, bits) else 0)
