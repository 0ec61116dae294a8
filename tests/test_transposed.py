"""Transposed convolution: values, products, and exact cycles and latency, alone and in graphs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from graphs import check
from networks import PLENTY, Builder, convolution, random_images, random_requantization
from penjing.compiler import file, ir
from penjing.compiler.cost.families import ECP5
from penjing.compiler.dataflow.budget import Budget
from penjing.compiler.dataflow.fold import Fold
from penjing.compiler.dataflow.kinds import Dot
from penjing.compiler.dataflow.search import Candidate, Goal, search
from penjing.compiler.dataflow.site import sites
from penjing.compiler.ir import Network, PenjingError, TensorType
from penjing.sim import golden

Crop = tuple[int, int, int, int]
NONE: Crop = (0, 0, 0, 0)
MAP = TensorType((3, 2, 2), 4, True)
RNG = np.random.default_rng(1)


def layer(kernel: tuple[int, int], stride: tuple[int, int], crop: Crop = NONE, *, outputs: int = 2,
          inputs: int = 2, groups: int = 1) -> ir.TransposedConvolution:
    weights = ir.Weights(RNG.integers(-8, 8, (outputs, *kernel, inputs)), 4)
    return ir.TransposedConvolution("up", "x", weights, RNG.integers(-9, 9, outputs), stride, crop,
                                    -3, groups)


def found(network: Network, cycles: int | None = None, fold: Fold | None = None) -> Candidate:
    return search(network, Budget(ECP5, PLENTY, 1000), Goal(cycles, {"up": fold} if fold else {}))


def test_elements_lay_their_kernels_over_each_other() -> None:
    x = np.array([[[1], [10]]])[None]
    kernel = np.array([[1, 2, 3]])[None, ..., None]
    bias = np.array([100])
    wanted = [101, 102, 103 + 10, 120, 130]
    assert golden.transposed_convolution(x, kernel, bias, (1, 2)).reshape(-1).tolist() == wanted
    left, right = wanted[1:4], [*wanted, 100]
    for crop, part in (((0, 0, 1, 1), left), ((0, 0, 0, -1), right)):
        assert golden.transposed_convolution(x, kernel, bias, (1, 2), crop).reshape(
            -1).tolist() == part
    # What lies between the elements and around them is 4: it takes part like they do.
    wanted = [100 + 1 + 8 + 12, 100 + 4 + 2 + 12, 100 + 10 + 8 + 3, 100 + 4 + 20 + 12,
              100 + 4 + 8 + 30]
    assert golden.transposed_convolution(x, kernel, bias, (1, 2), pad_value=4).reshape(
        -1).tolist() == wanted


@pytest.mark.parametrize("seed", range(25))
def test_pytorch_computes_likewise(seed: int) -> None:
    """Any crop: the one that a network's layers leave off together."""
    pytest.importorskip("torch", reason="needs torch: pip install penjing[torch]")
    from penjing.sim.oracles import torch as oracle

    rng = np.random.default_rng(seed)
    kernel, stride, size = (tuple(rng.integers(1, most, 2).tolist()) for most in (6, 4, 5))
    groups = int(rng.integers(1, 3))
    kind = TensorType((*size, 2 * groups), 4, bool(rng.integers(2)))
    top, bottom, left, right = (int(rng.integers(low, high)) for low, high in (
        (0, kernel[0]), (-3, 1), (0, kernel[1]), (-3, 1)))
    net = Builder(kind)
    weights = ir.Weights(rng.integers(-8, 8, (2 * groups, *kernel, 2)), 4)
    bias, value = rng.integers(-50, 50, 2 * groups), int(rng.integers(kind.low, kind.high + 1))
    net.add_transposed("up", "x", weights, bias, stride, (top, bottom, left, right), value, groups)
    network, x = net.network(), random_images(kind, 4, seed)
    given = golden.run(network, x)
    np.testing.assert_array_equal(given, oracle.run(network, x))
    np.testing.assert_array_equal(given, golden.transposed_convolution(
        x, weights.values, bias, stride, (top, bottom, left, right), value, groups))


