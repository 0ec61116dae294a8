# amaranth: UnusedElaboratable=no
"""Stream primitives in Amaranth's simulator: contents, order, hold, rate, and what is refused."""

from __future__ import annotations

import random

import pytest
from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.sim import Simulator
from penjing.compiler.dataflow import control
from penjing.compiler.dataflow.gears import Gear
from penjing.compiler.dataflow.port import Port
from penjing.hdl.gearbox import Gearbox
from penjing.hdl.stream import Beat, Buffer, Queue, SkidBuffer, beats, connect
from penjing.hdl.upsizer import Upsizer
from penjing.sim.streams import Stalls, pack, transfer, unpack

BITS = 5
FRAMES = 3
STALLS = pytest.mark.parametrize("stalls", list(Stalls), ids=lambda stalls: stalls.value)


def elements(generator: random.Random, count: int) -> list[int]:
    """Signed elements, the extremes first."""
    return [(-16, 15, 0, -1)[n] if n < 4 else generator.randint(-16, 15) for n in range(count)]


@STALLS
@pytest.mark.parametrize("dut", ["buffer", "skid_buffer", "queue_3", "queue_4", "queue_9"])
def test_order_and_rate(dut: str, stalls: Stalls) -> None:
    layout = Beat(signed(BITS), 2)
    generator = random.Random(6)
    single = {"buffer": Buffer, "skid_buffer": SkidBuffer}
    block = (single[dut](layout) if dut in single
             else Queue(layout, int(dut.removeprefix("queue_"))))
    payloads = [generator.getrandbits(2 * BITS + 1) for _ in range(80)]
    got, times = transfer(block, payloads, len(payloads), stalls=stalls, seed=7, timeout=300)
    assert got == payloads
    if stalls is Stalls.NONE:
        assert times == list(range(times[0], times[0] + len(payloads)))
        # The first payload is taken in cycle 1, behind the reset of cycle 0.
        assert times[0] == 1 + {"buffer": 1, "skid_buffer": 0}.get(dut, 2)


def shapes(count: int) -> list[tuple[int, int, int, int, int]]:
    """(i_lanes, o_lanes, i_group, o_group, frame), drawn at random."""
    generator = random.Random(1)
    drawn = []
    for _ in range(count):
        small, factor = generator.randint(1, 7), generator.randint(1, 5)
        groups = [small, small * factor]
        generator.shuffle(groups)
        drawn.append((generator.randint(1, 6), generator.randint(1, 6), *groups,
                      small * factor * generator.randint(1, 3)))
    return drawn


