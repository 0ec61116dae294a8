"""What engines share that add the terms that codes choose, and multiply the sums."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from ....hdl.engine import Engine as EngineBlock
from ....hdl.select_array import SelectArray, SelectShape, select_constants
from ....hdl.sequencer import SEQUENCER_LATENCY
from ....hdl.tech import Selection, Technology
from ....hdl.weights import WeightSource
from ... import ir
from ...cost import Fabric, Resources, Storage, memories
from ...cost.arithmetic import SelectedSum
from ...ir import TensorType
from ..site import Site
from .engine import drain_luts, multiplies, pad_code
from .flat import Flat, pads_zeros
from .kind import Stages


@dataclass(frozen=True, kw_only=True)
class Selecting(Flat):
    """``pe`` outputs of ``simd`` terms that codes choose for their sums, see `SelectShape`."""

    title: ClassVar[str]
    array: SelectShape

    @classmethod
    def suits(cls, site: Site) -> bool:
        """Not for weights that come in later, nor for outputs that take turns."""
        layer = multiplies(site)
        return not (layer.weights.loadable or isinstance(
            layer, ir.TransposedConvolution | ir.WinogradProducts))

    def carried(self, site: Site) -> tuple[TensorType, ...]:
        """Bits of signs as they come, unless zeros are put around them."""
        return (taken(site),)

    @property
    def latency(self) -> int:
        """Cycles from a step to its word of codes."""
        return SEQUENCER_LATENCY

    def own_cells(self, site: Site, fabric: Fabric) -> Resources:
        """Sums, what multiplies them, and what all engines have."""
        frame, array, width = self.frame, self.array, self.frame.o_lanes * site.result.bits
        sides, shared = len(array.scales), bool(array.common)
        sums = SelectedSum.of(fabric, frame.simd, array.bits, array.total_bits,
                              both=array.selection is Selection.BOTH)
        table = memories.rom(fabric, Storage.LOGIC, self.o.beats(self.o.group), width)
        # Each output: its sums and the drain's shift register. Each of a beat: what multiplies
        # them. The sum of all terms is held, too, while it is drained.
        count = frame.pe * sides + shared
        shift = drain_luts(fabric, frame, sides * array.total_bits)
        cells = Resources(
            luts=round(count * sums.luts + shift
                       + fabric.sums(site.result.bits, array.digits * frame.o_lanes)),
            ffs=(count * (sums.ffs + array.total_bits)
                 + self.latency * frame.simd * array.bits + width * _held(1 + array.digits)))
        return super().own_cells(site, fabric) + table + cells

    def work(self) -> Mapping[str, int]:
        """The terms that it adds, subtracts or leaves out."""
        return {"additions": self.fold.products}

    def assembled(self, site: Site, codes: Sequence[int], weights: WeightSource,
                  technology: Technology) -> Stages:
        """The window, and the engine of ``weights``, of whose words these are the ``codes``."""
        constants = select_constants(self.frame, self.array, multiplies(site).bias.tolist(), codes)
        array = SelectArray(self.frame, self.array, constants=constants, technology=technology)
        return [*self.window_blocks(site, technology, pad_code(site, taken(site))),
                (self.title, EngineBlock(self.frame, array, weights, technology=technology))]


def taken(site: Site) -> TensorType:
    """The type in which terms come: bits of signs, unless zeros are put around them."""
    return site.source.widened if pads_zeros(site.layer) else site.source


def _held(terms: int) -> int:
    """Registers of the tree that adds so many ``terms``, one behind each sum or delayed term."""
    held = 0
    while terms > 1:
        terms = (terms + 1) // 2
        held += terms
    return held
