"""Mutants of ``.pt2`` files: bytes changed at random, and programs that lie in their structure."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fuzzing
import numpy as np
import pt2_files
from penjing.compiler.load import aten, pt2, pt2e
from penjing.compiler.load.pt2 import Reference
from pt2_files import File, Quantized

Generator = np.random.Generator
Program = tuple[File, dict[str, Any]]
Change = Callable[[Generator, File, dict[str, Any]], None]

_EXTREMES = (-2**63, -2**31, -4097, -1, 0, 1, 2, 3, 7, 4096, 65537, 2**24, 2**31 - 1, 2**40,
             2**63 - 1, 2**70)
_FLOATS = (0.0, -1.0, float("nan"), float("inf"), -float("inf"), 1e38, 1e-40, 1e-30, 1e300)
_TARGETS = ("os.system", "aten.nowhere.default", "", "a.b.c.d", "aten.mul.Tensor",
            "aten.permute.default", "aten.transpose.int", "aten.slice.Tensor", "aten.chunk.default",
            "aten.cat.default", "aten.pad.default", "aten.unsqueeze.default", "aten.argmax.default",
            "aten.softmax.int", "aten.upsample_nearest2d.vec", "aten.batch_norm.default",
            "quantized_decomposed.quantize_per_channel.default",
            "quantized_decomposed.quantize_per_tensor.tensor")


def read(path: Path) -> None:
    """What is fuzzed."""
    program = pt2.read(path)
    if pt2e.is_quantized(program):
        pt2e.convert(program, str(path), "net")
    else:
        aten.convert(program, str(path))


def original(rng: Generator) -> Program:
    """A good program, of floats or quantized."""
    networks = (pt2_files.residual_network, pt2_files.line_network, pt2_files.float_network)
    file = networks[rng.integers(len(networks))](rng)
    return file, file.model()


def _packed(program: Program) -> bytes:
    file, model = program
    return pt2_files.packed(model, file.config, file.entries)


def _damaged(rng: Generator, program: Program) -> bytes:
    return fuzzing.damage(rng, program[0].bytes())


def _damaged_text(rng: Generator, program: Program) -> bytes:
    """The archive is whole, what stands in it is not."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(_packed(program))) as good:
        chosen = rng.choice([name for name in good.namelist() if name.endswith(".json")])
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
            for name in good.namelist():
                data = good.read(name)
                archive.writestr(name, fuzzing.damage(rng, data) if name == chosen else data)
    return buffer.getvalue()


# --- lies in the structure of a program
def _extreme(rng: Generator) -> int:
    return _EXTREMES[rng.integers(len(_EXTREMES))]


def _one(rng: Generator, records: list[Any]) -> Any:
    return records[rng.integers(len(records))]


def _nodes(model: dict[str, Any]) -> list[dict[str, Any]]:
    nodes: list[dict[str, Any]] = model["graph_module"]["graph"]["nodes"]
    return nodes


def _argument(rng: Generator, model: dict[str, Any]) -> dict[str, Any]:
    # Where none is left, one that nobody reads.
    inputs = _one(rng, _nodes(model))["inputs"] or [{"name": "", "arg": {}}]
    entry: dict[str, Any] = _one(rng, inputs)
    return entry


def rewire(rng: Generator, file: File, model: dict[str, Any]) -> None:
    """Read another tensor, a later one, too, or itself, or none."""
    names = [*file.dims, "nowhere", ""]
    _argument(rng, model)["arg"] = {"as_tensor": {"name": str(rng.choice(names))}}


def reargue(rng: Generator, file: File, model: dict[str, Any]) -> None:
    """An argument of another value or kind."""
    count = int(rng.integers(0, 6))
    _argument(rng, model)["arg"] = _one(rng, [
        {"as_int": _extreme(rng)}, {"as_ints": [_extreme(rng) for _ in range(count)]},
        {"as_float": float(rng.choice(_FLOATS))}, {"as_float": "NaN"}, {"as_none": True},
        {"as_bool": True}, {"as_string": "same"}, {"as_scalar_type": int(rng.integers(0, 40))},
        {"as_tensors": [{"name": str(rng.choice([*file.dims]))}] * count}, {"as_graph": {}},
        {"as_sym_int": {"as_name": "s0"}}, {}])


