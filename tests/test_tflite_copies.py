"""Operators of ``.tflite`` files that repeat elements: what they become, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ai_edge_litert", reason="needs LiteRT: pip install penjing[tflite]")

from others import shared
from penjing.compiler import ir
from penjing.compiler.load import tflite
from test_load_tflite import agree, refusal, refused_operator, small
from tflite_files import Drawn

RESIZE, OPTIONS = "RESIZE_NEAREST_NEIGHBOR", "ResizeNearestNeighborOptions"
MANY = ir.MAX_FACTOR + 1


def resized(size: int, new: int, *, half: bool) -> Drawn:
    """A column of ``size`` rows that becomes one of ``new`` rows."""
    file = Drawn(np.random.default_rng(0))
    x, y, z = (file.tensor((1, rows, 1, 1), "INT8", 0.5, 3) for rows in (size, new, new))
    file.operator(RESIZE, [x, file.tensor((2,), "INT32", data=np.array([new, 1]))], [y],
                  OPTIONS, halfPixelCenters=half)
    file.operator("RELU", [y], [z])
    file.ends(x, z)
    return file


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 96])
@pytest.mark.parametrize("factor", [1, 2, 3, 7, 32, 41, 49, 55, 64])
def test_every_factor_is_that_of_the_reference_or_refused(size: int, factor: int, tmp_path: Path
                                                          ) -> None:
    """Without half pixels, its float32 of an element's first copy may be that of the one before."""
    agree(resized(size, size * factor, half=True).write(tmp_path / "half.tflite"))
    file = resized(size, size * factor, half=False)
    firsts = np.arange(size, dtype=np.float32) * np.float32(factor)
    found = np.floor(firsts * (np.float32(size) / np.float32(size * factor)))
    if np.array_equal(found, np.arange(size)):
        agree(file.write(tmp_path / "net.tflite"))
    else:
        assert factor in (41, 55)
        assert f"makes {size}×1 to {size * factor}×1 unevenly" in refusal(file)


