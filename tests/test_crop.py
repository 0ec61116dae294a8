# amaranth: UnusedElaboratable=no
"""Crops of rows and columns, alone and in graphs: values, exact cycles and latency."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from amaranth.hdl import Fragment, signed
from amaranth.hdl._ast import SignalSet
from networks import (
    PLENTY,
    Builder,
    check_network,
    convolution,
    random_images,
    random_sign,
    run_block,
)
from penjing.compiler import file, ir
from penjing.compiler.cost.families import ECP5, ICE40
from penjing.compiler.cost.streams import counter_ffs
from penjing.compiler.dataflow import accelerator
from penjing.compiler.dataflow.budget import Budget
from penjing.compiler.dataflow.kinds import Cutout
from penjing.compiler.dataflow.plan import Port
from penjing.compiler.dataflow.search import Goal, schedule
from penjing.compiler.ir import Network, PenjingError, TensorType
from penjing.hdl.crop import Axis, Cropper, CropperShape
from penjing.hdl.emit import identity
from penjing.hdl.graph import Pipeline
from penjing.hdl.stream import Beat, Buffer
from penjing.hdl.tech import Generic
from penjing.sim import golden

Steps = tuple[int, int, int]
FRAMES = 5
ECP5_OF_ALL = Budget(ECP5, PLENTY, 1000)
MAP = TensorType((5, 4, 3), 5, True)


@pytest.mark.parametrize("lanes", [1, 2, 3])
@pytest.mark.parametrize(("rows", "columns"), [
    ((0, 5, 1), (0, 4, 1)), ((0, 5, 2), (0, 4, 2)), ((1, 5, 2), (1, 4, 3)), ((1, 4, 1), (1, 3, 1)),
    ((4, 5, 1), (3, 4, 1)), ((0, 1, 9), (0, 1, 64)), ((2, 3, 1), (0, 4, 1)), ((0, 5, 1), (0, 1, 1)),
    ((0, 5, 4), (0, 4, 3)), ((0, 4, 3), (2, 4, 1))])
def test_cropper(lanes: int, rows: Steps, columns: Steps) -> None:
    layer = ir.Crop("crop", "x", rows, columns)
    x = random_images(MAP, FRAMES, lanes)
    cropper = Cropper(signed(5), lanes=lanes, channels=3, rows=Axis(5, *rows),
                      columns=Axis(4, *columns))
    # A map of one pixel has no clock of its own, but the simulation needs one.
    block = Pipeline([("crop", cropper), ("buffer", Buffer(Beat(signed(5), lanes)))])
    port = Port(lanes, 3)
    ends = run_block(block, x, golden.execute(layer, x), (MAP, port),
                     (layer.output_type(MAP), port))
    assert set(np.diff(ends)) == {port.beats(60)}
    last = range(*rows)[-1] * 4 + range(*columns)[-1]
    through_the_buffer = port.beats(3) * (last + 1)
    assert ends[0] - 1 == through_the_buffer


@pytest.mark.parametrize(("rows", "columns", "lanes"), [
    ((0, 5, 2), (0, 4, 2), 1), ((1, 4, 1), (0, 4, 1), 2), ((0, 5, 1), (0, 4, 1), 1),
    ((4, 5, 1), (1, 2, 1), 3)])
def test_registers_are_those_that_are_priced(rows: Steps, columns: Steps, lanes: int) -> None:
    axes = {"rows": Axis(5, *rows), "columns": Axis(4, *columns)}
    block = Cropper(signed(5), lanes=lanes, channels=3, **axes)
    built = SignalSet(signal for statement in Fragment.get(block, None).statements["sync"]
                      for signal in statement._lhs_signals())
    assert sum(map(len, built)) == counter_ffs(*CropperShape(lanes, 3, **axes).counts)


def test_croppers_of_other_rows_are_other_modules() -> None:
    """Equal blocks are one module; these differ in nothing but the rows that they keep."""
    one, other, same = (identity(Cropper(4, lanes=1, channels=1, rows=Axis(4, start, start + 2, 1),
                                         columns=Axis(4, 0, 4, 2))) for start in (0, 1, 0))
    assert one == same
    assert one != other


def cropped(channels: int, times: int = 1) -> Network:
    """Rows and columns of the input, each of whose channels is repeated so many ``times``."""
    grow = Builder(TensorType((4, 6, channels), 4, True))
    grow.add(ir.Clamp("clamp", "x", -7, 7))
    grow.add(ir.Repeat("repeat", "clamp", times))
    grow.add(ir.Crop("crop", "repeat", (1, 4, 2), (0, 5, 3)))
    grow.add(ir.Clamp("end", "crop", -6, 6))
    return grow.network()


@pytest.mark.parametrize(("network", "cycles", "lanes", "made"), [
    (cropped(6), 24, 6, 24),
    (cropped(6), 48, 3, 48),
    (cropped(6), 72, 2, 72),
    (cropped(5), 48, 3, 48),  # with lanes to spare
    (cropped(2, 4), 192, 1, 192),  # there is time for single ones
    (cropped(2, 4), 24, 8, 24)])
def test_a_crop_takes_its_predicted_cycles(network: Network, cycles: int, lanes: int, made: int
                                           ) -> None:
    plan = schedule(network, ECP5_OF_ALL, Goal(cycles))
    planned = plan.layer("crop")
    channels = network.type_of("repeat").shape[2]
    assert isinstance(planned.kind, Cutout)
    assert (planned.kind.taken, planned.o) == (Port(lanes, channels), Port(lanes, channels))
    assert planned.cycles == made
    check_network(network, plan)
    tensors = golden.run_all(network, random_images(network.input_type, FRAMES, 0))
    alone = run_block(accelerator.layer(network, plan, "crop", Generic()), tensors["repeat"],
                      tensors["crop"], (network.type_of("repeat"), planned.i),
                      (network.type_of("crop"), planned.o))
    assert set(np.diff(alone)) == {made}


@pytest.mark.parametrize("pace", [3, 30])
def test_a_shortcut_of_fewer_rows_and_columns(pace: int) -> None:
    """ResNet's option A: every second row and column, and zeros for the channels that are new."""
    grow = Builder(TensorType((4, 6, 2), 6, False, 4))
    for layer in convolution(np.random.default_rng(pace), "conv", "x", 4, 2, stride=2):
        grow.add(layer)
    grow.add(ir.Crop("shortcut", "x", (0, 4, 2), (0, 6, 2)))
    grow.add(ir.Clamp("zeros", "shortcut", 0, 0))
    grow.add(ir.Concatenation("wide", "shortcut", ("zeros",)))
    grow.add(ir.Add("sum", "conv_q", "wide"))
    network = grow.network()
    check_network(network, schedule(network, ECP5_OF_ALL, Goal(24 * pace)))


