"""Bad ``.tflite`` and ``.onnx`` files of every kind: exit status 2, one line, nothing written.

What is broken at random is read in `test_fuzz_tflite` and `test_fuzz_onnx`; here each file has one
thing wrong, and the line must say which.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from judging import contents, judge
from penjing.__main__ import main

pytest.importorskip("ai_edge_litert")
pytest.importorskip("onnx")

import onnx_files
import onnx_mutants
import tflite_files
from onnx_files import FLOAT, INT8, Model
from tflite_files import Drawn, File

CASES: dict[str, tuple[Callable[[], bytes], tuple[str, ...]]] = {}
"""A file by its name, and what the line must tell beside it."""


def case(name: str, make: Callable[[], bytes], *words: str) -> None:
    """Add the file that ``make`` makes, and what is said of it."""
    CASES[name] = make, words


def good_tflite() -> bytes:
    file = Drawn(np.random.default_rng(0))
    tflite_files.residual(file)
    return file.bytes()


def good_onnx() -> bytes:
    return onnx_files.residual_network(np.random.default_rng(0), onnx_files.STYLES[0], 1)


def damaged(good: Callable[[], bytes], change: Callable[[bytes], bytes]) -> Callable[[], bytes]:
    """A good file whose bytes are changed."""
    return lambda: change(good())


def tflite(change: Callable[[File], None]) -> Callable[[], bytes]:
    """A convolution of a 4×4×2 map, after ``change``; its tensors are x, w, y, bias."""
    def make() -> bytes:
        file = Drawn(np.random.default_rng(0))
        x = file.activation((1, 4, 4, 2), scale=0.1, zero_point=3)
        w = file.weights((3, 2, 2, 2), 0, "INT8", 0.01)
        y = file.activation((1, 3, 3, 3), scale=0.2, zero_point=5)
        file.operator("CONV_2D", file.operands(x, w, 3, bias=True), [y], "Conv2DOptions",
                      padding=tflite_files.VALID, strideH=1, strideW=1)
        file.ends(x, y)
        change(file)
        return file.bytes()
    return make


def tensor(index: int, **changes: object) -> Callable[[], bytes]:
    """The same, with a tensor's attributes changed, or those of its quantization."""
    def change(file: File) -> None:
        for name, value in changes.items():
            record = file.graph.tensors[index]
            setattr(record if hasattr(record, name) else record.quantization, name, value)
    return tflite(change)


def kind(name: str, custom: str | None = None) -> Callable[[], bytes]:
    """The same with another operator instead of the convolution."""
    def change(file: File) -> None:
        code = file.model.operatorCodes[0]
        code.builtinCode = getattr(tflite_files.schema.BuiltinOperator, name)
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        code.customCode = custom
    return tflite(change)


def floats(file: File) -> None:
    for record in file.graph.tensors:
        data = file.model.buffers[record.buffer].data
        if data is not None:
            width = 4 if record.type == tflite_files.schema.TensorType.INT8 else 1
            file.model.buffers[record.buffer].data = np.tile(data, width)
        record.type, record.quantization = tflite_files.schema.TensorType.FLOAT32, None


def two_inputs(file: File) -> None:
    file.graph.inputs.append(file.activation((1, 4, 4, 2)))


def constant_input(file: File) -> None:
    file.graph.tensors[0].buffer = file.graph.tensors[1].buffer
    file.graph.tensors[0].shape = [1, 4, 3, 2]


def no_weights(file: File) -> None:
    file.graph.tensors[1].buffer = 0


