"""Random networks that are graphs, and networks of any generator as hypothesis draws them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from choices import Choices
from hypothesis import strategies as st
from networks import (
    add_windowed,
    columns_of,
    mixed_activation,
    mixed_weights,
    n_of_m_weights,
    other_shapes,
    random_candidate,
    random_images,
    random_requantization,
    random_slopes,
    random_table,
    random_value,
    random_weights,
    run_network,
)
from penjing.compiler import ir
from penjing.compiler.dataflow.search import Candidate
from penjing.compiler.ir import Builder, Network, TensorType
from penjing.sim.streams import Stalls

FRAMES = 4
MANY_FRAMES = (60, 600)
"""After so many, or so many, the deepest buffers of small networks have filled up."""
MOST_ELEMENTS = 500
WIDEST = 24
NARROW = 12
"""The most bits of what is multiplied."""


@st.composite
def planned(draw: Callable[[Any], Any], make: Callable[..., Network],
            plan: Callable[[Network, Any], Any] = random_candidate) -> tuple[Network, Any]:
    """A network that ``make`` grows, and its ``plan``."""
    choices = Choices(draw)
    network = make(choices)
    return network, plan(network, choices)


def check(network: Network, found: Candidate, patterns: Iterable[Stalls] = Stalls) -> None:
    """Require the accelerator to equal the golden model under each of the ``patterns``.

    Without stalls, every frame must end in the very cycle that is predicted, or not after it if
    that depends on the data; and frames that never end must in time come at the plan's interval.
    """
    plan = found.timed()
    images = random_images(network.input_type, FRAMES, 0)
    ends = [end - 1 for end in run_network(network, plan, images, patterns)]
    # Deep buffers take some frames, and a few graphs hundreds, to fill up.
    intervals = (int(np.diff(found.finished.frame_ends(frames))[-1]) for frames in MANY_FRAMES)
    if plan.exact:
        assert ends == found.finished.frame_ends(FRAMES)
        assert any(interval == plan.cycles_per_frame for interval in intervals)
    else:
        assert np.all(np.array(ends) <= found.finished.frame_ends(FRAMES))
        assert any(interval <= plan.cycles_per_frame for interval in intervals)


class Web(Builder):
    """Grows a graph: the next layer reads the tensor ``at``, and then stands there itself."""

    def __init__(self, source: TensorType) -> None:
        super().__init__(source)
        self.at = self.input

    @property
    def tail(self) -> str:
        return self.at

    @property
    def unread(self) -> list[str]:
        """Tensors that no layer reads, the last one at the end."""
        read = {name for layer in self.layers.values() for name in layer.inputs}
        return [name for name in self.types if name not in read]

    def fresh(self, what: str) -> str:
        """A name that no layer has."""
        return f"{what}{len(self.layers)}"

    def add(self, layer: ir.Layer) -> str:
        self.at = super().add(layer)
        return self.at


def random_graph(seed: Any, *, steps: int = 7) -> Network:
    """A small network whose layers, of all kinds, read any tensor before; sums join what is left.

    A tensor may have any number of readers, branches any length (that of 0, or of mere wiring,
    too), and what meets in a sum is brought to one shape by strides, pools, padding or copies.
    """
    rng = np.random.default_rng(seed)
    height, width, channels = (int(n) for n in rng.integers((1, 1, 1), (8, 8, 5)))
    grow = Web(TensorType((height, width, channels), int(rng.integers(1, 9)),
                          bool(rng.integers(2))))
    for _ in range(int(rng.integers(1, steps + 1))):
        grow.at = pick(rng, grow)
        STEPS[int(rng.integers(len(STEPS)))](grow, rng)
    while len(grow.unread) > 1:
        first, second = grow.unread[:2]
        grow.at = second
        add(grow, rng, first)
    wiring = ir.Rewiring | ir.Repeat | ir.Slice | ir.Crop | ir.Permutation
    if all(isinstance(layer, wiring) for layer in grow.layers.values()):
        (grow.at,) = grow.unread
        clamp(grow, rng)  # what is only wiring, as a crop of all may be, has no clock
    return grow.network()


def pick(rng: np.random.Generator, grow: Web) -> str:
    """The last tensor, any that nobody reads, or any at all."""
    names = [grow.unread[-1:], grow.unread, list(grow.types)][int(rng.integers(3))]
    return names[int(rng.integers(len(names)))]


def with_constants(network: Network) -> Network:
    """The same ``network`` with the weights of all layers in logic that can have them there."""
    layers = []
    for layer in network.layers:
        if isinstance(layer, ir.Dense) or (
                isinstance(layer, ir.Convolution) and layer.groups == 1
                and layer.kernel == layer.stride == (1, 1) and not any(layer.padding)):
            layer = replace(layer, weights=replace(layer.weights, encoding=ir.Constant()))
        layers.append(layer)
    return replace(network, layers=tuple(layers))


def with_sums(network: Network) -> Network:
    """The same ``network``, in which all layers add before they multiply that can."""
    layers = []
    for layer in network.layers:
        if isinstance(layer, ir.Dense | ir.Convolution) and len(
                layer.weights.codebook) <= ir.MAX_CODES:
            layer = replace(layer, weights=replace(layer.weights, encoding=ir.Sums()))
        layers.append(layer)
    return replace(network, layers=tuple(layers))


# --- the steps: each adds layers behind the tensor at which the graph stands
def windowed(grow: Web, rng: np.random.Generator) -> None:
    add_windowed(grow, rng, len(grow.layers), activation, mixed_weights)


def activation(rng: np.random.Generator, name: str, source: str, kind: TensorType) -> ir.Layer:
    """One that takes as many bits as ``kind`` has."""
    if kind.bits > WIDEST:
        return random_requantization(rng, name, source, kind)
    return mixed_activation(rng, name, source, kind)


def activate(grow: Web, rng: np.random.Generator) -> None:
    make = (activation, random_requantization, random_slopes)[int(rng.integers(3))]
    if grow.type.bits > WIDEST:
        make = random_requantization
    grow.add(make(rng, grow.fresh("act"), grow.at, grow.type))


def pad(grow: Web, rng: np.random.Generator) -> None:
    grow.add(ir.Pad(grow.fresh("pad"), grow.at, tuple(int(p) for p in rng.integers(0, 3, 4)),
                    random_value(rng, grow.type)))


def rewire(grow: Web, rng: np.random.Generator) -> None:
    shapes = [grow.type.shape, *other_shapes(grow.type)]
    grow.add(ir.Reshape(grow.fresh("reshape"), grow.at, shapes[int(rng.integers(len(shapes)))]))


def repeat(grow: Web, rng: np.random.Generator) -> None:
    most = max(1, min(3, MOST_ELEMENTS // grow.type.elements))
    grow.add(ir.Repeat(grow.fresh("repeat"), grow.at, int(rng.integers(1, most + 1))))


def clamp(grow: Web, rng: np.random.Generator) -> None:
    low = random_value(rng, grow.type.widened)
    grow.add(ir.Clamp(grow.fresh("clamp"), grow.at, low,
                      int(rng.integers(low, grow.type.widened.high + 1))))


def dense(grow: Web, rng: np.random.Generator) -> None:
    outputs = int(rng.integers(1, 9))
    grow.add(ir.Flatten(grow.fresh("flatten"), grow.at))
    grow.add(ir.Dense(grow.fresh("dense"), grow.at,
                      mixed_weights(rng, (outputs, grow.type.elements)),
                      rng.integers(-9, 9, outputs)))
    grow.add(activation(rng, grow.fresh("act"), grow.at, grow.type))


def argmax(grow: Web, rng: np.random.Generator) -> None:
    grow.add(ir.ArgMax(grow.fresh("argmax"), grow.at))


def join(grow: Web, rng: np.random.Generator) -> None:
    add(grow, rng, list(grow.types)[int(rng.integers(len(grow.types)))])


def concatenate(grow: Web, rng: np.random.Generator) -> None:
    """The channels of one or two tensors of the same map behind those of the one at hand."""
    height, width, channels = grow.type.shape
    at = grow.type
    others = [name for name, kind in grow.types.items() if kind.shape[:2] == (height, width)
              and (kind.step, kind.zero_point) == (at.step, at.zero_point)
              and kind.bits <= WIDEST]
    if at.bits > WIDEST or not others:
        return
    chosen = [others[int(rng.integers(len(others)))] for _ in range(int(rng.integers(1, 3)))]
    total = channels + sum(grow.types[name].shape[2] for name in chosen)
    if height * width * total <= MOST_ELEMENTS:
        grow.add(ir.Concatenation(grow.fresh("concatenation"), grow.at, tuple(chosen)))


def part(grow: Web, rng: np.random.Generator) -> None:
    """A range of channels."""
    start = int(rng.integers(grow.type.shape[2]))
    stop = int(rng.integers(start, grow.type.shape[2])) + 1
    grow.add(ir.Slice(grow.fresh("slice"), grow.at, start, stop))


def permute(grow: Web, rng: np.random.Generator) -> None:
    """The channels in any order."""
    order = tuple(int(n) for n in rng.permutation(grow.type.shape[2]))
    grow.add(ir.Permutation(grow.fresh("permute"), grow.at, order))


def crop(grow: Web, rng: np.random.Generator) -> None:
    """Some rows and columns."""
    height, width, _ = grow.type.shape
    taken = []
    for size in (height, width):
        start = int(rng.integers(size))
        taken.append((start, int(rng.integers(start, size)) + 1, int(rng.integers(1, 4))))
    grow.add(ir.Crop(grow.fresh("crop"), grow.at, *taken))


def upsample(grow: Web, rng: np.random.Generator) -> None:
    """Copies of rows and columns, as many as keep the map small."""
    most = max(1, min(3, int((MOST_ELEMENTS / grow.type.elements) ** 0.5)))
    factors = tuple(int(n) for n in rng.integers(1, most + 1, 2))
    grow.add(ir.Upsample(grow.fresh("upsample"), grow.at, factors))


def multiply(grow: Web, rng: np.random.Generator) -> None:
    """The product with another tensor of few bits, or with a vector of the whole map."""
    if grow.type.bits > NARROW:
        grow.add(random_requantization(rng, grow.fresh("act"), grow.at, grow.type))
    height, width, _ = grow.type.shape
    names = [grow.at]
    if rng.integers(2):
        grow.add(ir.SumPool(grow.fresh("sum"), grow.at, (height, width), (1, 1)))
        grow.add(random_requantization(rng, grow.fresh("act"), grow.at, grow.type))
        grow.add(ir.Upsample(grow.fresh("upsample"), grow.at, (height, width)))
    else:
        narrow = [name for name, kind in grow.types.items() if kind.bits <= NARROW]
        names = [narrow[int(rng.integers(len(narrow)))]]
        fit(grow, rng, grow.types[names[0]].shape)
    names.insert(int(rng.integers(2)), grow.at)
    offsets = tuple(int(n) for n in rng.integers(-9, 9, 2) * rng.integers(2, size=2))
    grow.add(ir.Multiply(grow.fresh("multiply"), *names, offsets))
    grow.add(random_requantization(rng, grow.fresh("act"), grow.at, grow.type))


def transposed(grow: Web, rng: np.random.Generator) -> None:
    """A transposed convolution, of which any rows and columns are left off."""
    height, width, channels = grow.type.shape
    if grow.type.bits > WIDEST or grow.type.elements > MOST_ELEMENTS // 16:
        return  # larger ones take their time in all that is behind them
    kernel, stride = (tuple(int(n) for n in rng.integers(1, most, 2)) for most in (4, 3))
    sizes = [step * (size - 1) + taps
             for step, size, taps in zip(stride, (height, width), kernel, strict=True)]
    crop = []
    for size, taps in zip(sizes, kernel, strict=True):
        before = int(rng.integers(min(size, taps)))
        crop += [before, int(rng.integers(-1, min(size - before, taps)))]
    groups = int(rng.choice([n for n in (1, channels) if channels % n == 0]))
    outputs = max(groups, int(rng.integers(1, 3)))
    source, pad_value = grow.at, random_value(rng, grow.type)
    grow.add_transposed(grow.fresh("transposed"), source,
                        mixed_weights(rng, (outputs, *kernel, channels // groups)),
                        rng.integers(-50, 50, outputs), stride, tuple(crop), pad_value, groups)
    grow.add(activation(rng, grow.fresh("act"), grow.at, grow.type))


def n_of_m(grow: Web, rng: np.random.Generator) -> None:
    """A convolution or a dense layer of weights of which n of m are stored."""
    outputs = int(rng.integers(1, 9))
    if rng.integers(2):
        grow.add(ir.Flatten(grow.fresh("flatten"), grow.at))
        grow.add(ir.Dense(grow.fresh("dense"), grow.at,
                          n_of_m_weights(rng, (outputs, grow.type.elements)),
                          rng.integers(-9, 9, outputs)))
    else:
        height, width, channels = grow.type.shape
        kernel = tuple(int(rng.integers(1, min(3, size) + 1)) for size in (height, width))
        grow.add(ir.Convolution(grow.fresh("conv"), grow.at,
                                n_of_m_weights(rng, (outputs, *kernel, channels)),
                                rng.integers(-50, 50, outputs),
                                pad_value=random_value(rng, grow.type)))
    grow.add(activation(rng, grow.fresh("act"), grow.at, grow.type))


def columns(grow: Web, rng: np.random.Generator) -> None:
    """A dense layer or a 1×1 convolution that skips inputs which are 0."""
    outputs = int(rng.integers(1, 9))
    if rng.integers(2):
        grow.add(ir.Flatten(grow.fresh("flatten"), grow.at))
        grow.add(ir.Dense(grow.fresh("dense"), grow.at,
                          columns_of(rng, (outputs, grow.type.elements)),
                          rng.integers(-9, 9, outputs)))
    else:
        grow.add(ir.Convolution(grow.fresh("conv"), grow.at,
                                columns_of(rng, (outputs, 1, 1, grow.type.shape[2])),
                                rng.integers(-9, 9, outputs)))
    grow.add(activation(rng, grow.fresh("act"), grow.at, grow.type))


def table(grow: Web, rng: np.random.Generator) -> None:
    """Any function of few bits."""
    if grow.type.bits <= 8:
        grow.add(random_table(rng, grow.fresh("table"), grow.at, grow.type))


STEPS: tuple[Callable[[Web, np.random.Generator], None], ...] = (
    windowed, join, windowed, join, activate, pad, rewire, repeat, clamp, dense, argmax,
    concatenate, part, table, upsample, multiply, crop, permute, transposed, n_of_m, columns)


def add(grow: Web, rng: np.random.Generator, other: str) -> None:
    """The sum or difference of the tensor at which the graph stands and the ``other``."""
    if grow.type.bits > WIDEST:
        activate(grow, rng)
    fit(grow, rng, grow.types[other].shape)
    names = [grow.at, other]
    if rng.integers(2):
        names.reverse()
    make = (ir.Add, ir.Add, ir.Subtract)[int(rng.integers(3))]
    grow.add(make(grow.fresh(make.__name__.lower()), *names))


def fit(grow: Web, rng: np.random.Generator, shape: tuple[int, int, int]) -> None:
    """Bring the tensor at which the graph stands to ``shape``; nothing if that is its own."""
    missing = [max(0, wanted - size) for wanted, size in zip(shape, grow.type.shape, strict=True)]
    if missing[0] or missing[1]:
        before = [int(rng.integers(most + 1)) for most in missing[:2]]
        grow.add(ir.Pad(grow.fresh("pad"), grow.at,
                        (before[0], missing[0] - before[0], before[1], missing[1] - before[1]),
                        random_value(rng, grow.type)))
    if shape[2] % grow.type.shape[2] == 0 and shape[2] > grow.type.shape[2] and rng.integers(2):
        grow.add(ir.Repeat(grow.fresh("repeat"), grow.at, shape[2] // grow.type.shape[2]))
    if grow.type.shape == shape:
        return
    kernel, stride = zip(*(shrinking(rng, size, wanted) for size, wanted in
                           zip(grow.type.shape[:2], shape[:2], strict=True)), strict=True)
    channels, name = grow.type.shape[2], grow.fresh("fit")
    if channels == shape[2] and rng.integers(2):
        make = (ir.MaxPool, ir.SumPool)[int(rng.integers(2))]
        grow.add(make(name, grow.at, kernel, stride))
        return
    grow.add(ir.Convolution(name, grow.at, random_weights(rng, (shape[2], *kernel, channels)),
                            rng.integers(-50, 50, shape[2]), stride))
    grow.add(random_requantization(rng, grow.fresh("act"), grow.at, grow.type))


def shrinking(rng: np.random.Generator, size: int, wanted: int) -> tuple[int, int]:
    """(kernel, stride) that make ``wanted`` positions of ``size``."""
    stride = int(rng.integers(1, (max(2, (size - 1) // (wanted - 1) + 1) if wanted > 1 else 3)))
    return size - (wanted - 1) * stride, stride
