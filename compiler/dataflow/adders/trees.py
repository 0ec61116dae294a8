"""What a sum has left is added up pair by pair, the cheapest adder first."""

from __future__ import annotations

from heapq import heapify, heappop, heappush

from ....hdl.adder_graph import Term
from .forms import Forms


def added_up(forms: Forms, terms: list[Term], limit: int) -> Term | None:
    """The term that is the sum of ``terms``, negative only if they all are; None of none.

    It is at most ``limit`` additions deep, if a balanced tree of the terms is, which Kraft's sum of
    their levels tells; or somewhat more, where a sum is there already that is deeper.
    """
    alive = dict(enumerate(terms))
    levels = forms.levels
    weight = sum(1 << levels[term.node] for term in terms)
    queue = [(*_price(forms, one, other), a, b) for b, other in alive.items()
             for a, one in alive.items() if a < b]
    heapify(queue)
    late: list[tuple[int, int, int, int]] = []
    while len(alive) > 1:
        if not queue:
            limit += 1
            queue, late = late, []
        offer = heappop(queue)
        _, level, a, b = offer
        if a not in alive or b not in alive:
            continue
        grown = weight - (1 << levels[alive[a].node]) - (1 << levels[alive[b].node]) + (1 << level)
        if grown > 1 << limit:
            late.append(offer)
            continue
        one, other = alive.pop(a), alive.pop(b)
        made = _add(forms, one, other, any(not (term.negative or forms.is_constant(term))
                                           for term in alive.values()))
        weight = sum(1 << levels[term.node] for term in (*alive.values(), made))
        new = len(terms) + (len(terms) - len(alive))
        for n, term in alive.items():
            heappush(queue, (*_price(forms, term, made), n, new))
        for offer in late:
            heappush(queue, offer)
        late = []
        alive[new] = made
    for term in alive.values():
        return term
    return None


def _price(forms: Forms, one: Term, other: Term) -> tuple[int, int]:
    """Bits of the adder of two terms, and the level of the sum."""
    low, high = sorted((one, other), key=lambda term: term.shift)
    level = 1 + max(forms.levels[low.node], forms.levels[high.node])
    return forms.price(low.node, high.node, high.shift - low.shift), level


def _add(forms: Forms, one: Term, other: Term, has_more: bool) -> Term:
    """The sum of two terms.

    It may be negative if there are positive ones besides, or if both are: what is subtracted from
    others costs less than what is made positive.
    """
    if has_more and forms.is_constant(one) != forms.is_constant(other):
        if forms.is_constant(one) and other.negative:
            one = forms.opposite(one)
        elif forms.is_constant(other) and one.negative:
            other = forms.opposite(other)
    low, high = sorted((one, other), key=lambda term: (term.shift, term.negative, term.node))
    negative = low.negative and (high.negative or has_more)
    place = low.shift
    node = forms.add(Term(low.node, 0, low.negative != negative),
                     Term(high.node, high.shift - place, high.negative != negative))
    return Term(node, place, negative)
