"""What constructors ask of their numbers."""

from __future__ import annotations

__all__ = ["at_least"]


def at_least(bound: int, /, **parameters: int) -> None:
    """Raise unless every one of ``parameters`` is an int of at least ``bound``.

    `TypeError` for anything but an int, `ValueError` below the bound; both name the parameter.
    """
    for name, value in parameters.items():
        if not isinstance(value, int) or isinstance(value, bool):
            raise TypeError(f"{name} must be an int, not {value!r}")
        if value < bound:
            raise ValueError(f"{name} must be at least {bound}, not {value!r}")