@pytest.mark.slow
@pytest.mark.parametrize("pace", [5, 9, 27])
@pytest.mark.parametrize("join", [ir.Subtract, ir.Concatenation])
def test_a_border_is_cropped_where_a_window_leaves_it_out(join: type[ir.Layer], pace: int) -> None:
    """As in a U-Net without padding, whose branches meet in their middle."""
    grow = Builder(TensorType((7, 6, 3), 5, True))
    grow.add(ir.MaxPool("pool", "x", (3, 3), (1, 1)))
    grow.add(ir.Crop("middle", "x", (1, 6, 1), (1, 5, 1)))
    others = ("pool",) if join is ir.Concatenation else "pool"
    grow.add(join("join", "middle", others))
    grow.add(ir.Clamp("end", "join", -20, 19))
    network = grow.network()
    check_network(network, schedule(network, ECP5_OF_ALL, Goal(42 * pace)))


@pytest.mark.parametrize("steps", [((0, 4, 2), (1, 5, 2)), ((3, 4, 1), (0, 5, 4))])
def test_signs_are_cropped_as_bits(steps: tuple[Steps, Steps]) -> None:
    grow = Builder(TensorType((4, 5, 3), 4, True))
    grow.add(random_sign(np.random.default_rng(1), "sign", "x", grow.type))
    assert isinstance(grow.types[grow.add(ir.Crop("crop", "sign", *steps))], ir.Bipolar)
    network = grow.network()
    for fabric in (ECP5, ICE40):
        check_network(network, schedule(network, Budget(fabric, PLENTY, 1000), Goal(60)))


def test_what_does_not_fit_is_refused() -> None:
    kind = TensorType((6, 3, 4), 8, False, 3)
    made = ir.Crop("crop", "x", (1, 6, 2), (0, 3, 64)).output_type(kind)
    assert made == replace(kind, shape=(3, 1, 4))
    with pytest.raises(PenjingError, match=r"^layer crop: rows must stop at or before the 6 of its "
                                           r"input, not at 7$"):
        ir.Crop("crop", "x", (1, 7, 2), (0, 3, 1)).output_type(kind)
    with pytest.raises(PenjingError, match=r"^layer crop: columns must stop at or before the 3 "):
        ir.Crop("crop", "x", (1, 6, 2), (0, 4, 1)).output_type(kind)
    for taken in ((2, 2, 1), (3, 1, 1), (0, 2, 0), (0, 2, 65)):
        with pytest.raises(PenjingError, match=r"^layer crop: rows must be \(start, stop, step\), "
                                               r"start < stop and 1 <= step <= 64, not \("):
            ir.Crop("crop", "x", taken, (0, 3, 1))
    for odd in ((-1, 2, 1), (0, 1.5, 1), (False, 2, 1), (0, 2), [0, 2, 1]):
        with pytest.raises(PenjingError, match=r"^layer crop: columns must be 3 integers from 0 "):
            ir.Crop("crop", "x", (0, 3, 1), odd)
    for axis in ((4, 2, 2, 1), (4, 0, 5, 1), (4, -1, 2, 1), (4, 0, 2, 0)):
        with pytest.raises(ValueError, match=r"start must be|step must be"):
            Axis(*axis)
    whole = Axis(2, 0, 2, 1)
    for lanes, channels in ((3, 2), (0, 2), (1, 0)):
        with pytest.raises(ValueError, match=r"lanes must be|channels must be"):
            Cropper(4, lanes=lanes, channels=channels, rows=whole, columns=whole)


def test_a_file_holds_it(tmp_path: Path) -> None:
    network = cropped(3, 2)
    file.save(network, tmp_path / "net.penjing")
    assert file.load(tmp_path / "net.penjing") == network
