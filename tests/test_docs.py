"""What the documents show runs."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import penjing
import pytest

DOCS = Path(penjing.__file__).parent / "docs"


def test_the_script_of_python_md(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (DOCS / "python.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert len(blocks) == text.count("```") // 2 == 4
    monkeypatch.chdir(tmp_path)
    Path("script.py").write_text("\n".join(blocks), encoding="utf-8")
    names = runpy.run_path("script.py")
    assert isinstance(names["simulation"], penjing.flow.Simulation)


def test_python_md_names_every_layer() -> None:
    from penjing.compiler import file

    text = (DOCS / "python.md").read_text(encoding="utf-8")
    assert {kind.__name__ for kind in file.LAYERS} <= set(re.findall(r"`(\w+)`", text))


def test_operators_md_is_as_the_importers_tables() -> None:
    pytest.importorskip("ai_edge_litert")
    made = runpy.run_path(str(DOCS / "operators.py"))["page"]()
    assert (DOCS / "operators.md").read_text(encoding="utf-8") == made
