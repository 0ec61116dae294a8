"""Halves, and what is averaged, in networks from ``.onnx`` files: equal to ONNX Runtime.

Where scales are powers of two, both sides are exact but for where a half goes.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_files
import pytest
from onnx_files import FLOAT, INT8, STYLES, Model, Style
from onnx_oracle import steps
from penjing.compiler import ir
from penjing.compiler.load import onnx as importer
from penjing.sim import golden
from penjing.sim.oracles import onnxruntime as oracle


@pytest.mark.parametrize("qlinear", [False, True])
@pytest.mark.parametrize("kind", ["conv", "depthwise", "gemm", "add", "average_pool"])
def test_powers_of_two_differ_in_ties_only(kind: str, qlinear: bool, tmp_path: Path) -> None:
    """Then both sides are exact but for where a half goes: to even there, up here."""
    for seed in range(6):
        rng = np.random.default_rng([seed, qlinear])
        data = onnx_files.random_layer(
            rng, Style(qlinear, per_channel=False, powers=True, float_input=not qlinear), kind)
        path = tmp_path / "model.onnx"
        path.write_bytes(data)
        network = importer.load(path, "net", ir.ScaleRounding.SINGLE)
        x = onnx_files.images(network.input_type, 8, seed)
        tensors, other = golden.run_all(network, x), oracle.run(path, x)
        last = network.layers[-1]
        far = np.abs(tensors[last.name] - other)
        assert isinstance(last, ir.ScaleRequantize)
        source = tensors[last.input] - last.offset
        real = source * (last.multipliers * 2.0 ** (last.shifts - 31.0))
        tie = np.abs(real - np.floor(real) - 0.5) < (1e-9 if kind != "average_pool" else 1e-4)
        assert not far[~tie].any(), seed
        assert far.max() <= 1


@pytest.mark.parametrize("kind", ["conv", "depthwise", "gemm", "add", "mul", "average_pool",
                                  "global_average_pool"])
@pytest.mark.parametrize("style", STYLES)
def test_powers_of_two_are_equal(kind: str, style: Style, tmp_path: Path) -> None:
    """A half goes to even; to odd if an odd zero point is added before, as in QLinearAdd."""
    for seed in range(6):
        rng = np.random.default_rng([seed, STYLES.index(style)])
        data = onnx_files.random_layer(rng, replace(style, powers=True), kind)
        far = steps(tmp_path, data, seed, count=32)
        # A QLinearGlobalAveragePool multiplies by a float, by which no half of a seventh is one.
        assert far.max() <= (kind == "global_average_pool" and style.qlinear), seed
        assert (far > 0).mean() < 0.02


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("shape", [(), (4, 1, 1)])
@pytest.mark.parametrize("operator", ["QLinearAdd", "QLinearMul"])
def test_qlinear_operators_take_constants(operator: str, shape: tuple[int, ...], swapped: bool,
                                          tmp_path: Path) -> None:
    """Of the one constant, all sums are halves."""
    model = Model((1, 4, 3, 5))

    def affine(scale: float, zero: int) -> tuple[str, str]:
        return model.constant(scale, FLOAT), model.constant(zero, INT8)

    x = model.node("QuantizeLinear", "x", *affine(0.25, 7)), *affine(0.25, 7)
    values = np.array([46, -99, 3, 77])[:, None, None] if shape else 46
    other = model.constant(values, INT8), *affine(0.125, -5)
    first, second = (other, x) if swapped else (x, other)
    scale = 0.25 if operator == "QLinearAdd" else 4.0
    data = model.bytes(model.node("DequantizeLinear", model.node(
        operator, *first, *second, *affine(scale, 33)), *affine(scale, 33)))
    assert not steps(tmp_path, data, count=32).any()


@pytest.mark.parametrize("kernel", [(2, 2), (4, 1), (1, 8), None])
@pytest.mark.parametrize("qlinear", [False, True])
def test_mean_of_a_power_of_two_is_equal(kernel: tuple[int, int] | None, qlinear: bool,
                                         tmp_path: Path) -> None:
    """A window's, or that of the whole map."""
    operator = "AveragePool" if kernel else "GlobalAveragePool"
    attributes = {"kernel_shape": kernel} if kernel else {}
    for seed, (ratio, zero) in enumerate(((1, 5), (1, 4), (2, 5), (0.25, 5), (0.25, 4))):
        model = Model(("n", 3, 8, 8), INT8)
        scales = model.constant(0.5, FLOAT), model.constant(0.5 / ratio, FLOAT)
        zeros = model.constant(-7, INT8), model.constant(zero, INT8)
        if qlinear:
            y = model.node(f"QLinear{operator}", "x", scales[0], zeros[0], scales[1], zeros[1],
                           **attributes)
        else:
            x = model.node("DequantizeLinear", "x", scales[0], zeros[0])
            y = model.node(operator, x, **attributes)
            y = model.node("QuantizeLinear", y, scales[1], zeros[1])
        assert not steps(tmp_path, model.bytes(y, INT8), seed, count=64).any()


