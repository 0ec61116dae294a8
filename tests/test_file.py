"""The network file: what is written is read back, and damage is always told."""

from __future__ import annotations

import contextlib
import copy
import gzip
import json
import os
import random
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from penjing.compiler import file, ir
from penjing.compiler.ir import PenjingError
from safetensors.numpy import save as save_tensors


def network() -> ir.Network:
    """One layer of each kind, arrays of each width."""
    rng = np.random.default_rng(1)
    weights = ir.Weights(rng.integers(-4, 4, (5, 3, 2, 2)), 3, 7)
    wide = ir.Weights(rng.integers(-300, 300, (4, 60)), 16, -2)
    return ir.Network("odd", "input", ir.TensorType((9, 7, 2), 8, False, 8), (
        ir.Convolution("conv", "input", weights, np.array([1, 2, 3, 4, 70000]), (1, 2),
                       (1, 2, 0, 1)),
        ir.ShiftRequantize("relu", "conv", 3, 8, False, None, 200),
        ir.MaxPool("pool", "relu", (3, 2), (2, 1), (0, 1, 1, 0)),
        ir.AveragePool("mean", "pool", (2, 1), (3, 1), (0, 1, 0, 0), ir.Rounding.HALF_AWAY, False,
                       2),
        ir.Clamp("clamp", "mean", 1, 90),
        ir.ScaleRequantize("scale", "clamp", np.array([3, (1 << 31) - 1, 0, 7, 9]),
                           np.array([-31, 0, 2, 4, 1]), 9, True, 5, 1, -3, scale=0.1,
                           rounding=ir.ScaleRounding.SINGLE, addends=np.array([1, 7, 0, 5, 0])),
        ir.Add("add", "clamp", "scale"),
        ir.Threshold("steps", "add", np.array([[-300, 0, 2]] * 4 + [[1, 1, 1 << 30]]),
                     np.array([0, 1, 1, 0, 0]), 3, True, -3, 2, zero_point=1, scale=0.5),
        ir.SlopeRequantize("slopes", "steps", np.array([[-3, 70000]]), np.array([[1 << 30, 0]]),
                           np.array([2]), 7, 8, True, -100, fraction=4),
        ir.Repeat("twice", "slopes", 2),
        ir.Reshape("reshape", "twice", (2, 5, 8)),
        ir.Flatten("flat", "reshape"),
        ir.Dense("dense", "flat", ir.Weights(np.tile(wide.values[:, :40], 2), 16, -2,
                                             ir.Codebook()),
                 np.array([1 << 40, -3, 0, 5])),
        ir.ArgMax("best", "dense"),
        ir.Table("names", "best", np.array([[-90, 3, 0, 89]]), 8, True, 0, 2, -1, 0.25),
        ir.Concatenation("twin", "best", ("best", "best")),
        ir.Slice("half", "twin", 1, 3),
        ir.Crop("piece", "half", (0, 1, 1), (0, 1, 64)),
        ir.Subtract("difference", "half", "piece"),
        ir.Upsample("larger", "half", (2, 64)),
        ir.Multiply("product", "larger", "larger", (-3, 1)),
        ir.WinogradInput("tiles", "larger", (1, 2), (0, 0, 2, 1), 1, 3),
        ir.WinogradProducts("turns", "tiles", ir.Weights(np.arange(96).reshape(16, 3, 1, 2), 8),
                            np.arange(16), (1, 1), (2, 1, 0, 0), 0, 4),
        ir.WinogradOutput("columns", "turns", (1, 2), 20, np.array([1, -5, 70000, 3])),
        ir.Permutation("mixed", "larger", (1, 0)),
    ))


