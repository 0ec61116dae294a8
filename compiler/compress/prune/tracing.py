"""What follows the layers of a model, and what they read, as its graph tells."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, fx, nn

from ...ir import PenjingError
from .layers import Layer, Weighted, judged


def graph_of(model: nn.Module) -> fx.GraphModule:
    """The graph of ``model``, with the same modules."""
    if isinstance(model, fx.GraphModule):
        return model
    try:
        return fx.symbolic_trace(model)
    except Exception as error:  # whatever the model does with what has no values
        reason = " ".join(str(error).split())
        raise PenjingError(f"model: torch.fx cannot trace it ({reason:.200}); mend the model until "
                           f"torch.fx.symbolic_trace accepts it") from None


def followers(graph: fx.GraphModule, layer: Layer) -> list[fx.Node]:
    """What depends on the outputs of ``layer``, up to the next layers with weights, in order."""
    reached: set[fx.Node] = set()
    found = []
    for node in graph.graph.nodes:
        if node.op == "call_module" and node.target == layer.name:
            reached.add(node)
        elif not reached.isdisjoint(node.all_input_nodes) and node.op != "output" and not (
                isinstance(module_of(graph, node), Weighted)):
            reached.add(node)
            found.append(node)
    return found


def module_of(graph: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    """The module that ``node`` calls."""
    return graph.get_submodule(str(node.target)) if node.op == "call_module" else None


class Watched(fx.Interpreter):
    """Runs a ``graph`` and calls ``note`` with each node and the tensor that it puts out."""

    def __init__(self, graph: fx.GraphModule, note: Callable[[fx.Node, Tensor], None]) -> None:
        super().__init__(graph)
        self._note = note

    def run_node(self, n: fx.Node) -> object:
        """What ``n`` puts out."""
        result = super().run_node(n)
        if isinstance(result, Tensor):
            self._note(n, result)
        return result


def flattened_maps(model: nn.Module, example: Tensor) -> dict[str, tuple[int, int]]:
    """For `layers_of`: the linear layers that take a flattened map, and its (height, width).

    ``example`` (N, ...) is what ``model`` takes. A map is flattened channel by channel, as PyTorch
    has it; what is done to it behind that leaves each element in its place.
    """
    graph = graph_of(model)
    shapes: dict[fx.Node, torch.Size] = {}
    with judged(model), torch.no_grad():
        Watched(graph, lambda node, result: shapes.update({node: result.shape})).run(example)
    found = {}
    for node in graph.graph.nodes:
        if isinstance(module_of(graph, node), nn.Linear):
            source = node.all_input_nodes[0]
            features = shapes[source][1:].numel()
            while len(shapes[source]) == 2:
                before = [one for one in source.all_input_nodes
                          if one in shapes and shapes[one][1:].numel() == features]
                if not before:
                    break
                source = before[0]
            if len(shapes[source]) > 2:
                *height, width = shapes[source][2:]
                found[str(node.target)] = (height[0] if height else 1, width)
    return found
