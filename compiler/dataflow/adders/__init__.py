"""Constants times a vector in additions of shifted terms alone, with what they have in common."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ....hdl.adder_graph import AdderGraph, Addition, Term
from ...ir import Integers
from .digits import signed_digits
from .forms import Forms
from .sharing import Sharing, Terms
from .stages import Schedule
from .trees import added_up

__all__ = ["CHAINED", "adder_graph"]

CHAINED = 2
"""Additions in a row between two registers."""

SLACK = 2
"""How many additions deeper than a balanced tree of its digits a sum may be."""


def adder_graph(matrix: Integers, biases: Sequence[int], inputs: Sequence[range], *,
                chained: int = CHAINED, slack: int = SLACK) -> AdderGraph:
    """The graph of ``matrix @ x + biases`` for ``x`` of which each is among its ``inputs``.

    ``matrix`` is (outputs, inputs). Every addition has the fewest bits that hold its exact bounds.
    ``chained`` additions in a row share a stage; a sum may be ``slack`` deeper than a tree.
    """
    # An input that never changes is part of the biases.
    fixed = np.array([values[0] if len(values) == 1 else 0 for values in inputs], np.int64)
    biases = (np.array(biases, np.int64) + matrix @ fixed).tolist()
    matrix = np.where([len(values) > 1 for values in inputs], matrix, 0)
    forms = Forms(inputs, biases)
    sums: list[Terms] = [{(n, place): digit for n, value in enumerate(row)
                          for place, digit in signed_digits(value).items()}
                         for row in matrix.tolist()]
    limits = [(max(1, len(terms) + bool(bias)) - 1).bit_length() + slack
              for terms, bias in zip(sums, biases, strict=True)]
    Sharing(forms, sums, [(1 << limit) - bool(bias)
                          for limit, bias in zip(limits, biases, strict=True)]).run()
    found = []
    for terms, bias, limit in zip(sums, biases, limits, strict=True):
        listed = [Term(node, place, sign < 0) for (node, place), sign in sorted(terms.items())]
        if bias:
            listed.append(forms.constant(bias))
        total = added_up(forms, listed, limit)
        if total and total.negative:
            # All that is added up is negative.
            total = Term(forms.add(forms.constant(0), Term(total.node, 0, True)), total.shift)
        found.append(total)
    return _scheduled(forms, inputs, found, chained)


def _scheduled(forms: Forms, inputs: Sequence[range], outputs: list[Term | None],
               chained: int) -> AdderGraph:
    """The graph of what ``outputs`` need, in stages."""
    first = forms.first_addition
    needed = {output.node for output in outputs if output}
    for node in reversed(range(first, len(forms.values))):
        if node in needed:
            needed |= {term.node for term in forms.terms[node - first]}
    kept = [*range(first), *(node for node in range(first, len(forms.values)) if node in needed)]
    renumbered = {node: n for n, node in enumerate(kept)}

    def renamed(term: Term) -> Term:
        return Term(renumbered[term.node], term.shift, term.negative)

    terms = [(renamed(low), renamed(high)) for low, high in
             (forms.terms[node - first] for node in kept[first:])]
    ends = [renamed(output) if output else None for output in outputs]
    schedule = Schedule(terms, first, [not len(inputs) <= n < first for n in range(len(kept))],
                        [forms.widths[node] for node in kept],
                        sorted({end.node for end in ends if end}), chained)
    schedule.balance()
    return AdderGraph(tuple(inputs), forms.constants, tuple(
        Addition(low, high, forms.values[node], schedule.stage(schedule.levels[n]))
        for n, node, (low, high) in zip(range(first, len(kept)), kept[first:], terms, strict=True)),
        tuple(ends))
