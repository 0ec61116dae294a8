"""TRANSPOSE in ``.tflite`` files: free where only the order of elements is another."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ai_edge_litert", reason="needs LiteRT: pip install penjing[tflite]")

from others import shared
from penjing import flow
from penjing.compiler import ir
from penjing.compiler.ir import PenjingError
from penjing.compiler.load import tflite
from penjing.flow.data import Data
from penjing.flow.project import MARK, Project
from penjing.sim.oracles import litert
from test_load_tflite import agree, refusal, refused_operator, small
from tflite_files import SAME, Drawn, moved, with_relu


def channels_first() -> Drawn:
    """An image of 2 channels, 3 rows and 4 columns, its rows summed up."""
    file = Drawn(np.random.default_rng(3))
    x = file.activation((1, 2, 3, 4), scale=0.5, zero_point=2)
    y = moved(file, x, (0, 2, 3, 1))
    weights = file.weights((1, 3, 1, 2), 0, "INT8", 0.01)
    bias = file.tensor((1,), "INT32", 0.005, 0, np.zeros(1))
    z = file.activation((1, 1, 4, 1), scale=1.5, zero_point=5)
    file.operator("CONV_2D", [y, weights, bias], [z], "Conv2DOptions", padding=1, strideH=1,
                  strideW=1, dilationHFactor=1, dilationWFactor=1)
    file.ends(x, z)
    return file


def test_images_come_in_the_order_of_the_file(tmp_path: Path) -> None:
    flow.compile_model(channels_first().write(tmp_path / "net.tflite"), tmp_path / "build",
                       flow.Target("generic"))
    opened = Project.open(tmp_path / "build")
    assert opened.network.input_type.shape == (3, 4, 2)
    assert opened.settings.axes == (2, 0, 1)
    images = np.random.default_rng(0).integers(-128, 128, (5, 2, 3, 4), np.int8)
    maps = images.transpose(0, 2, 3, 1)
    for x in (images, images.reshape(5, 24), maps):
        np.testing.assert_array_equal(opened.integers(Data(tmp_path, x, None)), maps)
    np.savez(tmp_path / "x.npz", x=images)
    result = flow.evaluate(tmp_path / "build", tmp_path / "x.npz")
    assert (result.values_compared, result.oracle_mismatches) == (20, 0)

    mark = tmp_path / "build" / MARK
    for axes in ([0, 1], [0, 1, 1], [[0], 1, 2], 3, "210"):
        mark.write_text(json.dumps({**json.loads(mark.read_text()), "axes": axes}))
        with pytest.raises(PenjingError, match="damaged; compile the network again"):
            Project.open(tmp_path / "build")


def test_transposes_of_litert_torch_cost_nothing() -> None:
    path = shared("cases", "formats", "l1_cnn__w8a8.tflite")
    opened = tflite.open_model(path, "net")
    assert opened.axes == (2, 0, 1)
    assert [layer.kind for layer in opened.network.layers] == [
        "convolution", "scalerequantize", "maxpool", "convolution", "scalerequantize", "sumpool",
        "scalerequantize", "dense", "scalerequantize"]


def test_lines_of_channels_first(tmp_path: Path) -> None:
    """A line gets a row before it is turned."""
    file = Drawn(np.random.default_rng(0))
    x = file.activation((1, 3, 7), scale=0.5, zero_point=2)
    apart = file.activation((1, 3, 1, 7), scale=0.5, zero_point=2)
    file.operator("RESHAPE", [x, file.numbers(1, 3, 1, 7)], [apart])
    file.ends(x, with_relu(file, moved(file, apart, (0, 2, 3, 1))))
    path = file.write(tmp_path / "net.tflite")
    agree(path)
    opened = tflite.open_model(path, "net")
    assert (opened.network.input_type.shape, opened.axes) == ((1, 7, 3), (1, 0))


def test_reals_at_the_end_are_turned_back(tmp_path: Path) -> None:
    file, x = small()
    z = moved(file, with_relu(file, x), (0, 3, 1, 2))
    end = file.tensor(file.graph.tensors[z].shape, "FLOAT32")
    file.operator("DEQUANTIZE", [z], [end], "DequantizeOptions")
    file.ends(x, end)
    outputs, reals = litert.run(file.write(tmp_path / "net.tflite"), np.arange(32).reshape(
        1, 4, 4, 2))
    np.testing.assert_allclose(reals, np.float32(0.1) * (outputs - 3))
    agree(tmp_path / "net.tflite")


def test_an_input_with_other_readers_keeps_its_order() -> None:
    file, x = small()
    y = moved(file, x, (0, 3, 1, 2))
    z = file.activation((1, 4, 4, 2), scale=0.1, zero_point=3)
    file.operator("RELU", [x], [z])
    file.operator("RELU", [y], [end := file.activation((1, 2, 4, 4))])
    file.ends(x, end)
    assert "operator 2 (RELU): a TRANSPOSE has changed the order of the elements" in refusal(file)


def test_what_does_not_know_another_order_is_refused() -> None:
    file, x = small()
    y = with_relu(file, x)
    z = moved(file, y, (0, 2, 3, 1))
    end = file.activation((1, 4, 2, 4), scale=0.1, zero_point=3)
    file.operator("MAX_POOL_2D", [z], [end], "Pool2DOptions", padding=SAME, strideH=1, strideW=1,
                  filterHeight=2, filterWidth=2)
    file.ends(x, end)
    assert "order of the elements that it reads; transpose channels only, or at" in refusal(file)

    file, x = small()
    z = moved(file, with_relu(file, x), (0, 3, 1, 2))
    end = file.activation((1, 1, 1, 4), scale=0.1, zero_point=3)
    file.operator("MEAN", [z, file.numbers(1, 2)], [end], "ReducerOptions", keepDims=True)
    file.ends(x, end)
    assert "it is over the axes [1, 2] of 4, only height and width" in refusal(file)

    file, x = small()
    z = moved(file, with_relu(file, x), (0, 3, 1, 2))
    end = file.activation(file.graph.tensors[z].shape, scale=1 / 256, zero_point=-128)
    file.operator("SOFTMAX", [z], [end], "SoftmaxOptions", beta=1.0)
    file.ends(x, end)
    assert "operator 2 (SOFTMAX): a TRANSPOSE comes before it" in refusal(file)

    file, x = small()
    z = moved(file, with_relu(file, x), (0, 3, 1, 2))
    reals, end = (file.tensor(file.graph.tensors[z].shape, "FLOAT32") for _ in range(2))
    file.operator("DEQUANTIZE", [z], [reals], "DequantizeOptions")
    file.operator("SOFTMAX", [reals], [end], "SoftmaxOptions", beta=1.0)
    file.ends(x, end)
    assert "a TRANSPOSE comes before its last function" in refusal(file)

    assert "are not those of" in refused_operator(
        "TRANSPOSE", "TransposeOptions", (), [(0, 1, 1, 2)])
    assert "its output is declared as" in refused_operator(
        "TRANSPOSE", "TransposeOptions", (), [(0, 3, 1, 2)], out=(1, 2, 2, 8))
    assert "one width, scale and zero point" in refused_operator(
        "TRANSPOSE", "TransposeOptions", (), [(0, 3, 1, 2)], out=(1, 2, 4, 4), scale=0.3)


def test_padding_is_turned_with_its_map(tmp_path: Path) -> None:
    file, x = small()
    padded = file.activation((1, 6, 4, 2), scale=0.1, zero_point=3)
    table = file.tensor((4, 2), "INT32", data=np.array([[0, 0], [1, 1], [0, 0], [0, 0]]))
    file.operator("PAD", [x, table], [padded])
    file.ends(x, moved(file, padded, (0, 3, 1, 2)))
    network = agree(file.write(tmp_path / "net.tflite"))
    assert [layer.kind for layer in network.layers] == ["pad"]
    assert network.output_type.shape == (6, 4, 2)


def test_images_that_are_only_turned_pass(tmp_path: Path) -> None:
    file, x = small()
    file.ends(x, moved(file, x, (0, 2, 1, 3)))
    network = agree(file.write(tmp_path / "net.tflite"))
    (layer,) = network.layers
    assert isinstance(layer, ir.Clamp)