def renumber(rng: Generator, file: File, model: dict[str, Any]) -> None:
    """Another number in an argument, of the same kind."""
    arg = _argument(rng, model)["arg"]
    for kind in arg:
        if kind == "as_int":
            arg[kind] = _extreme(rng)
        elif kind == "as_float":
            arg[kind] = float(rng.choice(_FLOATS))
        elif kind == "as_ints" and arg[kind]:
            arg[kind][rng.integers(len(arg[kind]))] = _extreme(rng)
        elif kind == "as_scalar_type":
            arg[kind] = int(rng.integers(0, 15))


def rename_argument(rng: Generator, file: File, model: dict[str, Any]) -> None:
    entry = _argument(rng, model)
    entry["name"] = str(rng.choice(["self", "input", "weight", "dim", "", "\n", "x" * 3000]))


def drop_argument(rng: Generator, file: File, model: dict[str, Any]) -> None:
    inputs = _one(rng, _nodes(model))["inputs"]
    if inputs:
        del inputs[rng.integers(len(inputs))]


def other_operator(rng: Generator, file: File, model: dict[str, Any]) -> None:
    others = [node["target"] for node in _nodes(model)]
    _one(rng, _nodes(model))["target"] = str(rng.choice(
        [*others, *(f"torch.ops.{target}" for target in _TARGETS)]))


def shuffle(rng: Generator, file: File, model: dict[str, Any]) -> None:
    rng.shuffle(_nodes(model))


def drop_node(rng: Generator, file: File, model: dict[str, Any]) -> None:
    nodes = _nodes(model)
    if len(nodes) > 1:
        del nodes[rng.integers(len(nodes))]


def repeat_node(rng: Generator, file: File, model: dict[str, Any]) -> None:
    _nodes(model).extend([_one(rng, _nodes(model))] * int(rng.choice([1, 2, 500])))


def reoutput(rng: Generator, file: File, model: dict[str, Any]) -> None:
    names = [{"as_tensor": {"name": name}} for name in (*file.dims, "", "a\nb" * 99)]
    _one(rng, _nodes(model))["outputs"] = [_one(rng, names) for _ in range(rng.integers(0, 3))]


def resize(rng: Generator, file: File, model: dict[str, Any]) -> None:
    """A tensor, the input among them, of another shape than it has."""
    values = model["graph_module"]["graph"]["tensor_values"]
    sizes = values[str(rng.choice(["x", *values]))]["sizes"]
    way = rng.integers(3)
    if way == 0 and sizes:
        sizes[rng.integers(len(sizes))] = {"as_int": _extreme(rng)}
    elif way == 1:
        sizes.append({"as_int": _extreme(rng)})
    elif sizes:
        sizes[rng.integers(len(sizes))] = {"as_expr": {"expr_str": "s0"}}


def remeasure(rng: Generator, file: File, model: dict[str, Any]) -> None:
    """A weight of another shape, type or place than its entry has."""
    meta = file.config[str(rng.choice([*file.config]))]["tensor_meta"]
    way = rng.integers(4)
    if way == 0:
        meta["dtype"] = int(rng.integers(0, 15))
    elif way == 1:
        meta["storage_offset"] = {"as_int": _extreme(rng)}
    else:
        sizes = meta["sizes" if way == 2 else "strides"]
        sizes[rng.integers(len(sizes))] = {"as_int": _extreme(rng)}


def refill(rng: Generator, file: File, model: dict[str, Any]) -> None:
    """Other bytes in a weight: extreme numbers, or fewer."""
    name = str(rng.choice([*file.entries]))
    data = bytes(rng.choice(np.array([0, 127, 128, 255], np.uint8), len(file.entries[name])))
    file.entries[name] = data[:int(rng.integers(1, len(data) + 1))] if rng.integers(2) else data


def signature(rng: Generator, file: File, model: dict[str, Any]) -> None:
    """Inputs, weights and outputs that are not there, or twice."""
    specs = model["graph_module"]["signature"][str(rng.choice(["input_specs", "output_specs"]))]
    if specs and rng.integers(2):
        specs.append(_one(rng, specs))
    elif specs:
        del specs[rng.integers(len(specs))]


def pickled(rng: Generator, file: File, model: dict[str, Any]) -> None:
    file.config[str(rng.choice([*file.config]))]["use_pickle"] = True


CHANGES: tuple[Change, ...] = (
    rewire, rewire, reargue, reargue, renumber, renumber, renumber, rename_argument, drop_argument,
    other_operator, other_operator, shuffle, drop_node, repeat_node, reoutput, resize, resize,
    remeasure, remeasure, refill, refill, signature, pickled)


