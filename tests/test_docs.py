"""What the documents show runs, and what they say of measurements is what was measured."""

from __future__ import annotations

import importlib
import re
import runpy
from pathlib import Path
from types import ModuleType

import penjing
import pytest

ROOT = Path(penjing.__file__).parent
DOCS = ROOT / "docs"
LINES_OF_README = 120


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    for package in ("rich", "torch", "cocotb", "amaranth_boards"):
        pytest.importorskip(package)
    monkeypatch.syspath_prepend(ROOT / "bench")
    return importlib.import_module("tables")


def test_goals_that_are_missed_bear_their_names(tables: ModuleType) -> None:
    spread = importlib.import_module("sparse_goals").spread
    named = [("a", 9.5), ("b", 10.25), ("c", 100), ("d", 2)]
    assert spread(named, lambda number: number < 20, ".1f") == "2.0 to 10.2; c: 100.0"
    assert spread(named[:1], lambda number: True, ".1f") == "9.5"
    assert spread(named[:1], lambda number: False, ".1f") == "a: 9.5"


def script(page: Path, count: int, where: Path) -> dict[str, object]:
    """Run the Python that ``page`` shows in its ``count`` blocks, as one script in ``where``."""
    blocks = re.findall(r"^```python\n(.*?)^```$", page.read_text(encoding="utf-8"),
                        re.DOTALL | re.MULTILINE)
    assert len(blocks) == count
    (where / "script.py").write_text("\n".join(blocks), encoding="utf-8")
    return runpy.run_path(str(where / "script.py"))


def test_the_script_of_python_md(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert (DOCS / "python.md").read_text(encoding="utf-8").count("```") == 8
    names = script(DOCS / "python.md", 4, tmp_path)
    assert isinstance(names["simulation"], penjing.flow.Simulation)


@pytest.mark.slow
def test_the_network_of_the_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                   capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    names = script(ROOT / "README.md", 1, tmp_path)
    assert isinstance(names["simulation"], penjing.flow.Simulation)
    printed = re.search(r"^# (\d+ \w+ \w+)$", (tmp_path / "script.py").read_text(encoding="utf-8"),
                        re.MULTILINE)
    assert printed is not None
    assert capfd.readouterr().out.splitlines()[-1] == printed[1] == "64 True True"


def test_the_readme_is_short() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LINES_OF_README
    linked = set(re.findall(r"\]\((docs/[^)#]*\.md)", text))
    assert linked >= {f"docs/{page.name}" for page in DOCS.glob("*.md")}


def test_python_md_names_every_layer() -> None:
    from penjing.compiler import file

    guide = (DOCS / "python.md").read_text(encoding="utf-8").partition("## Reference")[0]
    assert {kind.__name__ for kind in file.LAYERS} <= set(re.findall(r"`(\w+)`", guide))


def test_tables_are_those_of_the_results(tables: ModuleType) -> None:
    assert not [page.name for page, _ in tables.stale()], "run python bench/tables.py --write"
    held = {name for page in tables.pages()
            for _, name, _, _ in tables.REGION.findall(page.read_text(encoding="utf-8"))}
    assert held == {*tables.TABLES}


def test_a_number_that_was_changed_by_hand_is_found(tables: ModuleType) -> None:
    text = "before\n<!-- table: cifar -->\n<!-- end -->\nbehind 1\n"
    right = tables.rendered(text)
    assert "ResNet-20 | 76 | 10,000 | 91.73 %" in right
    wrong = right.replace("91.73", "91.74")
    assert wrong != right == tables.rendered(wrong)
    with pytest.raises(penjing.PenjingError, match=r"README.md: no table is called cifer"):
        tables.rendered(text.replace("cifar", "cifer"), "README.md")


@pytest.mark.parametrize("name", ["README.md", "docs/results.md", "docs/gallery.md"])
def test_no_table_of_numbers_is_written_by_hand(tables: ModuleType, name: str) -> None:
    by_hand = tables.REGION.sub("", (ROOT / name).read_text(encoding="utf-8"))
    assert not [line for line in by_hand.splitlines()
                if re.search(r"^\|.*\| [~−+\d]", line)]


def test_the_citation_names_this_version() -> None:
    assert f"\nversion: {penjing.__version__}\n" in (ROOT / "CITATION.cff").read_text()


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "docs/architecture.md", "docs/verification.md",
                                  "docs/place_and_route.md", "bench/README.md"])
def test_files_that_a_page_names_exist(name: str) -> None:
    """Some are named from a folder that the sentence names, so the end of a path is enough."""
    named = set(re.findall(r"`(?:python )?((?:\w+/)*\w+\.(?:py|json))\b[^`]*`",
                           (ROOT / name).read_text(encoding="utf-8")))
    folders = ("bench", "boards", "compiler", "docs", "examples", "flow", "hdl", "sim", "tests")
    held = [f"/{path.relative_to(ROOT).as_posix()}" for path in
            (*ROOT.glob("*.py"), *(one for folder in folders
                                   for one in (ROOT / folder).rglob("*.*")))]
    assert len(named) > 1
    assert not [one for one in named
                if "NAME" not in one and not any(path.endswith(f"/{one}") for path in held)]


def test_operators_md_is_as_the_importers_tables() -> None:
    pytest.importorskip("ai_edge_litert")
    made = runpy.run_path(str(DOCS / "operators.py"))["page"]()
    assert (DOCS / "operators.md").read_text(encoding="utf-8") == made
