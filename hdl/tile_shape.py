"""The structure of an engine that walks the non-zeros of its weights, a tile at a time."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod

from amaranth.utils import ceil_log2

from .checks import at_least
from .dot_product import WAY_LATENCY
from .steady import SteadyShape
from .stream import beats
from .tech import MULTIPLIER_LATENCY

__all__ = ["READ_STAGES", "Offset", "ResultsShape", "TileShape"]

READ_STAGES = 5
"""Cycles from an entry's place to its inputs: tap, address, memory and its register, choice."""
START_CYCLES = 1
"""Cycles from the decision that a tile begins to its first entry."""
LEAST_STEPS = 4
"""Cycles in which what is known of the next tile settles."""


@dataclass(frozen=True)
class Offset:
    """Where the columns of a kernel column lie, from those of a tile's word.

    The first lane's is in the bank ``turn`` of the word ``word`` further on, in the ``phase`` of a
    stride.
    """

    word: int
    turn: int
    phase: int


@dataclass(frozen=True)
class TileShape:
    """Structure of a `TileEngine`: neighbours in a row are a tile, and share every entry.

    Parameters
    ----------
    size : (height, width, channels) of the map.
    kernel, stride, padding : of the window; padding is top, bottom, left, right, each less than the
        kernel.
    lanes : positions of a tile; they divide those of a row.
    word : channels of a word of the buffer, a power of two.
    rows : rows of the map that the buffer holds, a power of two.
    outputs : the outputs that each processing element makes at a position, in ascending order.
    o_lanes : outputs a beat; those of a beat come from different elements.
    lengths : entries of each element in a tile.
    entry_latency : cycles from a step to its entries.
    wide : whether an element has all columns side by side in the words of two memories, or one
        where a row is a word, and not each in a memory of its own.
    pieces : words in which an output's results are kept, a power of two that divides the lanes; the
        results of an element come at least so many cycles apart.
    loaded : whether a stream brings what elements have for their outputs. Then all make as many,
        some of which are nobody's, and it says which they are, too.
    """

    size: tuple[int, int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int, int, int]
    lanes: int
    word: int
    rows: int
    outputs: tuple[tuple[int, ...], ...]
    o_lanes: int
    lengths: tuple[int, ...]
    entry_latency: int
    wide: bool = False
    pieces: int = 1
    loaded: bool = False

    def __post_init__(self) -> None:
        at_least(1, lanes=self.lanes, word=self.word, rows=self.rows, o_lanes=self.o_lanes,
                 entry_latency=self.entry_latency, pieces=self.pieces)
        for what, value in ("word", self.word), ("rows", self.rows), ("pieces", self.pieces):
            if value & value - 1:
                raise ValueError(f"{what} must be a power of two, not {value!r}")
        if self.positions[1] % self.lanes:
            raise ValueError(f"lanes must divide the {self.positions[1]} positions of a row, "
                             f"not {self.lanes!r}")
        if self.lanes % self.pieces:
            raise ValueError(f"pieces must divide the lanes, {self.lanes}, not {self.pieces!r}")
        if max(self.padding[:2]) >= self.kernel[0] or max(self.padding[2:]) >= self.kernel[1]:
            raise ValueError(f"padding must be less than the kernel, not {self.padding!r}")
        if sorted(sum(self.outputs, ())) != list(range(self.channels)):
            raise ValueError("outputs must be all of a position, each once")
        if len(self.lengths) != self.pe or self.o_lanes > self.pe:
            raise ValueError(f"there must be as many lengths as elements, {self.pe}, and no more "
                             "output lanes")

    @property
    def pe(self) -> int:
        """Processing elements: outputs that are made at once."""
        return len(self.outputs)

    @cached_property
    def channels(self) -> int:
        """Outputs at a position."""
        return sum(map(len, self.outputs))

    @property
    def positions(self) -> tuple[int, int]:
        """Rows and columns of positions."""
        top, bottom, left, right = self.padding
        return ((self.size[0] + top + bottom - self.kernel[0]) // self.stride[0] + 1,
                (self.size[1] + left + right - self.kernel[1]) // self.stride[1] + 1)

    @property
    def row_tiles(self) -> int:
        """Tiles of a row."""
        return self.positions[1] // self.lanes

    @property
    def tiles(self) -> int:
        """Tiles of a frame."""
        return self.positions[0] * self.row_tiles

    @property
    def taps(self) -> int:
        """Elements of the kernel."""
        return prod(self.kernel)

    @property
    def channel_bits(self) -> int:
        """Bits of a place that tell the channel; those above tell the tap."""
        return ceil_log2(self.size[2])

    @property
    def place_bits(self) -> int:
        """Bits of an entry's place."""
        return max(1, ceil_log2(self.taps) + self.channel_bits)

    @property
    def pixel_words(self) -> int:
        """Buffer words of a pixel."""
        return beats(self.size[2], self.word)

    @property
    def column_words(self) -> int:
        """Words in which a row has its columns: each has one of every bank and phase."""
        return beats(beats(self.size[1], self.stride[1]), self.lanes)

    @property
    def parity_bits(self) -> int:
        """Bits of a column word that tell in which memory it is: those of even and odd ones."""
        return int(self.wide and self.column_words > 1)

    @property
    def banks(self) -> tuple[int, int]:
        """Memories of an element, and the columns of their words."""
        return (1 << self.parity_bits, self.lanes) if self.wide else (self.lanes, 1)

    @property
    def bank_words(self) -> int:
        """Words of each memory of the buffer."""
        fields = self.pixel_words, self.stride[1], self.column_words
        return self.rows << sum(map(ceil_log2, fields)) - self.parity_bits

    @cached_property
    def offsets(self) -> tuple[Offset, ...]:
        """Where the columns of each column of the kernel lie."""
        found = []
        for column in range(self.kernel[1]):
            first, phase = divmod(column - self.padding[2], self.stride[1])
            found.append(Offset(*divmod(first, self.lanes), phase))
        return tuple(found)

    @property
    def count_bits(self) -> int:
        """Bits of counts of rows, which wrap around: of two, it is clear which is ahead."""
        return ceil_log2(2 * (self.size[0] + self.kernel[0] + self.stride[0] + self.rows))

    @property
    def slots(self) -> int:
        """Outputs of an element, at most."""
        return max(map(len, self.outputs))

    @property
    def turns(self) -> tuple[int, ...]:
        """Outputs that each element makes, those of nobody too."""
        return (self.slots,) * self.pe if self.loaded else tuple(map(len, self.outputs))

    @property
    def dealt(self) -> bool:
        """Whether a stream says which outputs an element makes; several must have several."""
        return self.loaded and self.pe > 1 and self.slots > 1

    @property
    def source_bits(self) -> int:
        """Bits that tell which element an output comes from."""
        return ceil_log2(self.pe)

    @property
    def slot_bits(self) -> int:
        """Bits that tell which of its element's outputs it is."""
        return ceil_log2(self.slots)

    @property
    def piece_lanes(self) -> int:
        """Results of a word."""
        return self.lanes // self.pieces

    @property
    def result_words(self) -> int:
        """Words of an element's memory of results."""
        return self.parts * self.pieces << self.slot_bits

    @property
    def pixel_beats(self) -> int:
        """Output beats of a position."""
        return beats(self.channels, self.o_lanes)

    @property
    def results(self) -> ResultsShape:
        """The structure of what puts results in order."""
        return ResultsShape()

    @property
    def sum_latency(self) -> int:
        """Cycles from a step to the total of its entries."""
        # Weights are wanted a cycle before the inputs.
        return self.entry_latency + READ_STAGES - 1 + MULTIPLIER_LATENCY + WAY_LATENCY + 1

    @property
    def tile_beats(self) -> int:
        """Output beats of a tile."""
        return self.lanes * self.pixel_beats

    @property
    def parts(self) -> int:
        """Tiles whose results there is room for: two, but four where entries alone are faster than
        results that are on their way, and leave, before the second next tile may begin."""
        return 2 if max(self.lengths) > self.tile_beats + self.sum_latency else 4

    @property
    def steps(self) -> int:
        """Cycles of a tile: entries, or as many as results need to be out of the next ones' way."""
        turn = beats(self.tile_beats + self.sum_latency + 1, self.parts - 1)
        return max(*self.lengths, self.tile_beats, turn, LEAST_STEPS)

    @property
    def results_cycle(self) -> int:
        """Cycles from the decision that a tile begins until its results are read."""
        return START_CYCLES + self.steps - 1 + self.sum_latency + 1

    @property
    def room_cycle(self) -> int:
        """The same until words may come in place of the rows that it was the last to read."""
        return START_CYCLES + self.steps - 1 + self.entry_latency + 3


@dataclass(frozen=True)
class ResultsShape(SteadyShape):
    """Structure of the way out of results: order, memory and its register, position, element."""

    @property
    def depth(self) -> int:
        return 5
