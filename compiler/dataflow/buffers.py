"""How much waits where: the depth of every window buffer and queue, and what they cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ...hdl.skip import SKIP_LATENCY, SKIP_QUEUE_DEPTH
from ..cost import Fabric, Memory, Resources, memories, streams
from ..ir import Network
from . import frames, timing
from .depths import INPUT, Node, depths
from .kinds import Kind
from .kinds.window import Buffered
from .options import Option
from .plan import LayerPlan
from .site import Site

LEAST_BEATS = 16
"""What memory rounds up to costs nothing: a block or the tables of 16 words."""


@dataclass(frozen=True)
class Finished:
    """The layers with all their buffers, the ``interval`` of the whole, and what tells its ends."""

    layers: tuple[LayerPlan, ...]
    interval: int
    nodes: tuple[Node, ...]
    rooms: tuple[timing.Depths, ...]
    i_beats: int

    @property
    def may_wait(self) -> bool:
        """Whether a layer may hold up the whole, though each alone is fast enough: there are few
        places for the results of tiles, and who reads them may take long for a beat."""
        return any(isinstance(node.stage, timing.Tiled) for node in self.nodes)

    def frame_ends(self, count: int) -> list[int]:
        """Cycles from the first input beat taken to the last output beat of each frame."""
        return frames.frame_ends(self.nodes, self.rooms, self.i_beats, count)


def finish(network: Network, chosen: Mapping[str, Option], fabric: Fabric) -> Finished:
    """Give every buffer of what is ``chosen`` its depth, and predict the cells of every layer."""
    interval = max(option.cycles for option in chosen.values())
    stages = {name: option.stage() for name, option in chosen.items()}
    nodes = _nodes(network, stages)
    i_beats = chosen[network.layers[0].name].kind.i.beats(network.input_type.elements)
    together = iter(depths(nodes, i_beats, interval))
    layers, rooms = [], []
    for name, option in chosen.items():
        stage = stages[name]
        room = (timing.Depths(0, (0,) * len(option.kind.inputs)) if stage is None
                else next(together))
        planned = option.finished.get(room)
        if planned is None:
            planned = option.finished[room] = _planned(option, room, fabric)
        layers.append(planned)
        if stage is not None:
            buffer = planned.kind.buffer if isinstance(planned.kind, Buffered) else None
            rooms.append(timing.Depths(buffer.words if buffer else 0, tuple(
                queue.words if queue else 0 for queue in planned.queues)))
    return Finished(tuple(layers), interval, tuple(nodes), tuple(rooms), i_beats)


def _planned(option: Option, room: timing.Depths, fabric: Fabric) -> LayerPlan:
    """The plan of a layer with that ``room``: of queues, so many beats in front of each input, 0
    for none."""
    site, kind = option.site, option.kind
    if isinstance(kind, Buffered):
        # Deep enough for the layer alone, too, at its own pace.
        kind = kind.buffered(site, fabric, max(room.words, option.lone_words))
    bits = sum(memory.bits for memory in kind.memories(site))
    queues: list[Memory | None] = []
    for source, port, wanted in zip(site.sources, kind.inputs, room.queues, strict=True):
        if not wanted:
            queues.append(None)
            continue
        depth, width = max(wanted, LEAST_BEATS), port.lanes * source.bits + 1
        queue = Memory("queue", depth, width, memories.ram_storage(fabric, depth, width))
        bits += queue.bits
        queues.append(queue)
    return LayerPlan(site.name, site.layer.kind, kind, option.cycles, kind.macs(site),
                     tuple(queues), bits, cells(site, kind, queues, fabric))


def cells(site: Site, kind: Kind, queues: Sequence[Memory | None], fabric: Fabric) -> Resources:
    """Predicted cells of a layer with these ``queues`` in front of its inputs."""
    return fabric.placed(sum((streams.skip_buffer(
        fabric, queue.storage, queue.words, queue.width, queue_depth=SKIP_QUEUE_DEPTH)
        for queue in queues if queue), kind.cells(site, fabric)))


def _nodes(network: Network, stages: Mapping[str, timing.Stage | None]) -> list[Node]:
    """The graph of all layers but those that are mere wiring."""
    nodes: list[Node] = []
    index = {network.input: INPUT}
    for layer in network.layers:
        sources, stage = tuple(index[name] for name in layer.inputs), stages[layer.name]
        if stage is None:
            index[layer.name] = sources[0]
        else:
            index[layer.name] = len(nodes)
            narrower = network.source_type(layer).bits <= network.type_of(layer.name).bits
            nodes.append(Node(stage, sources, holds=isinstance(stage, timing.Passing) and narrower))
    return _queued(nodes)


def _queued(nodes: Sequence[Node]) -> list[Node]:
    """The ``nodes`` with queues where tensors must wait outside of windows.

    Those that join their inputs have them, and those that pass on what others read, too. What
    drops beats gives the others in bursts: who may take several cycles a beat needs a queue then,
    or it would hold up what is dropped.
    """
    readers = Counter(source for node in nodes for source in node.inputs)
    result: list[Node] = []
    bursts: set[int] = set()
    for n, node in enumerate(nodes):
        stage, source = node.stage, node.inputs[0]
        if isinstance(stage, timing.Joining):
            result.append(replace(node, queued=True))
            continue
        queued = source in bursts and stage.is_slow
        if isinstance(stage, timing.Passing):
            queued = queued or readers[source] > 1
            if stage.kept is not None or (source in bursts and not queued):
                bursts.add(n)
            if queued:
                stage = replace(stage, latency=stage.latency + SKIP_LATENCY)
        elif queued:
            stage = replace(stage, gear=stage.gear + SKIP_LATENCY)
        result.append(replace(node, stage=stage, queued=queued))
    return result
