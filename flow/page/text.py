"""Numbers as people read them."""

from __future__ import annotations

from ...compiler.ir import Bipolar, TensorType

__all__ = ["count", "percent", "shape", "short"]


def count(value: float | None) -> str:
    """``value`` with separators; a dash for None."""
    return "–" if value is None else f"{value:,.0f}"


def percent(part: float) -> str:
    """A part of 1; near 0 and 1 with a decimal, so that only these are 0 % and 100 %."""
    if part in (0, 1):
        return f"{part:.0%}"
    return f"{part:.0%}" if 0.1 <= part < 0.99 else f"{min(max(part, 0.001), 0.999):.1%}"


def short(value: float) -> str:
    """A large number with a prefix: 1.95 M."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e4)):
        if value >= size:
            return f"{value / (size if unit != 'k' else 1e3):.3g} {unit}"
    return f"{value:,.0f}"


def shape(kind: TensorType) -> str:
    """The shape and the width of a tensor."""
    sizes = [size for size in kind.shape[:2] if kind.shape[:2] != (1, 1)] + [kind.shape[2]]
    bits = "signs" if isinstance(kind, Bipolar) else (
        f"{'int' if kind.signed else 'uint'}{kind.bits}")
    return f"{'×'.join(map(str, sizes))} {bits}"