@pytest.mark.parametrize("half", [False, True])
def test_every_ratio_is_that_of_the_reference_or_refused(half: bool, tmp_path: Path) -> None:
    refused = 0
    for size, new in [(16, 25), (16, 37), (3, 2), (7, 5), (5, 7), (9, 4), (12, 18), (1, 9), (9, 1),
                      (6, 28), (23, 31), (30, 29)]:
        file = resized(size, new, half=half)
        places = (np.arange(new, dtype=np.float32) + np.float32(half / 2)) * (
            np.float32(size) / np.float32(new))
        if np.array_equal(np.floor(places), (2 * np.arange(new) + half) * size // (2 * new)):
            network = agree(file.write(tmp_path / "net.tflite"))
            assert network.output_type.shape == (new, 1, 1)
        else:
            refused += 1
            assert f"makes {size}×1 to {new}×1 unevenly" in refusal(file)
    assert refused <= 3


def test_what_enlarges_rows_and_then_columns_is_one_layer() -> None:
    path = shared("cases", "networks", "keras_unet.tflite")
    network = tflite.load(path, "net")
    (layer,) = (one for one in network.layers if isinstance(one, ir.Upsample))
    assert layer.factors == (2, 2)
    assert network.type_of(layer.name).shape == (16, 16, 12)


def test_rows_are_resized_before_columns_are() -> None:
    """So that 14,800 elements are repeated, not 236,800."""
    path = shared("cases", "formats", "op_rs_n_10.tflite")
    network = agree(path)
    assert [(layer.kind, network.type_of(layer.name).shape[:2]) for layer in network.layers] == [
        ("upsample", (400, 16)), ("crop", (25, 16)), ("upsample", (25, 592)), ("crop", (25, 37))]


def test_what_is_no_repetition_is_refused() -> None:
    assert "[2, 0] is not two numbers from 1" in refused_operator(RESIZE, OPTIONS, (), [(2, 0)])
    assert "aligns corners" in refused_operator(
        RESIZE, OPTIONS, (), [(8, 8)], out=(1, 8, 8, 2), alignCorners=True)
    assert "is not two numbers" in refused_operator(RESIZE, OPTIONS, (), [(8, 8, 2)])
    assert "declared as another shape" in refused_operator(
        RESIZE, OPTIONS, (), [(8, 8)], out=(1, 4, 16, 2))
    for rows in (4 * MANY, MANY):
        assert f"enlarges {MANY}×1 times" in refused_operator(
            RESIZE, OPTIONS, (), [(rows, 4)], out=(1, rows, 4, 2))
    for kind, values in ((RESIZE, (8, 8)), ("TILE", (1, 1, 1, 1)), ("BROADCAST_TO", (1, 4, 4, 2))):
        table = OPTIONS if kind == RESIZE else None
        assert "one width, scale and zero point" in refused_operator(
            kind, table, (), [values], out=(1, 8, 8, 2) if table else (1, 4, 4, 2), scale=0.3)
    assert "repeats (1, 4, 4, 2) (1, 2, 1, 1) times" in refused_operator(
        "TILE", None, (), [(1, 2, 1, 1)], out=(1, 8, 4, 2))
    assert "multiples are not those of 4 axes" in refused_operator("TILE", None, (), [(1, 1, 1)])
    assert "that (1, 4, 4, 2) has room in" in refused_operator(
        "BROADCAST_TO", None, (), [(4, 2)], out=(4, 2))
    assert "that (1, 4, 4, 2) is repeated to" in refused_operator(
        "BROADCAST_TO", None, (), [(1, 4, 8, 2)], out=(1, 4, 8, 2))


def behind_an_axis(axis: int, apart: tuple[int, ...], times: tuple[int, ...],
                   whole: tuple[int, ...]) -> str:
    """Why a map of 4×4×2 is refused that gets an axis, is repeated, and becomes ``whole``."""
    file, x = small()
    given = file.tensor((), "INT32", data=np.array(axis))
    y, z, end = (file.activation(shape, scale=0.1, zero_point=3)
                 for shape in (apart, whole, (1, 8, 4, 2)))
    file.operator("EXPAND_DIMS", [x, given], [y])
    file.operator("TILE", [y, file.tensor((len(times),), "INT32", data=np.array(times))], [z],
                  version=2)
    file.operator("RESHAPE", [z, file.tensor((4,), "INT32", data=np.array((1, 8, 4, 2)))], [end])
    file.ends(x, end)
    return refusal(file)


def test_axes_that_are_not_as_declared_are_refused() -> None:
    apart, times = (1, 4, 1, 4, 2), (1, 1, 2, 1, 1)
    assert "to another shape" in behind_an_axis(1, apart, times, (1, 4, 2, 4, 2))
    assert "declared as another shape" in behind_an_axis(2, apart, times, (1, 4, 4, 2, 2))
    assert "enlarges 0×1 times" in behind_an_axis(2, apart, (1, 1, 0, 1, 1), (1, 4, 0, 4, 2))
    assert f"enlarges {MANY}×1 times" in behind_an_axis(
        2, apart, (1, 1, MANY, 1, 1), (1, 4, MANY, 4, 2))


def test_a_reshape_gives_what_the_file_left_open(tmp_path: Path) -> None:
    """The declared shape is of one row; the operand tells the real one, or nothing does."""
    def reshaped(sizes: tuple[int, ...], *, is_open: bool = True) -> Drawn:
        file = Drawn(np.random.default_rng(0))
        x = file.tensor((1, 1, 1, 24), "INT8", 0.5, 3)
        y = file.tensor((1, 1, 3, 2), "INT8", 0.5, 3)
        if is_open:
            file.graph.tensors[y].shapeSignature = [-1, -1, 3, 2]
        file.operator("RESHAPE", [x, file.tensor((4,), "INT32", data=np.array(sizes))], [y])
        z = file.tensor((1, 4, 3, 2), "INT8", 0.5, 3)
        file.operator("RELU", [y], [z])
        file.ends(x, z)
        return file

    for n, sizes in enumerate([(1, 4, 3, 2), (1, -1, 3, 2), (-1, 4, 3, 2)]):
        network = agree(reshaped(sizes).write(tmp_path / f"{n}.tflite"))
        assert network.output_type.shape == (4, 3, 2)
    for sizes in ((1, 5, 3, 2), (1, -1, 5, 2), (1, -1, -1, 2), (1, -1, 0, 2)):
        assert "its shape is dynamic" in refusal(reshaped(sizes))
    assert "it makes (1, 1, 1, 24) to (1, 1, 3, 2)" in refusal(
        reshaped((1, 4, 3, 2), is_open=False))