def test_accumulators_are_as_wide_as_any_output_needs() -> None:
    """No output sees all weights: bounds are those of the outputs of a stride."""
    ones = ir.Weights(np.full((1, 2, 2, 1), 7), 4)
    up = ir.TransposedConvolution("up", "x", ones, np.array([0]), (2, 2))
    assert up.output_type(TensorType((3, 3, 1), 8, False)).bits == 12
    assert replace(up, stride=(1, 1)).output_type(TensorType((3, 3, 1), 8, False)).bits == 14
    # Of the inserted ones, the products are known.
    kind = replace(up, pad_value=255).output_type(TensorType((3, 3, 1), 8, False))
    assert (kind.low, kind.high) == (-(1 << 13), (1 << 13) - 1)


@pytest.mark.parametrize(("kernel", "stride", "crop"), [
    ((2, 2), (2, 2), NONE), ((4, 4), (2, 2), NONE), ((4, 4), (2, 2), (2, 2, 2, 2)),
    ((6, 2), (3, 1), (3, 0, 0, 0)), ((3, 3), (1, 1), (1, 1, 1, 1))])
def test_nothing_is_multiplied_that_was_inserted(kernel: tuple[int, int], stride: tuple[int, int],
                                                 crop: Crop) -> None:
    """One product a cycle takes as many cycles as the layer has multiplications."""
    up = layer(kernel, stride, crop)
    network = Network("net", "x", MAP, (up,))
    plan = found(network, fold=Fold(1, 1, 1)).plan
    assert plan.layer("up").cycles == up.macs(network.output_type) == network.macs
    assert plan.layer("up").kind.memories(sites(network)["up"])[0].words == up.weights.values.size


@pytest.mark.parametrize(("kernel", "stride", "idle"), [
    ((3, 3), (2, 2), 16 / 9), ((5, 3), (2, 2), 24 / 15), ((1, 1), (2, 2), 4.0)])
def test_products_that_outputs_have_not_are_zeros(kernel: tuple[int, int], stride: tuple[int, int],
                                                  idle: float) -> None:
    crop, _ = ir.whole_strides(MAP.shape[:2], kernel, stride, NONE)
    up = layer(kernel, stride, crop)
    network = Network("net", "x", MAP, (up,))
    cycles = found(network, fold=Fold(1, 1, 1)).plan.layer("up").cycles
    assert cycles == up.macs(network.output_type) * idle


@pytest.mark.slow
@pytest.mark.parametrize(("kernel", "stride", "crop", "cycles", "fold"), [
    ((4, 4), (2, 2), (1, 1, 1, 1), 150, None), ((3, 3), (2, 2), (0, 1, 0, 1), 60, None),
    ((3, 1), (2, 3), (1, -1, 0, -2), 120, None), ((4, 2), (2, 2), NONE, None, Fold(5, 2, 2))])
def test_it_takes_its_predicted_cycles(kernel: tuple[int, int], stride: tuple[int, int],
                                       crop: Crop, cycles: int | None, fold: Fold | None) -> None:
    """Behind a convolution and before another, which sees maps of its own again."""
    rng = np.random.default_rng(kernel)
    grow = Builder(TensorType((2, 2, 2), 4, True))
    for before in convolution(rng, "a", "x", 3, 2):
        grow.add(before)
    grow.add_transposed("up", grow.tail, ir.Weights(rng.integers(-8, 8, (3, *kernel, 3)), 4),
                        rng.integers(-9, 9, 3), stride, crop)
    grow.add(random_requantization(rng, "scale", grow.tail, grow.type))
    for behind in convolution(rng, "b", grow.tail, 1, 3, 2):
        grow.add(behind)
    network = grow.network()
    candidate = found(network, cycles, fold)
    check(network, candidate)
    kind = candidate.plan.layer("up").kind
    assert isinstance(kind, Dot)
    if fold is not None:
        assert kind.fold == fold


