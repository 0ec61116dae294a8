"""What constants cost that blocks keep: in the order in which they are wanted, or a channel's."""

from __future__ import annotations

from ....hdl.sequencer import ONCE, Rounds, SequencerShape
from ....hdl.steady import BLOCK_BITS
from ...cost import Fabric, Resources, Storage, memories


def in_order(fabric: Fabric, storage: Storage, words: int, width: int,
             rounds: Rounds = ONCE) -> Resources:
    """Cells of a `Sequencer` of ``words`` words of ``width`` bits in ``rounds``."""
    shape = SequencerShape(words, width, storage is Storage.BLOCK, rounds)
    return memories.in_order(fabric, storage, shape.counts, shape.parts)


def of_channels(fabric: Fabric, storage: Storage, words: int, width: int, *, registers: int = 2
                ) -> Resources:
    """Cells of a memory of a channel's constants, which is in block RAM only if it is large."""
    small = storage is Storage.BLOCK and words * width <= BLOCK_BITS
    return memories.rom(fabric, Storage.LOGIC if small else storage, words, width,
                        registers=registers)
