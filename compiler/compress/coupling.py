"""Which channels of a network can only be removed together, and their removal.

torch-pruning's dependency graph (Fang 2023) finds them: what is added has equal channels, a
concatenation has those of its parts, a flattened map a feature for each place. What the graph says
is judged here: a network without channels must put out what it puts out when nobody reads them.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch_pruning import DependencyGraph
from torch_pruning import ops as kinds

from ..ir import PenjingError
from .makers import ChannelPadding
from .paddings import PaddingPruner, shift
from .trainable import Trainable

__all__ = ["Coupled", "Couplings", "outputs"]

_Convolution: TypeAlias = nn.modules.conv._ConvNd


@dataclass(frozen=True, eq=False)
class Coupled:
    """Channels of the layer ``root``, and those of others that go with them.

    ``members`` are all such layers, batch norms too: their channels, and the one of ``root`` that
    each goes with. ``units`` are the channels of ``root``, those side by side that only go at once.
    ``fixed`` says why none can be removed, if so.
    """

    root: str
    members: Mapping[str, tuple[Tensor, Tensor]]
    units: tuple[tuple[int, ...], ...]
    fixed: str = ""

    def parted(self) -> Iterator[Coupled]:
        """These channels, those apart that other members have."""
        sets = {name: set(roots.tolist()) for name, (_, roots) in self.members.items()}
        parts: dict[frozenset[str], list[tuple[int, ...]]] = {}
        for unit in self.units:
            owners = frozenset(name for name in sets if not sets[name].isdisjoint(unit))
            parts.setdefault(owners, []).append(unit)
        for owners, units in parts.items():
            inside = torch.tensor([channel for unit in units for channel in unit])
            members = {name: (channels[kept], roots[kept])
                       for name, (channels, roots) in self.members.items() if name in owners
                       for kept in (torch.isin(roots, inside),)}
            yield Coupled(self.root, members, tuple(units), self.fixed)


class Couplings:
    """The channels of ``model``, which is changed by their removal."""

    def __init__(self, model: Trainable) -> None:
        self._model = model
        self._names = {part: name for name, part in model.module.named_modules() if name}
        with torch.no_grad():
            result = model.module(model.example())
        self._ends = (_end(model.dims), _end(tuple(result.shape[1:])))
        wrapped = nn.Sequential(self._ends[0], model.module, self._ends[1])
        self._graph = DependencyGraph().build_dependency(
            wrapped, model.example(), verbose=False,
            customized_pruners={ChannelPadding: PaddingPruner()})
        for node in self._graph.module2node.values():
            if isinstance(node.module, ChannelPadding):
                shift(node)
        self._kept = {name: list(range(outputs(layer))) for name, layer in model.layers.items()}
        self.groups = tuple(self._groups())

    def _groups(self) -> Iterator[Coupled]:
        """All channels, each once; those of a layer are parted by what other layers have them.

        Layers with many channels are roots first.
        """
        seen: dict[str, set[int]] = {}
        for name in sorted(self._kept, key=lambda name: len(self._kept[name]), reverse=True):
            left = [channel for channel in self._kept[name] if channel not in seen.get(name, ())]
            if left:
                group = self._coupled(name, self._group(name, left))
                for member, (channels, _) in group.members.items():
                    seen.setdefault(member, set()).update(channels.tolist())
                yield from group.parted()

    def _group(self, name: str, channels: list[int]) -> Any:
        """What the graph takes away with ``channels`` of the layer ``name``."""
        layer = self._model.module.get_submodule(name)
        return self._graph.get_pruning_group(
            layer, self._graph.get_pruner_of_module(layer).prune_out_channels, channels)

    def remove(self, group: Coupled, channels: Sequence[int]) -> None:
        """Take ``channels`` of the root of ``group``, as first counted, out of all that has them.

        `PenjingError` if a layer would be left without channels, or if the result is another than
        where no layer reads them.
        """
        places = [self._kept[group.root].index(channel) for channel in channels]
        pruned = self._group(group.root, places)
        unread = copy.deepcopy(self._model.module)
        alone = set(pruned[0].idxs) == set(places)
        for item in pruned:
            name = self._names.get(item.dep.target.module, "")
            if self._reads(item.dep):
                _silence(unread.get_submodule(name), item.idxs)
            elif name in self._kept:
                self._keep_others(name, set(item.idxs))
        x = torch.randn(2, *self._model.dims, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            wanted = unread(x)
            try:
                pruned.prune(record_history=False)
                given = self._model.module(x)
            except (RuntimeError, ValueError, IndexError, AssertionError):
                given = torch.zeros(0)
        if not alone or given.shape != wanted.shape or not torch.allclose(
                given, wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max()), equal_nan=True):
            raise PenjingError(f"layer {group.root}: its channels cannot be removed, since a part "
                               f"of the network takes them in fixed places or numbers; keep it")

    def _keep_others(self, name: str, gone: set[int]) -> None:
        """Note that the channels in the places ``gone`` leave the layer ``name``."""
        self._kept[name] = [channel for place, channel in enumerate(self._kept[name])
                            if place not in gone]
        if not self._kept[name]:
            raise PenjingError(f"layer {name}: it would be left without channels; lower the ratio, "
                               f"or keep it")

    def _coupled(self, root: str, group: Any) -> Coupled:
        members: dict[str, tuple[Tensor, Tensor]] = {}
        bound = {channel: channel for channel in group[0].idxs}
        reasons = chain(map(self._reason, group), map(self._broadcast, group))
        fixed = next(filter(None, reasons), "")
        for item in group:
            module = item.dep.target.module
            if not fixed and isinstance(module, _Convolution) and module.groups > 1 and (
                    not _is_depthwise(module)):
                _bind(bound, item)
            if module in self._names and not self._reads(item.dep):
                members[self._names[module]] = torch.tensor(item.idxs), torch.tensor(item.root_idxs)
        units: dict[int, list[int]] = {}
        for channel in bound:
            units.setdefault(_found(bound, channel), []).append(channel)
        return Coupled(root, members, tuple(map(tuple, units.values())), fixed)

    def _reads(self, dep: Any) -> bool:
        """Whether ``dep`` takes inputs of a layer away."""
        module = dep.target.module
        pruner = self._graph.get_pruner_of_module(module)
        return isinstance(module, _Convolution | nn.Linear) and (
            dep.handler == pruner.prune_in_channels != pruner.prune_out_channels)

    def _reason(self, item: Any) -> str:
        """Why ``item`` of a group keeps its channels, or nothing."""
        node = item.dep.target
        module = node.module
        if module in self._ends:
            return "they are the network's inputs or outputs"
        if node.type in (kinds.OPTYPE.SPLIT, kinds.OPTYPE.UNBIND) or (
                node.type == kinds.OPTYPE.SLICE and module.dim == 1):
            return "they are divided into parts of fixed size"
        if isinstance(module, _Convolution) and module.groups > 1 and (
                module.in_channels != module.out_channels if _is_depthwise(module) else
                module.transposed or len(item.idxs) != self._channels(item.dep)):
            return f"the groups of {self._names[module]} take them in fixed numbers"
        return ""

    def _broadcast(self, item: Any) -> str:
        """Why ``item`` keeps its channels if they are fewer than those that go with them."""
        count = self._channels(item.dep)
        if count is None or max(item.idxs) < count:
            return ""
        return f"one of {self._names[item.dep.target.module]} goes with many"

    def _channels(self, dep: Any) -> int | None:
        """How many there are of what ``dep`` takes away."""
        graph = self._graph
        counted = graph.get_in_channels if self._reads(dep) else graph.get_out_channels
        return counted(dep.target)


def outputs(layer: nn.Module) -> int:
    """How many channels or features a convolution or linear layer puts out."""
    if isinstance(layer, nn.Linear):
        return layer.out_features
    assert isinstance(layer, _Convolution)
    return layer.out_channels


def _is_depthwise(layer: _Convolution) -> bool:
    """Whether the graph takes ``layer`` for one whose outputs are those of its inputs."""
    return 1 < layer.groups == layer.out_channels


def _end(dims: tuple[int, ...]) -> nn.Module:
    """What marks the channels of an input or output; it changes nothing but gives gradients."""
    return (nn.BatchNorm2d if len(dims) == 3 else nn.BatchNorm1d)(dims[0])


def _silence(module: nn.Module, inputs: Sequence[int]) -> None:
    """Let ``module`` not read its ``inputs``, of which groups have the same."""
    weight = module.weight.data
    assert isinstance(weight, Tensor)
    if isinstance(module, _Convolution) and module.transposed:
        weight[list(inputs)] = 0
    else:
        weight[:, [index % weight.shape[1] for index in inputs]] = 0


def _found(bound: dict[int, int], channel: int) -> int:
    while bound[channel] != channel:
        channel = bound[channel]
    return channel


def _bind(bound: dict[int, int], item: Any) -> None:
    """Let channels in the same place of each group of a convolution go together."""
    size = len(item.idxs) // item.dep.target.module.groups
    places: dict[int, int] = {}
    for index, root in zip(item.idxs, item.root_idxs, strict=True):
        first = places.setdefault(index % size, root)
        bound[_found(bound, root)] = _found(bound, first)
