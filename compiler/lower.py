"""Network and plan to hardware: each layer becomes blocks, the accelerator a pipeline of them."""

from __future__ import annotations

import math
from functools import singledispatch

import numpy as np
from amaranth.hdl import Shape, signed, unsigned
from amaranth.lib import wiring

from ..hdl.add import Adder
from ..hdl.argmax import ArgMaxer
from ..hdl.bipolar import BipolarToInteger
from ..hdl.count_array import CountArray, CountShape
from ..hdl.dot_array import DotArray, DotShape
from ..hdl.engine import Engine, EngineArray, EngineShape
from ..hdl.gearbox import Gearbox
from ..hdl.graph import Graph, Pipeline, Stage
from ..hdl.pad import Padder
from ..hdl.pool import AveragePooler, Inside, MaxPooler, SumPooler
from ..hdl.repeat import Repeater
from ..hdl.requantize import ShiftRequantizer
from ..hdl.scale import ScaleRequantizer
from ..hdl.select_array import SelectArray, SelectShape, select_constants
from ..hdl.sequencer import SEQUENCER_LATENCY, Sequencer
from ..hdl.skip import SkipBuffer
from ..hdl.slope import SlopeRequantizer
from ..hdl.stream import Beat
from ..hdl.tech import MemoryStyle, Technology
from ..hdl.threshold import Thresholder
from ..hdl.upsizer import Upsizer
from ..hdl.window import Window
from ..hdl.window_geometry import WindowGeometry
from . import ir
from .bipolar import taken_type
from .gears import gears, is_regrouped
from .geometry import elements_inside, slices_per_position, sliding
from .ir import Integers, Network, PenjingError, TensorType
from .plan import Fold, LayerPlan, Plan, Port, Queue, Storage
from .planning import channel_groups, is_sliced, ternary_bits, ternary_scales
from .words import count_words, packed, select_words

Stages = list[tuple[str, wiring.Component]]

PORTS = ("i", "other")
"""Names of a layer's input streams, in the order of its inputs."""

_STYLES = {Storage.BLOCK: MemoryStyle.BLOCK, Storage.DISTRIBUTED: MemoryStyle.DISTRIBUTED,
           Storage.LOGIC: MemoryStyle.LOGIC}
_HALVES_TO = {ir.ScaleRounding.EVEN: 0, ir.ScaleRounding.ODD: 1}


def accelerator(network: Network, plan: Plan, technology: Technology) -> Graph:
    """The whole network as one component, streams ``i`` and ``o``; instances bear layer names.

    Only a layer called ``i`` is another, with underscores behind it: that is the input's name.
    """
    taken = {layer.name for layer in network.layers}
    stages: list[Stage] = []
    streams = {network.input: "i"}
    for layer in network.layers:
        made = component(layer, network, plan.layer(layer.name), technology)
        if made is None:
            streams[layer.name] = streams[layer.input]
            continue
        sources = (streams[name] for name in layer.inputs)
        name = layer.name
        while name == "i" or (name != layer.name and name in taken):
            name += "_"
        stages.append(Stage(name, made, dict(zip(PORTS, sources, strict=False))))
        streams[layer.name] = name
    if not stages:
        raise PenjingError(f"network {network.name}: it has no layer that needs hardware")
    return Graph(stages)


def layer(network: Network, plan: Plan, name: str, technology: Technology) -> Graph:
    """The layer ``name`` alone, with the ports and memories that it has in the accelerator."""
    for candidate in network.layers:
        if candidate.name == name:
            made = component(candidate, network, plan.layer(name), technology)
            if made is None:
                raise PenjingError(f"layer {name}: {candidate.kind} is only wiring; "
                                   "choose another layer")
            return made
    names = ", ".join(candidate.name for candidate in network.layers)
    raise PenjingError(f"layer {name}: the network has no such layer; it has {names}")


def component(layer: ir.Layer, network: Network, plan: LayerPlan, technology: Technology
              ) -> Graph | None:
    """``layer`` with the queues in front of its inputs; None where it is only wiring."""
    if isinstance(layer, ir.Add):
        return _add(layer, network, plan, technology)
    source = network.source_type(layer)
    stages = blocks(layer, network, plan, technology)
    if taken_type(network, layer, bits=plan.takes_bits) != source:
        stages = [*_widener(source, plan.i), *stages]
    if not stages:
        return None
    queue = _queue(network, layer.input, plan.i, plan.queues[0], technology)
    return Pipeline([*queue, *stages])


