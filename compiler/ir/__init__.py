"""The integer network: the single source of truth of what is computed.

A network is a graph of integer operations in topological order. Tensors are integers with a
shape (H, W, C), a width and a sign; what they stand for, ``real = scale * (q - zero_point)``, is
for people and changes no result. Every class validates itself on construction, so a `Network` that
exists is one that the golden model, the schedule and the hardware can rely on. The meaning of each
operation is defined once, by a function of `penjing.sim.golden`.
"""

from .bitmap import SEGMENTS, Bitmap, BitmapWalk, FilledBitmapWalk
from .builder import Builder
from .columns import Columns, best_index, gap_walk, pointer_bits
from .constant import Constant
from .encoding import MAX_CODES, Codebook, Encoding, Plain, Stored, ValueEncoding, rows_of
from .joins import MAX_OPERAND_BITS, Add, Concatenation, Elementwise, Multiply, Subtract
from .layers import Convolution, Dense, Depthwise, Layer, MultiplyAccumulate, SlidingLayer
from .n_of_m import NofM
from .names import NAME, PORTS, Names, cleaned
from .network import Network, with_loadable_weights
from .pools import ArgMax, AveragePool, MaxPool, PoolLayer, Rounding, SumPool
from .requantize import (
    MAX_THRESHOLDS,
    MULTIPLIER_BITS,
    REFERENCE_BITS,
    SLOPE_BITS,
    TABLE_BITS,
    Clamp,
    ScaleRequantize,
    ScaleRounding,
    ShiftRequantize,
    SlopeRequantize,
    Table,
    Threshold,
)
from .shapes import (
    MAX_FACTOR,
    MAX_STEP,
    Crop,
    Flatten,
    Pad,
    Permutation,
    Repeat,
    Reshape,
    Rewiring,
    Slice,
    Upsample,
    rewired,
)
from .sparse import MAX_GAP_BITS, GapWalk, KernelList, RelativeIndex, Sparse, Walk, pitch_of
from .sums import Sums
from .tail import Tail, TailFunction
from .tensor import (
    MAX_BITS,
    MAX_ELEMENTS,
    MAX_FRACTION,
    Bipolar,
    Integers,
    NotInstalled,
    PenjingError,
    TensorType,
    signed_bits,
    unsigned_bits,
)
from .transposed import TransposedConvolution, whole_strides
from .weights import Weights
from .winograd import WINOGRAD_TILES, WinogradInput, WinogradOutput, WinogradProducts

__all__ = [
    "MAX_BITS", "MAX_CODES", "MAX_ELEMENTS", "MAX_FACTOR", "MAX_FRACTION", "MAX_GAP_BITS",
    "MAX_OPERAND_BITS", "MAX_STEP", "MAX_THRESHOLDS", "MULTIPLIER_BITS", "NAME", "PORTS",
    "REFERENCE_BITS", "SEGMENTS", "SLOPE_BITS", "TABLE_BITS", "WINOGRAD_TILES", "Add", "ArgMax",
    "AveragePool", "Bipolar", "Bitmap", "BitmapWalk", "Builder", "Clamp", "Codebook", "Columns",
    "Concatenation",
    "Constant", "Convolution", "Crop", "Dense", "Depthwise", "Elementwise", "Encoding",
    "FilledBitmapWalk", "Flatten", "GapWalk", "Integers", "KernelList", "Layer", "MaxPool",
    "Multiply", "MultiplyAccumulate", "Names", "Network", "NofM", "NotInstalled", "Pad",
    "PenjingError", "Permutation", "Plain", "PoolLayer", "RelativeIndex", "Repeat", "Reshape",
    "Rewiring", "Rounding", "ScaleRequantize",
    "ScaleRounding", "ShiftRequantize", "Slice", "SlidingLayer", "SlopeRequantize", "Sparse",
    "Stored", "Subtract", "SumPool", "Sums", "Table", "Tail", "TailFunction", "TensorType",
    "Threshold", "TransposedConvolution", "Upsample", "ValueEncoding", "Walk", "Weights",
    "WinogradInput", "WinogradOutput", "WinogradProducts", "best_index", "cleaned", "gap_walk",
    "pitch_of", "pointer_bits", "rewired", "rows_of",
    "signed_bits", "unsigned_bits", "whole_strides", "with_loadable_weights"]
