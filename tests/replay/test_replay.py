"""What was planned and emitted before is planned and emitted still, to the last character.

`hashes` holds a hash of the Verilog of some networks, generic and with an ECP5's cells, and
of the plans of many random ones. A change that is meant to change neither leaves the file alone;
any other rewrites it, and its commit says why::

    python -m pytest tests/replay -n 2 --rewrite-replay
"""

from __future__ import annotations

import hashlib
import json
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from networks import (
    graph_plan,
    mixed_network,
    random_network,
    random_plan,
    residual,
    wide_and_deep,
)
from penjing import boards
from penjing.compiler import file
from penjing.compiler.cost import Resources
from penjing.compiler.cost.families import ECP5, ICE40
from penjing.compiler.dataflow import accelerator
from penjing.compiler.dataflow.budget import Budget
from penjing.compiler.dataflow.kinds import Scale, Search, Slope
from penjing.compiler.dataflow.kinds.engine import Engine
from penjing.compiler.dataflow.kinds.window import Windowed
from penjing.compiler.dataflow.plan import LayerPlan, Plan
from penjing.compiler.dataflow.search import Goal, schedule
from penjing.compiler.ir import Network
from penjing.hdl.emit import emit
from penjing.hdl.tech import Ecp5, Generic, Technology

FOLDER = Path(__file__).parent / "hashes"
EXAMPLES = Path(__file__).parents[2] / "examples" / "binary"
TECHNOLOGIES = {"generic": Generic, "ecp5": Ecp5}
KINDS = ("random", "mixed", "thresholds", "graph", "icebreaker")
DESIGNS, PLANS = 8, 100
"""Designs and plans of each of the `KINDS`."""
TRAINED = ("small", "ttq", "w3a3", "reactnet")


def example(kind: str, seed: int) -> tuple[Network, Plan]:
    """A network of that ``kind`` and its plan; equal seeds make equal ones."""
    if kind == "graph":
        network = (wide_and_deep if seed % 3 == 2 else residual)(seed)
        return network, graph_plan(network, seed)
    if kind == "icebreaker":
        # Few DSP blocks, no distributed RAM, and enough of all the rest.
        network = (mixed_network if seed % 2 else random_network)(seed)
        budget = Budget(ICE40, Resources(10**6, 10**6, 8, 10**4), 24 + seed % 29)
        return network, schedule(network, budget, Goal())
    network = (mixed_network(seed) if kind == "mixed"
               else random_network(seed, thresholds=kind == "thresholds"))
    return network, random_plan(network, seed)


def trained(name: str) -> tuple[Network, Plan]:
    """An example's network at 100,000 cycles a frame."""
    network = file.load(EXAMPLES / f"{name}.penjing")
    has = boards.find("ulx3s-85f").budget
    budget = Budget(ECP5, Resources(has.luts, has.ffs, has.dsps, has.brams), has.dsps)
    return network, schedule(network, budget, Goal(100_000))


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def verilog_digest(network: Network, plan: Plan, technology: Technology) -> str:
    """A hash of the text and of the files beside it."""
    verilog = emit(accelerator.whole(network, plan, technology), network.name)
    return digest("\0".join([verilog.text, *chain(*verilog.files.items())]))


def plan_digest(plan: Plan) -> str:
    """A hash of all that is decided and predicted, whatever the records are that hold it."""
    return digest(json.dumps([plan.cycles_per_frame, plan.latency_cycles,
                              *map(layer_summary, plan.layers)]))


def layer_summary(layer: LayerPlan) -> list[Any]:
    fold, cells, kind = layer.fold, layer.resources, layer.kind
    buffer = kind.buffer if isinstance(kind, Windowed) else None
    storage = kind.storage if isinstance(kind, Engine | Scale | Slope | Search) else None
    return [layer.name, layer.layer, layer.cycles, layer.macs,
            [[port.lanes, port.group] for port in (*kind.inputs, kind.o)],
            fold and [fold.pe, fold.rows, fold.lanes],
            [*(layer.work(what) for what in ("multipliers", "xors", "additions")), kind.dsps],
            storage and storage.value, buffer.words if buffer else 0,
            buffer and buffer.storage.value, layer.memory_bits,
            [[queue.words, queue.storage.value] if queue else [0, None] for queue in layer.queues]
            if layer.cycles else [],
            kind.shape.steps if isinstance(kind, Scale) else 1,
            [cells.luts, cells.ffs, cells.dsps, cells.brams]]


def compare(name: str, found: dict[str, str], rewrite: bool) -> None:
    """Require the hashes ``found`` to be those of the file ``name``, or write them to it."""
    path = FOLDER / f"{name}.json"
    if rewrite:
        FOLDER.mkdir(exist_ok=True)
        path.write_text(json.dumps(found, indent=0) + "\n")
    kept = json.loads(path.read_text())
    assert kept.keys() == found.keys()
    changed = [key for key, value in found.items() if kept[key] != value]
    assert not changed, f"{len(changed)} of {len(found)} differ: {' '.join(changed[:20])}"


@pytest.fixture
def rewrite(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--rewrite-replay"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_verilog_is_as_it_was(kind: str, rewrite: bool) -> None:
    found = {}
    for seed in range(DESIGNS):
        network, plan = example(kind, seed)
        for name, technology in TECHNOLOGIES.items():
            found[f"{seed}-{name}"] = verilog_digest(network, plan, technology())
    compare(f"verilog-{kind}", found, rewrite)


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINED)
def test_the_verilog_of_an_example_is_as_it_was(name: str, rewrite: bool) -> None:
    network, plan = trained(name)
    found = {key: verilog_digest(network, plan, technology())
             for key, technology in TECHNOLOGIES.items()}
    compare(f"verilog-{name}", found | {"plan": plan_digest(plan)}, rewrite)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_plans_are_as_they_were(kind: str, rewrite: bool) -> None:
    compare(f"plans-{kind}", {f"{seed}": plan_digest(example(kind, 10_000 + seed)[1])
                              for seed in range(PLANS)}, rewrite)
