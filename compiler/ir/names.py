"""What names are valid, and valid and unique ones from whatever names a foreign format has."""

from __future__ import annotations

import re

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
"""What layers and tensors may be called, and so instances in the Verilog."""
PORTS = ("clk", "rst")
"""Ports of the module that is called as the network."""

_LONGEST = 56
"""Characters of a name that is made here: `NAME` has room for a number behind them."""
_RESERVED = (*PORTS, "i", "o")
"""Names in the module whose instances the layers are."""


def cleaned(text: str, prefix: str = "") -> str:
    """``text`` in the characters that a name may have; each run of others is one underscore.

    Where no letter comes first, ``prefix`` does, and an underscore. Without a prefix, what is
    before the first letter is left away, so that the result may be empty.
    """
    text = re.sub(r"\W+", "_", text, flags=re.ASCII).strip("_")
    if prefix and not text[:1].isalpha():
        return f"{prefix}_{text}".rstrip("_")
    return re.sub(r"^[^A-Za-z]+", "", text)


class Names:
    """Hands out names, each once; upper and lower case count as one, as in some file systems.

    Parameters: names that are ``taken``, beside those of ports.
    """

    def __init__(self, *taken: str) -> None:
        self._taken = {name.lower() for name in (*taken, *_RESERVED)}
        self._next: dict[str, int] = {}

    def take(self, name: str) -> None:
        """Never hand out ``name``."""
        self._taken.add(name.lower())

    def unique(self, wanted: str) -> str:
        """``wanted``, valid and not too long, with a number where it is taken."""
        wanted = cleaned(wanted, "layer")[:_LONGEST]
        candidate, number = wanted, self._next.get(wanted.lower(), 2)
        while candidate.lower() in self._taken:
            candidate, number = f"{wanted}_{number}", number + 1
        self._next[wanted.lower()] = number
        self.take(candidate)
        return candidate