@STALLS
@pytest.mark.parametrize("shape", shapes(40), ids=lambda shape: "_".join(map(str, shape)))
def test_gearbox(shape: tuple[int, int, int, int, int], stalls: Stalls) -> None:
    i_lanes, o_lanes, i_group, o_group, frame = shape
    generator = random.Random(frame)
    frames = [elements(generator, frame) for _ in range(FRAMES)]
    inputs = [payload for values in frames for payload in pack(values, BITS, i_lanes, i_group)]
    each = frame // o_group * beats(o_group, o_lanes)
    block = Gearbox(signed(BITS), i_lanes=i_lanes, o_lanes=o_lanes, i_group=i_group,
                    o_group=o_group, frame=frame)
    got, times = transfer(block, inputs, FRAMES * each, stalls=stalls, seed=frame, timeout=300)
    assert [unpack(got[n : n + each], frame, BITS, True, o_lanes, o_group)
            for n in range(0, len(got), each)] == frames
    if stalls is Stalls.NONE:
        # The side with more beats sets the rate; within a group the other one waits for it.
        assert times[-1] <= max(len(inputs), len(got)) + FRAMES * (frame // min(i_group, o_group))


@pytest.mark.parametrize(("i_lanes", "o_lanes", "group"), [
    (1, 1, 1), (1, 4, 12), (4, 1, 12), (3, 2, 12), (2, 3, 12), (5, 7, 70), (7, 5, 70), (4, 4, 6)])
def test_gearbox_full_rate(i_lanes: int, o_lanes: int, group: int) -> None:
    """Without pauses the narrower side moves a beat every cycle."""
    frames = 12
    generator = random.Random(8)
    inputs = [payload for _ in range(frames)
              for payload in pack(elements(generator, group), BITS, i_lanes, group)]
    block = Gearbox(signed(BITS), i_lanes=i_lanes, o_lanes=o_lanes, i_group=group, o_group=group,
                    frame=group)
    _, times = transfer(block, inputs, frames * beats(group, o_lanes), timeout=300)
    assert times[-1] <= max(len(inputs), len(times)) + 2


@STALLS
@pytest.mark.parametrize(("i_lanes", "o_lanes", "group", "groups"), [
    (1, 2, 2, 3), (1, 7, 12, 1), (1, 3, 3, 2), (1, 46, 640, 1), (1, 5, 3, 4), (2, 4, 6, 2),
    (3, 6, 15, 1), (2, 6, 14, 3), (4, 8, 4, 5), (1, 4, 1, 6)])
def test_upsizer(i_lanes: int, o_lanes: int, group: int, groups: int, stalls: Stalls) -> None:
    generator = random.Random(group)
    frame = group * groups
    frames = [elements(generator, frame) for _ in range(FRAMES)]
    inputs = [payload for values in frames for payload in pack(values, BITS, i_lanes, group)]
    each = groups * beats(group, o_lanes)
    block = Upsizer(signed(BITS), i_lanes=i_lanes, o_lanes=o_lanes, o_group=group, frame=frame)
    got, times = transfer(block, inputs, FRAMES * each, stalls=stalls, seed=frame, timeout=3000)
    assert [unpack(got[n : n + each], frame, BITS, True, o_lanes, group)
            for n in range(0, len(got), each)] == frames
    if stalls is Stalls.NONE and (group - 1) % o_lanes + 1 > i_lanes:
        assert times[-1] <= len(inputs) + 2


def moves(block: wiring.Component, beats_in: int, pauses: list[int]) -> tuple[list[int], list[int]]:
    """Cycles in which beats come in, which always may, and leave: so long after those before."""
    taken: list[int] = []
    left: list[int] = []

    async def watch(ctx: object) -> None:
        for cycle in range(3000):
            ctx.set(block.i.valid, len(taken) < beats_in)
            ctx.set(block.o.ready, not left or cycle >= left[-1] + pauses[len(left)])
            _, _, comes, goes = await ctx.tick().sample(
                block.i.valid & block.i.ready, block.o.valid & block.o.ready)
            if comes:
                taken.append(cycle)
            if goes:
                left.append(cycle)
            if len(left) == len(pauses) - 1:
                return
        raise TimeoutError(f"{len(left)} of {len(pauses) - 1} beats came out")

    simulator = Simulator(block)
    simulator.add_clock(1e-6)
    simulator.add_testbench(watch)
    simulator.run()
    return taken, left


def reader(o: control.Link, pauses: list[int]) -> control.Process:
    """What takes beats of ``o`` with such ``pauses``."""
    for n, pause in enumerate(pauses[:-1]):
        while len(o.offered) <= n:
            yield o
        o.taken.append(max(o.offered[n], o.taken[-1] + pause if n else 0))


@pytest.mark.parametrize(("i_lanes", "o_lanes", "group", "groups"), [
    (1, 2, 2, 3), (1, 7, 12, 1), (1, 3, 3, 2), (1, 5, 3, 4), (2, 4, 6, 2), (3, 6, 15, 1),
    (2, 6, 14, 3), (4, 8, 8, 5), (1, 4, 5, 6), (1, 2, 3, 4)])
@pytest.mark.parametrize("most", [1, 2, 4, 20])
def test_beats_move_as_the_control_says(i_lanes: int, o_lanes: int, group: int, groups: int,
                                        most: int) -> None:
    """An upsizer before a reader that takes beats so many cycles apart, at ``most``."""
    i, o, elements_ = Port(i_lanes, group), Port(o_lanes, group), group * groups
    count = FRAMES * o.beats(elements_)
    generator = random.Random(most)
    pauses = [generator.randint(1, most) for _ in range(count + 1)]
    gear = Gear(i, o, elements_, collects=True)
    links = control.Link(), control.Link()
    links[0].offered.extend([0] * FRAMES * i.beats(elements_))
    control.run([control.Task(gear.flow.run(*links, i.beats(elements_), FRAMES), links),
                 control.Task(reader(links[1], pauses), links[1:])])
    _, block = gear.block(signed(BITS))
    taken, left = moves(block, FRAMES * i.beats(elements_), pauses)
    # Beats behind the last that leaves need not have come in.
    assert (links[0].taken[:len(taken)], links[1].taken) == (taken, left)


@pytest.mark.parametrize("signed_elements", [False, True])
def test_pack_unpack_round_trip(signed_elements: bool) -> None:
    generator = random.Random(9)
    for _ in range(200):
        bits, lanes, group = (generator.randint(*bounds) for bounds in ((1, 9), (1, 6), (1, 9)))
        count = group * generator.randint(1, 4)
        low = -(1 << bits - 1) if signed_elements else 0
        frame = [low, low + (1 << bits) - 1][:count]
        frame += [generator.randrange(low, low + (1 << bits)) for _ in range(count - len(frame))]
        payloads = pack(frame, bits, lanes, group)
        assert len(payloads) == count // group * beats(group, lanes)
        assert unpack(payloads, count, bits, signed_elements, lanes, group) == frame


def test_unpack_refuses_a_last_out_of_place() -> None:
    payloads = pack([1, 2, 3, 4], 3, 2, 4)
    with pytest.raises(AssertionError, match="last is not in the final beat of the frame alone"):
        unpack(payloads[::-1], 4, 3, False, 2, 4)


def test_beat_tells_its_shape() -> None:
    layout = Beat(signed(3), 4)
    assert (layout.shape, layout.lanes, layout.size) == (signed(3), 4, 13)


@pytest.mark.parametrize("other", [Beat(unsigned(4), 2), Beat(signed(2), 4), Beat(signed(4), 3),
                                   Beat(signed(4), 1)])
def test_connect_refuses_other_payloads(other: Beat) -> None:
    with pytest.raises(ValueError, match=r"^Buffer\.o -> Queue\.i: the one carries .*, but the "
                                         r"other takes .*$"):
        connect(Module(), Buffer(Beat(signed(4), 2)), Queue(other, 3))


class Chain(wiring.Component):
    """Three stages, connected."""

    def __init__(self) -> None:
        layout = Beat(signed(BITS), 2)
        self._stages = [Buffer(layout), Queue(layout, 3), Buffer(layout)]
        super().__init__({"i": wiring.In(self._stages[0].i.signature.flip()),
                          "o": wiring.Out(self._stages[0].o.signature)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for n, stage in enumerate(self._stages):
            m.submodules[f"stage_{n}"] = stage
        connect(m, *self._stages)
        wiring.connect(m, wiring.flipped(self.i), self._stages[0].i)
        wiring.connect(m, self._stages[-1].o, wiring.flipped(self.o))
        return m


@STALLS
def test_connect(stalls: Stalls) -> None:
    payloads = [random.Random(n).getrandbits(2 * BITS + 1) for n in range(50)]
    got, times = transfer(Chain(), payloads, len(payloads), stalls=stalls, seed=3, timeout=300)
    assert got == payloads
    if stalls is Stalls.NONE:
        assert times[-1] - times[0] == len(payloads) - 1


def test_parameters_are_checked() -> None:
    layout = Beat(signed(4), 2)
    with pytest.raises(ValueError, match=r"^depth must be at least 3 for one beat a cycle, not 2$"):
        Queue(layout, 2)
    with pytest.raises(TypeError, match=r"^depth must be an int, not 3\.0$"):
        Queue(layout, 3.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^lanes must be at least 1, not 0$"):
        Beat(signed(4), 0)
    with pytest.raises(ValueError, match=r"^frame must be a multiple of both groups, not 9 for 3 "
                                         r"and 2$"):
        Gearbox(4, i_lanes=1, o_lanes=1, i_group=3, o_group=2, frame=9)
    with pytest.raises(ValueError, match=r"^an output beat must be several whole input beats"):
        Upsizer(4, i_lanes=2, o_lanes=5, o_group=10, frame=10)