# --- programs that a reader could drown in
def many_entries(rng: Generator) -> bytes:
    """A directory of empty entries."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for n in range(int(rng.choice([2_000, 20_000]))):
            archive.writestr(f"net/{n}", b"")
    return buffer.getvalue()


def fake_directory(rng: Generator) -> bytes:
    """What looks like the directory of very many entries."""
    return b"PK\x03\x04" + b"PK\x01\x02" * 3_000_000


def nested(rng: Generator) -> bytes:
    """Lists within lists."""
    depth = int(rng.choice([500, 100_000]))
    file = pt2_files.float_network(rng)
    data = json.dumps(file.model()).replace('"metadata": {}', f'"a": {"[" * depth}{"]" * depth}', 1)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("net/models/model.json", data)
        archive.writestr("net/archive_format", "pt2")
    return buffer.getvalue()


def many_nodes(rng: Generator) -> bytes:
    """A chain as long as a graph may be, or longer."""
    file = Quantized(rng, (1, 1, 1)) if rng.integers(2) else File((1, 1, 1))
    x = file.real(file.start) if isinstance(file, Quantized) else Reference("x")
    for _ in range(int(rng.choice([9_000, 30_000]))):
        x = file.node("relu.default", (1, 1, 1), self=x)
    return file.bytes()


def many_outputs(rng: Generator) -> bytes:
    """Channels that are divided among very many tensors."""
    file = Quantized(rng, (4, 2, 2))
    file.node("chunk.default", (1, 2, 2), self=file.real(file.start), chunks=4, dim=1)
    name = file.nodes[-1]["name"]
    file.nodes[-1]["outputs"] = [{"as_tensor": {"name": name}}] * 400_000
    return file.bytes()


def long_lists(rng: Generator) -> bytes:
    """Lists of a million numbers."""
    file = Quantized(rng, (1, 4, 4))
    file.node("max_pool2d.default", (1, 4, 4), self=file.real(file.start),
              kernel_size=[1] * 1_000_000)
    return file.bytes()


def claimed(rng: Generator) -> bytes:
    """Weights that claim to be huge: one value, broadcast."""
    file = Quantized(rng, (4,))
    file.end(file.quantize(*file.linear(file.start, 4)))
    for record in file.config.values():
        meta = record["tensor_meta"]
        meta["sizes"] = [{"as_int": int(rng.choice([8192, 65536]))}] * 2
        meta["strides"] = [{"as_int": 0}] * 2
    return file.bytes()


def wide_dilation(rng: Generator) -> bytes:
    """A small kernel that zeros make huge."""
    file = Quantized(rng, (1, 4000, 4000))
    file.end(file.quantize(*file.convolution(file.start, 64, 2, dilation=3900)))
    return file.bytes()


def wide_padding(rng: Generator) -> bytes:
    """A small map that zeros make huge."""
    file = Quantized(rng, (1, 1, 1))
    file.end(file.quantize(*file.convolution(file.start, 1, 1, padding=4096)))
    return file.bytes()


def large_weights(rng: Generator) -> bytes:
    """Real weights of many values, quantized and read by many nodes."""
    file = Quantized(rng, (2048,))
    real = file.real(file.start)
    weights = file.weight(np.ones((2048, 2048), np.float32))
    for _ in range(40):
        q = file.node(f"{pt2_files.DECOMPOSED}.quantize_per_tensor.default", (2048,), input=weights,
                      scale=0.01, zero_point=0, quant_min=-127, quant_max=127,
                      dtype=pt2_files.ElementKind("int8"))
        w = file.node(f"{pt2_files.DECOMPOSED}.dequantize_per_tensor.default", (2048,), input=q,
                      scale=0.01, zero_point=0, quant_min=-127, quant_max=127,
                      dtype=pt2_files.ElementKind("int8"))
        last = file.node("linear.default", (2048,), input=real, weight=w)
    file.end(file.quantize(last, 1.0))
    return file.bytes()


def deep_sums(rng: Generator) -> bytes:
    """Sums of sums of sums, each term of which is read twice."""
    file = Quantized(rng, (4,))
    x = file.real(file.start)
    for _ in range(int(rng.choice([40, 3000]))):
        x = file.node("add.Tensor", (4,), self=x, other=x)
    file.end(file.quantize(x, 1.0))
    return file.bytes()


HOSTILE = (many_entries, fake_directory, nested, many_nodes, many_outputs, long_lists, claimed,
           wide_dilation, wide_padding, large_weights, deep_sums)


def _change(rng: Generator, program: Program) -> None:
    CHANGES[rng.integers(len(CHANGES))](rng, *program)


mutant = fuzzing.Mutations(original, _packed, _change, (_damaged, _damaged_text), HOSTILE).mutant