@pytest.mark.parametrize("kernel", [(3, 3), (2, 2), (3, 1), (4, 5)])
@pytest.mark.parametrize("ceil_mode", [0, 1])
@pytest.mark.parametrize("powers", [False, True])
@pytest.mark.parametrize("qlinear", [False, True])
def test_mean_of_what_lies_inside(qlinear: bool, powers: bool, ceil_mode: int,
                                  kernel: tuple[int, int], tmp_path: Path) -> None:
    """Without ``count_include_pad``, padding and what ``ceil_mode`` appends do not count."""
    differ = compared = 0
    for seed in range(6):
        rng = np.random.default_rng([seed, *kernel, ceil_mode])
        pads = [int(rng.integers(0, kernel[n % 2])) for n in range(4)]
        more = {"kernel_shape": kernel, "pads": pads, "ceil_mode": ceil_mode,
                "strides": [int(n) for n in rng.integers(1, 4, 2)]}
        model = Model(("n", 3, 7, 6), INT8)
        ratio = 2.0 ** rng.integers(-1, 2) if powers else rng.uniform(0.4, 2)
        scales = model.constant(0.5, FLOAT), model.constant(0.5 * ratio, FLOAT)
        zeros = model.constant(-7, INT8), model.constant(int(rng.integers(-9, 9)), INT8)
        if not powers:
            scales = model.constant(0.3, FLOAT), scales[1]
        if qlinear:
            y = model.node("QLinearAveragePool", "x", scales[0], zeros[0], scales[1], zeros[1],
                           **more)
        else:
            x = model.node("DequantizeLinear", "x", scales[0], zeros[0])
            y = model.node("QuantizeLinear", model.node("AveragePool", x, **more), scales[1],
                           zeros[1])
        far = steps(tmp_path, model.bytes(y, INT8), seed, count=64)
        assert far.max() <= (0 if powers else 1), seed
        differ, compared = differ + int(far.sum()), compared + far.size
    assert differ < compared / 1000


@pytest.mark.parametrize("powers", [False, True])
@pytest.mark.parametrize("style", STYLES)
def test_residual_network(style: Style, powers: bool, tmp_path: Path) -> None:
    for seed in range(3):
        rng = np.random.default_rng([seed, STYLES.index(style)])
        data = onnx_files.residual_network(rng, replace(style, powers=powers),
                                           softmax=bool(seed % 2))
        network = importer.convert(importer.parse(data), "net").network
        assert sum(isinstance(layer, ir.Add) for layer in network.layers) == 2
        assert any(isinstance(layer, ir.Depthwise) for layer in network.layers)
        assert steps(tmp_path, data, seed, count=16).max() <= oracle.ALLOWED_STEPS, seed
