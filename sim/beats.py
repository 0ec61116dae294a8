"""Frames of integers to payload bits and back, vectorized; `sim.streams.pack` is the readable twin.

The simulator process imports this module, so it needs numpy alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]

_WIDEST = 62  # sums of powers of two stay inside int64


@dataclass(frozen=True)
class StreamFormat:
    """How frames travel on a stream of `penjing.hdl.stream.Beat`.

    An element has ``bits`` bits and is ``signed`` or not, or is ``bipolar``: one bit, 1 for +1 and
    0 for -1. A beat carries ``lanes`` of them and a fresh beat starts after every ``group``
    elements. Raises `ValueError` for sizes out of range.
    """

    bits: int
    signed: bool
    lanes: int
    group: int
    bipolar: bool = False

    def __post_init__(self) -> None:
        if self.bipolar and self.bits != 1:
            raise ValueError(f"a bipolar element has 1 bit, not {self.bits!r}")
        if not 1 <= self.bits <= _WIDEST:
            raise ValueError(f"bits must be 1 to {_WIDEST}, not {self.bits!r}")
        for name, value in (("lanes", self.lanes), ("group", self.group)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, not {value!r}")

    @property
    def width(self) -> int:
        """Bits of a payload, ``last`` included."""
        return self.lanes * self.bits + 1

    def beats(self, elements: int) -> int:
        """Beats of a frame of ``elements`` elements."""
        return elements // self.group * self._group_beats

    @property
    def _group_beats(self) -> int:
        return -(-self.group // self.lanes)

    def check(self, frames: NDArray[np.generic]) -> None:
        """Raise `ValueError` unless ``frames`` is (frames, elements) of integers that fit."""
        if frames.ndim != 2 or not frames.size or not np.issubdtype(frames.dtype, np.integer):
            raise ValueError(f"frames must be a non-empty (frames, elements) array of integers, "
                             f"not {frames.dtype} {frames.shape}")
        if frames.shape[1] % self.group:
            raise ValueError(f"a frame of {frames.shape[1]} elements is not a whole number of "
                             f"groups of {self.group}")
        low = -1 << self.bits - 1 if self.signed else 0
        high = low + (1 << self.bits) - 1
        if self.bipolar:
            low, high = -1, 1
            if not frames.all():
                raise ValueError("values must be -1 or 1, not 0")
        if frames.min() < low or frames.max() > high:
            raise ValueError(f"values must be {low} to {high}, not {frames.min()} to "
                             f"{frames.max()}")

    def encode(self, frame: Integers) -> list[int]:
        """Payloads of one frame, (elements,), in order; spare lanes are 0."""
        lanes = np.zeros((frame.size // self.group, self._group_beats * self.lanes), np.int64)
        lanes[:, : self.group] = frame.reshape(-1, self.group)
        if self.bipolar:
            lanes = np.maximum(lanes, 0)
        bits = (lanes[..., None] >> np.arange(self.bits) & 1).astype(np.uint8)
        payloads = np.zeros((self.beats(frame.size), self.width), np.uint8)
        payloads[:, :-1] = bits.reshape(len(payloads), -1)
        payloads[-1, -1] = 1
        return [int.from_bytes(row.tobytes(), "little")
                for row in np.packbits(payloads, axis=1, bitorder="little")]

    def decode(self, payloads: Sequence[str]) -> tuple[Integers, NDArray[np.bool_], list[bool]]:
        """One frame's payloads, as bit strings with the highest bit first.

        Returns its elements, for each whether a bit of it was neither 0 nor 1, and for each
        payload whether ``last`` was 1.
        """
        flat = np.frombuffer("".join(payloads).encode("ascii"), np.uint8)
        text = flat.reshape(len(payloads), self.width)[:, ::-1]
        groups = text[:, :-1].reshape(-1, self._group_beats * self.lanes, self.bits)
        bits = groups[:, : self.group].reshape(-1, self.bits)
        values = (bits == ord("1")) @ (1 << np.arange(self.bits, dtype=np.int64))
        if self.bipolar:
            values = 2 * values - 1
        elif self.signed:
            values -= (bits[:, -1] == ord("1")).astype(np.int64) << self.bits
        undefined = ((bits != ord("0")) & (bits != ord("1"))).any(axis=1)
        return values, undefined, [bool(bit == ord("1")) for bit in text[:, -1]]
