"""What a program computes of its parameters alone, such as weight norms: computed once, here."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeAlias

import numpy as np

from ...ir import MAX_ELEMENTS
from ..floats import Floats
from ..pt2 import Node, Program, Reference, Value, Weight
from .graph import references, refuse
from .trivial import IDENTITIES, RESHAPES

_Sizes: TypeAlias = tuple[int | None, ...]
_Arguments: TypeAlias = Mapping[str, Value | Floats]
_Fold: TypeAlias = Callable[[_Arguments, _Sizes], Floats | None]
"""The result for the arguments by name, parameters among them, and its recorded sizes.

None if the arguments are others than it knows.
"""


def folded(program: Program) -> Program:
    """``program`` without the nodes that read parameters only: their results are parameters too.

    `PenjingError` names a node whose result would be larger than any network's weights.
    """
    weights, nodes = dict(program.weights), []
    for node in program.nodes:
        read = [one.name for argument in node.arguments for one in references(argument.value)]
        result = None
        if read and all(name in weights for name in read):
            result = _result(node, weights, program.sizes)
        if result is None:
            nodes.append(node)
        else:
            module = node.module.partition(".parametrizations")[0]
            weights[node.outputs[0]] = Weight(f"{module}.weight".removeprefix("."), result)
    return replace(program, nodes=tuple(nodes), weights=weights)


def _result(node: Node, weights: Mapping[str, Weight], sizes: Mapping[str, _Sizes]
            ) -> Floats | None:
    fold = FOLDS.get(node.target)
    if fold is None or len(node.outputs) != 1:
        return None
    arguments = {argument.name: weights[argument.value.name].values.astype(np.float64)
                 if isinstance(argument.value, Reference) else argument.value
                 for argument in node.arguments}
    try:
        with np.errstate(all="ignore"):  # what is no number is told where a layer takes it
            return fold(arguments, sizes.get(node.outputs[0], ()))
    except ValueError:
        refuse(node, "it computes with parameters whose shapes do not fit",
               "export the model again")
    except MemoryError:
        refuse(node, f"it makes more than {MAX_ELEMENTS} values of parameters", "make fewer")


def _array(arguments: _Arguments, name: str) -> Floats:
    """A parameter or a number."""
    value = arguments.get(name)
    if isinstance(value, np.ndarray):
        return value
    if type(value) not in (int, float):
        raise ValueError
    return np.array(value, np.float64)


def _weight_norm(arguments: _Arguments, sizes: _Sizes) -> Floats | None:
    v, g, dim = _array(arguments, "v"), _array(arguments, "g"), arguments.get("dim", 0)
    if type(dim) is not int or not -1 <= dim < v.ndim:
        return None
    axes = tuple(axis for axis in range(v.ndim) if axis != dim)  # -1 is none: a norm of all
    return v * (g / np.sqrt((v * v).sum(axes, keepdims=True)))


def _reshape(arguments: _Arguments, sizes: _Sizes) -> Floats | None:
    return _array(arguments, "self").reshape([-1 if size is None else size for size in sizes])


def _same(arguments: _Arguments, sizes: _Sizes) -> Floats:
    return _array(arguments, "self")


def _of_two(operation: np.ufunc) -> _Fold:
    def fold(arguments: _Arguments, sizes: _Sizes) -> Floats | None:
        if arguments.get("alpha", 1) != 1:
            return None
        a, b = _array(arguments, "self"), _array(arguments, "other")
        if math.prod(np.broadcast_shapes(a.shape, b.shape)) > MAX_ELEMENTS:
            raise MemoryError
        result: Floats = operation(a, b)
        return result
    return fold


def _product(other: str) -> _Fold:
    """A matrix or a vector times a vector."""
    def fold(arguments: _Arguments, sizes: _Sizes) -> Floats:
        return np.asarray(_array(arguments, "self") @ _array(arguments, other), np.float64)
    return fold


FOLDS: Mapping[str, _Fold] = {
    **dict.fromkeys(RESHAPES, _reshape), **dict.fromkeys(IDENTITIES, _same),
    **{f"aten.{name}": fold for name, fold in {
        "_weight_norm.default": _weight_norm,
        "mul.Tensor": _of_two(np.multiply), "div.Tensor": _of_two(np.divide),
        "add.Tensor": _of_two(np.add), "sub.Tensor": _of_two(np.subtract),
        "mv.default": _product("vec"), "vdot.default": _product("other"),
        "dot.default": _product("tensor")}.items()}}
