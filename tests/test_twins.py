"""Every public block has a golden twin, by which it is judged in a network that has the block."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import penjing.hdl
import pytest
from amaranth.lib import wiring
from loading import Frames, Load, image_of, run_loadable
from networks import PLENTY, random_images, random_weights, run_block
from penjing.compiler import ir
from penjing.compiler.cost.families import ECP5
from penjing.compiler.dataflow import accelerator
from penjing.compiler.dataflow.budget import Budget
from penjing.compiler.dataflow.plan import Fold
from penjing.compiler.dataflow.search import Goal, schedule
from penjing.compiler.ir import Integers, Network, TensorType
from penjing.hdl.accumulators import Accumulators
from penjing.hdl.add import Adder
from penjing.hdl.argmax import ArgMaxer
from penjing.hdl.bipolar import BipolarToInteger
from penjing.hdl.bitmap_entries import BitmapEntries, BitmapWalker
from penjing.hdl.block import Block
from penjing.hdl.broadcast import BroadcastEngine
from penjing.hdl.coded_entries import CodedEntries
from penjing.hdl.column_pe import ColumnPe
from penjing.hdl.column_reader import ColumnReader
from penjing.hdl.combine import Combiner
from penjing.hdl.concatenate import Concatenator
from penjing.hdl.constant_matrix import ConstantMatrix
from penjing.hdl.count_array import CountArray
from penjing.hdl.crc import Crc32
from penjing.hdl.crop import Cropper
from penjing.hdl.dot_array import DotArray
from penjing.hdl.dot_pair import DotPair, PartSums
from penjing.hdl.dot_product import DotProduct, Product, Sum
from penjing.hdl.drain import Drain
from penjing.hdl.engine import Engine, EngineArray
from penjing.hdl.entries import KernelEntries, RelativeEntries
from penjing.hdl.fill import Filler
from penjing.hdl.gate import Gate
from penjing.hdl.gearbox import Gearbox
from penjing.hdl.graph import Graph, Pipeline
from penjing.hdl.grouped_entries import GroupedEntries
from penjing.hdl.huffman import HuffmanDecoder
from penjing.hdl.joined_words import JoinedWords
from penjing.hdl.loadable import Loadable
from penjing.hdl.loader import Loader, Status
from penjing.hdl.multiply import StreamMultiplier
from penjing.hdl.n_of_m_array import Chooser, NofMArray
from penjing.hdl.nonzero import NonZeros
from penjing.hdl.pad import Padder
from penjing.hdl.paired_sum import PairedSum
from penjing.hdl.permute import Permuter
from penjing.hdl.pool import AveragePooler, MaxPooler, Reducer, SumPooler
from penjing.hdl.repeat import Repeater
from penjing.hdl.requantize import ShiftRequantizer
from penjing.hdl.result_constants import ResultConstants
from penjing.hdl.running_pool import RunningMaxPooler
from penjing.hdl.scale import ScaleRequantizer
from penjing.hdl.select_array import SelectArray
from penjing.hdl.sequencer import LoadableSequencer, Sequencer
from penjing.hdl.skip import SkipBuffer
from penjing.hdl.slice import Slicer
from penjing.hdl.slope import SlopeRequantizer
from penjing.hdl.slots import LoadableSlots
from penjing.hdl.stream import Buffer, Fork, HalfRateBuffer, PassesReady, Queue, SkidBuffer
from penjing.hdl.table import LookupTable
from penjing.hdl.tech import Generic
from penjing.hdl.threshold import Thresholder
from penjing.hdl.tile_buffer import TileBuffer
from penjing.hdl.tile_engine import TileEngine
from penjing.hdl.tile_reader import TileReader
from penjing.hdl.tile_results import TileResults
from penjing.hdl.upsample import Upsampler
from penjing.hdl.upsizer import Upsizer
from penjing.hdl.weights import CodebookWeights, LoadableCodebook
from penjing.hdl.window import Window
from penjing.sim import golden
from penjing.sim.streams import Stalls

RNG = np.random.default_rng(4)
MAP, VECTOR = TensorType((4, 3, 4), 4, True), TensorType((1, 1, 20), 4, True)
SIGN = ir.Threshold("sign", "x", np.zeros((1, 1), np.int64), np.zeros(1, np.int64), 2, True, -1, 2)
CLAMP = ir.Clamp("clamp", "x", -5, 3)


@dataclass(frozen=True)
class Twin:
    """A ``network`` that has the block, and the function of the golden model that tells its values.

    ``goal`` makes the plan such that it has it; where no plan has it, it is put in ``front``.
    """

    function: str
    network: Network
    goal: Goal = field(default_factory=lambda: Goal(48))
    front: Callable[[wiring.Component], wiring.Component] | None = None


def net(kind: TensorType, *layers: ir.Layer) -> Network:
    return Network("net", "x", kind, layers)


def dense(weights: ir.Weights, source: str = "x") -> ir.Dense:
    outputs = len(weights.values)
    return ir.Dense("dense", source, weights, RNG.integers(-9, 9, outputs))


def pool(layer: type[ir.PoolLayer], source: str = "x") -> ir.PoolLayer:
    return layer("pool", source, (2, 2), (1, 1), (1, 0, 0, 1))


PRODUCTS = Twin("dense", net(VECTOR, dense(random_weights(RNG, (6, 20)))), Goal(
    7, {"dense": Fold(2, 1, 10)}))
COUNTS = Twin("dense", net(VECTOR, SIGN, dense(ir.Weights(RNG.choice([-1, 1], (6, 20)), 2),
                                               "sign")), Goal(20, {"dense": Fold(3, 1, 10)}))
SELECTED = Twin("dense", net(VECTOR, dense(ir.Weights(RNG.choice([-3, 0, 5], (6, 20)), 4))))
CODED = Twin("dense", net(VECTOR, dense(ir.Weights(
    RNG.choice([-7, -1, 2, 9], (6, 20)) * np.tile([1, 0, 1, 0], 5), 5,
    encoding=ir.NofM(2, 4, ir.Codebook())))))
CHOSEN = Twin("dense", net(VECTOR, dense(ir.Weights(
    RNG.integers(-9, 9, (6, 20)) * np.tile([1, 0, 0, 1], 5), 5, encoding=ir.NofM(2, 4)))))


def few(shape: tuple[int, ...], encoding: ir.Encoding) -> ir.Weights:
    values = RNG.integers(-7, 8, shape) * (RNG.random(shape) < 0.4)
    return ir.Weights(values, 4, encoding=encoding)


def walked(encoding: ir.Encoding, groups: int = 1) -> Twin:
    layer = ir.Convolution("conv", "x", few((6, 3, 2, 4 // groups), encoding),
                           RNG.integers(-9, 9, 6), (1, 1), (1, 1, 0, 1), 2, groups)
    return Twin("convolution", net(MAP, layer), Goal(folds={"conv": Fold(2, 1, 3)}))


WALKED = walked(ir.RelativeIndex(2))
MASKED = walked(ir.Bitmap(8, ir.Codebook()))
SKIPPED = Twin("dense", net(VECTOR, dense(ir.Weights(
    RNG.integers(-3, 4, (6, 20)) * RNG.integers(0, 2, (6, 20)), 4, encoding=ir.Columns()))))
JOIN = Twin("concatenate", net(MAP, CLAMP, ir.Concatenation("join", "clamp", ("x",))), Goal(96))
SUM = Twin("add", net(MAP, CLAMP, ir.Add("add", "clamp", "x")))
CLAMPS = Twin("clamp", net(MAP, CLAMP, *(ir.Clamp(f"c{n}", f"c{n - 1}" if n else "clamp", n - 5, 3)
                                         for n in range(8))))

TWINS: dict[type[wiring.Component], Twin] = {
    Accumulators: SKIPPED,
    BroadcastEngine: SKIPPED,
    ColumnPe: SKIPPED,
    ColumnReader: SKIPPED,
    Drain: SKIPPED,
    NonZeros: SKIPPED,
    Adder: SUM,
    Chooser: CHOSEN,
    NofMArray: CHOSEN,
    Combiner: Twin("winograd_input", net(MAP, ir.WinogradInput("tiles", "x", (2, 2),
                                                               (1, 0, 1, 1))), Goal(400)),
    Concatenator: JOIN,
    LookupTable: Twin("table", net(MAP, ir.Table("table", "x", RNG.integers(0, 9, (4, 16)), 4,
                                                 False, -8))),
    Cropper: Twin("crop", net(MAP, CLAMP, ir.Crop("crop", "clamp", (1, 4, 2), (0, 2, 1)))),
    Permuter: Twin("permute", net(MAP, CLAMP, ir.Permutation("mix", "clamp", (2, 0, 3, 1)))),
    Slicer: Twin("channel_slice", net(MAP, CLAMP, ir.Slice("slice", "clamp", 1, 3)), Goal(96)),
    ArgMaxer: Twin("argmax", net(MAP, ir.ArgMax("argmax", "x"))),
    AveragePooler: Twin("average_pool", net(MAP, pool(ir.AveragePool)), Goal(200)),
    BitmapEntries: MASKED,
    BitmapWalker: MASKED,
    GroupedEntries: walked(ir.RelativeIndex(2), 2),
    KernelEntries: walked(ir.KernelList(1)),
    RelativeEntries: WALKED,
    TileBuffer: WALKED,
    TileEngine: WALKED,
    TileReader: WALKED,
    TileResults: WALKED,
    BipolarToInteger: Twin("sum_pool", net(MAP, SIGN, pool(ir.SumPool, "sign")), Goal(200)),
    Buffer: Twin("clamp", net(MAP, CLAMP), front=lambda to: Buffer(to.i.payload.shape())),
    CodebookWeights: CODED,
    ConstantMatrix: Twin("dense", net(VECTOR, dense(ir.Weights(
        RNG.integers(-20, 20, (6, 20)), 6, encoding=ir.Constant())))),
    CountArray: COUNTS,
    DotArray: PRODUCTS,
    DotPair: PRODUCTS,
    DotProduct: Twin("dense", PRODUCTS.network, Goal(7, {"dense": Fold(3, 1, 10)})),
    PairedSum: PRODUCTS,
    PartSums: PRODUCTS,
    Engine: PRODUCTS,
    Fork: SUM,
    Gearbox: PRODUCTS,
    Graph: SUM,
    HalfRateBuffer: Twin("clamp", net(MAP, CLAMP),
                         front=lambda to: HalfRateBuffer(to.i.payload.shape())),
    MaxPooler: Twin("max_pool", net(MAP, pool(ir.MaxPool)), Goal(200)),
    RunningMaxPooler: Twin("max_pool", net(MAP, ir.MaxPool("pool", "x", (2, 2), (2, 2))),
                           Goal(200)),
    Padder: Twin("pad", net(MAP, ir.Pad("pad", "x", (1, 0, 2, 1), -3)), Goal(200)),
    Pipeline: CLAMPS,
    Product: Twin("dense", PRODUCTS.network, Goal(7, {"dense": Fold(3, 1, 10)})),
    Queue: PRODUCTS,
    Repeater: Twin("repeat", net(MAP, CLAMP, ir.Repeat("repeat", "clamp", 3))),
    ResultConstants: COUNTS,
    ScaleRequantizer: Twin("scale_requantize", net(MAP, ir.ScaleRequantize(
        "scale", "x", RNG.integers(1 << 30, 1 << 31, 4), np.array([-1, 0, 1, 0]), 5, True))),
    SelectArray: SELECTED,
    Sequencer: PRODUCTS,
    ShiftRequantizer: Twin("shift_requantize",
                           net(MAP, ir.ShiftRequantize("shift", "x", 1, 3, True))),
    SkidBuffer: CLAMPS,
    SkipBuffer: SUM,
    SlopeRequantizer: Twin("slope_requantize", net(MAP, ir.SlopeRequantize(
        "slope", "x", np.array([[3, -5]]), np.array([[4, 9]]), np.array([1]), 2, 5, True))),
    StreamMultiplier: Twin("multiply", net(MAP, CLAMP,
                                           ir.Multiply("multiply", "clamp", "x", (2, 0)))),
    Sum: PRODUCTS,
    SumPooler: Twin("sum_pool", net(MAP, pool(ir.SumPool)), Goal(200)),
    Thresholder: Twin("threshold", net(MAP, ir.Threshold(
        "threshold", "x", np.array([[-3, 0, 2]]), np.array([0]), 3, True))),
    Upsampler: Twin("upsample", net(MAP, ir.Upsample("up", "x", (2, 3))), Goal(400)),
    Upsizer: PRODUCTS,
    Window: Twin("convolution", net(MAP, ir.Convolution(
        "conv", "x", random_weights(RNG, (2, 3, 3, 4)), np.array([3, -4]),
        padding=(1, 1, 1, 1))), Goal(400)),
}
COMMON = {Block, EngineArray, PassesReady, Reducer}
"""What several blocks have in common is none."""
LOADED = {CodedEntries: MASKED, Crc32: PRODUCTS, Filler: PRODUCTS, Gate: PRODUCTS,
          HuffmanDecoder: PRODUCTS, JoinedWords: WALKED, Loadable: PRODUCTS,
          LoadableCodebook: CODED, LoadableSequencer: PRODUCTS, LoadableSlots: WALKED,
          Loader: PRODUCTS}
"""Those of networks whose weights come in an image."""


def test_every_public_block_has_a_twin() -> None:
    blocks = set()
    for module in pkgutil.iter_modules(penjing.hdl.__path__):
        if not module.ispkg:
            loaded = importlib.import_module(f"penjing.hdl.{module.name}")
            values = (getattr(loaded, name) for name in getattr(loaded, "__all__", ()))
            blocks |= {value for value in values
                       if isinstance(value, type) and issubclass(value, wiring.Component)}
    assert blocks - COMMON == {*TWINS, *LOADED}


def run(twin: Twin) -> None:
    """Require the hardware to equal the golden model, both sides stalling."""
    network = twin.network
    plan = schedule(network, Budget(ECP5, PLENTY, 1000), twin.goal)
    dut: wiring.Component = accelerator.whole(network, plan, Generic())
    if twin.front:
        dut = Pipeline([("front", twin.front(dut)), ("whole", dut)])
    images = random_images(network.input_type, 4, 1)
    run_block(dut, images, golden.run(network, images), (network.input_type, plan.layers[0].i),
              (network.output_type, plan.layers[-1].o), [Stalls.BOTH])


@pytest.mark.parametrize("block", TWINS, ids=lambda block: block.__name__)
def test_a_block_is_judged_by_its_twin(block: type[wiring.Component],
                                       monkeypatch: pytest.MonkeyPatch) -> None:
    twin, built = TWINS[block], []
    elaborate, function = block.elaborate, getattr(golden, twin.function)

    def noticed(self: wiring.Component, platform: object) -> object:
        built.append(self)
        return elaborate(self, platform)
    monkeypatch.setattr(block, "elaborate", noticed)
    run(twin)
    assert built, f"no {block.__name__} is in the network that is to judge it"

    def bent(*args: object, **more: object) -> Integers:
        return function(*args, **more) + 1
    monkeypatch.setattr(golden, twin.function, bent)
    with pytest.raises(AssertionError, match=r"^frame 0"):
        run(twin)


def run_loaded(twin: Twin) -> None:
    """The same, of a network whose weights are loaded."""
    network = ir.with_loadable_weights(twin.network)
    plan = schedule(network, Budget(ECP5, PLENTY, 1000), twin.goal)
    dut = accelerator.whole(network, plan, Generic())
    assert isinstance(dut, Loadable)
    run_loadable(dut, plan, [Load(image_of(network, plan), Status.READY),
                             Frames(network, random_images(network.input_type, 4, 1))],
                 Stalls.BOTH)


@pytest.mark.parametrize("block", LOADED, ids=lambda block: block.__name__)
def test_a_block_that_loads_is_judged_by_its_twin(block: type[wiring.Component],
                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    twin, built = LOADED[block], []
    elaborate, function = block.elaborate, getattr(golden, twin.function)

    def noticed(self: wiring.Component, platform: object) -> object:
        built.append(self)
        return elaborate(self, platform)
    monkeypatch.setattr(block, "elaborate", noticed)
    run_loaded(twin)
    assert built, f"no {block.__name__} is in the network that is to judge it"

    def bent(*args: object, **more: object) -> Integers:
        return function(*args, **more) + 1
    monkeypatch.setattr(golden, twin.function, bent)
    with pytest.raises(AssertionError, match=r"^frame 0"):
        run_loaded(twin)
