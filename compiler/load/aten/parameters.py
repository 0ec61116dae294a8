"""What a program computes of its parameters alone, such as weight norms: computed once, here."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TypeAlias

import numpy as np

from ...ir import MAX_ELEMENTS
from ..floats import Floats
from ..pt2 import Node, Program, Reference, Value, Weight
from ..unary import Unary
from .axes import moved_axes
from .graph import Arguments, references, refuse
from .trivial import IDENTITIES, PERMUTES, RESHAPES

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
        taken = node.arguments[:1] if node.target in _SHAPED_LIKE else node.arguments
        read = [one.name for argument in taken for one in references(argument.value)]
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
    if node.target in PERMUTES:
        def fold(arguments: _Arguments, sizes: _Sizes) -> Floats:
            values = _array(arguments, "self")
            return values.transpose(moved_axes(node, Arguments(node), values.ndim))
    if fold is None or len(node.outputs) != 1:
        return None
    arguments = {argument.name: weights[argument.value.name].values.astype(np.float64)
                 if isinstance(argument.value, Reference) and argument.value.name in weights
                 else argument.value for argument in node.arguments}
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


def _expand(arguments: _Arguments, sizes: _Sizes) -> Floats | None:
    """Axes of 1 repeated; a batch of any size is one of 1."""
    shape = [1 if size is None else size for size in sizes]
    if math.prod(shape) > MAX_ELEMENTS:
        raise MemoryError
    return np.broadcast_to(_array(arguments, "self"), shape)


def _slice(arguments: _Arguments, sizes: _Sizes) -> Floats | None:
    values = _array(arguments, "self")
    axis, bounds = arguments.get("dim", 0), [
        arguments.get(name) for name in ("start", "end", "step")]
    if type(axis) is not int or not -values.ndim <= axis < values.ndim or any(
            bound is not None and type(bound) is not int for bound in bounds):
        return None
    taken = range(*slice(*bounds).indices(values.shape[axis]))
    return values.take(taken, axis)


def _select(arguments: _Arguments, sizes: _Sizes) -> Floats | None:
    values, axis, place = _array(arguments, "self"), arguments.get("dim"), arguments.get("index")
    if type(axis) is not int or type(place) is not int or not (
            -values.ndim <= axis < values.ndim
            and -values.shape[axis] <= place < values.shape[axis]):
        return None
    return np.asarray(values.take(place, axis), np.float64)


def _of_one(operation: Callable[[Floats], Floats]) -> _Fold:
    return lambda arguments, sizes: np.asarray(operation(_array(arguments, "self")), np.float64)


def _power(arguments: _Arguments, sizes: _Sizes) -> Floats | None:
    return np.asarray(np.power(_array(arguments, "self"), _array(arguments, "exponent")))


def _of_two(operation: Callable[[Floats, Floats], Floats]) -> _Fold:
    def fold(arguments: _Arguments, sizes: _Sizes) -> Floats | None:
        if arguments.get("alpha", 1) != 1:
            return None
        a, b = _array(arguments, "self"), _array(arguments, "other")
        if math.prod(np.broadcast_shapes(a.shape, b.shape)) > MAX_ELEMENTS:
            raise MemoryError
        return operation(a, b)
    return fold


def _reduced(operation: Callable[[Floats, tuple[int, ...]], Floats]) -> _Fold:
    """An ``operation`` along the axes ``dim``, or along all of them."""
    def fold(arguments: _Arguments, sizes: _Sizes) -> Floats | None:
        values, given = _array(arguments, "self"), arguments.get("dim")
        given = (given,) if type(given) is int else given or tuple(range(values.ndim))
        if not isinstance(given, tuple):
            return None
        axes = tuple(axis for axis in given if type(axis) is int
                     and -values.ndim <= axis < values.ndim)
        if len({axis % values.ndim for axis in axes}) != len(given):
            return None
        result = np.asarray(operation(values, axes), np.float64)
        return result.reshape([-1 if size is None else size for size in sizes])
    return fold


def _spread(root: bool) -> _Fold:
    """The variance or, its ``root``, the standard deviation along some axes."""
    def fold(arguments: _Arguments, sizes: _Sizes) -> Floats | None:
        less = arguments.get("correction", arguments.get("unbiased"))
        less = 1 if less is None else less
        if not isinstance(less, int | float):
            return None
        return _reduced(lambda x, axes: np.var(x, axes, ddof=less) ** (0.5 if root else 1))(
            arguments, sizes)
    return fold


def _norm(arguments: _Arguments, sizes: _Sizes) -> Floats | None:
    """The root of the sum of squares; other norms are unknown."""
    if arguments.get("ord", 2) != 2:
        return None
    return _reduced(lambda x, axes: np.sqrt((x * x).sum(axes)))(arguments, sizes)


def _clamp(arguments: _Arguments, sizes: _Sizes) -> Floats | None:
    low, high = (_array(arguments, name) if arguments.get(name) is not None else np.array(without)
                 for name, without in (("min", -np.inf), ("max", np.inf)))
    return np.asarray(np.minimum(np.maximum(_array(arguments, "self"), low), high))


def _product(other: str) -> _Fold:
    """A matrix or a vector times a vector."""
    def fold(arguments: _Arguments, sizes: _Sizes) -> Floats:
        return np.asarray(_array(arguments, "self") @ _array(arguments, other), np.float64)
    return fold


_SHAPED_LIKE = frozenset(("aten.expand_as.default",))
"""Operators that take the shape of their second argument only."""
FOLDS: Mapping[str, _Fold] = {
    **dict.fromkeys(RESHAPES, _reshape), **dict.fromkeys(IDENTITIES, _same),
    **{f"aten.{name}": fold for name, fold in {
        "_weight_norm.default": _weight_norm,
        "mul.Tensor": _of_two(np.multiply), "div.Tensor": _of_two(np.divide),
        "add.Tensor": _of_two(np.add), "sub.Tensor": _of_two(np.subtract),
        "rsub.Scalar": _of_two(lambda a, b: b - a), "pow.Tensor_Scalar": _power,
        "neg.default": _of_one(np.negative), "abs.default": _of_one(np.abs),
        "exp.default": _of_one(np.exp), "sqrt.default": _of_one(np.sqrt),
        "rsqrt.default": _of_one(lambda x: 1 / np.sqrt(x)),
        "reciprocal.default": _of_one(np.reciprocal), "square.default": _of_one(np.square),
        "relu.default": _of_one(lambda x: np.maximum(x, 0)),
        **{f"{function.value}.default": _of_one(partial(function, parameter=None))
           for function in (Unary.SIGMOID, Unary.TANH)},
        "expand.default": _expand, "expand_as.default": _expand, "slice.Tensor": _slice,
        "select.int": _select,
        "round.default": _of_one(np.rint), "sign.default": _of_one(np.sign),
        **dict.fromkeys(("clamp.default", "clamp_min.default", "clamp_max.default"), _clamp),
        **dict.fromkeys(("mean.default", "mean.dim"), _reduced(lambda x, axes: x.mean(axes))),
        **dict.fromkeys(("sum.default", "sum.dim_IntList"), _reduced(lambda x, axes: x.sum(axes))),
        **dict.fromkeys(("max.default", "amax.default"), _reduced(lambda x, axes: x.max(axes))),
        **dict.fromkeys(("min.default", "amin.default"), _reduced(lambda x, axes: x.min(axes))),
        **dict.fromkeys(("var.default", "var.dim", "var.correction"), _spread(False)),
        **dict.fromkeys(("std.default", "std.dim", "std.correction"), _spread(True)),
        "linalg_vector_norm.default": _norm,
        "mv.default": _product("vec"), "vdot.default": _product("other"),
        "dot.default": _product("tensor")}.items()}}
