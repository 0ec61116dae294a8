"""What the serial link takes of a board: the part of a bitstream that no schedule plans.

The coefficients are fitted by ``bench/link.py``, on some tensors and judged on others. Clock and
reset are not counted.
"""

from __future__ import annotations

from ..compiler.cost import Resources
from ..compiler.cost.memories import ram_blocks
from ..compiler.dataflow.design import Design
from ..compiler.dataflow.port import Port
from ..compiler.ir import TensorType
from .board import Board
from .families import Family
from .protocol import element_bytes

__all__ = ["gearbox_bits", "link_resources", "planned_link"]

_FFS = 257
_FFS_ADDRESS_BIT = 5
"""Flip-flops besides those that hold elements: fixed ones, and counters of the frame's bytes."""


def link_resources(family: Family, i: TensorType, o: TensorType, i_port: Port, o_port: Port
                   ) -> Resources:
    """Predicted cells of the link (`wrapper.Wrapper` without its accelerator).

    ``i`` and ``o`` are the network's input and output, which travel by ``i_port`` and ``o_port``.
    The family has a link.
    """
    coefficients = family.link
    assert coefficients is not None
    frame = i.elements * element_bytes(i)
    # Bits that no element has are dropped from the frame's memory.
    brams = ram_blocks(family.fabric, frame, min(8, i.bits))
    held = gearbox_bits(i, o, i_port, o_port)
    octets = 8 * (element_bytes(i) + element_bytes(o))
    return Resources(
        luts=round(coefficients.luts + coefficients.luts_held_bit * held),
        ffs=_FFS + _FFS_ADDRESS_BIT * (frame - 1).bit_length() + held + octets,
        brams=brams if frame > coefficients.table_bytes else 0)


def gearbox_bits(i: TensorType, o: TensorType, i_port: Port, o_port: Port) -> int:
    """Bits that the link's two gearboxes hold: n + 1 elements between one lane and n."""
    return (i_port.lanes + 1) * i.bits + (o_port.lanes + 1) * o.bits


def planned_link(board: Board, design: Design) -> Resources:
    """Predicted cells of the link of ``design`` on ``board``; see `link_resources`."""
    network = design.network
    return link_resources(board.family, network.input_type, network.output_type,
                          design.i, design.o)
