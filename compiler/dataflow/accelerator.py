"""Network and plan to hardware: each layer becomes blocks, the accelerator a graph of them."""

from __future__ import annotations

from ...hdl.graph import Graph, Pipeline, Stage
from ...hdl.loadable import Loadable
from ...hdl.skip import SkipBuffer
from ...hdl.stream import Beat
from ...hdl.tech import Technology
from ..cost import Memory
from ..ir import Network, PenjingError, TensorType
from .filling import Filling, filling
from .kinds.kind import Stages, shape_of, style
from .plan import LayerPlan, Plan
from .port import Port
from .site import Site, sites


def input_names(count: int) -> tuple[str, ...]:
    """Names of the input streams of a layer that has so many inputs, in their order.

    They are numbered as a `penjing.hdl.stream.Fork` numbers its outputs, but for a single one.
    """
    return ("i",) if count == 1 else tuple(f"i_{n}" for n in range(count))


def whole(network: Network, plan: Plan, technology: Technology) -> Graph | Loadable:
    """The whole network as one component, streams ``i`` and ``o``; instances bear layer names.

    Where weights are loadable, it has what loads them.

    Only a layer called ``i`` is another, with underscores behind it: that is the input's name.
    """
    taken = {layer.name for layer in network.layers}
    stages: list[Stage] = []
    streams = {network.input: "i"}
    for site, planned in zip(sites(network).values(), plan.layers, strict=True):
        made = component(site, planned, technology)
        sources = [streams[name] for name in site.layer.inputs]
        if made is None:
            streams[site.name] = sources[0]
            continue
        name = site.name
        while name == "i" or (name != site.name and name in taken):
            name += "_"
        stages.append(Stage(name, made, dict(zip(input_names(len(sources)), sources, strict=True))))
        streams[site.name] = name
    if not stages:
        raise PenjingError(f"network {network.name}: it has no layer that needs hardware")
    return _loadable(Graph(stages), filling(network, plan), technology)


def layer(network: Network, plan: Plan, name: str, technology: Technology) -> Graph | Loadable:
    """The layer ``name`` alone, with the ports and memories that it has in the accelerator."""
    everything = sites(network)
    if name not in everything:
        names = ", ".join(everything)
        raise PenjingError(f"layer {name}: the network has no such layer; it has {names}")
    made = component(everything[name], plan.layer(name), technology)
    if made is None:
        raise PenjingError(f"layer {name}: {everything[name].layer.kind} is only wiring; "
                           "choose another layer")
    return _loadable(made, filling(network, plan, name), technology)


def _loadable(graph: Graph, filled: Filling | None, technology: Technology) -> Graph | Loadable:
    """``graph`` with what fills its memories, if it has any to be filled."""
    if filled is None:
        return graph
    return Loadable(graph, filled.digest, symbols=filled.symbols, memories=len(filled.memories),
                    technology=technology)


def component(site: Site, plan: LayerPlan, technology: Technology) -> Graph | None:
    """A layer with the queues in front of its inputs; None where it is only wiring."""
    kind = plan.kind
    branches = [[*_queue(source, port, queue, technology), *branch] for source, port, queue, branch
                in zip(site.sources, kind.inputs, plan.queues, kind.branches(site), strict=True)]
    blocks = kind.blocks(site, technology)
    if len(branches) == 1:
        return Pipeline([*branches[0], *blocks]) if branches[0] or blocks else None
    stages, ends, names = [], {}, input_names(len(branches))
    for port, branch in zip(names, branches, strict=True):
        stages.append(Stage(f"{port}_branch", Pipeline(branch), {"i": port}))
        ends[port] = f"{port}_branch"
    for name, block in blocks:
        stages.append(Stage(name, block, ends))
        ends = {"i": name}
    return Graph(stages, names)


def _queue(source: TensorType, port: Port, queue: Memory | None, technology: Technology) -> Stages:
    """The queue in which beats of a tensor wait for another branch, if there is one."""
    if queue is None:
        return []
    layout = Beat(shape_of(source), port.lanes)
    return [("queue", SkipBuffer(layout, queue.words, style=style(queue.storage),
                                 technology=technology))]
