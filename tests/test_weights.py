# amaranth: UnusedElaboratable=no
"""Sources of weights: words in order, and engines that do not know how their weights are stored."""

from __future__ import annotations

import numpy as np
import pytest
from amaranth.hdl import Fragment, signed
from engines import dot_engine, o_lanes, rom, shape_of
from networks import random_images, run_block
from penjing.compiler import ir
from penjing.compiler.dataflow.kinds.words import packed
from penjing.compiler.dataflow.plan import Port
from penjing.compiler.ir import TensorType
from penjing.hdl.dot_array import DotArray, DotShape
from penjing.hdl.engine import Engine, EngineShape
from penjing.hdl.tech import Ecp5, Generic, MemoryStyle, Technology
from penjing.hdl.weights import CodebookWeights
from penjing.sim import golden
from penjing.sim.streams import Stalls


def codebook(rng: np.random.Generator, entries: int, bits: int) -> np.ndarray:
    """Different values of so many ``bits``, both extremes among them, in no order."""
    low = -(1 << bits - 1)
    others = rng.choice(np.arange(low + 1, -low - 1), entries - 2, replace=False)
    return rng.permutation(np.append(others, [low, -low - 1]))


@pytest.mark.parametrize(("inputs", "outputs", "pe", "simd", "entries"), [
    (9, 5, 2, 4, 2), (7, 3, 3, 7, 3), (12, 8, 4, 1, 16), (5, 6, 6, 2, 17), (20, 7, 7, 20, 256),
    (1, 1, 1, 1, 5)])
def test_products_by_a_codebook(inputs: int, outputs: int, pe: int, simd: int,
                                entries: int) -> None:
    rng = np.random.default_rng(entries)
    kind = TensorType((1, 1, inputs), 6, True)
    table = codebook(rng, entries, 8 if entries < 256 else 9)
    indices = rng.integers(0, entries, (outputs, inputs))
    weights, bias = table[indices], rng.integers(-1000, 1000, outputs)
    result = ir.Dense("dense", "x", ir.Weights(weights, 9), bias).output_type(kind)
    groups, folds = -(-outputs // pe), -(-inputs // simd)
    # A spare lane brings any element: its weight must be 0, or the element.
    padded = np.pad(indices, ((0, groups * pe - outputs), (0, folds * simd - inputs)))
    beats = padded.reshape(groups, pe, folds, simd).transpose(0, 2, 1, 3).reshape(-1, pe, simd)
    block = dot_engine(signed(6), beats, 9, bias, result.bits, codebook=table.tolist(),
                       dsp_multipliers=pe * simd // 2)
    x = random_images(kind, 5, outputs)
    sent = np.pad(x.reshape(5, inputs), ((0, 0), (0, folds * simd - inputs)))
    repeated = np.tile(sent[:, None], (1, groups, 1))
    run_block(block, repeated, golden.dense(x, weights, bias),
              (TensorType((1, groups, folds * simd), 6, True), Port(simd, folds * simd)),
              (result, Port(o_lanes(pe, folds), outputs)))


@pytest.mark.parametrize(("technology", "style"), [
    *((Generic(), style) for style in MemoryStyle), (Ecp5(), MemoryStyle.DISTRIBUTED)])
def test_a_codebook_of_an_engine_of_slices(technology: Technology, style: MemoryStyle) -> None:
    """Two slices of three channels, four taps; the tables are those of either technology."""
    rng = np.random.default_rng(1)
    table = codebook(rng, 6, 5)
    indices = rng.integers(0, 6, (6, 4))
    weights, bias = table[indices], rng.integers(-9, 9, 6)
    x = random_images(TensorType((4, 1, 6), 4, True), 4, 0)
    beats = indices.reshape(2, 3, 4, 1).transpose(0, 2, 1, 3).reshape(8, 3, 1)
    source = CodebookWeights(packed(beats, 3), 3, codebook=table.tolist(), weight_bits=5,
                             style=style, technology=technology)
    shape = shape_of(beats, 6, DotShape(1), source.latency, channel_groups=3)
    array = DotArray(shape, signed(4), weight_bits=5, bias=bias.tolist(), accumulator_bits=14,
                     dsp_multipliers=0, technology=Generic())
    sent = x[:, :, 0].reshape(4, 4, 2, 3).transpose(0, 2, 1, 3)
    result = TensorType((1, 1, 6), 14, True)
    wanted = np.einsum("nkc,ck->nc", x[:, :, 0], weights)[:, None, None] + bias
    run_block(Engine(shape, array, source, technology=technology), sent, wanted,
              (TensorType((2, 4, 3), 4, True), Port(3, 3)), (result, Port(shape.o_lanes, 6)),
              [Stalls.BOTH])


def test_a_codebook_has_values_that_fit() -> None:
    rules = {"weight_bits": 4, "style": MemoryStyle.LOGIC, "technology": Generic()}
    with pytest.raises(ValueError, match=r"^codebook must have 1 to 256 values, not 0$"):
        CodebookWeights([0], 1, codebook=[], **rules)
    with pytest.raises(ValueError, match=r"^beside must be at least 1, not 0$"):
        CodebookWeights([0], 1, codebook=[3], **rules)
    with pytest.raises(ValueError, match=r"^codebook must lie within -8 and 7$"):
        CodebookWeights([0], 1, codebook=[3, 8], **rules)


def test_an_engine_has_parts_that_fit() -> None:
    shape = EngineShape(2, 3, 2, 4, 1, 2 + DotShape(3).depth)
    array = DotArray(shape, signed(4), weight_bits=5, bias=[0] * 4, accumulator_bits=14,
                     dsp_multipliers=0, technology=Generic())
    with pytest.raises(ValueError, match=r"^weights must be 4 words of 30 bits, not 3 of 30$"):
        Engine(shape, array, short := rom([0] * 3, 30), technology=Generic())
    with pytest.raises(ValueError, match=r"^weights must be 4 words of 30 bits, not 4 of 29$"):
        Engine(shape, array, narrow := rom([0] * 4, 29), technology=Generic())
    slow = CodebookWeights([0] * 4, 6, codebook=[0, 1], weight_bits=5, style=MemoryStyle.LOGIC,
                           technology=Generic())
    with pytest.raises(ValueError, match=r"^shape must have the depth and latency of its parts, "
                                         r"\(10, 0\), not \(8, 0\)$"):
        Engine(shape, array, slow, technology=Generic())
    for part in (array, short, narrow, slow):
        Fragment.get(part, None)  # Amaranth complains of components that nothing elaborates.
    with pytest.raises(ValueError, match=r"^bias must be 4 integers that fit 3 bits$"):
        DotArray(shape, signed(4), weight_bits=5, bias=[0, 0, 0, 4], accumulator_bits=3,
                 dsp_multipliers=0, technology=Generic())


def test_words_are_packed_from_the_lowest_bit() -> None:
    values = np.array([[[1, -1], [0, 2]], [[-4, 3], [0, 0]]])
    assert packed(values, 3) == [0b010_000_111_001, 0b000_000_011_100]
