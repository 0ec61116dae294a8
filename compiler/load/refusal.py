"""What stands in the way of a file: where, why, and the way out.

A reader goes on behind an operator that it refuses, with tensors in the place of its outputs that
are what the file says of them, or unknown. So one error tells all obstacles.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from ..ir import PenjingError


def one_line(error: object) -> str:
    """The text of ``error`` on one line of bounded length, whatever names a file put into it."""
    text = " ".join(str(error).encode("ascii", "backslashreplace").decode().split())
    return text if len(text) <= 600 else f"{text[:300]} ... {text[-300:]}"


@dataclass(frozen=True)
class Obstacle:
    """One thing that cannot be read.

    ``node`` is the place in the file and ``operator`` what stands there; both are "" where the file
    as a whole is meant. ``text`` is the line of an error, where that says more than ``reason`` and
    ``way_out``. Reading ends at one that is ``last``.
    """

    reason: str
    way_out: str = ""
    operator: str = ""
    node: str = ""
    text: str = ""
    last: bool = False

    def __str__(self) -> str:
        return self.text or "; ".join(filter(None, (self.reason, self.way_out)))


class Refused(PenjingError):
    """A file that cannot be read; ``obstacles`` are all that stands in the way, as far as known.

    The text is that of the first, behind the ``origin``.
    """

    page = "docs/operators.md"

    def __init__(self, *obstacles: Obstacle, origin: str = "") -> None:
        super().__init__(f"{origin}{obstacles[0]}")
        self.obstacles = obstacles


class Refusals:
    """The obstacles that a reader has met so far, the ``first`` ones among them."""

    def __init__(self, first: Iterable[Obstacle] = ()) -> None:
        self._found = [*first]

    @property
    def found(self) -> tuple[Obstacle, ...]:
        """What was noted, in that order."""
        return tuple(self._found)

    @contextlib.contextmanager
    def noted(self) -> Iterator[None]:
        """Note what is refused inside, and go on."""
        try:
            yield
        except Refused as error:
            self._found += error.obstacles
            if error.obstacles[-1].last:
                self.settle()
        except PenjingError:  # what was noted may be the reason
            self.settle()
            raise

    def settle(self) -> None:
        """Raise what was noted, if anything was."""
        if self._found:
            raise Refused(*self._found) from None


@contextlib.contextmanager
def naming(origin: object, line: Callable[[object], str] = one_line) -> Iterator[None]:
    """Let errors name the file ``origin``, and be ``line`` of their text."""
    try:
        yield
    except Refused as error:
        first, *others = error.obstacles
        told = Obstacle(first.reason, first.way_out, first.operator, first.node, line(first))
        raise Refused(told, *others, origin=f"{origin}: ") from None
    except PenjingError as error:
        raise PenjingError(f"{origin}: {line(error)}") from None
