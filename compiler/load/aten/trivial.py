"""ATen operators that compute nothing, by their names."""

from __future__ import annotations

RESHAPES = frozenset(f"aten.{name}" for name in (
    "view.default", "reshape.default", "flatten.using_ints", "squeeze.default", "squeeze.dim",
    "squeeze.dims", "unsqueeze.default", "unflatten.int"))
"""Operators that only change the shape."""
PERMUTES = frozenset(f"aten.{name}" for name in (
    "permute.default", "transpose.int", "movedim.int", "movedim.intlist", "moveaxis.int",
    "swapaxes.default"))
"""Operators that only put the axes in another order."""
IDENTITIES = frozenset(f"aten.{name}" for name in (
    "dropout.default", "dropout_.default", "feature_dropout.default", "alpha_dropout.default",
    "contiguous.default", "clone.default", "detach.default", "detach_.default", "alias.default",
    "lift_fresh_copy.default"))
"""Operators that put out their input."""
SKIPPED = frozenset(("aten.sym_size.int", "aten._assert_tensor_metadata.default",
                     "aten._assert_scalar.default"))
"""Nodes that compute no tensor."""
