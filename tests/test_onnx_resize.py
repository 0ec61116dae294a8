"""Resize of ``.onnx`` files: equal to ONNX Runtime in every value, or refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from others import shared

pytest.importorskip("onnxruntime", reason="needs ONNX Runtime: pip install penjing[onnx]")

from networks import random_images
from onnx_files import FLOAT, INT8, INT64, Model
from onnx_oracle import steps
from penjing.compiler import ir
from penjing.compiler.ir import PenjingError
from penjing.compiler.load import onnx as importer
from penjing.sim import golden
from penjing.sim.oracles import onnxruntime as oracle
from test_load_onnx import layers

WAYS = (("asymmetric", "floor"), ("half_pixel", "round_prefer_floor"),
        ("half_pixel", "round_prefer_ceil"), ("half_pixel_symmetric", "round_prefer_floor"),
        ("half_pixel_symmetric", "round_prefer_ceil"))


def resized(dims: tuple[int, ...], *, scales: tuple[float, ...] = (),
            sizes: tuple[int, ...] = (), opset: int = 19, operator: str = "Resize",
            **attributes: object) -> bytes:
    """A network of int8 that is resized as reals."""
    model = Model(dims, INT8)
    model.opset = opset
    meaning = model.constant(np.float32(0.5), FLOAT), model.constant(np.int8(3), INT8)
    operands = [model.constant(np.array(scales, np.float32), FLOAT)]
    if operator == "Resize" and opset > 10:
        operands = ["", *operands] if scales else [
            "", "", model.constant(np.array(sizes, np.int64), INT64)]
    real = model.node(operator, model.node("DequantizeLinear", "x", *meaning), *operands,
                      mode=attributes.pop("mode", "nearest"), **attributes)
    # Another zero point, so that there is a layer in any case.
    end = meaning[0], model.constant(np.int8(4), INT8)
    return model.bytes(model.node("QuantizeLinear", real, *end), INT8)


def agree(path: Path, data: bytes) -> ir.Network:
    path.write_bytes(data)
    network = importer.load(path, "net")
    x = random_images(network.input_type, 5, 0)
    np.testing.assert_array_equal(golden.run(network, x), oracle.run(path, x))
    return network


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("dims", "factors"), [
    ((1, 3, 4, 5), (2, 2)), ((1, 2, 3, 7), (3, 5)), ((1, 1, 7, 6), (49, 41)),
    ((1, 2, 5, 1), (1, 64)), ((1, 3, 9), (6,)), ((1, 3, 2, 2), (1, 1))])
def test_a_map_is_enlarged(dims: tuple[int, ...], factors: tuple[int, ...], way: tuple[str, str],
                           tmp_path: Path) -> None:
    attributes = {"coordinate_transformation_mode": way[0], "nearest_mode": way[1]}
    sizes = dims[:2] + tuple(size * n for size, n in zip(dims[2:], factors, strict=True))
    scales = (1, 1, *factors)
    for given in ({"scales": scales}, {"sizes": sizes}):
        network = agree(tmp_path / "net.onnx", resized(dims, **given, **attributes))
        found = [layer for layer in network.layers if isinstance(layer, ir.Upsample)]
        assert [layer.factors for layer in found] == (
            [(1, *factors)[-2:]] if set(factors) != {1} else [])


def test_nothing_said_is_half_pixels(tmp_path: Path) -> None:
    agree(tmp_path / "net.onnx", resized((1, 2, 3, 4), scales=(1, 1, 4, 3)))


def test_older_operators(tmp_path: Path) -> None:
    agree(tmp_path / "net.onnx", resized((1, 2, 3, 4), scales=(1, 1, 4, 3), opset=10))


def test_what_a_converter_wrote(tmp_path: Path) -> None:
    path = shared("cases", "formats", "ort_resize.onnx")
    data = path.read_bytes()
    assert [one.factors for one in layers(data) if isinstance(one, ir.Upsample)] == [(2, 2)]
    assert steps(tmp_path, data, 0).max() <= oracle.ALLOWED_STEPS


@pytest.mark.parametrize(("more", "reason"), [
    ({"scales": (1, 1, 2, 1.5)}, r"its scales are \[1.0, 1.0, 2.0, 1.5\]; enlarge height and "),
    ({"scales": (1, 1, 0.5, 1)}, "its scales are"), ({"scales": (1, 2, 1, 1)}, "its scales are"),
    ({"scales": (1, 1, 1025, 1)}, "its scales are"), ({"scales": (1, 1, 2)}, "its scales are"),
    ({"sizes": (1, 2, 6, 5)}, r"it makes \(1, 2, 6, 5\) of \(1, 2, 3, 4\); enlarge height"),
    ({"sizes": (1, 2, 0, 4)}, "its scales are"), ({"sizes": (2, 6, 8)}, "it makes"),
    ({"scales": (1, 1, 2, 2), "mode": "linear"}, "it interpolates"),
    ({"scales": (1, 1, 2, 2), "axes": (0, 1, 2, 3)}, "given axes only"),
    ({"scales": (1, 1, 2, 2), "antialias": 1}, "given axes only"),
    ({"sizes": (1, 2, 6, 8), "keep_aspect_ratio_policy": "not_larger"}, "given axes only"),
    *(({"scales": (1, 1, 3, 3), "coordinate_transformation_mode": transformed,
        "nearest_mode": nearest}, f"those of {transformed} and {nearest}, which repeat unevenly")
      for transformed, nearest in [
          ("asymmetric", "ceil"), ("asymmetric", "round_prefer_floor"), ("half_pixel", "floor"),
          ("half_pixel", "ceil"), ("align_corners", "floor"), ("tf_crop_and_resize", "floor")])])
def test_what_is_no_repetition_is_refused(more: dict[str, object], reason: str) -> None:
    with pytest.raises(PenjingError, match=rf"node 1 \(Resize.*{reason}"):
        layers(resized((1, 2, 3, 4), **more))
