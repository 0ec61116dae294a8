"""The sparse VGG-16: what is read is what the arrays say, and damage is told in one line."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import penjing
import pytest
from penjing.compiler import ir
from penjing.compiler.ir import PenjingError
from penjing.compiler.load.floats import FloatNetwork, run
from penjing.sim import golden

ROOT = Path(penjing.__file__).resolve().parent
Arrays = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def vgg() -> ModuleType:
    """The example's reader, of a network with few channels."""
    path = ROOT / "examples" / "vgg16" / "network.py"
    spec = importlib.util.spec_from_file_location("vgg16_network", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert sum(map(len, module.STAGES)) == 13
    module.STAGES = ((4, 4), (6,))
    module.INPUT = (4, 4, 3)
    return module


SHAPES = {"features.0": (4, 3, 3, 3), "features.3": (4, 4, 3, 3), "features.7": (6, 4, 3, 3),
          "classifier": (10, 6)}


def arrays(seed: int = 1) -> Arrays:
    """A file's arrays: a tenth of the weights are there."""
    rng = np.random.default_rng(seed)
    held: Arrays = {"classifier.bias": rng.normal(size=10).astype(np.float32)}
    for name, shape in SHAPES.items():
        size = int(np.prod(shape))
        index = np.sort(rng.choice(size, size // 3, replace=False)).astype(np.uint32)
        held[f"{name}.weight.index"] = index
        held[f"{name}.weight.value"] = rng.normal(size=index.size).astype(np.float16)
        held[f"{name}.weight.shape"] = np.array(shape)
        if name != "classifier":
            norm = f"features.{int(name[9:]) + 1}"
            for part in ("weight", "bias", "running_mean", "running_var"):
                held[f"{norm}.{part}"] = rng.uniform(0.5, 2, shape[0]).astype(np.float32)
    return held


def written(folder: Path, held: Arrays) -> Path:
    path = folder / "sparse.npz"
    np.savez_compressed(path, **held)  # type: ignore[arg-type]
    return path


def test_reader_is_what_pytorch_computes(vgg: ModuleType, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    held = arrays()
    layers = []
    for name, norm, pool in (("features.0", "features.1", False),
                             ("features.3", "features.4", True),
                             ("features.7", "features.8", True)):
        outputs, inputs, _, _ = SHAPES[name]
        layers += [torch.nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
                   torch.nn.BatchNorm2d(outputs), torch.nn.ReLU()]
        flat = np.zeros(outputs * inputs * 9)
        flat[held[f"{name}.weight.index"]] = held[f"{name}.weight.value"]
        state = {part: torch.from_numpy(held[f"{norm}.{part}"])
                 for part in ("weight", "bias", "running_mean", "running_var")}
        layers[-2].load_state_dict({**state, "num_batches_tracked": torch.tensor(0)})
        layers[-3].load_state_dict({"weight": torch.from_numpy(flat.reshape(SHAPES[name]))})
        layers += [torch.nn.MaxPool2d(2)] * pool
    layers += [torch.nn.Flatten(), torch.nn.Linear(6, 10)]
    flat = np.zeros(60)
    flat[held["classifier.weight.index"]] = held["classifier.weight.value"]
    layers[-1].load_state_dict({"weight": torch.from_numpy(flat.reshape(10, 6)),
                                "bias": torch.from_numpy(held["classifier.bias"])})
    x = np.random.default_rng(2).random((5, 4, 4, 3))
    normal = ((x - vgg.MEAN) / vgg.DEVIATION).transpose(0, 3, 1, 2)
    with torch.no_grad():
        wanted = torch.nn.Sequential(*layers).double().eval()(torch.from_numpy(normal)).numpy()
    floats = vgg.network(written(tmp_path, held))
    assert isinstance(floats, FloatNetwork)
    assert np.allclose(run(floats, x).reshape(5, 10), wanted, atol=1e-6)


def test_integers_share_weights_and_keep_zeros(vgg: ModuleType, tmp_path: Path) -> None:
    held = arrays()
    pixels = np.random.default_rng(3).integers(0, 256, (16, 4, 4, 3), np.uint8)
    made = vgg.integers(vgg.network(written(tmp_path, held)), pixels, 8)
    layers = [layer for layer in made.layers if isinstance(layer, ir.MultiplyAccumulate)]
    assert [layer.name for layer in layers] == ["normalize", "conv1_1", "conv1_2", "conv2_1",
                                                "classifier"]
    for layer, name in zip(layers[1:], SHAPES, strict=True):
        assert len(layer.weights.codebook) <= 8
        assert np.count_nonzero(layer.weights.values) == held[f"{name}.weight.index"].size
    assert golden.run(made, pixels.astype(np.int64)).shape == (16, 1, 1, 10)


def changed(**arrays: object) -> Callable[[Arrays], None]:
    """A change of a file's arrays, with ``__`` for a point; None leaves one out."""
    def change(held: Arrays) -> None:
        for name, value in arrays.items():
            name = name.replace("__", ".")
            if value is None:
                held.pop(name)
            else:
                held[name] = value(held[name]) if callable(value) else np.asarray(value)
    return change


@pytest.mark.parametrize(("change", "reason"), [
    (changed(classifier__bias=None), "holds no array classifier.bias"),
    (changed(classifier__bias=np.full(10, np.nan)), "classifier.bias must be 10 finite floats"),
    (changed(classifier__bias=np.zeros(11)), "classifier.bias must be 10 finite floats"),
    (changed(features__1__running_var=np.full(4, -1.0)), "negative variance"),
    (changed(features__0__weight__shape=[4, 3, 3, 4]), "shape must be"),
    (changed(features__0__weight__shape=[1 << 40, 3, 3, 3]), "shape must be"),
    (changed(features__0__weight__index=lambda a: a[::-1]), "index must ascend"),
    (changed(features__0__weight__index=lambda a: a + np.uint32(1 << 20)), "index must ascend"),
    (changed(features__0__weight__index=lambda a: a.astype(np.int64) - 50), "index must ascend"),
    (changed(features__0__weight__index=lambda a: np.minimum(a, a[-2])), "index must ascend"),
    (changed(features__0__weight__index=lambda a: a[1:]), "index must be 36 integers"),
    (changed(features__0__weight__index=lambda a: a * 1.0), "index must be 36 integers"),
    (changed(features__0__weight__value=lambda a: a * np.float16(np.inf)), "finite floats"),
    (changed(features__0__weight__value=lambda a: a.reshape(2, -1)), "finite floats")])
def test_damage_is_told(vgg: ModuleType, tmp_path: Path, change: Callable[[Arrays], None],
                        reason: str) -> None:
    held = arrays()
    change(held)
    with np.errstate(all="ignore"), pytest.raises(PenjingError, match=reason) as caught:
        vgg.network(written(tmp_path, held))
    assert "\n" not in str(caught.value)


def test_sizes_are_checked_before_they_are_believed(vgg: ModuleType, tmp_path: Path,
                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vgg, "_MOST", 1000)
    with pytest.raises(PenjingError, match="claims"):
        vgg.network(written(tmp_path, {**arrays(), "classifier.bias": np.zeros(1000)}))


def test_cut_off_or_flipped_files_never_crash(vgg: ModuleType, tmp_path: Path) -> None:
    path = written(tmp_path, arrays())
    whole = path.read_bytes()
    rng = np.random.default_rng(4)
    for _ in range(60):
        data = bytearray(whole[:rng.integers(len(whole))] if rng.integers(2) else whole)
        if data:
            data[rng.integers(len(data))] ^= 1 << rng.integers(8)
        path.write_bytes(data)
        with contextlib.suppress(PenjingError):  # any other error is a bug
            vgg.network(path)
