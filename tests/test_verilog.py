"""The Verilog of a fragment means what Amaranth's own back end makes of it, proven by Yosys."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from amaranth.back import rtlil
from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from penjing.hdl.emit import emit

pytest.importorskip("pyosys", reason="Yosys is not installed: pip install 'penjing[fpga]'")

SHAPES = [unsigned(1), unsigned(3), signed(3), unsigned(4), signed(1), signed(5), unsigned(1)]
SCRIPT = """
read_rtlil gold.il
rename top gold
setattr -mod -unset top gold
read_verilog -sv gate.sv
rename top gate
hierarchy -check
proc
flatten
opt_clean
miter -equiv -flatten -make_assert gold gate miter
sat -verify -seq 3 -prove-asserts -set-def-inputs miter
"""


class Soup(wiring.Component):
    """Random values and statements, with a clock and without; equal seeds make equal ones."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        super().__init__({**{f"i{n}": In(shape) for n, shape in enumerate(SHAPES)},
                          **{f"o{n}": Out(shape) for n, shape in enumerate(SHAPES)},
                          **{f"q{n}": Out(shape) for n, shape in enumerate(SHAPES)}})

    def elaborate(self, platform: object) -> Module:
        rng = random.Random(self._seed)
        m = Module()
        inputs = [getattr(self, f"i{n}") for n in range(len(SHAPES))]
        registers = [getattr(self, f"q{n}") for n in range(len(SHAPES))]
        known: list[Value] = [*inputs, *registers]
        for n, shape in enumerate(SHAPES):
            if rng.random() < 0.5:
                # Some names are keywords, which Verilog must escape.
                wire = Signal(shape, name=rng.choice(["matches", f"wire{n}"]), init=-shape.signed)
                self._statements(rng, m, m.d.comb, [wire], known, 2)
                known.append(wire)
        outputs = [getattr(self, f"o{n}") for n in range(len(SHAPES))]
        self._statements(rng, m, m.d.comb, outputs, known, 2)
        self._statements(rng, m, m.d.sync, registers, known, 2)
        return m

    def _statements(self, rng: random.Random, m: Module, domain: object, targets: Sequence[Value],
                    known: Sequence[Value], depth: int) -> None:
        for _ in range(rng.randrange(1, 4) + (len(targets) // 2 if depth == 2 else 0)):
            kind = rng.random() if depth else 1
            if kind < 0.3:
                with m.If(self._bit(rng, known, 3)):
                    self._statements(rng, m, domain, targets, known, depth - 1)
                if rng.random() < 0.5:
                    with m.Elif(self._bit(rng, known, 2)):
                        self._statements(rng, m, domain, targets, known, depth - 1)
                if rng.random() < 0.5:
                    with m.Else():
                        self._statements(rng, m, domain, targets, known, depth - 1)
            elif kind < 0.4:
                test = self._value(rng, known, 1)
                if not len(test):
                    continue  # Yosys takes none of the cases, Amaranth's simulator the first
                with m.Switch(test):
                    for _ in range(rng.randrange(1, 4)):
                        pattern = "".join(rng.choice("01-") for _ in range(len(test)))
                        with m.Case(pattern):
                            self._statements(rng, m, domain, targets, known, depth - 1)
                    if rng.random() < 0.5:
                        with m.Default():
                            self._statements(rng, m, domain, targets, known, depth - 1)
            else:
                value = self._value(rng, known, rng.choice([2, 2, 4]))
                domain += self._target(rng, targets).eq(value)

    @staticmethod
    def _target(rng: random.Random, targets: Sequence[Value]) -> Value:
        target = rng.choice(targets)
        if rng.random() < 0.3:
            low = rng.randrange(len(target))
            return target[low : rng.randrange(low, len(target)) + 1]
        if rng.random() < 0.2 and len(targets) > 1:
            return Cat(*rng.sample(targets, 2))
        return target

    def _bit(self, rng: random.Random, known: Sequence[Value], depth: int) -> Value:
        """A condition, as blocks have them."""
        if not depth:
            return self._value(rng, known, 1).bool()
        a, b = (self._bit(rng, known, depth - 1) for _ in range(2))
        one, two = rng.choice(known), rng.choice(known)
        return rng.choice([lambda: ~a, lambda: a & b, lambda: a | b, lambda: a ^ b,
                           lambda: one[:1] & a, lambda: ~(one == two),
                           lambda: ~(Cat(one, two) == 1), lambda: ~(one[:1] & b)])()

    def _value(self, rng: random.Random, known: Sequence[Value], depth: int) -> Value:
        if not depth or rng.random() < 0.15:
            if rng.random() < 0.25:
                return Const(rng.randrange(-8, 8))
            return rng.choice(known)
        a, b = (self._value(rng, known, depth - 1) for _ in range(2))
        low = rng.randrange(len(a) + 1)
        return rng.choice([
            lambda: a + b, lambda: a - b, lambda: a * b, lambda: a & b, lambda: a | b,
            lambda: a ^ b, lambda: a == b, lambda: a != b, lambda: a < b, lambda: a <= b,
            lambda: a > b, lambda: a >= b, lambda: ~a, lambda: -a, lambda: a.any(),
            lambda: a.all(), lambda: a.xor(), lambda: a.bool(), lambda: Cat(a, b),
            lambda: a[low:], lambda: a[:low], lambda: Mux(b.bool(), a, b), lambda: Mux(a[:1], b, a),
            lambda: a >> b[:2].as_unsigned(), lambda: (a << b[:2].as_unsigned())[:8],
            lambda: a.as_signed() if len(a) else a, lambda: a.as_unsigned(),
            lambda: a.as_unsigned().bit_select(b[:3].as_unsigned(), 2),
            lambda: a.as_unsigned().word_select(b[:2].as_unsigned(), 3),
            lambda: a.as_unsigned() // 3, lambda: a.as_unsigned() % 5,
            lambda: Array([a, b, known[0], known[2]])[known[1][:2]],
        ])()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(40))
def test_amaranth_and_the_verilog_mean_the_same(seed: int, tmp_path: Path) -> None:
    (tmp_path / "gold.il").write_text(rtlil.convert(Soup(seed), name="top", emit_src=False))
    (tmp_path / "gate.sv").write_text(emit(Soup(seed), "top").text)
    (tmp_path / "script.ys").write_text(SCRIPT)
    script = "from pyosys import libyosys as ys; ys.run_pass('script script.ys', ys.Design())"
    run = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True,
                         text=True)
    assert run.returncode == 0, (run.stdout + run.stderr)[-3000:]
