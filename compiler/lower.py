"""Network and plan to hardware: each layer becomes blocks, the accelerator a pipeline of them."""

from __future__ import annotations

from functools import singledispatch

import numpy as np
from amaranth.hdl import Shape, signed, unsigned
from amaranth.lib import wiring

from ..hdl.argmax import ArgMaxer
from ..hdl.dot import Dot
from ..hdl.pipeline import Pipeline
from ..hdl.pool import AveragePooler, MaxPooler
from ..hdl.requantize import ShiftRequantizer
from ..hdl.stream import Gearbox
from ..hdl.tech import MemoryStyle, Technology
from ..hdl.window import Sliding, Window
from . import ir
from .ir import Network, PenjingError, TensorType
from .plan import LayerPlan, Plan, Storage
from .planning import is_geared, sliding

Stages = list[tuple[str, wiring.Component]]

_STYLES = {Storage.BLOCK: MemoryStyle.BLOCK, Storage.DISTRIBUTED: MemoryStyle.DISTRIBUTED,
           Storage.LOGIC: MemoryStyle.LOGIC}


def accelerator(network: Network, plan: Plan, technology: Technology) -> Pipeline:
    """The whole network as one component, streams ``i`` and ``o``; instances bear layer names."""
    stages: Stages = []
    for layer in network.layers:
        inner = blocks(layer, network, plan.layer(layer.name), technology)
        if inner:
            stages.append((layer.name, Pipeline(inner)))
    if not stages:
        raise PenjingError(f"network {network.name}: it has no layer that needs hardware")
    return Pipeline(stages)


def layer(network: Network, plan: Plan, name: str, technology: Technology) -> Pipeline:
    """The layer ``name`` alone, with the ports and memories that it has in the accelerator."""
    for candidate in network.layers:
        if candidate.name == name:
            stages = blocks(candidate, network, plan.layer(name), technology)
            if not stages:
                raise PenjingError(f"layer {name}: {candidate.kind} is only wiring; "
                                   "choose another layer")
            return Pipeline(stages)
    names = ", ".join(candidate.name for candidate in network.layers)
    raise PenjingError(f"layer {name}: the network has no such layer; it has {names}")


@singledispatch
def blocks(layer: ir.Layer, network: Network, plan: LayerPlan, technology: Technology) -> Stages:
    """The blocks of ``layer`` in order; empty where it is only wiring."""
    raise PenjingError(f"layer {layer.name}: there is no hardware for {layer.kind}")


@blocks.register
def _(layer: ir.Convolution | ir.Dense, network: Network, plan: LayerPlan,
      technology: Technology) -> Stages:
    assert plan.fold is not None and plan.weight_storage is not None
    fold = plan.fold
    source, result = network.source_type(layer), network.type_of(layer.name)
    geometry = sliding(network, layer)
    groups = -(-result.shape[2] // fold.pe)
    window = _window(network, layer, plan, technology, Sliding(
        geometry.size, geometry.kernel, geometry.stride, geometry.padding, lanes=fold.lanes,
        rows=fold.rows, repeat=groups))
    dot = Dot(
        shape_of(source), weights=_fold_weights(layer, fold.pe, fold.rows, fold.lanes),
        weight_bits=layer.weights.bits, bias=layer.bias.tolist(), accumulator_bits=result.bits,
        o_lanes=plan.o.lanes, dsp_multipliers=plan.dsp_multipliers,
        style=_STYLES[plan.weight_storage], technology=technology)
    return [*window, ("dot", dot)]


@blocks.register
def _(layer: ir.MaxPool | ir.AveragePool, network: Network, plan: LayerPlan,
      technology: Technology) -> Stages:
    source = network.source_type(layer)
    geometry = sliding(network, layer)
    average = isinstance(layer, ir.AveragePool)
    window = _window(network, layer, plan, technology, Sliding(
        geometry.size, geometry.kernel, geometry.stride, geometry.padding, lanes=plan.o.lanes,
        per_channel=True), fill=0 if average else source.low)
    pooler = AveragePooler if average else MaxPooler
    area = geometry.kernel[0] * geometry.kernel[1]
    return [*window, ("pool", pooler(shape_of(source), lanes=plan.o.lanes, area=area))]


@blocks.register
def _(layer: ir.ShiftRequantize, network: Network, plan: LayerPlan,
      technology: Technology) -> Stages:
    return [("requantize", _requantizer(network, layer, plan, layer.shift, layer.bounds))]


@blocks.register
def _(layer: ir.Clamp, network: Network, plan: LayerPlan, technology: Technology) -> Stages:
    return [("clamp", _requantizer(network, layer, plan, 0, layer.bounds))]


@blocks.register
def _(layer: ir.Flatten, network: Network, plan: LayerPlan, technology: Technology) -> Stages:
    return []


@blocks.register
def _(layer: ir.ArgMax, network: Network, plan: LayerPlan, technology: Technology) -> Stages:
    source = network.source_type(layer)
    shape, channels = shape_of(source), source.shape[2]
    stages: Stages = []
    if plan.i.lanes > 1:
        stages.append(("gearbox", Gearbox(
            shape, i_lanes=plan.i.lanes, o_lanes=1, i_group=plan.i.group, o_group=channels,
            frame=source.elements)))
    return [*stages, ("argmax", ArgMaxer(shape, count=channels))]


def shape_of(kind: TensorType) -> Shape:
    """The hardware shape of one element of ``kind``."""
    return signed(kind.bits) if kind.signed else unsigned(kind.bits)


def _requantizer(network: Network, layer: ir.Layer, plan: LayerPlan, shift: int,
                 bounds: tuple[int, int]) -> ShiftRequantizer:
    return ShiftRequantizer(
        shape_of(network.source_type(layer)), shape_of(network.type_of(layer.name)),
        lanes=plan.i.lanes, shift=shift, low=bounds[0], high=bounds[1])


def _window(network: Network, layer: ir.Layer, plan: LayerPlan, technology: Technology,
            geometry: Sliding, fill: int = 0) -> Stages:
    """The window, behind a gearbox where its words are not the beats that come in."""
    assert plan.buffer_storage is not None
    source = network.source_type(layer)
    shape = shape_of(source)
    stages: Stages = []
    if is_geared(plan.i, geometry.lanes, source.elements):
        stages.append(("gearbox", Gearbox(
            shape, i_lanes=plan.i.lanes, o_lanes=geometry.lanes, i_group=plan.i.group,
            o_group=source.elements, frame=source.elements)))
    window = Window(shape, geometry, depth=plan.buffer_words, fill=fill,
                    style=_STYLES[plan.buffer_storage], technology=technology)
    return [*stages, ("window", window)]


def _fold_weights(layer: ir.Convolution | ir.Dense, pe: int, rows: int, lanes: int
                  ) -> list[list[list[int]]]:
    """Weights in the order in which the window reads: ``[beat][pe][row copy * lanes + lane]``."""
    values = layer.weights.values
    height = values.shape[1] if values.ndim == 4 else 1
    flat = values.reshape(values.shape[0], height, -1)
    padded = np.pad(flat, [(0, -size % fold)
                           for size, fold in zip(flat.shape, (pe, rows, lanes), strict=True)])
    groups, row_groups, steps = (size // fold for size, fold in
                                 zip(padded.shape, (pe, rows, lanes), strict=True))
    split = padded.reshape(groups, pe, row_groups, rows, steps, lanes)
    beats = split.transpose(0, 2, 4, 1, 3, 5)
    folded: list[list[list[int]]] = beats.reshape(-1, pe, rows * lanes).tolist()
    return folded