def _widener(source: TensorType, port: Port) -> Stages:
    """What makes integers of the bits of a bipolar tensor; nothing for any other."""
    if not isinstance(source, ir.Bipolar):
        return []
    return [("widener", BipolarToInteger(port.lanes))]


def _add(layer: ir.Add, network: Network, plan: LayerPlan, technology: Technology) -> Graph:
    """The sum, behind a queue and, where lanes differ, a gearbox for each of its inputs."""
    result = network.type_of(layer.name)
    assert plan.other is not None
    shapes = [shape_of(network.type_of(name).widened) for name in layer.inputs]
    adder = Adder(shapes[0], shapes[1], shape_of(result), lanes=plan.o.lanes)
    stages, ends = [], {}
    for name, port, source, queue in zip(PORTS, (plan.i, plan.other), layer.inputs, plan.queues,
                                         strict=True):
        kind, branch = network.type_of(source), _queue(network, source, port, queue, technology)
        if is_regrouped(port, plan.o):
            branch.append(("gearbox", Gearbox(
                shape_of(kind), i_lanes=port.lanes, o_lanes=plan.o.lanes, i_group=port.group,
                o_group=plan.o.group, frame=result.elements)))
        branch += _widener(kind, plan.o)
        stages.append(Stage(f"{name}_branch", Pipeline(branch), {"i": name}))
        ends[name] = f"{name}_branch"
    return Graph([*stages, Stage("add", adder, ends)], PORTS)


def _queue(network: Network, source: str, port: Port, queue: Queue, technology: Technology
           ) -> Stages:
    """The queue in which beats of the tensor ``source`` wait for another branch, if there is one.
    """
    if queue.storage is None:
        return []
    layout = Beat(shape_of(network.type_of(source)), port.lanes)
    return [("queue", SkipBuffer(layout, queue.beats, style=_STYLES[queue.storage],
                                 technology=technology))]


@singledispatch
def blocks(layer: ir.Layer, network: Network, plan: LayerPlan, technology: Technology) -> Stages:
    """The blocks of ``layer`` in order; empty where it is only wiring."""
    raise PenjingError(f"layer {layer.name}: there is no hardware for {layer.kind}")


