"""What hardware a layer may become: one class a kind, and the way from layers to kinds."""

from __future__ import annotations

from collections.abc import Iterator
from functools import singledispatch

from ... import ir
from ...ir import PenjingError
from ..site import Site
from .additive import Additive
from .argmax import Largest
from .ask import Ask
from .binary import Binary
from .columns import Columnwise
from .concatenation import Union
from .constant import Constant
from .crop import Cutout
from .dot import Dot
from .engine import Engine
from .join import Sum
from .kind import Kind
from .n_of_m import NofM
from .nonzeros import Nonzeros
from .permutation import Shuffle
from .pools import Average, Border, Maximum, SumOfWindow
from .product import Product
from .running import RunningMaximum
from .scale import Scale
from .shift import Shift
from .slice import Part
from .sliced import Sliced
from .slope import Slope
from .table import Lookup
from .ternary import Ternary
from .threshold import Search
from .transform import Transform
from .upsample import Enlargement
from .weighted import Weighted
from .wiring import Copies, Wires

__all__ = ["ENGINES", "KINDS", "Additive", "Ask", "Average", "Binary", "Border", "Columnwise",
           "Constant", "Copies", "Cutout", "Dot", "Engine", "Enlargement", "Kind", "Largest",
           "Lookup", "Maximum", "NofM", "Nonzeros", "Part", "Product", "RunningMaximum", "Scale",
           "Search", "Shift", "Shuffle", "Sliced", "Slope", "Sum", "SumOfWindow", "Ternary",
           "Transform", "Union", "Weighted", "Wires", "candidates", "engines_of"]

ENGINES: tuple[type[Weighted], ...] = (
    Sliced, Binary, Ternary, Dot, Additive, NofM, Nonzeros, Columnwise, Constant)
"""What a layer with weights may become; of equal price, the first."""

KINDS: tuple[type[Kind], ...] = (
    *ENGINES, RunningMaximum, Maximum, SumOfWindow, Average, Border, Shift, Scale, Slope, Search,
    Lookup, Sum, Product, Union, Part, Shuffle, Cutout, Enlargement, Copies, Wires, Largest,
    Transform)
"""All kinds of hardware."""


def engines_of(layer: ir.Layer) -> list[type[Weighted]]:
    """Those of the `ENGINES` that take weights as the ``layer`` has them.

    `PenjingError` if there are none, or it has no weights.
    """
    if not isinstance(layer, ir.MultiplyAccumulate):
        raise PenjingError(f"layer {layer.name}: it has no weights, so it can have no fold")
    encoding = layer.weights.encoding
    engines = [engine for engine in ENGINES if isinstance(encoding, engine.encodings)]
    if not engines:
        raise PenjingError(f"layer {layer.name}: there is no hardware for weights of the encoding "
                           f"{encoding.name}; store them plain or by a codebook")
    return engines


@singledispatch
def candidates(layer: ir.Layer, site: Site, ask: Ask) -> Iterator[Kind]:
    """What ``layer``, which stands at ``site``, may become to do what ``ask`` says.

    Raises `PenjingError` for a layer that hardware does not know.
    """
    raise PenjingError(f"layer {layer.name}: there is no hardware for {layer.kind}")


@candidates.register
def _(layer: ir.MultiplyAccumulate, site: Site, ask: Ask) -> Iterator[Kind]:
    for engine in engines_of(layer):
        yield from engine.candidates(site, ask)


@candidates.register
def _(layer: ir.MaxPool, site: Site, ask: Ask) -> Iterator[Kind]:
    yield from RunningMaximum.candidates(site, ask)
    yield from Maximum.candidates(site, ask)


@candidates.register
def _(layer: ir.SumPool, site: Site, ask: Ask) -> Iterator[Kind]:
    return SumOfWindow.candidates(site, ask)


@candidates.register
def _(layer: ir.AveragePool, site: Site, ask: Ask) -> Iterator[Kind]:
    return Average.candidates(site, ask)


@candidates.register
def _(layer: ir.Pad, site: Site, ask: Ask) -> Iterator[Kind]:
    return Border.candidates(site, ask)


@candidates.register
def _(layer: ir.ShiftRequantize | ir.Clamp, site: Site, ask: Ask) -> Iterator[Kind]:
    return Shift.candidates(site, ask)


@candidates.register
def _(layer: ir.ScaleRequantize, site: Site, ask: Ask) -> Iterator[Kind]:
    return Scale.candidates(site, ask)


@candidates.register
def _(layer: ir.SlopeRequantize, site: Site, ask: Ask) -> Iterator[Kind]:
    return Slope.candidates(site, ask)


@candidates.register
def _(layer: ir.Threshold, site: Site, ask: Ask) -> Iterator[Kind]:
    return Search.candidates(site, ask)


@candidates.register
def _(layer: ir.Table, site: Site, ask: Ask) -> Iterator[Kind]:
    return Lookup.candidates(site, ask)


@candidates.register
def _(layer: ir.Add | ir.Subtract, site: Site, ask: Ask) -> Iterator[Kind]:
    return Sum.candidates(site, ask)


@candidates.register
def _(layer: ir.Multiply, site: Site, ask: Ask) -> Iterator[Kind]:
    return Product.candidates(site, ask)


@candidates.register
def _(layer: ir.Concatenation, site: Site, ask: Ask) -> Iterator[Kind]:
    return Union.candidates(site, ask)


@candidates.register
def _(layer: ir.Repeat, site: Site, ask: Ask) -> Iterator[Kind]:
    return Copies.candidates(site, ask)


@candidates.register
def _(layer: ir.Upsample, site: Site, ask: Ask) -> Iterator[Kind]:
    return Enlargement.candidates(site, ask)


@candidates.register
def _(layer: ir.Slice, site: Site, ask: Ask) -> Iterator[Kind]:
    return Part.candidates(site, ask)


@candidates.register
def _(layer: ir.Permutation, site: Site, ask: Ask) -> Iterator[Kind]:
    return Shuffle.candidates(site, ask)


@candidates.register
def _(layer: ir.Crop, site: Site, ask: Ask) -> Iterator[Kind]:
    return Cutout.candidates(site, ask)


@candidates.register
def _(layer: ir.Rewiring, site: Site, ask: Ask) -> Iterator[Kind]:
    return Wires.candidates(site, ask)


@candidates.register
def _(layer: ir.WinogradInput | ir.WinogradOutput, site: Site, ask: Ask) -> Iterator[Kind]:
    return Transform.candidates(site, ask)


@candidates.register
def _(layer: ir.ArgMax, site: Site, ask: Ask) -> Iterator[Kind]:
    return Largest.candidates(site, ask)
