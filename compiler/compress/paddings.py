"""How torch-pruning's graph goes through channels of zeros, which it does not know of itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch_pruning.pruner.function import BasePruningFunc

from .makers import ChannelPadding

__all__ = ["PaddingPruner", "shift"]


class PaddingPruner(BasePruningFunc):
    """How channels are taken out of a `ChannelPadding`, counted as in its output."""

    def prune_out_channels(self, layer: ChannelPadding, idxs: Sequence[int]) -> ChannelPadding:
        """``layer`` without the channels ``idxs``."""
        before = sum(index < layer.before for index in idxs)
        after = sum(index >= layer.before + layer.channels for index in idxs)
        layer.channels -= len(idxs) - before - after
        layer.before, layer.after = layer.before - before, layer.after - after
        return layer

    prune_in_channels = prune_out_channels

    def get_out_channels(self, layer: ChannelPadding) -> int:
        """How many channels ``layer`` puts out."""
        return layer.before + layer.channels + layer.after

    get_in_channels = get_out_channels


def shift(node: Any) -> None:
    """Let the graph know where a `ChannelPadding` has the channels of its input."""
    layer = node.module

    def inwards(idxs: Sequence[Any]) -> list[Any]:
        inner = range(layer.before, layer.before + layer.channels)
        return [index._replace(idx=index.idx - layer.before) for index in idxs
                if index.idx in inner]

    def outwards(idxs: Sequence[Any]) -> list[Any]:
        return [index._replace(idx=index.idx + layer.before) for index in idxs]

    for before in node.inputs:
        for source, target, function in ((node, before, inwards), (before, node, outwards)):
            for dep in source.dependencies:
                if dep.target is target:
                    dep.index_mapping[0] = function
