"""Damaged and hostile ``.pt2`` files: refused in one line, in little time and memory."""

from __future__ import annotations

import fuzzing
import pt2_mutants


def test_mutants() -> None:
    """`bench/fuzz.py` reads ten thousand of them."""
    first, count = 1_000_000, 440
    # Every program that a reader could drown in is among them.
    assert first % 40 == 0
    assert count >= 40 * len(pt2_mutants.HOSTILE)
    outcome = fuzzing.run("pt2", first, count)
    assert outcome.failures == []
    assert outcome.mutants == count
    assert outcome.read > 10, "nothing but refusals finds no fault behind the first check"
    assert outcome.peak_bytes < fuzzing.MEMORY