def sparse_network(encoding: ir.Encoding) -> ir.Network:
    """A layer whose weights are stored so; 255 of them, and 0, are different."""
    values = np.zeros((4, 200), np.int64)
    values[:2, ::2], values[2, :55] = np.arange(1, 201).reshape(2, 100), -np.arange(1, 56)
    return ir.Network("sparse", "x", ir.TensorType((1, 1, 200), 8, True), (
        ir.Dense("dense", "x", ir.Weights(values, 9, encoding=encoding), np.zeros(4, np.int64)),))


def pieces(data: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The inner header and the arrays of a file."""
    from safetensors.numpy import load as load_tensors

    length = struct.unpack("<Q", data[:8])[0]
    return json.loads(json.loads(data[8:8 + length])["__metadata__"]["penjing"]), load_tensors(data)


def forged(header: dict[str, Any], tensors: dict[str, np.ndarray]) -> bytes:
    """A file with a right checksum whatever it holds."""
    header = {**header, "sha256": file._digest(header["network"], tensors)}
    return save_tensors(tensors, {"penjing": json.dumps(header)})


def refused(tmp_path: Path, data: bytes, match: str) -> None:
    path = tmp_path / "bad.penjing"
    path.write_bytes(data)
    with pytest.raises(PenjingError, match=match) as info:
        file.load(path)
    message = str(info.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert ";" in message
    assert len(message) < 600 + len(str(path))


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "net.penjing"
    file.save(network(), path)
    assert file.load(path) == network()
    assert os.listdir(tmp_path) == ["net.penjing"]


def test_bytes_depend_on_the_network_only(tmp_path: Path) -> None:
    data = file.to_bytes(network())
    path = tmp_path / "net.penjing"
    path.write_bytes(data)
    assert file.to_bytes(file.load(path)) == data == file.to_bytes(network())


def test_compressed_files_are_read_as_others(tmp_path: Path) -> None:
    path = tmp_path / "small.penjing"
    file.save(network(), path, compressed=True)
    data = path.read_bytes()
    assert len(data) < len(file.to_bytes(network()))
    assert file.load(path) == network()
    file.save(network(), path, compressed=True)
    assert path.read_bytes() == data


@pytest.mark.parametrize(("change", "reason"), [
    (lambda data: data[:-1], "cut off"), (lambda data: data[:40], "cut off"),
    (lambda data: data + b"0", "something follows"),
    (lambda data: data[:60] + bytes([data[60] ^ 255]) + data[61:], "damaged"),
    (lambda data: data[:-6] + bytes(6), "cannot be read")])
def test_damage_of_what_is_compressed(tmp_path: Path, change: Callable[[bytes], bytes], reason: str
                                      ) -> None:
    path = tmp_path / "bad.penjing"
    path.write_bytes(change(gzip.compress(file.to_bytes(network()), mtime=0)))
    with pytest.raises(PenjingError, match=reason) as caught:
        file.load(path)
    assert "\n" not in str(caught.value)


def test_a_compressed_file_does_not_swell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bomb.penjing"
    path.write_bytes(gzip.compress(bytes(1 << 20)))
    monkeypatch.setattr(file, "MAX_FILE_BYTES", 1 << 16)
    with pytest.raises(PenjingError, match="larger than"):
        file.load(path)


def test_arrays_are_narrow_and_in_order() -> None:
    _, tensors = pieces(file.to_bytes(network()))
    assert {name: array.dtype.name for name, array in tensors.items()} == {
        "conv.weights.values": "int8", "conv.bias": "int32", "dense.weights.values": "int16",
        "dense.bias": "int64", "scale.multipliers": "int32", "scale.shifts": "int8",
        "scale.addends": "int8", "turns.weights.values": "int8", "turns.bias": "int8",
        "columns.bias": "int32",
        "slopes.multipliers": "int32", "slopes.offsets": "int32",
        "slopes.breakpoints": "int8", "steps.thresholds": "int32", "steps.falling": "int8",
        "names.values": "int8"}


def test_memory_order_does_not_matter(tmp_path: Path) -> None:
    values = np.arange(-6, 6).reshape(3, 2, 2, 1).transpose(3, 1, 2, 0)
    layer = ir.Convolution("c", "x", ir.Weights(values, 8), np.array([0]))
    net = ir.Network("n", "x", ir.TensorType((4, 4, 3), 8, True), (layer,))
    file.save(net, tmp_path / "n")
    assert file.load(tmp_path / "n") == net


def test_every_layer_has_a_kind() -> None:
    def leaves(cls: type) -> set[type]:
        ours = [sub for sub in cls.__subclasses__() if sub.__module__.startswith(ir.__name__)]
        return set().union(*map(leaves, ours)) if ours else {cls}

    assert leaves(ir.Layer) == set(file.LAYERS)


def test_unknown_layer_is_not_written(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Strange(ir.Flatten):
        pass

    net = ir.Network("n", "x", ir.TensorType((4, 4, 3), 8, True), (Strange("s", "x"),))
    with pytest.raises(PenjingError, match="layer s: files do not know strange"):
        file.save(net, tmp_path / "n")
    assert os.listdir(tmp_path) == []


def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(PenjingError, match=r"cannot be written.*; choose a folder"):
        file.save(network(), tmp_path / "missing" / "n.penjing")
    (tmp_path / "plain").write_text("")
    with pytest.raises(PenjingError, match="cannot be written"):
        file.save(network(), tmp_path / "plain" / "n.penjing")
    (tmp_path / "folder").mkdir()
    with pytest.raises(PenjingError, match="cannot be written"):
        file.save(network(), tmp_path / "folder")
    assert sorted(os.listdir(tmp_path)) == ["folder", "plain"]


def test_interrupted_write_leaves_the_old_file(tmp_path: Path,
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "n.penjing"
    path.write_text("old")

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(PenjingError, match="No space left"):
        file.save(network(), path)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["n.penjing"]


def test_unreadable(tmp_path: Path) -> None:
    with pytest.raises(PenjingError, match=r"cannot be read.*; check the path"):
        file.load(tmp_path / "missing")
    with pytest.raises(PenjingError, match="cannot be read"):
        file.load(tmp_path)
    with pytest.raises(PenjingError, match="not a regular file"):
        file.load("/dev/null")
    huge = tmp_path / "huge"
    with open(huge, "wb") as stream:
        stream.truncate(file.MAX_FILE_BYTES + 1)
    with pytest.raises(PenjingError, match="larger than 256 MiB"):
        file.load(huge)


def test_not_a_network(tmp_path: Path) -> None:
    good = file.to_bytes(network())
    refused(tmp_path, b"", "not a network file, or cut off")
    refused(tmp_path, b"PK\x03\x04" + good, "its header claims")
    refused(tmp_path, struct.pack("<Q", 1 << 60) + good[8:], "its header claims")
    refused(tmp_path, good[:-1], "damaged or cut off")
    refused(tmp_path, good + b"\0", "damaged or cut off")
    refused(tmp_path, good[:60], "cut off")
    refused(tmp_path, struct.pack("<Q", 5) + b"hello", "its header is no JSON")
    deep = b"[" * 100000
    refused(tmp_path, struct.pack("<Q", len(deep)) + deep, "its header is no JSON")
    refused(tmp_path, save_tensors({"a": np.zeros(3)}), "not a network file of Penjing")
    refused(tmp_path, save_tensors({}, {"penjing": "[]"}), "not a network file of Penjing")
    refused(tmp_path, save_tensors({}, {"penjing": "{"}), "no JSON")
    flipped = bytearray(good)
    flipped[-1] ^= 1
    refused(tmp_path, bytes(flipped), "checksum")


Change = Callable[[dict[str, Any], dict[str, np.ndarray]], object]


def layer(index: int) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda header: header["network"]["layers"][index]


CHANGES: list[tuple[Change, str]] = [
    (lambda h, t: h.update(version=2), "its format version is 2, this program reads 1"),
    (lambda h, t: h.update(version=True), "its format version is True"),
    (lambda h, t: h.update(format="other"), "not a network file of Penjing"),
    (lambda h, t: h.update(more=1), "one too many"),
    (lambda h, t: layer(0)(h).update(kind="fft"), "layer 'conv' is of the unknown kind 'fft'"),
    (lambda h, t: layer(0)(h).update(kind=3), "unknown kind 3"),
    (lambda h, t: layer(0)(h).pop("stride"), "conv must have the attributes .*wrong are stride"),
    (lambda h, t: layer(0)(h).update(flavour=2), "wrong are flavour"),
    (lambda h, t: layer(0)(h).update(stride="1"), "conv.stride must be a list"),
    (lambda h, t: layer(0)(h).update(stride=[1]), "conv.stride must have 2 entries, not 1"),
    (lambda h, t: layer(0)(h).update(stride=[1, 1.5]), "conv.stride must be int, not 1.5"),
    (lambda h, t: layer(0)(h).update(stride=[1, True]), "conv.stride must be int, not True"),
    (lambda h, t: layer(0)(h).update(stride=[1, 0]), "stride must be 2 integers from 1"),
    (lambda h, t: layer(0)(h).update(input="nowhere"), "its input 'nowhere' is no earlier layer"),
    (lambda h, t: layer(0)(h).update(name="x\ny" * 9999), "the array|must be letters"),
    (lambda h, t: layer(0)(h).update(bias="relu.bias"), "the array conv.bias is missing"),
    (lambda h, t: layer(0)(h).update(bias=[1]), "the array conv.bias is missing"),
    (lambda h, t: layer(0)(h).update(weights=7), "conv.weights must have the attributes"),
    (lambda h, t: layer(1)(h).update(shift=None), "relu.shift must be int, not None"),
    (lambda h, t: layer(1)(h).update(signed=0), "relu.signed must be bool, not 0"),
    (lambda h, t: layer(1)(h).update(bits=10**4000), "bits must be"),
    (lambda h, t: h["network"].update(layers=[]), "network: it has no layers|no layer uses"),
    (lambda h, t: h["network"].update(layers=[5]), "a layer must be an object, not 5"),
    (lambda h, t: h["network"].update(layers={}), "layers must be a list"),
    (lambda h, t: h["network"].pop("name"), "network must have the attributes"),
    (lambda h, t: h["network"]["input_type"].update(shape=[1 << 20] * 3), "more than"),
    (lambda h, t: h.update(network=None), "network must have the attributes"),
    (lambda h, t: t.pop("conv.bias"), "the array conv.bias is missing"),
    (lambda h, t: t.update(extra=np.zeros(2, np.int8)), "no layer uses, such as 'extra'"),
    (lambda h, t: t.update({"conv.bias": np.zeros(5)}), "has type F64, not a signed integer"),
    (lambda h, t: t.update({"conv.bias": np.zeros(5, np.uint8)}), "has type U8"),
    (lambda h, t: t.update({"conv.bias": np.zeros(4, np.int8)}), r"bias must have shape \(5,\)"),
    (lambda h, t: t.update({"conv.bias": np.zeros((), np.int8)}), "is empty"),
    (lambda h, t: t.update({"conv.bias": np.zeros(0, np.int8)}), "is empty"),
    (lambda h, t: t.update({"conv.weights.values": np.full((5, 3, 2, 2), 4, np.int8)}),
     "values must lie within -4 and 3"),
    (lambda h, t: layer(12)(h)["weights"].update(encoding=5),
     "dense.weights.encoding: a weight encoding must be an object, not 5"),
    (lambda h, t: layer(12)(h)["weights"].update(encoding={"kind": "zip"}),
     "weight encoding 'dense.weights.encoding' is of the unknown kind 'zip'; use a newer Penjing"),
    (lambda h, t: layer(12)(h)["weights"].update(encoding={"kind": "add"}), "unknown kind 'add'"),
    (lambda h, t: layer(12)(h)["weights"].update(encoding={"kind": "codebook", "size": 4}),
     "dense.weights.encoding must have the attributes ; wrong are size"),
    (lambda h, t: layer(12)(h)["weights"].update(fractions=1), "wrong are fractions"),
    (lambda h, t: t["dense.weights.values"].reshape(-1).__setitem__(slice(300), range(300)),
     "a codebook holds 2 to 256 different values, not 3"),
    (lambda h, t: t.update({"dense.weights.values": np.ones((4, 80), np.int8)}),
     "a codebook holds 2 to 256 different values, not 1; share values, or store them plain"),
]


@pytest.mark.parametrize("index", range(len(CHANGES)))
def test_forged_content(tmp_path: Path, index: int) -> None:
    change, match = CHANGES[index]
    header, tensors = pieces(file.to_bytes(network()))
    change(header, tensors)
    refused(tmp_path, forged(header, tensors), match)


@pytest.mark.parametrize("values", [ir.Plain(), ir.Codebook()])
@pytest.mark.parametrize("encoding", [ir.RelativeIndex(3), ir.RelativeIndex(16), ir.Bitmap(8),
                                      ir.Bitmap(32), ir.KernelList(1)])
def test_sparse_weights_come_back(tmp_path: Path, encoding: ir.Sparse, values: ir.ValueEncoding
                                  ) -> None:
    network = sparse_network(replace(encoding, values=values))
    file.save(network, tmp_path / "n")
    loaded = file.load(tmp_path / "n")
    assert loaded == network
    assert loaded.layers[0].weights.encoding == network.layers[0].weights.encoding


FORGED_ENCODINGS: list[tuple[dict[str, Any], str]] = [
    ({"gap_bits": 0}, "gap bits of the encoding relative must be an integer from 1 to 16, not 0"),
    ({"gap_bits": 17}, "from 1 to 16, not 17"),
    ({"gap_bits": 10**4000}, "from 1 to 16, not 1000"),
    ({"gap_bits": True}, "dense.weights.encoding.gap_bits must be int, not True"),
    ({"gap_bits": 2.0}, "gap_bits must be int, not 2.0"),
    ({"segment": 8}, "must have the attributes gap_bits, values; wrong are segment"),
    ({"values": {"kind": "bitmap", "segment": 8, "values": {"kind": "plain"}}},
     "value encoding 'dense.weights.encoding.values' is of the unknown kind 'bitmap'"),
    ({"values": {"kind": "conv"}}, "of the unknown kind 'conv'"),
    ({"values": {"kind": "codebook", "size": 3}},
     "dense.weights.encoding.values must have the attributes ; wrong are size"),
    ({"values": None}, "dense.weights.encoding.values: a value encoding must be an object"),
    ({"kind": "bitmap"}, "must have the attributes segment, values; wrong are gap_bits, segment"),
    ({"kind": "sparse"}, "of the unknown kind 'sparse'"), ({"kind": "walk"}, "unknown kind")]


@pytest.mark.parametrize(("change", "match"), FORGED_ENCODINGS)
def test_forged_encodings(tmp_path: Path, change: dict[str, Any], match: str) -> None:
    header, tensors = pieces(file.to_bytes(sparse_network(ir.RelativeIndex(3))))
    header["network"]["layers"][0]["weights"]["encoding"].update(change)
    refused(tmp_path, forged(header, tensors), match)


@pytest.mark.parametrize("segment", [0, 1, 64, -8, 12])
def test_forged_segments(tmp_path: Path, segment: int) -> None:
    header, tensors = pieces(file.to_bytes(sparse_network(ir.Bitmap(8))))
    header["network"]["layers"][0]["weights"]["encoding"]["segment"] = segment
    refused(tmp_path, forged(header, tensors), f"must be one of 32, 16, 8, not {segment}")


def test_sparse_tables_that_are_too_large(tmp_path: Path) -> None:
    header, tensors = pieces(file.to_bytes(sparse_network(ir.KernelList(2, ir.Codebook()))))
    tensors["dense.weights.values"][3, :9] = np.arange(-200, -191)
    refused(tmp_path, forged(header, tensors),
            "a codebook holds 1 to 256 different values, not 264; share values")


def test_a_transposed_convolution_of_a_file_is_not_sparse(tmp_path: Path) -> None:
    layer = ir.TransposedConvolution("up", "x", ir.Weights(np.eye(4, dtype=np.int64).reshape(
        2, 2, 2, 2), 4, encoding=ir.Codebook()), np.zeros(2, np.int64))
    network = ir.Network("n", "x", ir.TensorType((4, 4, 2), 8, True), (layer,))
    header, tensors = pieces(file.to_bytes(network))
    header["network"]["layers"][0]["weights"]["encoding"] = {
        "kind": "bitmap", "segment": 8, "values": {"kind": "plain"}}
    refused(tmp_path, forged(header, tensors), "layer up: weights of a transposed convolution "
                                               "cannot have the encoding bitmap; store them plain")


def test_too_many_dimensions(tmp_path: Path) -> None:
    inner = json.dumps({"format": "penjing", "version": 1, "sha256": "", "network": {}})
    outer = json.dumps({"__metadata__": {"penjing": inner},
                        "a": {"dtype": "I8", "shape": [1] * 70, "data_offsets": [0, 1]}}).encode()
    refused(tmp_path, struct.pack("<Q", len(outer)) + outer + b"x", "a shape that cannot be")


def test_too_many_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file, "MAX_ELEMENTS", 100)
    refused(tmp_path, file.to_bytes(network()), "hold more than 100 values")


def test_mutations(tmp_path: Path) -> None:
    good, rng = file.to_bytes(network()), random.Random(7)
    path = tmp_path / "m.penjing"
    outcomes = {True: 0, False: 0}
    for _ in range(600):
        data = bytearray(good)
        for _ in range(rng.randint(1, 4)):
            position = rng.randrange(len(data))
            action = rng.randrange(4)
            if action == 0:
                data[position] ^= 1 << rng.randrange(8)
            elif action == 1:
                data[position] = rng.randrange(256)
            elif action == 2:
                del data[position:position + rng.randint(1, 40)]
            else:
                data[position:position] = rng.randbytes(rng.randint(1, 9))
        path.write_bytes(data)
        try:
            assert file.load(path) == network()
            outcomes[True] += 1
        except PenjingError:
            outcomes[False] += 1
    assert outcomes[False] > 500  # what is left are flips in unused bits and spaces


@pytest.mark.parametrize("made", [
    network, lambda: sparse_network(ir.RelativeIndex(3, ir.Codebook()))])
def test_mutated_headers(tmp_path: Path, made: Callable[[], ir.Network]) -> None:
    """The same with a right checksum, so that the checks behind it are met."""
    rng, path = random.Random(3), tmp_path / "m.penjing"
    values = [None, True, 0, -1, 1 << 70, 1.5, "conv", "", [], [[]], {}, "x" * 99]

    def spoil(node: Any) -> None:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        key = rng.choice(keys)
        if isinstance(node[key], dict | list) and node[key] and rng.random() < 0.8:
            spoil(node[key])
        elif isinstance(node, dict) and rng.random() < 0.2:
            node[rng.choice(keys)] = node.pop(key)
        else:
            node[key] = copy.deepcopy(rng.choice(values))

    for _ in range(500):
        header, tensors = pieces(file.to_bytes(made()))
        spoil(header["network"])
        path.write_bytes(forged(header, tensors))
        with contextlib.suppress(PenjingError):
            assert isinstance(file.load(path), ir.Network)
