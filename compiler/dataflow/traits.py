"""What hardware depends on of a layer: two with the same traits become the same, cell by cell."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable
from dataclasses import fields
from functools import singledispatch
from typing import Any

import numpy as np

from .. import ir
from .site import Site

_NAMES = frozenset(("name", "input"))
"""Fields that say where a layer stands, not what it is."""


def site_traits(site: Site) -> Hashable:
    """Those of a layer, and of the tensors that it reads and makes."""
    return (traits(site.layer), tuple([_form(source) for source in site.sources]),
            _form(site.result), site.reach)


def _form(kind: ir.TensorType) -> Hashable:
    """What integers are; what they stand for is for people."""
    return type(kind), kind.shape, kind.bits, kind.signed, kind.zero_point


@singledispatch
def traits(layer: ir.Layer) -> Hashable:
    """All that a layer is, names aside."""
    return type(layer), *(_frozen(getattr(layer, one.name)) for one in fields(layer)
                          if one.name not in _NAMES)


@traits.register(ir.Convolution)
@traits.register(ir.Depthwise)
@traits.register(ir.Dense)
def _(layer: ir.Convolution | ir.Depthwise | ir.Dense) -> Hashable:
    """Weights that are all stored, or so many of each few channels, cost the same whatever they
    are, unless they are few different ones."""
    weights = layer.weights
    if not isinstance(weights.encoding, ir.ValueEncoding | ir.NofM):
        return traits.dispatch(ir.Layer)(layer)
    stored = weights.encoding.values if isinstance(weights.encoding, ir.NofM) else weights.encoding
    few = None if isinstance(stored, ir.Plain) else (
        weights.codebook, tuple(weights.stored.different.tolist()))
    low, high = int(layer.bias.min()), int(layer.bias.max())
    return (type(layer), weights.values.shape, weights.bits, weights.encoding, weights.loadable,
            weights.bipolar, weights.ternary, weights.full, few, ir.signed_bits(low, high),
            low == high, *(getattr(layer, one.name) for one in fields(layer)
                           if one.name not in _NAMES | {"weights", "bias"}))


def _frozen(value: Any) -> Hashable:
    """What stands for a ``value``, which may be an array or weights, in a key."""
    if isinstance(value, np.ndarray):
        digest = hashlib.blake2b(value.tobytes(), digest_size=16).digest()
        return value.shape, value.dtype.str, digest
    if isinstance(value, ir.Weights):
        return (_frozen(value.values), value.bits, value.encoding, value.loadable)
    assert isinstance(value, Hashable)
    return value
