"""Integers in canonical signed digits: the fewest powers of two that add up to them."""

from __future__ import annotations


def signed_digits(value: int) -> dict[int, int]:
    """The digits of ``value`` that are not 0: by their place, each -1 or 1, never two side by side.

    Reitwiesner (1960): no other signed digits are fewer.
    """
    digits = {}
    place = 0
    while value:
        if value & 1:
            digit = 2 - (value & 3)
            digits[place] = digit
            value -= digit
        value >>= 1
        place += 1
    return digits
