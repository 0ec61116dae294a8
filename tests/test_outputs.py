"""Files of several outputs: one is chosen by its name, and what it does not need is left away."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from penjing.compiler.ir import PenjingError
from penjing.compiler.load import pt2
from penjing.compiler.load.outputs import chosen, needed
from penjing.sim import golden

Load = Callable[[str | None], object]


def refuses_but_one(load: Load, *names: str) -> None:
    """Require that without a name, or with a wrong one, the outputs are told."""
    told = ", ".join(names)
    with pytest.raises(PenjingError, match=f"it has 2 outputs, {told}; choose one with --result"):
        load(None)
    with pytest.raises(PenjingError, match=f"it has no output y; choose one of {told} with --res"):
        load("y")


def test_names_are_told_and_bounded() -> None:
    assert chosen(["a"], None) == 0 and chosen(["a", "b"], "b") == 1
    with pytest.raises(PenjingError, match="it has no outputs; export"):
        chosen([], None)
    with pytest.raises(PenjingError) as caught:
        chosen(["n" * 1000] * 1000, None)
    assert len(str(caught.value)) < 700


def test_what_is_not_needed_is_left_away() -> None:
    graph = [("x", "a"), ("a", "b"), ("ax", "c"), ("c", "d"), ("b", "e")]
    assert needed(graph, "d") == [True, False, True, True, False]


def test_onnx(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    import onnx_files
    from onnx_files import FLOAT, INT8, Model
    from penjing.compiler.load import onnx as importer
    from penjing.sim.oracles import onnxruntime as oracle

    model = Model(("n", 3, 4, 4), INT8)
    affine = model.constant(0.1, FLOAT), model.constant(3, INT8)
    real = model.node("DequantizeLinear", "x", *affine)
    tall = model.node("MaxPool", real, kernel_shape=(2, 1))
    both = [model.node("QuantizeLinear", tall, *affine)]
    # An operator that nobody reads otherwise, between the two.
    model.node("NonZero", real)
    both.append(model.node("QuantizeLinear", model.node("Relu", real), *affine))
    proto = model.proto(both[0], INT8)
    proto.graph.output.append(onnx_files.helper.make_tensor_value_info(both[1], INT8, None))
    path = tmp_path / "two.onnx"
    path.write_bytes(proto.SerializeToString())
    refuses_but_one(lambda name: importer.load(path, "net", result=name), *both)
    for name, kind in zip(both, ("maxpool", "clamp"), strict=True):
        network = importer.load(path, "net", result=name)
        assert [layer.kind for layer in network.layers] == [kind]
        x = onnx_files.images(network.input_type, 5, 0)
        found, = oracle.batches(path, x, name)
        np.testing.assert_array_equal(golden.run(network, x), found.outputs)


def test_tflite(tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    from penjing.compiler.load import tflite
    from penjing.flow.simulate import sample_frames
    from penjing.sim.oracles import litert
    from tflite_files import Drawn

    file = Drawn(np.random.default_rng(0))
    x, y, z = (file.activation((1, 4, 4, 2), scale=0.1, zero_point=3) for _ in range(3))
    file.operator("RELU", [x], [y])
    file.operator("RELU6", [x], [z])
    file.ends(x, y)
    file.graph.outputs = [y, z]
    names = [file.graph.tensors[n].name for n in (y, z)]
    path = file.write(tmp_path / "two.tflite")
    refuses_but_one(lambda name: tflite.load(path, "net", result=name), *names)
    for name in names:
        network = tflite.load(path, "net", result=name)
        assert len(network.layers) == 1
        frames = sample_frames(network.input_type, 6, 0)
        np.testing.assert_array_equal(golden.run(network, frames),
                                      litert.run(path, frames, name)[0])


def test_pytorch(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from penjing.compiler.load import aten
    from penjing.compiler.load import torch as loader

    class Two(torch.nn.Module):  # type: ignore[name-defined, misc]
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return torch.relu(x), torch.flip(x, (1,))

    torch.export.save(torch.export.export(Two().eval(), (torch.zeros(1, 6),)), tmp_path / "two.pt2")
    path = tmp_path / "two.pt2"
    refuses_but_one(lambda name: pt2.read(path, name), "relu", "flip")
    program = pt2.read(path, "relu")
    assert [node.name for node in program.nodes] == ["relu"]
    assert len(aten.convert(program, "two").layers) == 1
    x = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    np.testing.assert_array_equal(loader.run_float(path, x, result="relu"), np.maximum(x, 0))
