"""What the serial link takes of a board: the part of a bitstream that no schedule plans.

The coefficients are fitted by ``bench/link.py``, on some tensors and judged on others. Clock and
reset are not counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..compiler.ir import Network, TensorType
from ..compiler.plan import Plan, Port, Resources
from ..compiler.resources import MODELS, Family, ram_blocks
from .board import Board
from .protocol import element_bytes

__all__ = ["gearbox_bits", "link_resources", "planned_link"]

_FFS = 257
_FFS_ADDRESS_BIT = 5
"""Flip-flops besides those that hold elements: fixed ones, and counters of the frame's bytes."""


@dataclass(frozen=True)
class _Coefficients:
    """``luts`` of the link, ``luts_held_bit`` more a bit that its gearboxes hold.

    A frame of up to ``table_bytes`` lies in look-up tables.
    """

    luts: int
    luts_held_bit: float
    table_bytes: int


_COEFFICIENTS: Mapping[Family, _Coefficients] = {
    Family.ECP5: _Coefficients(luts=760, luts_held_bit=2.72, table_bytes=128),
    Family.ICE40: _Coefficients(luts=556, luts_held_bit=3.57, table_bytes=0)}


def link_resources(family: Family, i: TensorType, o: TensorType, i_port: Port, o_port: Port
                   ) -> Resources:
    """Predicted cells of the link (`wrapper.Wrapper` without its accelerator).

    ``i`` and ``o`` are the network's input and output, which travel by ``i_port`` and ``o_port``.
    A generic target has no link: `KeyError`.
    """
    coefficients = _COEFFICIENTS[family]
    frame = i.elements * element_bytes(i)
    # Bits that no element has are dropped from the frame's memory.
    brams = ram_blocks(MODELS[family], frame, min(8, i.bits))
    held = gearbox_bits(i, o, i_port, o_port)
    octets = 8 * (element_bytes(i) + element_bytes(o))
    return Resources(
        luts=round(coefficients.luts + coefficients.luts_held_bit * held),
        ffs=_FFS + _FFS_ADDRESS_BIT * (frame - 1).bit_length() + held + octets,
        brams=brams if frame > coefficients.table_bytes else 0)


def gearbox_bits(i: TensorType, o: TensorType, i_port: Port, o_port: Port) -> int:
    """Bits that the link's two gearboxes hold: n + 1 elements between one lane and n."""
    return (i_port.lanes + 1) * i.bits + (o_port.lanes + 1) * o.bits


def planned_link(board: Board, network: Network, plan: Plan) -> Resources:
    """Predicted cells of the link of ``network`` under ``plan`` on ``board``; see `link_resources`.
    """
    return link_resources(board.family, network.input_type, network.output_type,
                          plan.layers[0].i, plan.layers[-1].o)
