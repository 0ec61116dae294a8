"""Damaged and hostile ``.tflite`` files: refused in one line, in little time and memory."""

from __future__ import annotations

import fuzzing
import pytest

pytest.importorskip("ai_edge_litert")

import tflite_mutants
from penjing.compiler.ir import PenjingError
from penjing.compiler.load import tflite as importer


def test_mutants() -> None:
    """`bench/fuzz.py` reads ten thousand of them."""
    outcome = fuzzing.run("tflite", 1_000_000, 400)
    assert outcome.failures == []
    assert outcome.mutants == 400
    assert outcome.read > 40, "nothing but refusals finds no fault behind the first check"
    assert outcome.peak_bytes < fuzzing.MEMORY


@pytest.mark.parametrize("which", range(len(tflite_mutants.HOSTILE)))
def test_hostile_model(which: int) -> None:
    """Each of the models that a program could drown in is mutant 40·n of some number."""
    outcome = fuzzing.run("tflite", 40 * which, 1)
    assert (outcome.mutants, outcome.failures) == (1, [])
    assert outcome.peak_bytes < fuzzing.MEMORY


def test_constants_outside_of_the_flatbuffer_are_not_read() -> None:
    file = tflite_mutants.Drawn(tflite_mutants.np.random.default_rng(0))
    tflite_mutants.tflite_files.convolution(file)
    for buffer in file.model.buffers:
        if buffer.data is not None:
            buffer.data, buffer.offset, buffer.size = None, 8, len(buffer.data)
    with pytest.raises(PenjingError, match="outside the flatbuffer"):
        importer.convert(importer.parse(file.bytes()), "net")
