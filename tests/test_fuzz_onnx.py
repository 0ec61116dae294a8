"""Damaged and hostile ``.onnx`` files: refused in one line, in little time and memory."""

from __future__ import annotations

import fuzzing
import onnx_mutants
import pytest
from penjing.compiler.ir import PenjingError
from penjing.compiler.load import onnx as importer


def test_mutants() -> None:
    """`bench/fuzz.py` reads ten thousand of them."""
    outcome = fuzzing.run("onnx", 1_000_000, 400)
    assert outcome.failures == []
    assert outcome.mutants == 400
    assert outcome.read > 10, "nothing but refusals finds no fault behind the first check"
    assert outcome.peak_bytes < fuzzing.MEMORY


def test_mutants_of_qonnx() -> None:
    outcome = fuzzing.run("qonnx_mutants", 1_000_000, 300)
    assert outcome.failures == []
    assert outcome.read > 10
    assert outcome.peak_bytes < fuzzing.MEMORY


@pytest.mark.parametrize("which", range(len(onnx_mutants.HOSTILE)))
def test_hostile_model_is_refused(which: int) -> None:
    """Each of the models that a program could drown in is mutant 40·n of some number."""
    outcome = fuzzing.run("onnx", 40 * which, 1)
    assert (outcome.refused, outcome.failures) == (1, [])


def test_a_failure_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A format that crashes, hangs or eats memory fails, and the next mutant is still read."""
    monkeypatch.setenv("FUZZING_SECONDS", "1")
    outcome = fuzzing.run("fuzz_victim", 0, 6)
    assert [text.split(":")[0] for text in outcome.failures] == [f"mutant {n}" for n in range(5)]
    assert outcome.read == 1


def test_constants_are_not_fetched_from_other_files() -> None:
    data = onnx_mutants.mutant(2)
    model = onnx_mutants.onnx.load_model_from_string(data)
    onnx_mutants.external(onnx_mutants.np.random.default_rng(0), model.graph)
    with pytest.raises(PenjingError, match="another file"):
        importer.parse(model.SerializeToString())
