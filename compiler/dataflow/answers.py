"""Answers that hold for a span of paces, kept and found again."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import Generic, TypeVar

from .kinds.ask import Span

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """The ``value`` for all that a ``span`` holds."""

    span: Span
    value: T


class Answers(Generic[T]):
    """Answers to one question at several paces.

    While there are DSP blocks for all that may be built, spans of cycles do not overlap. With fewer
    of them, answers hold for that number alone.
    """

    def __init__(self) -> None:
        self._least: list[int] = []
        self._answers: list[Answer[T]] = []
        self._few: dict[int, Answers[T]] = {}

    def find(self, cycles: int, dsps: int) -> Answer[T] | None:
        """The answer for so many ``cycles`` and ``dsps``, if it is known."""
        place = bisect_right(self._least, cycles) - 1
        if place >= 0 and self._answers[place].span.holds(cycles, dsps):
            return self._answers[place]
        few = self._few.get(dsps)
        return few.find(cycles, dsps) if few else None

    def add(self, span: Span, value: T) -> Answer[T]:
        """Keep an answer."""
        if span.least_dsps == span.most_dsps:
            return self._few.setdefault(span.least_dsps, Answers())._put(span, value)
        return self._put(span, value)

    def _put(self, span: Span, value: T) -> Answer[T]:
        answer = Answer(span, value)
        place = bisect_right(self._least, span.least_cycles)
        self._least.insert(place, span.least_cycles)
        self._answers.insert(place, answer)
        return answer
