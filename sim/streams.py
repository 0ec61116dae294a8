"""Sources, sinks, stall patterns and a watchdog for Amaranth's own simulator."""

from __future__ import annotations

import enum
import random
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from amaranth.hdl import Elaboratable
from amaranth.sim import Simulator


class Stalls(enum.Enum):
    """Which side of a block pauses; an engine that ignores backpressure passes the first two."""

    NONE = "none"
    INPUT = "input"
    OUTPUT = "output"
    BOTH = "both"

    @property
    def at_input(self) -> bool:
        """Whether the source pauses."""
        return self in (Stalls.INPUT, Stalls.BOTH)

    @property
    def at_output(self) -> bool:
        """Whether the sink pauses."""
        return self in (Stalls.OUTPUT, Stalls.BOTH)


def pauses(active: bool, seed: int) -> Iterator[bool]:
    """An endless pattern of pauses: bursts of both kinds, or none at all."""
    generator = random.Random(seed)
    while True:
        length = generator.choice((1, 1, 2, 3, 8))
        pause = active and generator.random() < 0.5
        for _ in range(length):
            yield pause


def transfer(dut: Elaboratable, inputs: Sequence[int], outputs: int, *,
             stalls: Stalls = Stalls.NONE, seed: int = 0, timeout: int = 200_000,
             surplus: int = 0) -> tuple[list[int], list[int]]:
    """Send ``inputs`` (payloads as raw bits) through ``dut`` and collect ``outputs`` payloads.

    Returns the payloads and the cycle in which each left. Raises `TimeoutError` where nothing moves
    for ``timeout`` cycles, and `AssertionError` where ``o`` breaks the hold rule or more than
    ``surplus`` beats follow (a block may start on a frame's padding before the frame comes in).
    """
    ((_, got, times),) = transfers(dut, inputs, outputs, [stalls], seed=seed, timeout=timeout,
                                   surplus=surplus)
    return got, times


def transfers(dut: Elaboratable, inputs: Sequence[int], outputs: int, patterns: Iterable[Stalls],
              *, seed: int = 0, timeout: int = 200_000, surplus: int = 0
              ) -> Iterator[tuple[Stalls, list[int], list[int]]]:
    """`transfer` under each of ``patterns``, from reset, of a simulator that is built once."""
    stalls, got, times = Stalls.NONE, list[int](), list[int]()

    # A process, and one for both sides: what testbenches set is settled at once, each time.
    async def traffic(ctx: Any) -> None:
        pauses_of_source, pauses_of_sink = (pauses(stalls.at_input, seed),
                                            pauses(stalls.at_output, seed + 1))
        waiting, offered, ready = iter(inputs), False, False
        cycle, idle, held = 0, 0, None

        def drive() -> None:
            nonlocal offered, ready
            if not offered and not next(pauses_of_source):
                payload = next(waiting, None)
                if payload is not None:
                    offered = True
                    ctx.set(_bits(dut.i.payload), payload)
            ready = not next(pauses_of_sink)
            ctx.set(dut.i.valid, offered)
            ctx.set(dut.o.ready, ready)

        with ctx.critical():
            drive()
            async for _, _, taken, valid, payload in ctx.tick().sample(
                    dut.i.ready, dut.o.valid, _bits(dut.o.payload)):
                if held is not None and (not valid or payload != held):
                    raise AssertionError(f"cycle {cycle}: o changed before it was taken")
                held = payload if valid and not ready else None
                cycle, idle = cycle + 1, idle + 1
                if valid and ready:
                    idle = 0
                    got.append(payload)
                    times.append(cycle)
                    if len(got) > outputs + surplus:
                        raise AssertionError(f"cycle {cycle}: more than {outputs} beats came out")
                if idle > timeout:
                    raise TimeoutError(f"{len(got)} of {outputs} beats came out, then none in "
                                       f"{timeout} cycles")
                if len(got) >= outputs and idle >= 20:
                    return
                offered = offered and not taken
                drive()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_process(traffic)
    for n, stalls in enumerate(patterns):
        if n:
            simulator.reset()
        got, times = [], []
        simulator.run()
        yield stalls, got[:outputs], times[:outputs]


def _bits(payload: Any) -> Any:
    return payload.as_value() if hasattr(payload, "as_value") else payload


def pack(frame: Sequence[int], bits: int, lanes: int, group: int) -> list[int]:
    """Payloads (raw bits of `penjing.hdl.stream.Beat`) that carry ``frame``'s elements in order.

    Each run of ``group`` elements starts on a fresh beat; spare lanes are 0; the final beat has
    ``last``. Elements must fit ``bits``, as signed or unsigned integers.
    """
    mask = (1 << bits) - 1
    payloads = []
    for start in range(0, len(frame), group):
        members = frame[start : start + group]
        for beat in range(0, len(members), lanes):
            payload = 0
            for lane, value in enumerate(members[beat : beat + lanes]):
                payload |= (int(value) & mask) << lane * bits
            payloads.append(payload)
    payloads[-1] |= 1 << lanes * bits
    return payloads


def unpack(payloads: Sequence[int], elements: int, bits: int, signed: bool, lanes: int,
           group: int) -> list[int]:
    """The ``elements`` of one frame that ``payloads`` carry; the inverse of `pack`.

    Raises `AssertionError` unless ``last`` is 1 in the final payload alone.
    """
    last = [payload >> lanes * bits & 1 for payload in payloads]
    if last != [0] * (len(payloads) - 1) + [1]:
        raise AssertionError("last is not in the final beat of the frame alone")
    mask, sign = (1 << bits) - 1, 1 << bits - 1
    values = []
    beats_per_group = -(-group // lanes)
    for start in range(0, len(payloads), beats_per_group):
        members = [payload >> lane * bits & mask
                   for payload in payloads[start : start + beats_per_group]
                   for lane in range(lanes)]
        values += members[:group]
    if len(values) != elements:
        raise AssertionError(f"{len(values)} elements came out, not {elements}")
    return [value - 2 * (value & sign) for value in values] if signed else values