@pytest.mark.parametrize("stride", [(2, 2), (4, 1)])
def test_a_buffer_holds_rows_and_no_map(stride: tuple[int, int]) -> None:
    """Of the input, as many as a window of sub-kernels has, and one that comes in."""
    kernel = 2 * stride[0], 2 * stride[1]
    network = Network("net", "x", TensorType((24, 16, 2), 4, True), (layer(kernel, stride),))
    kind = found(network).plan.layer("up").kind
    assert isinstance(kind, Dot) and kind.buffer is not None
    row = 16 * 2 / kind.window(sites(network)["up"]).lanes
    assert kind.buffer.words <= 4 * row


def test_what_a_crop_has_to_do() -> None:
    assert ir.whole_strides((4, 4), (4, 4), (2, 2), (2, 2, 0, 0)) == ((2, 2, 0, 0), None)
    assert ir.whole_strides((4, 4), (4, 4), (2, 2), (1, 1, 1, 1)) == (
        (0, 0, 0, 0), ((1, 9, 1), (1, 9, 1)))
    assert ir.whole_strides((4, 3), (3, 3), (2, 2), (0, 0, 0, 1)) == (
        (0, -1, 0, 1), ((0, 9, 1), (0, 6, 1)))
    assert ir.whole_strides((2, 1), (1, 3), (3, 1), (0, -2, 2, 0)) == ((0, -2, 2, 0), None)


def test_what_does_not_fit_is_refused() -> None:
    for kernel, stride, crop, reason in (
            ((4, 4), (2, 2), (1, 1, 0, 0), "must leave whole strides"),
            ((3, 3), (2, 2), NONE, "must leave whole strides"),
            ((2, 2), (1, 1), (2, 0, 0, 0), "must be below the kernel"),
            ((2, 2), (2, 2), (0, 2, 0, 0), "must be below the kernel"),
            ((2, 2), (0, 2), NONE, "stride must be 2 integers"),
            ((1, 1), (4096, 4096), (0, -4095, 0, -4095), "take a smaller stride")):
        with pytest.raises(PenjingError, match=f"^layer up: .*{reason}"):
            layer(kernel, stride, crop)
    with pytest.raises(PenjingError, match="weights take 4 channels, its input has 2"):
        layer((2, 2), (2, 2), groups=2).output_type(MAP)
    with pytest.raises(PenjingError, match="groups must be an integer that divides its 2 outputs"):
        layer((2, 2), (2, 2), groups=3)
    with pytest.raises(PenjingError, match="pad value must lie within"):
        replace(layer((2, 2), (2, 2)), pad_value=8).output_type(MAP)
    weights, bias = ir.Weights(np.ones((1, 2, 2, 2), np.int64), 2), np.zeros(1, np.int64)
    for stride, crop, reason in (((2, 2), (5, 1, 0, 0), "leaves nothing of its output"),
                                 ((0, 1), NONE, "stride must be 2 integers"),
                                 ((2, 2), (-1, 0, 0, 0), "not negative at the top")):
        with pytest.raises(PenjingError, match=f"^layer up: .*{reason}"):
            Builder(MAP).add_transposed("up", "x", weights, bias, stride, crop)
    with pytest.raises(PenjingError, match="fold pe must be from 1 to 4, not 5"):
        found(Network("net", "x", MAP, (layer((2, 2), (2, 2)),)), fold=Fold(5, 1, 1))


def test_a_kernel_whose_reads_are_too_many_to_predict_is_refused_at_once() -> None:
    """Their list would take some GiB."""
    given = TensorType((8, 8, 1), 4, True)
    network = Network("net", "x", given, (layer((400, 400), (1, 1), outputs=1, inputs=1),))
    with pytest.raises(PenjingError, match=r"^layer up: its windows of 400×400 read \d+ words a"):
        found(network)


def test_a_file_holds_it(tmp_path: Path) -> None:
    network = Network("net", "x", MAP, (layer((4, 2), (2, 2), (2, 0, 0, 0)),))
    file.save(network, tmp_path / "net.penjing")
    assert file.load(tmp_path / "net.penjing") == network