# --- files that are none
for suffix, good, junk in (("tflite", good_tflite, good_onnx), ("onnx", good_onnx, good_tflite)):
    case(f"empty.{suffix}", lambda: b"")
    case(f"truncated.{suffix}", damaged(good, lambda data: data[:len(data) // 2]))
    case(f"cut_in_its_first_bytes.{suffix}", damaged(good, lambda data: data[:6]))
    case(f"text.{suffix}", lambda: b"hello\n" * 999)
    case(f"of_the_other_format.{suffix}", junk)
case("wrong_identifier.tflite", damaged(good_tflite, lambda data: data.replace(b"TFL3", b"TFL2")),
     "TFLiteConverter")

# --- networks that cannot be imported
case("unsupported_operator.tflite", kind("COS"), "operator 0 (COS)", "not supported",
     "use CONV_2D, DEPTHWISE_CONV_2D")
case("custom_operator.tflite", kind("CUSTOM", "FlexErf"), "operator 0 (CUSTOM FlexErf)",
     "not supported")
case("float_network.tflite", tflite(floats), "CONV_2D", "FLOAT32", "int8")
case("float_weights.tflite", tensor(1, type=0), "operator 0 (CONV_2D)", "FLOAT32")
case("of_16_bits.tflite", tensor(0, type=7), "INT16", "quantize the whole network to int8")
case("two_inputs.tflite", tflite(two_inputs), "2 inputs", "one input")
case("weights_not_constant.tflite", tflite(no_weights), "operator 0 (CONV_2D)", "no constant")
case("input_is_a_constant.tflite", tflite(constant_input), "tensor 0", "constant")
case("dynamic_height.tflite", tensor(0, shapeSignature=[-1, -1, 4, 2]), "tensor 0", "dynamic")
case("batch_of_8.tflite", tensor(0, shape=[8, 4, 4, 2]), "tensor 0", "batch of 1")
for scale in (0.0, -0.1, math.nan, math.inf):
    case(f"scale_{scale}.tflite", tensor(0, scale=[scale]), "tensor 0", "scale")
    case(f"weight_scale_{scale}.tflite", tensor(1, scale=[scale]), "CONV_2D", "scale")
case("zero_point_out_of_range.tflite", tensor(2, zeroPoint=[300]), "tensor 2", "zero point 300")
case("huge_input.tflite", tensor(0, shape=[1, 60_000, 60_000, 60_000]), "tensor 0", "elements")
case("huge_weights.tflite", tensor(1, shape=[3, 1000, 1000, 2]), "CONV_2D", "6000000 bytes")
case("weights_that_do_not_fit.tflite", tensor(1, shape=[2, 2, 2, 3]), "CONV_2D", "channels")


def onnx(operator: str = "Conv", scale: float = 0.1, dims: tuple[int | str | None, ...] = (
        "n", 2, 4, 4), quantized: bool = True, **attributes: object) -> Callable[[], bytes]:
    """A network of one operator between QuantizeLinear and DequantizeLinear."""
    def make() -> bytes:
        model = Model(dims)
        affine = model.constant(scale, FLOAT), model.constant(3, INT8)
        x = "x"
        if quantized:
            x = model.node("DequantizeLinear", model.node("QuantizeLinear", x, *affine), *affine)
        inputs = [x]
        if operator == "Conv":
            weights = model.constant(np.ones((3, 2, 2, 2)), INT8)
            inputs.append(model.node("DequantizeLinear", weights, model.constant(0.02, FLOAT)))
        y = model.node(operator, *inputs, **attributes)
        if not quantized:
            return model.bytes(y)
        return model.bytes(model.node("DequantizeLinear", model.node("QuantizeLinear", y, *affine),
                                      *affine))
    return make


case("unsupported_operator.onnx", onnx("Einsum"), "node 2 (Einsum", "not supported",
     "supported: Abs, Add, ArgMax")
case("float_network.onnx", onnx(quantized=False), "(Conv", "quantized", "QuantizeLinear")
case("dynamic_height.onnx", onnx(dims=("n", 2, "h", 4)), "(?, 2, ?, 4)", "only N may be dynamic")
case("batch_of_8.onnx", onnx(dims=(8, 2, 4, 4)), "(8, 2, 4, 4)")
case("huge_input.onnx", onnx(dims=(1, 60_000, 60_000, 60_000)), "60000")
for scale in (0.0, -0.1, math.nan, math.inf):
    case(f"scale_{scale}.onnx", onnx(scale=scale), "(QuantizeLinear", "scale")
case("huge_weights.onnx", lambda: onnx_mutants.claimed(np.random.default_rng(0)),
     "1099511627776 values")


def run(name: str, capsys: pytest.CaptureFixture[str]) -> str:
    """The line that compiling the file leads to."""
    before = contents(Path())
    status = main(["compile", name, "-b", "generic", "-o", "new"])
    out, err = capsys.readouterr()
    judge(status, out, err)
    assert contents(Path()) == before
    return err


@pytest.mark.parametrize("name", CASES)
def test_bad_import(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
                    monkeypatch: pytest.MonkeyPatch) -> None:
    make, words = CASES[name]
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(make())
    line = run(name, capsys)
    assert ";" in line, "the way out is missing"
    for word in (name, *words):
        assert word in line


@pytest.mark.parametrize("make", [tflite(lambda file: None), onnx()])
def test_what_is_damaged_above_is_good(make: Callable[[], bytes], tmp_path: Path,
                                       monkeypatch: pytest.MonkeyPatch,
                                       capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    data = make()
    name = "net.tflite" if data[4:8] == b"TFL3" else "net.onnx"
    Path(name).write_bytes(data)
    assert main(["compile", name, "-b", "generic", "-o", "new"]) == 0
    assert "net in new" in capsys.readouterr().out


@pytest.mark.parametrize(("suffix", "package"), [("tflite", "ai_edge_litert"), ("onnx", "onnx")])
def test_missing_package(suffix: str, package: str, tmp_path: Path,
                         capsys: pytest.CaptureFixture[str],
                         monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path(f"net.{suffix}").write_bytes(good_tflite() if suffix == "tflite" else good_onnx())
    reader = f"penjing.compiler.load.{suffix}"
    for module in [name for name in sys.modules if name == reader or name.startswith(f"{reader}.")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.delattr("penjing.compiler.load." + suffix, raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    line = run(f"net.{suffix}", capsys)
    assert package in line
    assert f"pip install 'penjing[{suffix}]'" in line


@pytest.mark.parametrize("suffix", ["tflite", "onnx"])
def test_options_of_float_networks(suffix: str, tmp_path: Path,
                                   capsys: pytest.CaptureFixture[str],
                                   monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path(f"net.{suffix}").write_bytes(good_tflite() if suffix == "tflite" else good_onnx())
    judge(main(["compile", f"net.{suffix}", "-b", "generic", "-o", "new", "--weight-bits", "4"]),
          *capsys.readouterr())
    judge(main(["compile", f"net.{suffix}", "-b", "generic", "-o", "new", "--requantize", "never"]),
          *capsys.readouterr())
