"""ConvTranspose of ``.onnx`` files: equal to ONNX Runtime, or refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from others import shared

pytest.importorskip("onnxruntime", reason="needs ONNX Runtime: pip install penjing[onnx]")

from onnx_files import FLOAT, INT8, INT32, Model
from onnx_oracle import steps
from penjing.compiler.ir import PenjingError
from penjing.compiler.load import onnx as importer


def transposed(dims: tuple[int, ...], shape: tuple[int, ...], *, scales: int = 1, bias: bool = True,
               **attributes: object) -> bytes:
    """A network of int8 whose scales are powers of two, so that floats are exact."""
    rng = np.random.default_rng(len(attributes))
    model = Model(dims, INT8)
    x = model.node("DequantizeLinear", "x", model.constant(np.float32(0.25), FLOAT),
                   model.constant(np.int8(-7), INT8))
    many = np.float32(2.0) ** -rng.integers(3, 6, scales)
    weights = model.node(
        "DequantizeLinear", model.constant(rng.integers(-127, 128, shape), INT8),
        model.constant(many if scales > 1 else many[0], FLOAT), axis=1)
    operands = [x, weights]
    if bias:
        groups = attributes.get("group", 1)
        outputs = shape[1] * groups
        worth = np.tile(many, groups if scales > 1 else outputs) / 4
        operands.append(model.node(
            "DequantizeLinear", model.constant(rng.integers(-3000, 3000, outputs), INT32),
            model.constant(worth.astype(np.float32), FLOAT), axis=0))
    end = model.constant(np.float32(4.0), FLOAT), model.constant(np.int8(5), INT8)
    return model.bytes(model.node("QuantizeLinear", model.node(
        "ConvTranspose", *operands, **attributes), *end), INT8)


@pytest.mark.parametrize(("dims", "shape", "attributes"), [
    ((1, 3, 4, 5), (3, 2, 4, 4), {"strides": [2, 2], "pads": [1, 1, 1, 1], "scales": 2}),
    ((1, 3, 3, 2), (3, 4, 3, 2), {"strides": [2, 3], "output_padding": [1, 2]}),
    ((1, 4, 3, 3), (4, 3, 2, 3), {"group": 2, "dilations": [2, 1], "scales": 3}),
    ((1, 3, 3, 2), (3, 1, 3, 3), {"group": 3, "strides": [1, 2], "pads": [0, 2, 1, 1]}),
    ((1, 2, 7), (2, 3, 5), {"strides": [3], "pads": [1, 2], "output_padding": [1]}),
    *(((1, 2, 3, 4), (2, 2, 3, 4), {"strides": [2, 2], "auto_pad": mode, "output_padding": more})
      for mode in ("SAME_UPPER", "SAME_LOWER", "VALID") for more in ([0, 0], [1, 1])),
    ((1, 2, 3, 3), (2, 2, 1, 2), {"strides": [2, 3], "auto_pad": "SAME_UPPER", "bias": False}),
    *(((1, 2, 3, 3), (2, 2, 3, 4), {"strides": [2, 2], "output_shape": wanted, "auto_pad": mode})
      for wanted in ([6, 5], [8, 9]) for mode in ("NOTSET", "SAME_UPPER"))])
def test_what_onnx_runtime_computes(dims: tuple[int, ...], shape: tuple[int, ...],
                                    attributes: dict[str, object], tmp_path: Path) -> None:
    assert not steps(tmp_path, transposed(dims, shape, **attributes)).any()


def test_factors_and_addends_go_into_weights(tmp_path: Path) -> None:
    """Through what leaves off the border; one factor is negative, one 0."""
    model = Model((1, 3, 4, 4), INT8)
    step, point = model.constant(0.25, FLOAT), model.constant(-7, INT8)
    weights = np.random.default_rng(1).integers(-127, 128, (3, 3, 3, 3))
    y = model.node("ConvTranspose", model.node("DequantizeLinear", "x", step, point), model.node(
        "DequantizeLinear", model.constant(weights, INT8), model.constant(0.02, FLOAT)),
        strides=[2, 2], pads=[1, 1, 1, 1])
    y = model.node("BatchNormalization", y, *(model.constant(values, FLOAT) for values in (
        [0.5, -0.7, 0.0], [1.0, 0.0, -2.0], [0.3, 2.0, 1.0], [0.5, 2.0, 1.0])))
    data = model.bytes(model.node("QuantizeLinear", y, model.constant(0.913, FLOAT), point), INT8)
    layers = importer.convert(importer.parse(data), "net").network.layers
    assert [layer.kind for layer in layers] == ["transposedconvolution", "crop", "scalerequantize"]
    assert steps(tmp_path, data, count=20).mean() < 0.001


def test_a_network_of_onnx_runtimes_quantizer(tmp_path: Path) -> None:
    """Its floats are not exact: what is a half there falls either way."""
    path = shared("cases", "formats", "ort_tconv.onnx")
    apart = steps(tmp_path, path.read_bytes(), count=20)
    assert apart.max() <= 1 and (apart > 0).mean() < 1e-3


@pytest.mark.parametrize(("shape", "attributes", "reason"), [
    ((3, 2, 3, 3), {}, "do not fit an input of 2 channels"),
    ((2, 2, 3), {}, "do not fit an input of 2 channels and 2 dimensions"),
    ((2, 2, 3, 3), {"group": 3, "bias": False}, "in 3 groups do not fit"),
    ((2, 2, 3, 3), {"kernel_shape": [3, 2]}, "its kernel_shape is not that of its weights"),
    ((2, 2, 3, 3), {"pads": [1, 1]}, "are not 4 numbers from 0 to 4096"),
    ((2, 2, 3, 3), {"output_shape": [0, 4]}, "are not 2 numbers from 1 to 4096"),
    ((2, 2, 3, 3), {"strides": [2, 2], "output_padding": [0, 2], "dilations": [3, 3]},
     "its output_padding puts .* below its strides"),
    ((2, 2, 3, 3), {"output_shape": [5, 7]}, "its output_shape puts .* below its strides"),
    ((2, 2, 3, 3), {"auto_pad": "SAME"}, "its auto_pad SAME is unknown"),
    ((2, 2, 1, 1), {"pads": [4, 0, 4, 0]}, "leaves nothing of its output"),
    ((2, 2, 1, 1), {"strides": [4096, 4096]}, "take a smaller stride")])
def test_what_is_refused(shape: tuple[int, ...], attributes: dict[str, object], reason: str,
                         tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(transposed((1, 2, 3, 4), shape, **attributes))
    with pytest.raises(PenjingError, match=rf"ConvTranspose.*{reason}") as error:
        importer.load(path, "net")
    assert "\n" not in str(error.value)
