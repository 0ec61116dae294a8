"""A network as NNgen's Verilog, and a test bench around it; nothing of Penjing is imported.

A Python that has NNgen runs this for `beside_nngen.py`: FOLDER holds ``job.json`` and
``arrays.npz``. It gets ``design.v``, ``test.v`` with its memory's image beside it, and
``made.json``.

    PYTHON bench/nngen_design.py FOLDER
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nngen as ng
import numpy as np
import veriloggen as vg
from veriloggen import simulation
from veriloggen import thread as vthread
from veriloggen.types import axi

TOP = "network"
CHUNK = 64
"""Bytes to whose multiples the parts of the memory are aligned."""
MEMORY_BYTES = 1 << 20
WORD = 32
"""Bits of a word of the memory's image."""
LIMIT = 100_000_000
"""Time at which the simulation gives up; a cycle takes 10."""


def network(job: Mapping[str, Any], arrays: Mapping[str, Any]) -> tuple[Any, Any]:
    """The placeholder of the image, and the operator that makes the answer."""
    image = tail = ng.placeholder(ng.int8, shape=(1, *job["input"]), name="image")
    for layer in job["layers"]:
        name = layer["name"]
        if layer["kind"] == "pool":
            window = (1, layer["size"], layer["size"], 1)
            tail = ng.max_pool_serial(tail, ksize=window, strides=window, par=layer["par"])
            continue
        weights = ng.variable(ng.int8, shape=arrays[f"{name}.weights"].shape, name=f"{name}_w")
        weights.set_value(arrays[f"{name}.weights"])
        biases = ng.variable(ng.int32, shape=arrays[f"{name}.biases"].shape, name=f"{name}_b")
        biases.set_value(arrays[f"{name}.biases"])
        options = {"bias": biases, "rshift_out": layer["shift"], "asymmetric_clip": True,
                   "act_func": ng.relu if layer["relu"] else None, "dtype": ng.int8,
                   "sum_dtype": ng.int32, "name": name}
        if layer["kind"] == "dense":
            tail = ng.matmul(ng.reshape(tail, [1, -1]), weights, transposed_b=True,
                             par_left_col=layer["par_inputs"], par_out_col=layer["par_outputs"],
                             **options)
        else:
            tail = ng.conv2d(tail, weights, (1, 1, 1, 1), padding=(layer["padding"],) * 4,
                             par_ich=layer["par_inputs"], par_och=layer["par_outputs"], **options)
    return image, tail


def aligned(size: int) -> int:
    """The next whole chunk."""
    return -(-size // CHUNK) * CHUNK


def bench(hardware: Any, image: Any, answer: Any, arrays: Mapping[str, Any], bits: int) -> Any:
    """A module that starts the hardware on one image, and counts cycles and wrong values.

    The memory is Veriloggen's model of one behind AXI. Cycles are counted as NNgen's own tests do:
    from the write that starts a run until a read tells that it is over.
    """
    lanes = -(-bits // 8)
    parameters = ng.export_ndarray([answer], CHUNK)
    at_parameters = aligned(image.addr + image.memory_size)
    at_expected = aligned(at_parameters + len(parameters))
    at_scratch = aligned(at_expected + answer.memory_size)
    memory = np.zeros(MEMORY_BYTES * 8 // WORD, np.int64)
    axi.set_memory(memory, arrays["image"][None], WORD, 8, image.addr, lanes)
    axi.set_memory(memory, parameters, WORD, 8, at_parameters)
    axi.set_memory(memory, arrays["expected"], WORD, 8, at_expected, lanes)

    made = vg.Module("test")
    made.copy_params(hardware)
    ports = made.copy_sim_ports(hardware)
    clock, not_reset = ports["CLK"], ports["RESETN"]
    reset = made.Wire("RST")
    reset.assign(vg.Not(not_reset))
    model = axi.AxiMemoryModel(made, "memory", clock, reset, datawidth=bits, memimg=memory,
                               memimg_name="memory.hex", memimg_datawidth=WORD)
    model.connect(ports, "maxi")
    control = vthread.AXIMLite(made, "control", clock, reset, noio=True)
    control.connect(ports, "saxi")
    now = made.Reg("now", 32, initval=0)
    vg.Seq(made, "count", clock, reset)(now.inc())
    channels, stride = answer.shape[-1], answer.aligned_shape[-1]
    pixels = arrays["expected"].size // channels

    def run() -> None:
        ng.sim.set_global_addrs(control, at_scratch)
        started = now.value
        ng.sim.start(control)
        ng.sim.wait(control)
        print("cycles:", now.value - started)
        wrong = 0
        for pixel in range(pixels):
            for channel in range(channels):
                place = pixel * stride + channel
                found = model.read_word(place, answer.addr, 8)
                if found != model.read_word(place, at_expected, 8):
                    wrong += 1
        print("wrong:", wrong)
        vthread.finish()

    vthread.Thread(made, "run", clock, reset, run).start()
    made.Instance(hardware, "hardware", params=made.connect_params(hardware),
                  ports=made.connect_ports(hardware))
    simulation.setup_clock(made, clock, hperiod=5)
    simulation.setup_reset(made, not_reset, made.make_reset(), period=100, polarity="low").add(
        vg.Delay(LIMIT), vg.Systask("finish"))
    return made


def main(folder: Path) -> None:
    """Write all files."""
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    arrays = np.load(folder / "arrays.npz")
    started = sum(os.times()[:4])
    image, answer = network(job, arrays)
    hardware = ng.to_veriloggen([answer], TOP, silent=True,
                                config={"maxi_datawidth": job["memory_bits"]})
    text = hardware.to_verilog()
    seconds = sum(os.times()[:4]) - started
    (folder / "design.v").write_text(text, encoding="utf-8")
    model = ng.eval([answer], image=arrays["image"][None])[0]
    (folder / "made.json").write_text(json.dumps({
        "seconds": round(seconds, 1), "lines": text.count("\n"),
        "model_equal": bool(np.array_equal(model.reshape(-1), arrays["expected"].reshape(-1))),
        "tools": {name: importlib.metadata.version(name) for name in ("nngen", "veriloggen")}}),
        encoding="utf-8")
    os.chdir(folder)  # where Veriloggen leaves the memory's image
    bench(hardware, image, answer, arrays, job["memory_bits"]).to_verilog("test.v")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