@blocks.register
def _(layer: ir.MultiplyAccumulate, network: Network, plan: LayerPlan,
      technology: Technology) -> Stages:
    assert plan.fold is not None
    fold, geometry = plan.fold, sliding(network, layer)
    if is_sliced(layer, geometry, fold):
        window = _sliced_window(network, layer, plan, technology, fold.lanes)
    else:
        window = _window(network, layer, plan, technology, WindowGeometry(
            geometry.size, geometry.kernel, geometry.stride, geometry.padding, lanes=fold.lanes,
            rows=fold.rows, repeat=-(-network.type_of(layer.name).shape[2] // fold.pe)))
    return [*window, _engine(network, layer, plan, technology)]


def _engine(network: Network, layer: ir.MultiplyAccumulate, plan: LayerPlan,
            technology: Technology) -> tuple[str, Engine]:
    """The engine of ``layer``, and what it is called."""
    assert plan.fold is not None
    fold, geometry = plan.fold, sliding(network, layer)
    source = taken_type(network, layer, bits=plan.takes_bits)
    bits, bias = network.type_of(layer.name).bits, layer.bias.tolist()
    groups = -(-len(bias) // fold.pe)
    array: EngineArray
    if plan.binary:
        signs = _fold_weights(layer, fold, spare=1)
        shape = _shape(plan, signs, len(bias), CountShape(fold.simd, len(signs) // groups))
        array = CountArray(shape, bias=bias, accumulator_bits=bits, technology=technology)
        return "binary", _assembled(plan, shape, array, count_words(signs), technology)
    if plan.ternary:
        positive, negative = ternary_scales(layer)
        code_bits = ternary_bits(layer, geometry, fold)
        # Spare outputs are never looked at; a 0 among them would cost a bit a weight.
        signs = np.sign(_fold_weights(layer, fold, spare=2 - code_bits))
        element = shape_of(source)
        select = SelectShape(fold.simd, len(signs) // groups, element.width,
                             element.signed, positive, negative, code_bits == 2, bits,
                             isinstance(source, ir.Bipolar))
        shape = _shape(plan, signs, len(bias), select)
        words = select_words(signs, select)
        array = SelectArray(shape, select, technology=technology,
                            constants=select_constants(shape, select, bias, words))
        return "ternary", _assembled(plan, shape, array, words, technology)
    sliced = is_sliced(layer, geometry, fold)
    if sliced:
        terms, _ = channel_groups(layer, geometry)
        weights = _sliced_weights(layer, fold.products // terms, terms)
    else:
        weights = _fold_weights(layer, fold)
    shape = _shape(plan, weights, len(bias), DotShape(weights.shape[2]),
                   channel_groups=fold.lanes // terms if sliced else 1)
    array = DotArray(shape, shape_of(source), weight_bits=layer.weights.bits, bias=bias,
                     accumulator_bits=bits, dsp_multipliers=plan.dsp_multipliers,
                     technology=technology)
    words = packed(weights, layer.weights.bits)
    return ("depthwise" if sliced else "dot",
            _assembled(plan, shape, array, words, technology))


def _shape(plan: LayerPlan, weights: Integers, outputs: int,
           array: DotShape | CountShape | SelectShape, *, channel_groups: int = 1) -> EngineShape:
    """Structure of the engine of ``weights`` [beat][output][term]."""
    beats, pe, simd = weights.shape
    return EngineShape(pe, simd, beats // -(-outputs // pe), outputs, plan.o.lanes,
                       SEQUENCER_LATENCY + array.depth, array.results_latency, channel_groups)


def _assembled(plan: LayerPlan, shape: EngineShape, array: EngineArray, words: list[int],
               technology: Technology) -> Engine:
    """The engine of an ``array`` whose weights are stored as they are."""
    assert plan.weight_storage is not None
    return Engine(shape, array, Sequencer(words, len(array.weights), technology=technology,
                                          style=_STYLES[plan.weight_storage]))


@blocks.register
def _(layer: ir.PoolLayer, network: Network, plan: LayerPlan, technology: Technology) -> Stages:
    window = _sliced_window(network, layer, plan, technology, plan.o.lanes)
    return [*window, ("pool", _pooler(network, layer, plan.o.lanes))]


def _pooler(network: Network, layer: ir.PoolLayer, lanes: int) -> wiring.Component:
    shape, area = shape_of(taken_type(network, layer)), math.prod(layer.kernel)
    if isinstance(layer, ir.AveragePool):
        geometry = sliding(network, layer)
        inside = None if layer.count_padding else Inside(
            *elements_inside(geometry), slices_per_position(geometry, lanes)[0])
        return AveragePooler(shape, lanes=lanes, area=area, inside=inside, spare=layer.spare,
                             half_away=layer.rounding is ir.Rounding.HALF_AWAY)
    if isinstance(layer, ir.SumPool):
        return SumPooler(shape, lanes=lanes, area=area)
    if isinstance(layer, ir.MaxPool):
        return MaxPooler(shape, lanes=lanes, area=area)
    raise PenjingError(f"layer {layer.name}: there is no hardware for {layer.kind}")


@blocks.register
def _(layer: ir.Pad, network: Network, plan: LayerPlan, technology: Technology) -> Stages:
    assert plan.buffer_storage is not None
    source = taken_type(network, layer)
    padder = Padder(shape_of(source), source.shape, layer.padding,
                    fill=_code(source, layer.value), lanes=plan.o.lanes, depth=plan.buffer_words,
                    style=_STYLES[plan.buffer_storage], technology=technology)
    return [*_gearbox(source, plan, plan.o.lanes), ("pad", padder)]


@blocks.register
def _(layer: ir.ShiftRequantize, network: Network, plan: LayerPlan,
      technology: Technology) -> Stages:
    return [("requantize", _requantizer(network, layer, plan, layer.shift, layer.bounds))]


@blocks.register
def _(layer: ir.ScaleRequantize, network: Network, plan: LayerPlan,
      technology: Technology) -> Stages:
    assert plan.weight_storage is not None
    low, high = layer.bounds
    return [("requantize", ScaleRequantizer(
        shape_of(taken_type(network, layer)), shape_of(network.type_of(layer.name)),
        lanes=plan.i.lanes, group=plan.i.group, steps=plan.steps,
        multipliers=layer.multipliers.tolist(), shifts=layer.shifts.tolist(), offset=layer.offset,
        pre_shift=layer.pre_shift, zero_point=layer.zero_point, low=low, high=high,
        single=layer.rounding is ir.ScaleRounding.SINGLE,
        halves_to=_HALVES_TO.get(layer.rounding), style=_STYLES[plan.weight_storage],
        technology=technology))]


@blocks.register
def _(layer: ir.SlopeRequantize, network: Network, plan: LayerPlan,
      technology: Technology) -> Stages:
    assert plan.weight_storage is not None
    low, high = layer.bounds
    return [("requantize", SlopeRequantizer(
        shape_of(taken_type(network, layer)), shape_of(network.type_of(layer.name)),
        lanes=plan.i.lanes, group=plan.i.group, multipliers=layer.multipliers.tolist(),
        offsets=layer.offsets.tolist(), breakpoints=layer.breakpoints.tolist(),
        shift=layer.shift, low=low, high=high, dsp_multipliers=plan.dsp_multipliers,
        style=_STYLES[plan.weight_storage], technology=technology))]


@blocks.register
def _(layer: ir.Threshold, network: Network, plan: LayerPlan, technology: Technology) -> Stages:
    assert plan.weight_storage is not None
    result = network.type_of(layer.name)
    base, step = (0, 1) if isinstance(result, ir.Bipolar) else (layer.base, layer.step)
    return [("threshold", Thresholder(
        shape_of(taken_type(network, layer)), shape_of(result), lanes=plan.i.lanes,
        group=plan.i.group, thresholds=layer.thresholds.tolist(),
        falling=layer.falling.astype(bool).tolist(), base=base, step=step,
        style=_STYLES[plan.weight_storage], technology=technology))]


@blocks.register
def _(layer: ir.Clamp, network: Network, plan: LayerPlan, technology: Technology) -> Stages:
    return [("clamp", _requantizer(network, layer, plan, 0, layer.bounds))]


@blocks.register
def _(layer: ir.Repeat, network: Network, plan: LayerPlan, technology: Technology) -> Stages:
    shape = shape_of(taken_type(network, layer))
    return [("repeat", Repeater(shape, lanes=plan.i.lanes, times=layer.times))]


@blocks.register
def _(layer: ir.Rewiring, network: Network, plan: LayerPlan, technology: Technology) -> Stages:
    return []


@blocks.register
def _(layer: ir.ArgMax, network: Network, plan: LayerPlan, technology: Technology) -> Stages:
    source = taken_type(network, layer)
    shape, channels = shape_of(source), source.shape[2]
    stages: Stages = []
    if plan.i.lanes > 1:
        stages.append(("gearbox", Gearbox(
            shape, i_lanes=plan.i.lanes, o_lanes=1, i_group=plan.i.group, o_group=channels,
            frame=source.elements)))
    return [*stages, ("argmax", ArgMaxer(shape, count=channels))]


def shape_of(kind: TensorType) -> Shape:
    """The hardware shape of one element of ``kind``."""
    is_signed = kind.signed and not isinstance(kind, ir.Bipolar)
    return signed(kind.bits) if is_signed else unsigned(kind.bits)


def _code(kind: TensorType, value: int) -> int:
    """What stands for ``value`` in the `shape_of` ``kind``."""
    return int(value > 0) if isinstance(kind, ir.Bipolar) else value


def _requantizer(network: Network, layer: ir.Layer, plan: LayerPlan, shift: int,
                 bounds: tuple[int, int]) -> ShiftRequantizer:
    return ShiftRequantizer(
        shape_of(taken_type(network, layer)), shape_of(network.type_of(layer.name)),
        lanes=plan.i.lanes, shift=shift, low=bounds[0], high=bounds[1])


def _fill(layer: ir.Layer, source: TensorType) -> int:
    """What ``layer`` has beyond the edges of its input, which it takes as ``source``."""
    if isinstance(layer, ir.MaxPool):
        return _code(source, source.low)
    return _code(source, layer.pad_value) if isinstance(layer, ir.SlidingLayer) else 0


def _sliced_window(network: Network, layer: ir.Layer, plan: LayerPlan, technology: Technology,
                   lanes: int) -> Stages:
    """The window that is read channel slice by channel slice, tap by tap."""
    geometry = sliding(network, layer)
    return _window(network, layer, plan, technology, WindowGeometry(
        geometry.size, geometry.kernel, geometry.stride, geometry.padding, lanes=lanes,
        per_channel=True))


def _window(network: Network, layer: ir.Layer, plan: LayerPlan, technology: Technology,
            geometry: WindowGeometry) -> Stages:
    """The window, behind a gearbox where its words are not the beats that come in."""
    assert plan.buffer_storage is not None
    source = taken_type(network, layer, bits=plan.takes_bits)
    window = Window(shape_of(source), geometry, depth=plan.buffer_words, fill=_fill(layer, source),
                    style=_STYLES[plan.buffer_storage], technology=technology)
    return [*_gearbox(source, plan, geometry.lanes), ("window", window)]


def _gearbox(source: TensorType, plan: LayerPlan, lanes: int) -> Stages:
    """What makes words of ``lanes`` elements of the beats that come in, if these are others."""
    shape, frame = shape_of(source), source.elements
    return [("collector", Upsizer(shape, i_lanes=gear.i.lanes, o_lanes=gear.lanes, o_group=frame,
                                    frame=frame)) if gear.collects else
            ("gearbox", Gearbox(shape, i_lanes=gear.i.lanes, o_lanes=gear.lanes,
                                i_group=gear.i.group, o_group=frame, frame=frame))
            for gear in gears(plan.i, lanes, frame)]


def _fold_weights(layer: ir.MultiplyAccumulate, fold: Fold, *, spare: int = 0
                  ) -> Integers:
    """Weights in the order in which the window reads: ``[beat][pe][row copy * lanes + lane]``.

    Those beyond the layer's are ``spare``.
    Of a convolution in groups, each output takes all channels, those of other groups times zero:
    that costs ``groups`` times its multiplications and its memory.
    """
    values = layer.weights.values
    if isinstance(layer, ir.Convolution) and layer.groups > 1:
        values = _ungrouped(values, layer.groups)
    height = values.shape[1] if values.ndim == 4 else 1
    flat = values.reshape(values.shape[0], height, -1)
    sizes = fold.pe, fold.rows, fold.lanes
    padded = np.pad(flat, [(0, -whole % part) for whole, part in
                           zip(flat.shape, sizes, strict=True)], constant_values=spare)
    groups, row_groups, steps = (whole // part for whole, part in
                                 zip(padded.shape, sizes, strict=True))
    split = padded.reshape(groups, fold.pe, row_groups, fold.rows, steps, fold.lanes)
    beats = split.transpose(0, 2, 4, 1, 3, 5)
    return beats.reshape(-1, fold.pe, fold.simd)


def _ungrouped(values: Integers, groups: int) -> Integers:
    """The kernel that takes all channels, zero where an output does not see them."""
    outputs, height, width, inputs = values.shape
    dense = np.zeros((groups, outputs // groups, height, width, groups, inputs), np.int64)
    split = values.reshape(groups, outputs // groups, height, width, inputs)
    for group in range(groups):
        dense[group, ..., group, :] = split[group]
    return dense.reshape(outputs, height, width, groups * inputs)


def _sliced_weights(layer: ir.MultiplyAccumulate, outputs: int, terms: int
                    ) -> Integers:
    """Weights in the order in which a window is read by channel.

    ``[slice * taps + tap][output][term]`` for slices of so many ``outputs``, each of ``terms``
    channels.
    """
    values = layer.weights.values.reshape(len(layer.bias), -1, terms)
    padded = np.pad(values, ((0, -len(values) % outputs), (0, 0), (0, 0)))
    slices = padded.reshape(-1, outputs, values.shape[1], terms).transpose(0, 2, 1, 3)
    return slices.reshape(-1, outputs, terms)
