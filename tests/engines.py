# amaranth: UnusedElaboratable=no
"""Engines of each kind of array, from their weights as (beats, outputs, terms)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from amaranth.hdl import Shape, ShapeLike
from penjing.compiler.dataflow.kinds import Nonzeros
from penjing.compiler.dataflow.kinds.words import count_words, packed, select_words
from penjing.compiler.dataflow.site import Site
from penjing.compiler.ir import Integers
from penjing.hdl.count_array import CountArray, CountShape
from penjing.hdl.dot_array import DotArray, DotShape
from penjing.hdl.engine import Engine, EngineShape
from penjing.hdl.select_array import SelectArray, SelectShape, select_constants
from penjing.hdl.sequencer import Sequencer
from penjing.hdl.tech import Generic, MemoryStyle, Technology
from penjing.hdl.weights import CodebookWeights, WeightSource


def o_lanes(pe: int, folds: int) -> int:
    """The fewest output lanes that keep up with groups of ``pe`` outputs every ``folds`` beats."""
    return next(n for n in range(1, pe + 1) if pe % n == 0 and n * folds >= pe)


def shape_of(weights: Integers, outputs: int, array: DotShape | CountShape | SelectShape,
             latency: int, channel_groups: int = 1) -> EngineShape:
    beats, pe, simd = weights.shape
    folds = beats // -(-outputs // pe)
    return EngineShape(pe, simd, folds, outputs, o_lanes(pe, folds), latency + array.depth,
                       array.results_latency, channel_groups)


def rom(words: Sequence[int], width: int) -> Sequencer:
    return Sequencer(words, width, style=MemoryStyle.LOGIC, technology=Generic())


def dot_engine(element: ShapeLike, weights: Integers, weight_bits: int, bias: Integers,
               accumulator_bits: int, *, dsp_multipliers: int = 0, channel_groups: int = 1,
               codebook: Sequence[int] = (), technology: Technology | None = None) -> Engine:
    """An engine of multipliers; of a ``codebook``, ``weights`` are indices."""
    pe, simd = weights.shape[1:]
    source: WeightSource
    if codebook:
        words = packed(weights, max(1, (len(codebook) - 1).bit_length()))
        source = CodebookWeights(words, pe * simd, codebook=codebook, weight_bits=weight_bits,
                                 style=MemoryStyle.LOGIC, technology=Generic())
    else:
        source = rom(packed(weights, weight_bits), pe * simd * weight_bits)
    shape = shape_of(weights, len(bias), DotShape(simd), source.latency, channel_groups)
    array = DotArray(shape, element, weight_bits=weight_bits, bias=bias.tolist(),
                     accumulator_bits=accumulator_bits, dsp_multipliers=dsp_multipliers,
                     technology=technology or Generic())
    return Engine(shape, array, source, technology=technology or Generic())


def count_engine(signs: Integers, bias: Integers, accumulator_bits: int) -> Engine:
    """An engine that counts signs, each -1 or 1."""
    pe, simd = signs.shape[1:]
    source = rom(count_words(signs), pe * simd)
    counts = CountShape(simd, len(signs) // -(-len(bias) // pe))
    shape = shape_of(signs, len(bias), counts, source.latency)
    array = CountArray(shape, bias=bias.tolist(), accumulator_bits=accumulator_bits,
                       technology=Generic())
    return Engine(shape, array, source, technology=Generic())


def select_engine(element: ShapeLike, signs: Integers, bias: Integers, accumulator_bits: int, *,
                  positive: int, negative: int, bipolar: bool = False) -> Engine:
    """An engine that adds and subtracts, of signs -1, 0 or 1."""
    pe, simd = signs.shape[1:]
    kind = Shape.cast(element)
    select = SelectShape.ternary(
        simd, len(signs) // -(-len(bias) // pe), kind.width, signed=kind.signed, positive=positive,
        negative=negative, zeros=bool(np.any(signs == 0)), accumulator_bits=accumulator_bits,
        bipolar=bipolar)
    words = select_words(signs, select)
    source = rom(words, pe * simd * select.weight_bits)
    shape = shape_of(signs, len(bias), select, source.latency)
    constants = select_constants(shape, select, bias.tolist(), words)
    array = SelectArray(shape, select, constants=constants, technology=Generic())
    return Engine(shape, array, source, technology=Generic())


def most_pieces(site: Site, kind: Nonzeros) -> int:
    """The most pieces in which results may come in."""
    pieces = 1
    while 2 * pieces <= kind.store(site).apart and kind.fold.lanes % (2 * pieces) == 0:
        pieces *= 2
    return pieces
