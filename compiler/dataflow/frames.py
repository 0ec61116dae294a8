"""When frames end: all blocks of a graph of layers, run beat by beat (see `control`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from . import control
from .depths import INPUT, Node
from .timing import Depths, Joining


def frame_ends(nodes: Sequence[Node], rooms: Sequence[Depths], i_beats: int, frames: int
               ) -> list[int]:
    """Cycles from the first input beat taken to each frame's last output beat given.

    Neither side ever pauses. ``rooms`` are what the nodes have.
    """
    source = control.Link()
    source.offered.extend([0] * (i_beats * frames))
    tasks: list[control.Task] = []
    links = {INPUT: source}
    counts = {INPUT: i_beats}
    readers = Counter(source for node in nodes for source in node.inputs)
    branches: dict[int, list[control.Link]] = {}

    def read(tensor: int) -> control.Link:
        """The stream by which the next reader of ``tensor`` gets it."""
        if readers[tensor] == 1:
            return links[tensor]
        if tensor not in branches:
            branches[tensor] = [control.Link() for _ in range(readers[tensor])]
            tasks.append(control.Task(
                control.fork(links[tensor], tuple(branches[tensor]), counts[tensor] * frames),
                (links[tensor], *branches[tensor])))
        return branches[tensor].pop()

    def through(blocks: Sequence[control.Block], link: control.Link, beats: int
                ) -> tuple[control.Link, int]:
        """The stream behind ``blocks`` and its beats a frame."""
        for block in blocks:
            behind = control.Link()
            tasks.append(control.Task(block.run(link, behind, beats, frames), (link, behind)))
            link, beats = behind, block.outputs(beats)
        return link, beats

    for n, (node, room) in enumerate(zip(nodes, rooms, strict=True)):
        if isinstance(node.stage, Joining):
            ends = [through(blocks, read(tensor), counts[tensor]) for blocks, tensor in
                    zip(node.stage.blocks(room), node.inputs, strict=True)]
            sources, by_turns = [link for link, _ in ends], node.stage.turns
            links[n] = control.Link()
            counts[n] = sum(beats for _, beats in ends) if by_turns else ends[0][1]
            total = counts[n] * frames
            joined = (control.turns(sources, links[n], by_turns, total) if by_turns
                      else node.stage.joint.join(sources, links[n], total))
            tasks.append(control.Task(joined, (*sources, links[n])))
        else:
            tensor, = node.inputs
            links[n], counts[n] = through(node.stage.blocks(room), read(tensor), counts[tensor])
    last = len(nodes) - 1
    tasks.append(control.Task(control.drain(links[last], counts[last] * frames), (links[last],)))
    control.run(tasks)
    return [end - source.taken[0] for end in links[last].taken[counts[last] - 1 :: counts[last]]]
