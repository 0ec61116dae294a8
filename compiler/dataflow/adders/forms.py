"""Linear forms of the inputs, each worked out once: the nodes of a graph that still grows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from ....hdl.adder_graph import Term
from ....hdl.ranges import width
from ...ir import Integers


class Forms:
    """Inputs, constants, and sums of two of what is there, whose bounds are exact.

    The constants are 0 and some odd integers, each with its opposite. ``levels`` tells how many
    additions in a row lead to each node, ``widths`` its bits.
    """

    def __init__(self, inputs: Sequence[range], integers: Iterable[int]) -> None:
        odd = {abs(_odd(integer)[0]) for integer in integers} - {0}
        self.constants = (0, *(sign * integer for integer in sorted(odd) for sign in (1, -1)))
        self.values = [*inputs, *(range(constant, constant + 1) for constant in self.constants)]
        self._first_constant = len(inputs)
        self.first_addition = len(self.values)
        self.levels = [0] * len(self.values)
        self.widths = [width(values) for values in self.values]
        self.terms: list[tuple[Term, Term]] = []
        self._low = np.array([values[0] for values in self.values], np.int64)
        self._high = np.array([values[-1] for values in self.values], np.int64)
        self._forms: list[Integers] = list(np.eye(len(self.values), dtype=np.int64))
        self._known = {form.tobytes(): n for n, form in enumerate(self._forms)}

    def is_constant(self, term: Term) -> bool:
        """Whether ``term`` is a constant."""
        return self._first_constant <= term.node < self.first_addition

    def constant(self, integer: int) -> Term:
        """The term that is ``integer``, one of those that there are, or the opposite of one."""
        odd, shift = _odd(integer)
        return Term(self._first_constant + self.constants.index(odd), shift)

    def opposite(self, term: Term) -> Term:
        """The constant ``term`` with the other sign before it, and so with the other constant."""
        constant = self.constants[term.node - self._first_constant]
        return replace(self.constant(-constant), shift=term.shift, negative=not term.negative)

    def add(self, low: Term, high: Term) -> int:
        """The node of ``low + high``, of which ``low`` has the lesser shift and one is positive.

        It may be there already.
        """
        form = self._form(low) + self._form(high)
        key = form.tobytes()
        if key not in self._known:
            ups, downs = np.maximum(form, 0), np.minimum(form, 0)
            values = range(int(ups @ self._low + downs @ self._high),
                           int(ups @ self._high + downs @ self._low) + 1)
            self._known[key] = len(self.values)
            self._forms.append(form)
            self.values.append(values)
            self.widths.append(width(values))
            self.levels.append(1 + max(self.levels[low.node], self.levels[high.node]))
            self.terms.append((low, high))
        return self._known[key]

    def price(self, low: int, high: int, shift: int) -> int:
        """Bits of the adder that makes ``low ± (high << shift)``, about: sums may be a bit wider.
        """
        return max(self.widths[low] - shift, self.widths[high]) + 1

    def overlap(self, low: int, high: int, shift: int) -> int:
        """Places at which both ``low`` and ``high << shift`` have a bit."""
        return max(0, min(self.widths[low] - shift, self.widths[high]))

    def _form(self, term: Term) -> Integers:
        form = self._forms[term.node] << term.shift
        return -form if term.negative else form


def _odd(integer: int) -> tuple[int, int]:
    """The odd part of ``integer``, and how far it is shifted; (0, 0) for 0."""
    shift = max(0, (integer & -integer).bit_length() - 1)
    return integer >> shift, shift
