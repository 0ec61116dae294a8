"""What the weights of a network take: as floats, in memory, and Huffman-coded in a file.

All is counted: indices, flags, filling, code tables, codebooks and biases.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import singledispatch

import numpy as np

from ..huffman import MAX_LENGTH, code_lengths
from ..ir import (
    Bitmap,
    Codebook,
    Encoding,
    Integers,
    MultiplyAccumulate,
    Network,
    Plain,
    Sparse,
    ValueEncoding,
    Weights,
)
from ..ir.sparse import MAX_GAP_BITS, GapWalk

__all__ = ["LayerSize", "coded_bits", "sizes", "stored_bits"]

FLOAT_BITS = 32
_LENGTH_BITS = 4
"""What the length of a code takes, up to `MAX_LENGTH`."""


@dataclass(frozen=True)
class LayerSize:
    """Of one layer: how many ``weights`` it had and how many are left, and bits with its biases.

    ``stored_bits`` is what the hardware's memories hold, ``coded_bits`` the same in a file.
    """

    layer: str
    weights: int
    nonzeros: int
    float_bits: int
    stored_bits: int
    coded_bits: int


def sizes(network: Network) -> list[LayerSize]:
    """Of each layer with weights of ``network``, whose weights are encoded; see `encode`."""
    found = []
    for layer in network.layers:
        if isinstance(layer, MultiplyAccumulate):
            weights, outputs = layer.weights, len(layer.bias)
            bias_bits = outputs * network.type_of(layer.name).bits
            found.append(LayerSize(
                layer.name, weights.values.size, weights.nonzeros,
                FLOAT_BITS * (weights.values.size + outputs), stored_bits(weights) + bias_bits,
                coded_bits(weights) + bias_bits))
    return found


def stored_bits(weights: Weights) -> int:
    """Bits of ``weights`` in memory; signs and values of three kinds have engines of their own."""
    if isinstance(weights.encoding, Plain) and weights.ternary is not None:
        return weights.values.size * (1 if weights.bipolar else 2)
    return weights.memory_bits


def coded_bits(weights: Weights) -> int:
    """Bits of ``weights`` where all that their encoding stores is Huffman-coded (Han 2016).

    Values, or their codes, have one code, gaps another, each with a table of its lengths, unless
    they are shorter without; flags are as they are. A relative index takes the width of gaps that
    is best then.
    """
    return _coded(weights.encoding, weights.rows, weights.bits)


@singledispatch
def _coded(encoding: Encoding, rows: Integers, bits: int) -> int:
    """Bits of ``rows`` (outputs, taps, channels), whose values need ``bits``."""
    return encoding.memory_bits(rows, bits)


@_coded.register
def _(encoding: ValueEncoding, rows: Integers, bits: int) -> int:
    return _values(encoding, encoding.stored(rows).values, 0, bits)


@_coded.register
def _(encoding: Sparse, rows: Integers, bits: int) -> int:
    if isinstance(encoding, Bitmap):
        stored = encoding.stored(rows)
        without = encoding.memory_bits(rows, bits) - encoding.values.bits_of(stored, bits)
        return without + _values(encoding.values, stored.values, stored.zeros, bits)
    kind, values = type(encoding), encoding.values
    walks = (kind(gap_bits, values).walk(rows)  # type: ignore[call-arg]
             for gap_bits in range(2, MAX_GAP_BITS + 1))
    return min(_gapped(walk, values, bits) for walk in walks if isinstance(walk, GapWalk))


def _gapped(walk: GapWalk, values: ValueEncoding, bits: int) -> int:
    """Flags, gaps and values."""
    gap_bits = int(walk.gaps.max()).bit_length()
    return len(walk.gaps) + _huffman(walk.gaps, gap_bits) + _values(values, walk.values, 0, bits)


def _values(encoding: ValueEncoding, values: Integers, zeros: int, bits: int) -> int:
    """``values``, so many ``zeros`` more, and the codebook, if there is one."""
    everything = np.append(values.reshape(-1), np.zeros(zeros, np.int64))
    if not isinstance(encoding, Codebook):
        return _huffman(everything, bits)
    entries, codes = np.unique(everything, return_inverse=True)
    return _huffman(codes, (len(entries) - 1).bit_length()) + len(entries) * bits


def _huffman(symbols: Integers, bits: int) -> int:
    """``symbols`` of so many ``bits`` in the best code, with a table of its lengths, or as they
    are, where that is less; a bit tells which."""
    plain = symbols.size * bits
    counts = np.bincount(symbols - symbols.min()) if symbols.size else np.zeros(1, np.int64)
    used = counts[counts > 0]
    if not 0 < len(used) <= 1 << MAX_LENGTH:
        return 1 + plain
    lengths = code_lengths(used.tolist())
    return 1 + min(plain, int(np.dot(lengths, used)) + _LENGTH_BITS * len(counts))
