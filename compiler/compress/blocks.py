"""Blocks of networks whose multi-bit stream runs past layers of signs (Bi-Real Net, ReActNet)."""

from __future__ import annotations

from torch import Tensor, nn

from ..ir import PenjingError

__all__ = ["Repeat", "Residual"]


class Residual(nn.Module):
    """``body(x) + shortcut(x)``, the shortcut being ``x`` itself unless one is given.

    Both are sequences, and end in fixed point of one fraction length if they are to be lowered.
    """

    def __init__(self, body: nn.Sequential, shortcut: nn.Sequential | None = None) -> None:
        super().__init__()
        self.body = body
        self.shortcut = nn.Sequential() if shortcut is None else shortcut

    def forward(self, x: Tensor) -> Tensor:
        """The sum of both branches, which must have one shape."""
        total: Tensor = self.body(x) + self.shortcut(x)
        return total


class Repeat(nn.Module):
    """Each channel ``times`` times, next to each other: a shortcut to more channels.

    ReActNet lays the copies behind each other, which is the same but for the order of channels.
    """

    def __init__(self, times: int) -> None:
        super().__init__()
        if type(times) is not int or times < 1:
            raise PenjingError(f"repeat: times must be an integer of at least 1, not {times!r}")
        self.times = times

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, ...) to (N, times * C, ...)."""
        return x.repeat_interleave(self.times, 1)

    def extra_repr(self) -> str:
        """What the module is called with."""
        return f"{self.times}"
